"""Ingest dies before and after each of its commits, one at a time: what is stored in the end is what it would be
otherwise.

A death is an exception that nobody handles, after which no statement of that life reaches the database any more; its
connections are cut, and a new life goes on with what is stored and what the broker had not been told was done. The same
commits in processes that are killed, among all services: tests/chaos/test_failpoints.py.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import asyncpg.transaction
import pytest

from devstack.isolation import fresh_database
from services.ingest.attribution.recounter import recount_one
from services.ingest.attribution.recounts import StoredRecounts
from services.ingest.attribution.unmatched import StoredUnmatched
from services.ingest.counting.results import StoredCounts
from services.ingest.counting.shown import Pace as ShownPace
from services.ingest.counting.shown import StoredShownCounts
from services.ingest.handler import ingest_files
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import Folders
from shared.clock import FrozenClock
from shared.db.pool import open_database
from shared.errors import Failure
from shared.schemas.conversions import Conversions, stored
from shared.schemas.jobs import IngestFileJob
from tests.chaos.failing import CHANGES, Crossing, Failpoints, When
from tests.chaos.sites import in_the_code
from tests.component.ingest.given import SENT, Mail, Row, nested_csv
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_counting import PACE
from tests.support.full_disk import files_end_at
from tests.support.servers import Servers

COPY = UUID("00000000-0000-4000-8000-000000000001")
ORG = UUID("00000000-0000-4000-8000-0000000000aa")
NOT_OF_FILES = (
    "batches", "klaviyo_store", "reconciling/store", "reconciling/flow_store", "lake/inputs", "ingest/retention",
)  # fmt: skip
"""Other kinds of source, the hourly comparison and look at flows, an export of history and the end of old days:
tests/component/ingest/test_batches.py, test_klaviyo_events.py, test_reconciling.py, test_flow_watch.py, test_lake.py,
test_kept_days.py."""
NOT_HERE = {"commit services/ingest/sources/store.py Sources.find"}  # only who previews a file asks for it
SITES = sorted(
    site
    for site in in_the_code() - NOT_HERE
    if site.startswith("commit services/ingest/") and not any(f"/{name}.py " in site for name in NOT_OF_FILES)
)
SHOWN = ShownPace(timedelta(seconds=5), timedelta(seconds=1), timedelta(seconds=1), timedelta(hours=1))
_END = SENT + timedelta(days=3)
_MOST_STEPS = 200
_LEASE_S = 301

TABLES = {
    "events": "SELECT event_id, day, metric, transmission_id, event_at, line FROM events ORDER BY 1, 2",
    "sends": "SELECT * FROM sends ORDER BY transmission_id",
    "rollups": "SELECT * FROM rollups ORDER BY template_id, day, copy_id, cell",
    "conversions": "SELECT * FROM conversions ORDER BY template_id, event_id",
    "rejects": "SELECT line, reason, raw FROM ingest_rejects ORDER BY line",
    # Which of two files of the same events brought them, `fresh`, follows from their order: a death may change it.
    "files": "SELECT regexp_replace(path, '^.*/', '') AS name, size, state, rejects, superseded_by IS NOT NULL AS"
    " superseded FROM ingest_files ORDER BY 1, 2",
    "counted": "SELECT template_id, attr, value, control, copy_id, day, assigned, sent, delivered, opened,"
    " clicked FROM result_counts ORDER BY 1, 2, 3, 4, 5, 6",
    "days": "SELECT day FROM result_days WHERE counted < revision ORDER BY 1",
    "shown": "SELECT template_id, span, at, decision, outcome, reason, shown, emails FROM shown_counts"
    " ORDER BY 1, 2, 3, 4, 5, 6, 7",
    "waiting": "SELECT day, message_id, no_generation, other_message, not_synced FROM unmatched ORDER BY 1, 2",
    "sources": "SELECT name, last_error FROM sources ORDER BY 1",
}  # fmt: skip


class Died(BaseException):
    """Nobody handles it."""


class Points(Failpoints):
    """Ends a life where `failing` would end the process."""

    def __init__(self, at: str | None, when: When, report: Path) -> None:
        super().__init__(report, at, when, 1)
        self.dead = self.died = False

    @property
    def seen(self) -> set[str]:
        return set(self._counts)

    def _end_if(self, crossing: Crossing, when: When) -> None:
        if not self.died and crossing == (self._at, self._nth) and when == self._when:
            self.dead = self.died = True
            raise Died


def install(points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch the doors to the database."""

    def wrapped(call: Callable[..., Awaitable[Any]], wanted: Callable[..., bool]) -> Callable[..., Any]:
        async def crossing(*args: Any, **kwargs: Any) -> Any:
            if points.dead:
                raise Died
            under_way = points.crossing("commit") if wanted(*args, **kwargs) else None
            result = await call(*args, **kwargs)
            points.crossed(under_way)
            return result

        return crossing

    def by_itself(connection: Any, statement: str, *_: Any, **__: Any) -> bool:
        return not connection.is_in_transaction() and CHANGES.search(statement) is not None

    def outermost(transaction: Any) -> bool:
        return not transaction._nested and not transaction._readonly

    commit = "_Transaction__commit"
    doors: list[tuple[Any, str, Callable[..., bool]]] = [(asyncpg.transaction.Transaction, commit, outermost)]
    doors += [
        (asyncpg.Connection, name, by_itself) for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval")
    ]
    for cls, name, wanted in doors:
        monkeypatch.setattr(cls, name, wrapped(getattr(cls, name), wanted))


class World:
    """An org's folder, database and broker, and one life of ingest after the other."""

    def __init__(self, url: str, folder: Path, points: Points, stack: AsyncExitStack) -> None:
        self._url, self.folder, self.points, self._stack = url, folder, points, stack
        self.clock = FrozenClock(SENT + timedelta(hours=2))
        self.queued: list[IngestFileJob] = []
        self.rig: Rig

    async def live(self) -> None:
        """Begin a life; one that was there before is cut off."""
        self.points.dead = False
        self._database = await self._stack.enter_async_context(open_database(self._url, name="crashes", max_size=4))
        self.rig = Rig(self._database, ORG, clock=self.clock, queued=self.queued)
        self.rig.with_deps(lease_s=0)  # every block of a file extends its lease
        self.rig.use_servers(Folders({"folder": LocalFolders(self.folder.parent.parent, read_timeout_s=5)}))

    async def through(self, work: Callable[[], Awaitable[None]]) -> None:
        """What is to be done, however often ingest dies over it."""
        while True:
            try:
                return await work()
            except Died:
                self._database._pool.terminate()
                await self.live()

    async def poll(self) -> None:
        await self.rig.poll()

    async def work(self) -> None:
        """The broker brings again what was not acknowledged, and after a while what somebody else had."""
        for _ in range(_MOST_STEPS):
            if not self.queued:
                return
            [outcome] = await ingest_files([self.queued[0]], self.rig.deps)
            if outcome is None:
                self.queued.pop(0)
            else:
                self.clock.advance(_LEASE_S)
        raise AssertionError("a file is tried again and again")

    async def follow(self) -> None:
        """All runners, until none has anything to do."""
        database, clock = self.rig.database, self.clock
        waiting = StoredUnmatched(database, uuid4, clock, timedelta(days=1), batch=1)  # so that looks have several
        counts, shown = StoredCounts(database, uuid4, PACE), StoredShownCounts(database, uuid4, SHOWN)
        anew = StoredRecounts(database, timedelta(days=1)).recount_some
        while await recount_one(database):
            pass
        await waiting.follow(clock.now())
        await counts.open_days(clock.now())
        await shown.take_marks(clock.now())
        for step in (anew, waiting.try_one, waiting.count_one, counts.count_day, counts.report, shown.count_quarter):
            for _ in range(_MOST_STEPS):
                if not await step(clock.now()):
                    break

    async def quiet(self) -> None:
        """A quarter of a day: leases end, what was lost is queued again, what is due is done."""
        for _ in range(3):
            for work in (self.poll, self._minute, self.poll, self.work, self.follow):
                await self.through(work)
            self.clock.advance(2 * 3600)

    async def _minute(self) -> None:
        self.clock.advance(61)

    def put(self, name: str, rows: list[Row] | bytes, mtime: int) -> None:
        path = self.folder / name
        path.write_bytes(rows if isinstance(rows, bytes) else nested_csv(rows))
        os.utime(path, (1_700_000_000 + mtime, 1_700_000_000 + mtime))


ROWS = {name: Mail(f"T{name}", f"P{name}", sent_at=SENT - timedelta(minutes=3)) for name in "abcde"}
EVENTS: dict[str, list[Row]] = {
    "first": [mail.received() for mail in ROWS.values()] + [ROWS["a"].clicked(), ROWS["b"].opened()],
    "order": [Row("ORDER1", "Placed Order", "Pa", SENT + timedelta(hours=1), {"OrderId": "#1", "$value": 20})],
    "late": [ROWS["c"].opened(), ROWS["d"].clicked()],
}
BAD = b"id,metric,profile_id,datetime\nB1,Opened Email,,2026-11-23 09:00\nB2,Opened Email,,2026-11-23 09:00\n"


async def begin(world: World) -> None:
    """Generations of two of four people are stored; a second source has no folder."""
    rig = world.rig
    await rig.add_org("shop")
    for name, path in (("files", "in"), ("missing", "none")):
        await rig.run(
            "INSERT INTO sources (source_id, org_id, name, kind, path)"
            " VALUES (gen_random_uuid(), $1, $2, 'folder', $3)", ORG, name, path,
        )  # fmt: skip
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, created_at, updated_at) "
        "VALUES ($1, 'welcome', 'Welcome', 'active', 'FLOW1', $2, $2)",
        ORG, SENT,
    )  # fmt: skip
    for number, person in enumerate(("Pa", "Pb")):
        await add_generation(rig, person, number)


async def add_generation(rig: Rig, person: str, number: int) -> None:
    made = await rig.add_generation(
        person, copy_id=COPY if number % 2 else None, accepted_at=SENT - timedelta(minutes=5)
    )
    await rig.run("UPDATE generations SET generation_id = $2 WHERE generation_id = $1", made, UUID(int=number + 1))


async def story(world: World) -> dict[str, list[dict[str, Any]]]:
    """All that files and people do to ingest; then what is stored."""
    world.put("bad.csv", BAD, 0)
    for number, (name, rows) in enumerate([*EVENTS.items(), ("copy", EVENTS["first"])], 1):
        world.put(f"{name}.csv", rows, number)
    await world.through(world.poll)
    world.clock.advance(61)
    await world.through(world.poll)
    with files_end_at(64):
        await world.through(_once(world))  # fails, and is tried again
    (world.folder / "late.csv").unlink()  # gone between listing and reading
    await world.quiet()

    world.put("late.csv", EVENTS["late"], 9)
    world.put("first.csv", [*EVENTS["first"][:3], *EVENTS["first"][4:6]], 10)  # without Td, and without an open
    await world.rig.run(
        "UPDATE templates SET conversions = $2 WHERE org_id = $1", ORG, stored(Conversions())
    )  # counts orders from now on
    for number, person in enumerate(("Pc", "Pe"), 2):  # are stored late; a file tells of one of them
        await add_generation(world.rig, person, number)
    await world.quiet()

    await world.rig.run(
        "UPDATE sources SET reread_at = $1, next_poll_at = NULL WHERE name = 'files'", world.clock.now()
    )
    await world.quiet()

    await world.rig.run("INSERT INTO recounts (org_id, asked_at) VALUES ($1, $2)", ORG, world.clock.now())
    world.clock.advance((_END - world.clock.now()).total_seconds())
    await world.quiet()
    return {name: await world.rig.rows(sql) for name, sql in TABLES.items()}


def _once(world: World) -> Callable[[], Awaitable[None]]:
    async def once() -> None:
        for job in list(world.queued):
            with suppress(Failure):
                world.rig.outcomes += await ingest_files([job], world.rig.deps)

    return once


async def told(url: str, at: Path, site: str | None, when: When) -> tuple[Points, dict[str, Any]]:
    """The story with one death, or none: where it went by, and what is stored in the end."""
    folder = at / "root" / "shop" / "in"
    folder.mkdir(parents=True)
    points = Points(site, when, Path(os.devnull))  # which a full disk takes, too
    async with AsyncExitStack() as stack:
        world = World(url, folder, points, stack)
        await world.live()
        await begin(world)
        with pytest.MonkeyPatch.context() as watched:
            install(points, watched)
            found = await story(world)
    return points, found


@pytest.fixture(scope="module")
def undisturbed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> tuple[Points, dict[str, Any]]:
    """The story without a death."""

    async def tell() -> tuple[Points, dict[str, Any]]:
        async with fresh_database(servers.need("postgres").database_url) as url:
            return await told(url, tmp_path_factory.mktemp("undisturbed"), None, "before")

    return asyncio.run(tell())


Undisturbed = tuple[Points, dict[str, Any]]


@pytest.mark.long
def test_the_story_goes_by_every_commit(undisturbed: Undisturbed) -> None:
    points, found = undisturbed

    assert {site for site in points.seen if site.startswith("commit services/ingest/")} == set(SITES)
    assert all(found[name] for name in TABLES if name != "days")


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("site", SITES)
async def test_a_death_at_a_commit_leaves_what_no_death_leaves(
    undisturbed: Undisturbed, database_url: str, tmp_path: Path, site: str, when: When
) -> None:
    points, found = await told(database_url, tmp_path, site, when)

    assert points.died
    _, expected = undisturbed
    assert found == expected
