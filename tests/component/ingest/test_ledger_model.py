"""Whatever happens to files, the rows are those of the newest settled versions, each once, as the newest file says.

Files of one folder are put, replaced, grown, touched, put back and deleted, listed and loaded, while workers die before
and after their switch and messages come twice. A model of a few lines says what must be there. Only what a folder and a
worker are seen to do is asked of them, so the folder is one in memory: real servers are in test_faults.py.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.ingest.loading.staging import Staged, Stagings
from services.ingest.records import Changed, Claimed, Listed, Listing, Loaded, Source
from services.ingest.sources.poller import Pace, Poller
from shared.api_keys import Peppers
from shared.errors import Outage
from tests.component.ingest.given import Mail, Row, again, nested_csv
from tests.component.ingest.rig import PEPPER, STABLE_S, Rig, Server

NAMES = ("a.csv", "b.csv", "c.csv")
PEOPLE = 2
MACHINE = (True, False, None)
"""What is said of an open: the last shape leaves it to others."""


def row(number: int, said: int) -> Row:
    """An event of which files say different things: for even numbers a delivery, for odd ones the open of it."""
    mail = Mail(f"T{number // 2}", f"P{number // 2}")
    made = mail.received() if number % 2 == 0 else mail.opened(machine_open=MACHINE[said])
    return again(made, event_id=f"EV{number}", at=made.at + timedelta(minutes=said))


class Told(NamedTuple):
    """A row of a file: which event, and which of its shapes."""

    number: int
    said: int


class Version(NamedTuple):
    rows: tuple[Told, ...]
    mtime: int


@dataclass
class Memory:
    """A folder in memory; `files` are what is there now."""

    files: dict[str, Version]

    def listed(self, name: str) -> Listed:
        version = self.files[name]
        return Listed(name, len(content(version)), datetime.fromtimestamp(version.mtime, UTC))

    async def list(self) -> Listing:
        return Listing([self.listed(name) for name in self.files], 0)

    async def look(self, path: str) -> Listed:
        if path not in self.files:
            raise Changed("gone", reason="file_gone")
        return self.listed(path)

    async def read(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        yield content(self.files[path])[:at_most]

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator["Memory"]:
        yield self


def content(version: Version) -> bytes:
    return nested_csv(row(*told) for told in version.rows)


class Dying(Stagings):
    """Workers that die around their switch, when `die` says so."""

    die = ""

    @asynccontextmanager
    async def open(self, file: Claimed) -> AsyncIterator[Staged]:
        async with super().open(file) as staged:
            switch = staged.switch

            async def dying(loaded: Loaded, sha256: str, now: datetime) -> Loaded:
                if self.die == "before":
                    raise Outage("died before the switch")
                loaded = await switch(loaded, sha256, now)
                if self.die == "after":
                    raise Outage("died after the switch")
                return loaded

            staged.switch = dying  # type: ignore[method-assign]  # this one alone
            yield staged


class Model:
    """What has been loaded of each path last, in the order of loading."""

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[Version, int]] = {}
        self._turns = 0

    def load(self, name: str, version: Version) -> None:
        self._turns += 1
        if self.loaded.get(name, (None, 0))[0] != version:
            self.loaded[name] = version, self._turns

    def events(self) -> dict[str, tuple[set[datetime], set[bool | None]]]:
        """By event, the moments of which one is right, and what may be said of machines: two files of one age may both
        be right, and who says nothing is not."""
        said: dict[str, list[tuple[int, Told]]] = {}
        for version, _ in self.loaded.values():
            last = {told.number: told for told in version.rows}
            for told in last.values():
                said.setdefault(f"EV{told.number}", []).append((version.mtime, told))
        return {event_id: (self._moments(tellings), self._machines(tellings)) for event_id, tellings in said.items()}

    @staticmethod
    def _moments(tellings: list[tuple[int, Told]]) -> set[datetime]:
        newest = max(mtime for mtime, _ in tellings)
        return {row(*told).at for mtime, told in tellings if mtime == newest}

    @staticmethod
    def _machines(tellings: list[tuple[int, Told]]) -> set[bool | None]:
        saying = [(mtime, MACHINE[told.said]) for mtime, told in tellings
                  if told.number % 2 and MACHINE[told.said] is not None]  # fmt: skip
        newest = max((mtime for mtime, _ in saying), default=0)
        return {machine for mtime, machine in saying if mtime == newest} or {None}


# Few events and names, so that they meet.
TOLD = st.builds(Told, st.integers(0, 2 * PEOPLE - 1), st.integers(0, 2))
ROWS = st.lists(TOLD, max_size=4).map(tuple)
NAME = st.sampled_from(NAMES)
AGE = st.integers(0, 3)
CHANGE = st.one_of(
    st.tuples(st.just("put"), NAME, ROWS, AGE),
    st.tuples(st.just("put"), NAME, ROWS, AGE),
    st.tuples(st.just("append"), NAME, ROWS, AGE),
    st.tuples(st.just("copy"), NAME, NAME),
    st.tuples(st.just("touch"), NAME),
    st.tuples(st.just("back"), NAME),
    st.tuples(st.just("delete"), NAME),
    st.tuples(st.just("replay")),
    st.tuples(st.just("rescan")),
)
# How the minute after a change goes: nobody looks, all is well, or a worker dies.
STEP = st.tuples(CHANGE, st.sampled_from((None, "", "", "", "before", "after")))


class World:
    """The folder, the service's parts on the real database, and the model beside them."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.memory, self.model = rig, Memory({}), Model()
        self.former: dict[str, list[Version]] = {}
        self.jobs: list[Any] = []
        self.stagings = Dying(rig.database, window=timedelta(days=1), peppers=Peppers(PEPPER))
        self._now = 1_700_000_000
        rig.with_deps(servers=self.memory, stagings=self.stagings)
        pace = Pace(tick_s=5, stable=timedelta(seconds=STABLE_S), requeue=timedelta(minutes=1), parallel=1)
        self.poller = Poller(rig.sources, rig.ledger, self.memory, self._publish, rig.clock, uuid4, pace)

    async def _publish(self, job: Any) -> None:
        self.jobs.append(job)
        self.rig.queued.append(job)

    async def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("put", name, rows, age):
                self._put(name, Version(rows, self._tick() - 10 * age))
            case ("append", name, rows, age) if name in self.memory.files:
                self._put(name, Version(self.memory.files[name].rows + rows, self._tick() - 10 * age))
            case ("copy", name, other) if other in self.memory.files and name != other:
                self._put(name, self.memory.files[other])
            case ("delete", name):
                self.memory.files.pop(name, None)
            case ("touch", name) if name in self.memory.files:
                self._put(name, self.memory.files[name]._replace(mtime=self._tick()))
            case ("back", name) if self.former.get(name):
                self._put(name, self.former[name][0])
            case ("rescan",):
                await self.rig.run("UPDATE sources SET next_poll_at = NULL, reread_at = now()")
            case ("replay",):
                self.rig.queued.extend(self.jobs[-3:])
                await self.rig.work()

    def _put(self, name: str, version: Version) -> None:
        if name in self.memory.files:
            self.former.setdefault(name, []).append(self.memory.files[name])
        self.memory.files[name] = version

    def _tick(self) -> int:
        self._now += 7
        return self._now

    async def settle(self, die: str) -> None:
        """List twice and load; dead workers' files are loaded by others."""
        for attempt in (die, "") if die else ("",):
            for _ in range(2):
                self.rig.clock.advance(2 * STABLE_S)
                while await self.poller.poll_one():
                    pass
            self.stagings.die = attempt
            try:
                await self.rig.work()
            except Outage:
                self.rig.clock.advance(600)
        for name in sorted(self.memory.files, key=lambda one: (self.memory.files[one].mtime, one)):
            self.model.load(name, self.memory.files[name])

    async def check(self) -> None:
        rows = await self.rig.rows("SELECT event_id, event_at, machine_open FROM events")
        wanted = self.model.events()
        assert sorted(row["event_id"] for row in rows) == sorted(wanted)
        for found in rows:
            moments, machines = wanted[found["event_id"]]
            assert found["event_at"] in moments, found
            assert found["machine_open"] in machines, found
        sends = await self.rig.rows("SELECT transmission_id FROM sends ORDER BY 1")
        delivered = {f"T{int(event_id[2:]) // 2}" for event_id in wanted if int(event_id[2:]) % 2 == 0}
        assert {one["transmission_id"] for one in sends} == delivered
        opens = await self.rig.one("SELECT coalesce(sum(human_opens), 0)::int AS n FROM sends")
        counted = await self.rig.rows(
            "SELECT e.event_id FROM events e JOIN sends s USING (transmission_id)"
            " WHERE e.metric = 'Opened Email' AND e.machine_open IS FALSE"
        )
        assert opens["n"] == len(counted)
        orphans = await self.rig.rows(
            "SELECT FROM event_repeats r LEFT JOIN events e USING (event_id, day)"
            " WHERE e.event_id IS NULL OR e.file_id = r.file_id AND r.said IS NULL"
        )
        assert orphans == []


async def clear(rig: Rig) -> None:
    for table in ("ingest_rejects", "ingest_files", "event_repeats", "events", "sends", "rollups", "result_days"):
        await rig.run(f"DELETE FROM {table}")
    await rig.run("UPDATE sources SET next_poll_at = NULL")
    rig.queued.clear()


@pytest.mark.parametrize(
    "stories",
    [pytest.param(15, id="short"), pytest.param(200, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1_800)])],
)
@pytest.mark.timeout(400)
async def test_rows_are_those_of_the_newest_versions_whatever_happens(bare_rig: Rig, stories: int) -> None:
    await bare_rig.add_source(Server("127.0.0.1", 22, "nobody", "none", "none"), ".")
    bare_rig.clock.advance(86_400)
    loop = asyncio.get_running_loop()

    # Each story takes a second, so one that fails is told as it is, not made short.
    @settings(
        max_examples=stories, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(st.lists(STEP, min_size=4, max_size=8))
    def story(steps: list[tuple[Any, ...]]) -> None:
        async def play() -> None:
            await clear(bare_rig)
            world = World(bare_rig)
            for change, then in steps:
                await world.step(change)
                if then is not None:
                    await world.settle(then)
                await world.check()
            await world.settle("")
            await world.check()

        asyncio.run_coroutine_threadsafe(play(), loop).result(120)

    await asyncio.to_thread(story)
