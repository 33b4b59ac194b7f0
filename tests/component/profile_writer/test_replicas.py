"""Many claimers on one account, in one process and in several: the account's row is the only limiter, and it is enough.

Each replica has a store with connections of its own; what they grant is counted against what the row says was paid.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from uuid import uuid4

import pytest

from services.profile_writer.handler import Intake
from services.profile_writer.rows import NotSent
from services.profile_writer.settings import Settings
from services.profile_writer.store import Store
from services.profile_writer.turns.store import TurnStore
from services.profile_writer.turns.turn import Report, Turn, Turns
from shared.clock import FrozenClock
from shared.db.partitions import ENSURE_PARTITION
from shared.db.pool import BY_KEY, open_database
from shared.klaviyo.limits import RateLimit
from tests.component.profile_writer.rig import Rig, rigged, settings_of
from tests.support.measured import say

pytestmark = pytest.mark.timeout(60)

REPLICAS, CLAIMERS, TURN = 3, 16, 25
WRITES = 1_600
SELECT_PAID = "SELECT (SELECT sum(paid) FROM unnest(slots) AS paid) FROM klaviyo_accounts WHERE account_key = $1"
PEND_EVERYWHERE = """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                                accepted_at, deadline_at, clean_at, next_attempt_at)
    SELECT 'acct:' || account, 'P' || person, 'jai', $1, 'write', 1, $2::timestamptz::date, gen_random_uuid(), 'w.F.A',
           $2, $2 + interval '1 hour', $2 + interval '2 hours', $2
    FROM generate_series(1, $3::int) AS account, generate_series(1, $4::int) AS person
"""
ACCOUNTS_EVERYWHERE = """
    INSERT INTO klaviyo_accounts (account_key, runnable_at) SELECT 'acct:' || account, $1::timestamptz
    FROM generate_series(1, $2::int) AS account
"""
SELECT_MOST_PAID = """
    SELECT max((SELECT sum(paid) FROM unnest(slots) AS paid)) FROM klaviyo_accounts WHERE slots <> '{}'
"""
COUNT_TAKEN = "SELECT count(*) FROM pending_writes WHERE account_key = $1 AND taken_by IS NOT NULL"
TELL_PHASE = """
    UPDATE klaviyo_accounts SET steady_limit = 750, phase_low_s = $2, phase_width_s = 1, phase_at = $3, runnable_at = $3
    WHERE account_key = $1
"""


@dataclass
class Fleet:
    """The replicas of a writer that sends nothing: what a turn was granted counts as written."""

    rig: Rig
    clock: FrozenClock
    settings: Settings
    stores: Sequence[Store]
    turns: Sequence[Turns]

    async def grant(self, claimers: int, *, limit: RateLimit | None = None) -> int:
        """What so many claimers at once are granted at this moment, all together."""
        granted = await asyncio.gather(
            *(self._claim(self.turns[number % len(self.turns)], limit) for number in range(claimers))
        )
        return sum(granted)

    async def _claim(self, turns: Turns, limit: RateLimit | None) -> int:
        granted = 0
        while not (found := await turns.open()) or isinstance(found, Turn) or found <= self.clock.now():
            if isinstance(found, Turn) and found.sends:
                granted += len(found.sends)
                await turns.close(found, Report([None] * len(found.sends), limit, (), None))
        return granted

    async def pay(self, claimers: int) -> int:
        """What so many claimers at once pay at this moment, all together, for rows that are not looked at."""
        paid = await asyncio.gather(*(self._pay(self.stores[number % len(self.stores)]) for number in range(claimers)))
        return sum(paid)

    async def _pay(self, store: Store) -> int:
        now, paid = self.clock.now(), 0
        while True:
            async with store.free_desk() as desk:
                rows = TurnStore(desk.connection)
                if (claim := await rows.claim(now)) is None:
                    return paid
                standing = claim.standing
                budget = standing.budget.at(now)
                tokens = min(self.settings.writer_turn_writes, budget.room(now))
                budget = budget.paid(tokens)
                again_at = now if budget.room(now) else None
                await rows.save(replace(standing, budget=budget, last_served_at=now, runnable_at=again_at))
            paid += tokens

    async def take(self, replica: int) -> Turn:
        """A turn that is sent later, or never."""
        found = await self.turns[replica].open()
        assert isinstance(found, Turn)
        return found

    async def value(self, sql: str) -> int:
        async with self.rig.db.connection() as connection:
            return int(await connection.fetchval(sql, f"acct:{self.rig.account.id}") or 0)


@asynccontextmanager
async def fleet(database_url: str, amqp_url: str, *, writes: int = WRITES, lease_s: float = 30) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(rigged(database_url, amqp_url, factor=1))
        clock = FrozenClock(rig.clock.now())
        settings = settings_of(rig).model_copy(update={"writer_lease_s": lease_s})
        opening = [
            open_database(database_url, name=f"replica{number}", max_size=6, planner=BY_KEY)
            for number in range(REPLICAS)
        ]
        stores = [Store(await stack.enter_async_context(one)) for one in opening]
        jobs = await rig.generate_many(writes)
        await Intake(stores[0], clock, margin_s=settings.writer_deadline_margin_s, wake=lambda: None)(jobs)
        yield Fleet(rig, clock, settings, stores, [Turns(store, settings, clock, Random(1), uuid4) for store in stores])


@pytest.mark.parametrize("claimers", [1, REPLICAS * CLAIMERS])
async def test_claimers_are_granted_the_whole_room_and_no_token_more(
    database_url: str, amqp_url: str, claimers: int
) -> None:
    async with fleet(database_url, amqp_url) as replicas:
        first = await replicas.grant(claimers)
        paid = await replicas.value(SELECT_PAID)
        replicas.clock.advance(30)
        denied = await replicas.grant(claimers)
        replicas.clock.advance(33)
        refilled = await replicas.grant(claimers)

    assert (first, paid) == (630, 630)  # 0.9 of 700, as long as nobody knows when the minute ends
    assert denied == 0
    assert refilled == 630


@pytest.mark.alone
@pytest.mark.long
async def test_replicas_pay_the_tokens_of_two_hundred_accounts_once_each(database_url: str, amqp_url: str) -> None:
    """The limiter alone: what a turn claims, pays and commits, without the rows it pays for. How many a second is
    printed, as below; docs/reliability.md says what was asked."""
    accounts = 200
    async with fleet(database_url, amqp_url, writes=0) as replicas:
        now = replicas.clock.now()
        async with replicas.rig.db.connection() as connection:
            await connection.execute(ACCOUNTS_EVERYWHERE, now, accounts)
        paid, most, per_s = await by_all(replicas, replicas.pay)

    say(limiter_tokens_per_s=round(per_s))
    assert (paid, most) == (accounts * 630, 630)
    assert per_s >= 20_000


@pytest.mark.alone
@pytest.mark.long
async def test_replicas_grant_the_tokens_of_two_hundred_accounts_once_each(database_url: str, amqp_url: str) -> None:
    """The same with the rows: taken with their tokens, and ended."""
    accounts, each = 200, 100
    async with fleet(database_url, amqp_url, writes=0) as replicas:
        now = replicas.clock.now()
        async with replicas.rig.db.connection() as connection:
            await connection.execute(ENSURE_PARTITION, "write_outcomes", now.date())  # as whoever takes a job in does
            await connection.execute(PEND_EVERYWHERE, replicas.rig.org_id, now, accounts, each)
            await connection.execute(ACCOUNTS_EVERYWHERE, now, accounts)
        granted, most, per_s = await by_all(replicas, replicas.grant)

    say(tokens_per_s=round(per_s))
    assert (granted, most) == (accounts * each, each)


async def by_all(replicas: Fleet, work: Callable[[int], Awaitable[int]]) -> tuple[int, int, float]:
    """Tokens that all claimers of all replicas were given together, the most that one account's row says was paid, and
    tokens a second."""
    began_s = time.monotonic()
    tokens = await work(REPLICAS * CLAIMERS)
    took_s = time.monotonic() - began_s
    async with replicas.rig.db.connection() as connection:
        return tokens, await connection.fetchval(SELECT_MOST_PAID), tokens / took_s


async def test_once_the_minutes_edge_is_known_they_share_the_whole_limit_of_each_minute(
    database_url: str, amqp_url: str
) -> None:
    async with fleet(database_url, amqp_url, writes=1_700) as replicas:
        now = replicas.clock.now()
        async with replicas.rig.db.connection() as connection:
            edge_s = (now.timestamp() + 20) % 60
            await connection.execute(TELL_PHASE, f"acct:{replicas.rig.account.id}", edge_s, now)
        minutes = []
        for pause_s in (0, 15, 8, 30, 30):
            replicas.clock.advance(pause_s)
            minutes.append(await replicas.grant(CLAIMERS))

    # The edges are at 20 to 21 s and at 80 to 81 s; nothing was paid within the two seconds before them.
    assert minutes == [750, 0, 750, 0, 200]


async def test_what_a_turn_took_is_paid_before_anything_leaves_and_no_other_replica_takes_it(
    database_url: str, amqp_url: str
) -> None:
    async with fleet(database_url, amqp_url) as replicas:
        mine = await replicas.take(0)
        paid = await replicas.value(SELECT_PAID)
        theirs = await replicas.turns[1].open()
        replicas.clock.advance((mine.send_until - mine.paid_at).total_seconds())
        next_turn = await replicas.take(1)

    assert (len(mine.sends), paid) == (TURN, TURN)
    assert not isinstance(theirs, Turn) or not theirs.sends  # the account is busy until the first turn's time is over
    assert {sent.row.key for sent in mine.sends}.isdisjoint({sent.row.key for sent in next_turn.sends})


async def test_what_an_overdue_turn_held_is_taken_over_and_its_report_changes_nothing(
    database_url: str, amqp_url: str
) -> None:
    async with fleet(database_url, amqp_url, writes=TURN) as replicas:
        lost = await replicas.take(0)
        replicas.clock.advance(replicas.settings.writer_lease_s + 1)
        again = await replicas.take(1)
        not_sent = NotSent("the turn was over", reason="turn_over")
        await replicas.turns[0].close(lost, Report([not_sent] * TURN, None, (), None))
        held, paid = await replicas.value(COUNT_TAKEN), await replicas.value(SELECT_PAID)

    assert {sent.row.key for sent in again.sends} == {sent.row.key for sent in lost.sends}
    assert held == TURN  # by the second turn
    assert paid == TURN  # what the first did not use came back, and only that


async def test_a_limit_that_klaviyo_lowers_holds_for_every_replica_at_once(database_url: str, amqp_url: str) -> None:
    async with fleet(database_url, amqp_url) as replicas:
        first = await replicas.take(0)
        told = RateLimit(limit=150, remaining=125, reset_s=30)
        await replicas.turns[0].close(first, Report([None] * TURN, told, (), None))
        granted = await replicas.grant(CLAIMERS)

    assert TURN + granted == 135  # 0.9 of 150


async def test_a_limit_of_zero_is_nonsense_and_the_last_sane_one_stays(database_url: str, amqp_url: str) -> None:
    """Neither "unlimited" nor "nothing": the one would be refused by Klaviyo, the other would never be asked again."""
    async with fleet(database_url, amqp_url) as replicas:
        first = await replicas.take(0)
        await replicas.turns[0].close(first, Report([None] * TURN, RateLimit(limit=0, remaining=0), (), None))
        granted = await replicas.grant(CLAIMERS)

    assert TURN + granted == 630


async def test_a_claim_that_is_cancelled_anywhere_took_nothing_that_it_did_not_pay_for(
    database_url: str, amqp_url: str
) -> None:
    # What a turn took that nobody heard of would be taken and paid anew after its lease.
    async with fleet(database_url, amqp_url, lease_s=600) as replicas:
        cancelled, found = 0, None
        while not isinstance(found, Turn):  # each time a little later, until one is done before it is cancelled
            claim = asyncio.create_task(replicas.turns[cancelled % REPLICAS].open())
            for _ in range(20 * cancelled):
                await asyncio.sleep(0)
            claim.cancel()
            [found] = await asyncio.gather(claim, return_exceptions=True)
            cancelled += not isinstance(found, Turn)
            replicas.clock.advance(2)
        taken, paid = await replicas.value(COUNT_TAKEN), await replicas.value(SELECT_PAID)
        left = await replicas.take(0)

    assert cancelled > 5
    assert taken == paid
    assert left.sends  # and no connection or lock stayed behind
