"""Whatever writes come, whichever turns are late, lost or without an answer: the scheduler on a real database.

Two loud accounts and a quiet one, several turns at a time, in time that the test sets. Klaviyo is a model: it counts
in fixed minutes whose edge nobody is told, and remembers what it was asked to write and when. It refuses nothing here:
what it would refuse is a fault.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil, floor
from random import Random
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.profile_writer.handler import Intake
from services.profile_writer.quota.phase import MINUTE_S, phase_seen
from services.profile_writer.rows import NotSent
from services.profile_writer.store import Store
from services.profile_writer.turns.turn import Report, Turn, Turns
from shared.clock import FrozenClock
from shared.errors import Failure
from shared.klaviyo.errors import MaybeApplied
from shared.klaviyo.limits import RateLimit
from shared.schemas.jobs import WriteJob
from tests.component.profile_writer.rig import Rig, rigged, settings_of

LIMIT = 60
"""Writes a minute: so few that a story meets the end of the quota."""

LOUD, QUIET = ("loud", "louder"), "quiet"
LATENCY_S = 0.3
HOUR_S = 3600
LEASE_S = 30
INSERT_ACCOUNT = "INSERT INTO klaviyo_accounts (account_key, steady_limit, runnable_at) VALUES ($1, $2, $3)"
SELECT_ENDED = "SELECT generation_id, outcome FROM write_outcomes WHERE org_id = ANY($1)"
COUNT_WRITES = "SELECT count(*) FROM pending_writes WHERE org_id = ANY($1) AND action = 'write'"
T = TypeVar("T")


@dataclass
class Klaviyo:
    """One account as Klaviyo counts it. `landed`: how often each generation was written; `unsure`: how often nobody
    heard whether it was."""

    phase_s: float
    minutes: Counter[int] = field(default_factory=Counter)
    landed: Counter[UUID] = field(default_factory=Counter)
    unsure: Counter[UUID] = field(default_factory=Counter)

    def minute(self, at: datetime) -> int:
        return floor((at.timestamp() - self.phase_s) / MINUTE_S)

    def reset_s(self, at: datetime) -> int:
        return ceil((self.minute(at) + 1) * MINUTE_S + self.phase_s - at.timestamp())

    def writes(self, at: datetime) -> None:
        """One more request, that is within the limit."""
        self.minutes[self.minute(at)] += 1
        assert self.minutes[self.minute(at)] <= LIMIT


@dataclass
class Shop:
    """An org, its account, and what was accepted for it, by generation."""

    rig: Rig
    klaviyo: Klaviyo
    jobs: dict[UUID, WriteJob] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"acct:{self.rig.account.id}"


class Scheduling(RuleBasedStateMachine):
    stage: ClassVar["Stage"]

    @initialize(phase_s=st.sampled_from([0.0, 7.3, 31.0, 59.9]))
    def begin(self, phase_s: float) -> None:
        self.open: list[Turn] = []
        self.clock = self.stage.clock
        self.shops = {name: self.run(self.stage.shop(name, phase_s)) for name in (*LOUD, QUIET)}
        self.by_key = {shop.key: shop for shop in self.shops.values()}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.stage.loop.run_until_complete(work)

    # --- what happens outside ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.3, 2.0, 9.0, 31.0, 62.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(name=st.sampled_from(LOUD), number=st.sampled_from([1, 20, 90]), delay_s=st.sampled_from([20, 90, 900]))
    def webhooks_are_accepted(self, name: str, number: int, delay_s: float) -> None:
        self.clock.advance(0.01)
        shop = self.shops[name]
        jobs = self.run(shop.rig.generate_many(number, delay_s=delay_s))
        shop.jobs |= {job.generation_id: job for job in jobs}
        self.run(self.stage.take_in(jobs))

    @rule(name=st.sampled_from(LOUD), which=st.integers(0, 500))
    def some_are_delivered_again(self, name: str, which: int) -> None:
        if jobs := list(self.shops[name].jobs.values()):
            self.run(self.stage.take_in(jobs[which % len(jobs) :][:20]))

    # --- turns -------------------------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 4))
    def turns_are_played(self, times: int) -> None:
        for _ in range(times):
            if (turn := self.a_turn()) is not None:
                self.play(turn)

    @precondition(lambda self: len(self.open) < 3)
    @rule()
    def a_turn_begins(self) -> None:
        if (turn := self.a_turn()) is not None:
            self.open.append(turn)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 2))
    def it_is_played(self, which: int) -> None:
        """At once, or when its time is over already."""
        self.play(self.open.pop(which % len(self.open)))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 2))
    def its_answers_are_lost(self, which: int) -> None:
        self.play(self.open.pop(which % len(self.open)), heard=False)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 2), sent=st.integers(0, 25))
    def its_worker_dies(self, which: int, sent: int) -> None:
        """When so many of its writes have left."""
        turn = self.open.pop(which % len(self.open))
        self.send(turn, at_most=sent, heard=False)

    @rule()
    def a_quiet_account_is_not_kept_waiting(self) -> None:
        """Each of the others may have a turn before it, and those that are under way."""
        quiet = self.shops[QUIET]
        if sum(quiet.klaviyo.minutes.values()) > LIMIT // 2:
            return  # of its own quota there may be nothing left
        self.clock.advance(1)  # its own last turn is over
        [job] = self.run(quiet.rig.generate_many(1, delay_s=600))
        quiet.jobs[job.generation_id] = job
        self.run(self.stage.take_in([job]))
        turns = 0
        while not quiet.klaviyo.landed[job.generation_id]:
            turn = self.a_turn()
            assert turn is not None, "nobody serves it"
            turns += 1
            assert turns <= len(self.shops) + len(self.open), "others are served first, again and again"
            self.play(turn)

    def teardown(self) -> None:
        """Nothing goes wrong any more: each write ends, once, as what Klaviyo has seen says."""
        if not hasattr(self, "by_key"):
            return
        while self.open:
            self.play(self.open.pop())
        for _ in range(400):
            if self.run(self.stage.waiting(self.shops.values())) == 0:
                break
            if (turn := self.a_turn(patience_s=LEASE_S)) is not None:
                self.play(turn)
        ended = self.run(self.stage.ended(self.shops.values()))
        for shop in self.shops.values():
            assert shop.jobs.keys() == {one for one in ended if one in shop.jobs}
            for generation_id in shop.jobs:
                landed, unsure = (seen[generation_id] for seen in (shop.klaviyo.landed, shop.klaviyo.unsure))
                assert landed <= 1 + unsure
                if unsure == 0:
                    assert ended[generation_id] == ("written" if landed else "expired")
                elif ended[generation_id] == "written":
                    assert landed

    # --- the machinery -----------------------------------------------------------------------------------------------

    def a_turn(self, patience_s: float = 3.0) -> Turn | None:
        """The next one with something to send; looked for as the scheduler looks, for so long."""
        until = self.clock.now() + timedelta(seconds=patience_s)
        while self.clock.now() <= until:
            found = self.run(self.stage.turns[0].open())
            self.stage.turns.reverse()  # the other replica's turn to look
            if isinstance(found, Turn):
                if found.sends:
                    return found
                continue
            if found is None:
                return None
            self.clock.advance(max(0.05, (found - self.clock.now()).total_seconds()))
        return None

    def play(self, turn: Turn, *, heard: bool = True) -> None:
        self.run(self.stage.close(turn, self.send(turn, heard=heard)))

    def send(self, turn: Turn, *, heard: bool, at_most: int | None = None) -> Report:
        """As the sender does: in order, spaced, and nothing once the turn is over."""
        shop, now = self.by_key[turn.account_key], self.clock.now()
        results: list[Failure | None] = []
        last, answered = None, now
        for number, sent in enumerate(turn.sends[:at_most]):
            leaves = now + number * timedelta(seconds=turn.spacing_s)
            if leaves > turn.send_until:
                results.append(NotSent("the turn was over", reason="turn_over"))
                continue
            last, answered = leaves, leaves + timedelta(seconds=LATENCY_S)
            shop.klaviyo.writes(answered)
            generation_id = sent.row.ref.generation_id
            if sent.row.action == "write":
                assert answered < shop.jobs[generation_id].deadline_at
                shop.klaviyo.landed[generation_id] += 1
                shop.klaviyo.unsure[generation_id] += not heard
            results.append(None if heard else MaybeApplied("reset"))
        self.clock.advance((answered - now).total_seconds() + 0.01)
        if last is None or not heard:
            return Report(results, None, (), last)
        minute = shop.klaviyo.minutes[shop.klaviyo.minute(answered)]
        told = RateLimit(limit=LIMIT, remaining=LIMIT - minute, reset_s=shop.klaviyo.reset_s(answered))
        phase = phase_seen(shop.klaviyo.reset_s(answered), last, answered + timedelta(seconds=0.01))
        return Report(results, told, (), last, phase)


class Stage:
    """The servers, and tables without the story before."""

    def __init__(self, rig: Rig, loop: asyncio.AbstractEventLoop, clock: FrozenClock) -> None:
        self._rig, self.loop, self.clock, self.runs = rig, loop, clock, 0
        self._known = settings_of(rig).model_copy(update={"writer_lease_s": LEASE_S})
        self._store = Store(rig.db)
        self.turns: list[Turns] = []
        self._intake = Intake(self._store, clock, margin_s=self._known.writer_deadline_margin_s, wake=lambda: None)

    async def shop(self, name: str, phase_s: float) -> Shop:
        if name == LOUD[0]:
            await self._clear()
            self.runs += 1
        rig = replace(await self._rig.neighbour(f"{name}{self.runs}"), clock=self.clock)
        shop = Shop(rig, Klaviyo(phase_s))
        async with rig.db.connection() as connection:
            await connection.execute(INSERT_ACCOUNT, shop.key, LIMIT, self.clock.now())
        return shop

    async def _clear(self) -> None:
        """An hour later, so that no minute is shared either. Chance and the clock's place in its minute are as they
        were at the beginning of the story before: a story that is told again has to go as it went."""
        self.clock.advance(2 * HOUR_S - self.clock.now().timestamp() % HOUR_S)
        self.turns = [Turns(self._store, self._known, self.clock, Random(seed), uuid4) for seed in (1, 2)]
        owner = await asyncpg.connect(self._rig.database_url)
        try:
            for table in ("pending_writes", "profile_state", "klaviyo_accounts", "write_outcomes", "integrations"):
                await owner.execute(f"DELETE FROM {table}")
        finally:
            await owner.close()

    async def take_in(self, jobs: Sequence[WriteJob]) -> None:
        assert set(await self._intake(jobs)) == {None}

    async def close(self, turn: Turn, report: Report) -> None:
        await self.turns[0].close(turn, report)

    async def waiting(self, shops: Any) -> int:
        async with self._rig.db.connection() as connection:
            return int(await connection.fetchval(COUNT_WRITES, [shop.rig.org_id for shop in shops]))

    async def ended(self, shops: Any) -> dict[UUID, str]:
        async with self._rig.db.connection() as connection:
            rows = await connection.fetch(SELECT_ENDED, [shop.rig.org_id for shop in shops])
        return {row["generation_id"]: row["outcome"] for row in rows}


@pytest.fixture
def stage(database_url: str, amqp_url: str) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        rig = runner.run(stack.enter_async_context(rigged(database_url, amqp_url, factor=1)))
        try:
            yield Stage(rig, runner.get_loop(), FrozenClock(rig.clock.now()))
        finally:
            runner.run(stack.aclose())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stories", [5, pytest.param(100, marks=pytest.mark.long)])
def test_no_quota_is_exceeded_nobody_starves_and_each_write_ends_once(stage: Stage, stories: int) -> None:
    machine = type("OnAServer", (Scheduling,), {"stage": stage})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
