"""All sources share one queue: what one org has to be read keeps another's waiting for little."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.ingest.handler import ingest_files
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import Folders
from services.ingest.sources.poller import MOST_ON_THEIR_WAY
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.rig import STABLE_S, Rig

MANY = 200


@pytest.fixture
def shop(bare_rig: Rig, tmp_path: Path) -> Rig:
    """An org whose sources are folders of ours."""
    bare_rig.use_servers(Folders({"folder": LocalFolders(tmp_path, read_timeout_s=30)}))
    return bare_rig


def fill(folder: Path, files: int) -> None:
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number:03}.csv").write_bytes(nested_csv([Mail(f"{folder.name}{number}").received()]))


async def put(rig: Rig, folder: Path, files: int) -> UUID:
    """A source of so many files, of one event each."""
    fill(folder, files)
    source_id = uuid4()
    await rig.run(
        "INSERT INTO sources (source_id, org_id, name, kind, path) VALUES ($1, $2, $3, 'folder', $3)",
        source_id, rig.org_id, folder.name,
    )  # fmt: skip
    return source_id


async def load_in_turn(rig: Rig) -> list[UUID]:
    """One worker takes what is queued until nothing is; the source of each file."""
    sources = []
    while rig.queued:
        job = rig.queued.pop(0)
        assert await ingest_files([job], rig.deps) == [None]
        sources.append(job.source_id)
    return sources


@pytest.mark.timeout(180)
async def test_one_orgs_many_files_keep_anothers_waiting_for_a_few_of_them(shop: Rig, tmp_path: Path) -> None:
    other = Rig(shop.database, uuid4())
    await other.add_org("other")
    many = await put(shop, tmp_path / "shop" / "many", MANY)
    await shop.list_twice()
    one = await put(other, tmp_path / "other" / "one", 1)
    await shop.list_twice()

    loaded = await load_in_turn(shop)

    assert loaded.index(one) <= MOST_ON_THEIR_WAY
    assert (loaded.count(many), loaded.count(one)) == (MANY, 1)  # without another listing
    assert len(await shop.event_ids()) == MANY + 1


async def test_another_of_a_source_is_queued_when_half_of_them_are_done(shop: Rig, tmp_path: Path) -> None:
    await put(shop, tmp_path / "shop" / "many", MOST_ON_THEIR_WAY + 5)
    await shop.list_twice()
    queued, half = list(shop.queued), MOST_ON_THEIR_WAY // 2

    for number, job in enumerate(queued[:half], start=1):
        assert await ingest_files([job], shop.deps) == [None]
        assert len(shop.queued) == MOST_ON_THEIR_WAY + (5 if number == half else 0)

    assert len(queued) == MOST_ON_THEIR_WAY


async def test_files_that_cannot_be_read_keep_the_others_of_their_source_from_nothing(
    shop: Rig, tmp_path: Path
) -> None:
    await put(shop, tmp_path / "shop" / "many", MOST_ON_THEIR_WAY + 5)
    await shop.list_twice()
    before = len(shop.queued)

    shop.clock.advance(600)
    await shop.run("UPDATE ingest_files SET attempts = 1, error = 'file_denied: no' WHERE state = 'queued'")
    await shop.poll()

    assert (before, len(shop.queued)) == (MOST_ON_THEIR_WAY, MOST_ON_THEIR_WAY + 5)


async def test_a_file_whose_server_was_away_waits_for_the_next_listing(shop: Rig, tmp_path: Path) -> None:
    source_id = await put(shop, tmp_path / "shop" / "few", 2)
    await shop.list_twice()
    first, second = shop.queued
    shop.queued = []
    claimed = await shop.ledger.claim(shop.org_id, first.file_id, uuid4(), shop.clock.now())
    assert claimed is not None
    shop.clock.advance(1)
    await shop.ledger.list_again(claimed, "away", shop.clock.now(), changed=False)

    await ingest_files([second], shop.deps)
    at_once = list(shop.queued)
    shop.clock.advance(STABLE_S)
    await shop.poll()

    assert at_once == []
    assert [(job.source_id, job.file_id) for job in shop.queued] == [(source_id, first.file_id)]


async def test_a_source_that_was_switched_off_is_not_queued_any_further(shop: Rig, tmp_path: Path) -> None:
    await put(shop, tmp_path / "shop" / "many", MOST_ON_THEIR_WAY + 1)
    await shop.list_twice()
    await shop.run("UPDATE sources SET enabled = false")

    loaded = await load_in_turn(shop)

    assert len(loaded) == MOST_ON_THEIR_WAY
