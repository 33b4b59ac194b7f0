"""A copy id whose text was replaced: whose its facts are, and what a fit makes of them."""

from dataclasses import replace
from uuid import UUID

import pytest

from services.ranker.facts import NO_CLICK, Fact
from services.ranker.fit import next_snapshot
from services.ranker.texts import as_variants, replaced
from shared.schemas.copy import VariantSource
from tests.unit.ranker.given import COPIES, PRO, RIPE, VARIANTS, task


def version(number: int, subject: str, *, of: int = 0) -> VariantSource:
    return VariantSource(COPIES[of], number, subject, "", "<p>Hello</p>")


def facts_of(copy_id: UUID, clicks: int) -> list[Fact]:
    """5,000 sends, so many of them clicked."""
    return [Fact(copy_id, PRO, RIPE, 2, clicks), Fact(copy_id, PRO, RIPE, NO_CLICK, 5_000 - clicks)]


def test_versions_that_say_something_else_than_the_present_one_are_known_apart() -> None:
    served = [version(3, "Welcome!"), version(2, "A tin for you"), version(1, "Welcome"), version(1, "Hi", of=1)]

    found = replaced(served)

    assert [(one.copy_id, one.version) for one in found] == [(COPIES[0], 2)]
    assert found[0].known_as not in COPIES
    assert replaced([served[1], served[0]])[0].known_as != found[0].known_as


def test_what_is_rolled_back_to_finds_its_own_facts_again_under_the_copy_id() -> None:
    one, other = version(1, "Welcome"), version(2, "A tin for you")

    assert [text.version for text in replaced([other, one])] == [1]
    assert [text.version for text in replaced([one, other])] == [2]


@pytest.mark.parametrize("old", [50, 400])
def test_a_rewritten_variant_is_young_whatever_its_old_text_came_to(old: int) -> None:
    """Of three variants with 5,000 sends each two are clicked by 4 %, the old text of the first by 1 % or 8 %."""
    texts = replaced([version(2, "A tin for you"), version(1, "Welcome")])
    known = [*VARIANTS, *as_variants(texts, VARIANTS)]
    others = [fact for copy_id in COPIES[1:] for fact in facts_of(copy_id, 200)]

    made = next_snapshot(task([*facts_of(texts[0].known_as, old), *others], variants=known))
    shared = next_snapshot(task([*facts_of(COPIES[0], old), *others]))

    assert made.eligible == COPIES
    assert made.otherwise[0] == made.cells[PRO][0] == pytest.approx(1 / 3, abs=1e-5)
    assert shared.otherwise[0] < 0.01 or shared.otherwise[0] > 0.9


def test_a_replaced_text_is_of_its_variant_s_theme_and_gets_no_share() -> None:
    themed = [replace(one, theme="humour" if at != 1 else "plain") for at, one in enumerate(VARIANTS)]
    texts = replaced([version(2, "A tin for you"), version(1, "Welcome")])
    known = [*themed, *as_variants(texts, themed)]

    (earlier,) = [one for one in known if one.copy_id == texts[0].known_as]

    assert (earlier.name, earlier.theme, earlier.eligible) == ("v0, version 1", "humour", False)
