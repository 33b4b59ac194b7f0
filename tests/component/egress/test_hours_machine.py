"""Whatever happens to an hour in whatever order, its object ends up as its rows."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import IO, Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.egress.handler import Deps, export_hour
from services.egress.model import Found, Superseded, Target
from services.egress.writing import Bucket
from shared.clock import FrozenClock
from shared.errors import Throttled
from tests.component.egress.shop import HOUR, Person, Shop, World, job, open_world
from tests.component.egress.test_races import Gate, gated
from tests.support.servers import Servers

KEY = "2026/11/23/10/part-000.parquet"
HIVE = "year=2026/month=11/day=23/hour=10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"
T = TypeVar("T")


class Crash(BaseException):
    """The process ends here: nothing is given back."""


class CrashingBuckets:
    """Everything ends right before the write of a key."""

    def __init__(self, world: World, key: str) -> None:
        self._buckets, self._key = world.deps.buckets, key

    async def bucket(self, target: Target) -> "CrashingBucket":
        return CrashingBucket(await self._buckets.bucket(target), self._key)


class CrashingBucket:
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key

    async def find(self, key: str) -> Found | None:
        return await self._bucket.find(key)

    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str:
        if key == self._key:
            raise Crash
        return await self._bucket.replace(key, content, length, metadata=metadata, kind=kind, over=over)

    async def remove(self, key: str, over: Found) -> None:
        if key == self._key:
            raise Crash
        await self._bucket.remove(key, over)


class SilentHours:
    """A ledger that hears nothing of failures, as from a process that is gone."""

    def __init__(self, hours: Any) -> None:
        self._hours = hours

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hours, name)

    async def fail(self, *_: object) -> None: ...


class Hours(RuleBasedStateMachine):
    """One hour of one org, on real servers. The model is the list of its rows."""

    stage: ClassVar["Stage"]

    @initialize()
    def begin(self) -> None:
        self.paused: list[tuple[asyncio.Task[None], Gate]] = []
        self.count, self.key = 0, KEY
        self.world, self.shop = self.stage.fresh()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stage.loop.run_until_complete(work)

    @rule(rows=st.integers(1, 3))
    def rows_arrive(self, rows: int) -> None:
        """In order of time, as the model is."""
        self.count += rows
        first = self.count - rows
        at = HOUR + timedelta(milliseconds=first)
        said = [Person(f"p{first + n}", at + timedelta(milliseconds=n), {"n": str(n)}) for n in range(rows)]
        self.run(self.world.say(self.shop, said))

    @rule()
    def everything_is_deleted(self) -> None:
        self.run(self.world.admin.execute("DELETE FROM generations"))
        self.shop.exported.clear()
        self.backfill()  # as a deletion marks its hours

    @rule()
    @precondition(lambda self: self.shop.exported)
    def the_newest_is_deleted(self) -> None:
        """The hour is again what it was."""
        newest = self.shop.exported.pop()["user_id"]
        self.run(self.world.admin.execute("DELETE FROM generations WHERE user_id = $1", newest))
        self.backfill()

    @rule()
    def backfill(self) -> None:
        self.run(self.world.ask(self.shop, "generations", [HOUR]))

    @rule()
    def export(self) -> None:
        with contextlib.suppress(Throttled):
            self.run(export_hour(job(self.shop), self.world.deps))

    @rule(where=st.sampled_from(["reading", KEY, MANIFEST]))
    @precondition(lambda self: len(self.paused) < 2)
    def an_exporter_is_stopped(self, where: str) -> None:
        sleepy, gate = gated(self.world, where, stopped=True)
        task = self.stage.loop.create_task(export_hour(job(self.shop), sleepy))

        async def stands() -> None:
            reached = self.stage.loop.create_task(gate.reached.wait())
            await asyncio.wait({task, reached}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()

        self.run(stands())
        if task.done():  # nothing to do, or another has the hour
            assert task.exception() is None or isinstance(task.exception(), Throttled)
        else:
            self.paused.append((task, gate))

    @rule(where=st.sampled_from(["reading", KEY, MANIFEST]), then=st.sampled_from(["more", "all gone", "as before"]))
    @precondition(lambda self: len(self.paused) < 2)
    def a_stopped_exporter_is_overtaken(self, where: str, then: str) -> None:
        """What chance alone would rarely bring about."""
        self.rows_arrive(1)
        self.an_exporter_is_stopped(where)
        if then == "more":
            self.rows_arrive(1)
        elif then == "all gone":
            self.everything_is_deleted()
        else:
            self.the_newest_is_deleted()
        self.leases_run_out()
        self.export()

    @rule()
    @precondition(lambda self: self.paused)
    def it_goes_on(self) -> None:
        task, gate = self.paused.pop(0)

        async def go_on() -> None:
            gate.opened.set()
            with contextlib.suppress(Superseded):
                await task

        self.run(go_on())

    @rule(key=st.sampled_from([KEY, MANIFEST]))
    def an_exporter_crashes(self, key: str) -> None:
        deps: Deps = replace(
            self.world.deps, buckets=CrashingBuckets(self.world, key), hours=SilentHours(self.world.deps.hours)
        )
        with contextlib.suppress(Crash, Throttled):
            self.run(export_hour(job(self.shop), deps))

    @rule()
    def leases_run_out(self) -> None:
        clock = self.world.clock
        assert isinstance(clock, FrozenClock)
        clock.advance(self.world.deps.lease_s + 1)

    @rule(layout=st.sampled_from(["plain", "plain", "hive"]))
    def the_layout_is_said_again(self, layout: str) -> None:
        self.key = KEY if layout == "plain" else HIVE
        self.run(self.world.set(self.shop.org_id, layout=layout))
        self.backfill()

    @invariant()
    def a_manifest_never_vouches_for_rows_that_never_were(self) -> None:
        if hasattr(self, "world"):
            content = self.run(read(self.world, MANIFEST))
            if content is not None:
                assert 0 <= json.loads(content)["rows"] <= self.count

    def teardown(self) -> None:
        """What is still to do is done; then object, manifest and ledger are what the rows say."""
        if not hasattr(self, "world"):
            return
        while self.paused:
            self.it_goes_on()
        self.leases_run_out()
        # Only what the ledger asks for: an export that nobody asks for would mend what was done wrong.
        self.run(export_hour(job(self.shop), self.world.deps))
        self.run(self.check())

    async def check(self) -> None:
        said, row = await self.world.manifest(MANIFEST), await self.world.hour(self.shop)
        keys = set(await self.world.objects())
        assert (said["rows"], row["rows"], row["state"]) == (len(self.shop.exported),) * 2 + ("exported",)
        if not self.shop.exported:
            assert keys == {MANIFEST}
            return
        assert keys == {MANIFEST, self.key}
        assert await self.world.rows(self.key) == self.shop.exported
        content = await self.world.content(self.key)
        rows, sha256 = len(self.shop.exported), hashlib.sha256(content).hexdigest()
        assert said["files"] == [{"key": self.key, "rows": rows, "bytes": len(content), "sha256": sha256}]
        assert (row["sha256"], row["revision"]) == (sha256, said["revision"])


async def read(world: World, key: str) -> bytes | None:
    return await world.content(key) if key in await world.objects() else None


class Stage:
    """The servers, and a clean table for each run."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.world, self.loop, self.runs = world, loop, 0

    def fresh(self) -> tuple[World, Shop]:
        return self.world, self.loop.run_until_complete(self._fresh())

    async def _fresh(self) -> Shop:
        self.runs += 1
        for table in ("generations", "export_hours", "export_marks", "export_targets"):
            await self.world.admin.execute(f"DELETE FROM {table}")
        for key in await self.world.objects():
            await self.world.s3.delete_object(Bucket=self.world.bucket, Key=key)
        return await self.world.shop(f"shop{self.runs}")


@pytest.fixture
def stage_of(database_url: str, bucket: str, servers: Servers) -> AbstractAsyncContextManager[World]:
    return open_world(database_url, bucket, servers.need("postgres", "s3"))


@pytest.mark.parametrize(
    "stories",
    [pytest.param(6, id="short"), pytest.param(60, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1_800)])],
)
@pytest.mark.timeout(300)
def test_the_object_of_an_hour_ends_up_as_its_rows(stage_of: AbstractAsyncContextManager[World], stories: int) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        world = loop.run_until_complete(stage_of.__aenter__())
        try:
            machine = type("OnServers", (Hours,), {"stage": Stage(world, loop)})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=stories, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
                ),
            )
        finally:
            loop.run_until_complete(stage_of.__aexit__(None, None, None))
