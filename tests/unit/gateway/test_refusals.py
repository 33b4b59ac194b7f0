"""What is counted of refused webhooks, and what waits while the database is away."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from services.gateway.errors import MEANINGS
from services.gateway.refusals import Kind, Refusals
from services.gateway.tally import MOST_KINDS, Count
from shared.errors import Outage
from shared.refusals import REFUSALS, of

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
_ELSEWHERE = {"no_such_route", "method_not_allowed"}  # answered before an org is known


class Stored:
    """Counts in place of the database, which may be away."""

    def __init__(self) -> None:
        self.away, self.told = False, list[dict[Kind, Count]]()

    async def count_refused(self, refused: Mapping[Kind, Count]) -> None:
        if self.away:
            raise Outage("the database is away")
        self.told.append(dict(refused))


async def test_the_same_refusal_is_one_count_with_the_time_of_the_last() -> None:
    stored = Stored()
    refusals = Refusals(stored)

    for seconds in (0, 5, 2):
        refusals.note("acme", "FLOW01", "revoked_api_key", NOW + timedelta(seconds=seconds))
    refusals.note("acme", "", "not_json", NOW)
    await refusals.store()
    await refusals.store()

    assert stored.told == [
        {
            Kind("acme", "FLOW01", "revoked_api_key"): Count(3, NOW + timedelta(seconds=5)),
            Kind("acme", "", "not_json"): Count(1, NOW),
        }
    ]


async def test_counts_wait_while_the_database_is_away() -> None:
    stored = Stored()
    refusals, stored.away = Refusals(stored), True
    refusals.note("acme", "FLOW01", "not_json", NOW)
    await refusals.store()
    refusals.note("acme", "FLOW01", "not_json", NOW + timedelta(seconds=1))

    stored.away = False
    await refusals.store()

    assert stored.told == [{Kind("acme", "FLOW01", "not_json"): Count(2, NOW + timedelta(seconds=1))}]


async def test_made_up_names_are_bounded_and_what_is_no_id_is_nobodys() -> None:
    stored = Stored()
    refusals = Refusals(stored)
    refusals.note("acme", "\udcff{{ flow }}", "not_json", NOW)
    for name in ("", "a\x00b", "ä", "a" * 65):
        refusals.note(name, "FLOW01", "not_json", NOW)
    for number in range(2 * MOST_KINDS):
        refusals.note("acme", f"F{number}", "not_json", NOW)
    await refusals.store()

    [told] = stored.told
    assert len(told) == MOST_KINDS
    assert Kind("acme", "", "not_json") in told
    assert {kind.org_slug for kind in told} == {"acme"}


def test_every_refusal_that_no_repetition_cures_is_explained_to_the_org_and_no_other() -> None:
    for_good = {code for code, meaning in MEANINGS.items() if meaning.status < 500}

    assert for_good - _ELSEWHERE == set(REFUSALS)
    assert all(one.means and one.do for one in REFUSALS.values())
    assert {code for code, one in REFUSALS.items() if one.by_key} == {
        code for code in for_good if MEANINGS[code].status in (401, 403)
    }
    assert "of brand_new" in of("brand_new").means
