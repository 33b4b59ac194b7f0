"""Configuration in memory: loaded once, dropped on every change, bounded, and never kept while nobody listens."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from services.generator.catalog import MAX_AGE_S, Catalog, OrgConfig
from shared.clock import FrozenClock
from tests.unit.generator.given import ORG, config, source, template

OTHER = UUID(int=2)


class Source:
    """Counts the loads; may be told of a change that happens while it loads."""

    def __init__(self) -> None:
        self.loads: list[list[UUID]] = []
        self.while_loading: Callable[[], object] = list  # nothing

    async def load_orgs(self, org_ids: Sequence[UUID]) -> Mapping[UUID, OrgConfig]:
        self.loads.append(sorted(org_ids))
        self.while_loading()
        return {org_id: config(template(source(body="x" * 10_000))) for org_id in org_ids if org_id != OTHER}


def listening(stored: Source, clock: FrozenClock | None = None, max_bytes: int = 1_000_000) -> Catalog:
    catalog = Catalog(stored, clock or FrozenClock(), max_bytes=max_bytes)
    catalog.listen(listening=True)
    return catalog


async def test_an_org_is_loaded_once_and_all_missing_orgs_of_a_batch_together() -> None:
    stored = Source()
    catalog = listening(stored)

    await catalog.orgs({ORG, UUID(int=5)})
    served = await catalog.orgs({ORG, UUID(int=5), UUID(int=6)})

    assert set(served) == {ORG, UUID(int=5), UUID(int=6)}
    assert stored.loads == [sorted([ORG, UUID(int=5)]), [UUID(int=6)]]


async def test_an_org_that_is_not_stored_has_an_empty_configuration() -> None:
    assert await listening(Source()).orgs({OTHER}) == {OTHER: OrgConfig()}


async def test_a_change_is_served_with_the_next_batch_and_only_its_org_is_loaded_again() -> None:
    stored = Source()
    catalog = listening(stored)
    await catalog.orgs({ORG, UUID(int=5)})

    catalog.forget(ORG)
    await catalog.orgs({ORG, UUID(int=5)})

    assert stored.loads[1:] == [[ORG]]


async def test_what_changed_while_it_was_loaded_is_not_kept() -> None:
    stored = Source()
    catalog = listening(stored)
    stored.while_loading = lambda: catalog.forget(ORG)
    await catalog.orgs({ORG})

    stored.while_loading = list
    await catalog.orgs({ORG})
    await catalog.orgs({ORG})

    assert len(stored.loads) == 2


async def test_nothing_is_kept_while_nobody_listens_and_nothing_survives_the_gap() -> None:
    stored = Source()
    catalog = listening(stored)
    await catalog.orgs({ORG})

    catalog.listen(listening=False)
    await catalog.orgs({ORG})
    await catalog.orgs({ORG})
    catalog.listen(listening=True)
    await catalog.orgs({ORG})
    await catalog.orgs({ORG})

    assert len(stored.loads) == 4


async def test_what_is_kept_grows_old() -> None:
    stored, clock = Source(), FrozenClock()
    catalog = listening(stored, clock)
    await catalog.orgs({ORG})

    clock.advance(MAX_AGE_S - 1)
    await catalog.orgs({ORG})
    clock.advance(2)
    await catalog.orgs({ORG})

    assert len(stored.loads) == 2


async def test_the_orgs_that_were_not_seen_lately_make_room() -> None:
    stored = Source()
    catalog = listening(stored, max_bytes=30_000)
    two, three = UUID(int=10), UUID(int=11)
    await catalog.orgs({ORG})
    await catalog.orgs({two})
    await catalog.orgs({ORG})

    await catalog.orgs({three})
    stored.loads.clear()
    await catalog.orgs({ORG})
    await catalog.orgs({two})

    assert stored.loads == [[two]]
