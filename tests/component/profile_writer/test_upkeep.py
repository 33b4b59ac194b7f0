"""What the upkeep tells whoever scales the writers, and what it looks after."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.profile_writer.store import Store
from services.profile_writer.upkeep.live_view import LiveView
from services.profile_writer.upkeep.move_store import MoveStore
from services.profile_writer.upkeep.store import UpkeepStore
from services.profile_writer.upkeep.teller import Teller
from services.profile_writer.upkeep.upkeep import Upkeep
from shared import metrics
from shared.admin.stops import STOP_ORG
from shared.clock import FrozenClock
from shared.db.pool import Database, open_database
from shared.errors import Outage, Transient
from shared.klaviyo.bulk import SCOPES
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
INSERT = "INSERT INTO klaviyo_accounts (account_key, runnable_at) VALUES ($1, $2)"
PEND = """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                                accepted_at, deadline_at, clean_at, next_attempt_at)
    VALUES ('acct:A', 'P1', 'jai', $1, 'write', 1, $2::timestamptz::date, gen_random_uuid(), 'w.F.A', $2,
            $2 + interval '1 hour', $2 + interval '2 hours', $2)
"""
CONNECT = """
    INSERT INTO integrations (org_id, account_key, sealed_key, last4, scopes, updated_at)
    VALUES ($1, 'acct:A', '-', '....', $2, $3)
"""

PAUSE = """
    INSERT INTO write_pauses (org_id, account_key, reason, message, paused_at, integration_at)
    VALUES ($1, 'acct:A', 'key_refused', '', $2, $2)
"""
GENERATE = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
                             clean_at, decision, reason, property_prefix, written_for)
    VALUES ($1, gen_random_uuid(), $2, 'w', 'P1', 't', $3, $3, $3, 'control', 'drawn', 'jai', 'w.F.A')
"""
INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, name="test-upkeep") as database:
        yield database


async def test_only_accounts_that_wait_for_a_writer_count_not_those_that_wait_for_quota(database: Database) -> None:
    async with database.connection() as connection:
        for name, runnable_at in {
            "idle": None,
            "next minute": NOW + timedelta(seconds=40),
            "just now": NOW - timedelta(seconds=1),
            "late": NOW - timedelta(seconds=8),
            "very late": NOW - timedelta(minutes=2),
        }.items():
            await connection.execute(INSERT, name, runnable_at)

    assert await UpkeepStore(database, Store(database)).runnable(NOW) == 2


async def pause_orgs(database: Database, *orgs: UUID) -> None:
    """They got a webhook just now, and Klaviyo refuses their key."""
    async with database.connection() as connection:
        await connection.execute("SELECT ensure_partition('generations', $1)", NOW.date())
        for org_id in orgs:
            await connection.execute(INSERT_ORG, org_id, f"shop-{org_id.int}", NOW)
            await connection.execute(CONNECT, org_id, list(SCOPES), NOW)
            await connection.execute(PAUSE, org_id, NOW)
            await connection.execute(GENERATE, NOW.date(), org_id, NOW)


async def test_orgs_are_paused_until_there_is_another_key(database: Database) -> None:
    orgs = UUID(int=1), UUID(int=2)
    await pause_orgs(database, *orgs)
    upkeep = UpkeepStore(database, Store(database))
    assert await upkeep.paused(NOW) == 2

    async with database.connection() as connection:
        await connection.execute("UPDATE integrations SET updated_at = now() WHERE org_id = $1", orgs[0])

    assert await upkeep.paused(NOW) == 1


async def test_a_customer_who_left_needs_no_other_key(database: Database) -> None:
    stopped, silent, waits = UUID(int=1), UUID(int=2), UUID(int=3)
    await pause_orgs(database, stopped, silent, waits)
    upkeep, later = UpkeepStore(database, Store(database)), NOW + timedelta(days=2)

    async with database.connection() as connection:
        await connection.execute(STOP_ORG, stopped, NOW, None)
    assert await upkeep.paused(NOW) == 2

    async with database.connection() as connection:
        await connection.execute(PEND, waits, NOW)  # for an email that comes long after its webhook
    assert await upkeep.paused(later) == 1


async def test_a_stopped_org_needs_a_key_while_its_copy_may_show(database: Database) -> None:
    org_id = UUID(int=1)
    await pause_orgs(database, org_id)
    upkeep = UpkeepStore(database, Store(database))

    async with database.connection() as connection:
        await connection.execute(STOP_ORG, org_id, NOW, None)
        await connection.execute(PEND, org_id, NOW)
        await connection.execute("UPDATE pending_writes SET action = 'clean_up', lane = 0")

    assert await upkeep.paused(NOW) == 1
    assert await upkeep.paused(NOW + timedelta(hours=3)) == 0


class SlowView(UpkeepStore):
    """So much waits that it is not counted in time."""

    asked = 0
    done: tuple[str, ...] = ()

    async def live_view(self, now: datetime, *, second_road: bool = False) -> LiveView:
        self.asked += 1
        await asyncio.sleep(30)
        raise Outage("the database does not answer", reason="database_timeout")

    async def end_pauses(self, now: datetime) -> None:
        self.done += ("end_pauses",)

    async def wake_forgotten(self, now: datetime) -> None:
        self.done += ("wake_forgotten",)


async def test_a_backlog_that_is_not_counted_in_time_keeps_no_new_key_waiting(database: Database) -> None:
    store, stop, clock = Store(database), asyncio.Event(), FrozenClock(NOW)
    slow = SlowView(database, store)
    upkeep = Upkeep(slow, MoveStore(database, store, margin_s=2), clock, wake=lambda: None)
    telling = asyncio.create_task(Teller(slow, clock).run(stop))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(upkeep.run(stop))
        try:
            await eventually(lambda: slow.done == ("end_pauses", "wake_forgotten"), within_s=10)
            upkeep.changed(None)
            await eventually(lambda: slow.done == ("end_pauses", "wake_forgotten") * 2, within_s=10)
        finally:
            stop.set()
            telling.cancel()
    assert slow.asked == 1


async def test_how_late_writes_are_is_told_and_nothing_is_written_for_it(database: Database) -> None:
    """Where the database takes no writes, it has to be seen all the same."""
    store = Store(database)
    async with database.connection() as connection:
        await connection.execute(INSERT, "acct:A", None)
        await connection.execute(PEND, uuid4(), NOW)
    teller = Teller(UpkeepStore(database, store), FrozenClock(NOW + timedelta(hours=2)))
    metrics.gauge("write_oldest_overdue_seconds", 0)

    await teller.step()

    assert metrics.REGISTRY.get_sample_value("jai_write_oldest_overdue_seconds") == 3600


async def test_a_row_that_is_spoilt_says_nothing_of_how_late_writes_are(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(INSERT, "acct:A", None)
        await connection.execute(PEND, uuid4(), NOW)
        await connection.execute("UPDATE pending_writes SET deadline_at = '-infinity'")

    view = await UpkeepStore(database, Store(database)).live_view(NOW)

    assert (sum(view.waiting.values()), view.overdue_s(NOW)) == (1, 0)


class Stuck(MoveStore):
    """A move that always fails so."""

    error: Exception

    async def follow_accounts(self, org_id: UUID | None, now: datetime) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [Transient("the database asks to try again", reason="database_conflict"), TypeError("a row is spoilt")]
)
async def test_a_move_that_never_ends_keeps_no_forgotten_account_waiting(database: Database, error: Exception) -> None:
    store, stop = Store(database), asyncio.Event()
    async with database.connection() as connection:
        await connection.execute(INSERT, "acct:A", None)
        await connection.execute(PEND, uuid4(), NOW)
    moves = Stuck(database, store, margin_s=2)
    moves.error = error
    upkeep = Upkeep(UpkeepStore(database, store), moves, FrozenClock(NOW), wake=lambda: None)

    async def woken() -> None:
        assert await value(database, "SELECT runnable_at FROM klaviyo_accounts") == NOW

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(upkeep.run(stop))
        try:
            await eventually(woken)
        finally:
            stop.set()


@pytest.mark.parametrize("scopes", [SCOPES, {"profiles:write"}])
async def test_a_key_that_may_import_takes_the_bulk_road_for_what_waits_already(
    database: Database, scopes: frozenset[str]
) -> None:
    org_id = uuid4()
    async with database.connection() as connection:
        await connection.execute("INSERT INTO orgs VALUES ($1, 'acme', 'Acme', $2)", org_id, NOW)
        await connection.execute(CONNECT, org_id, sorted(scopes), NOW)
        await connection.execute(INSERT, "acct:A", None)
        await connection.execute(PEND, org_id, NOW)

    await UpkeepStore(database, Store(database)).wake_roads(org_id, NOW)

    looked_at = await value(database, "SELECT bulk_look_at FROM klaviyo_accounts")
    assert looked_at == (NOW if scopes == SCOPES else None)


async def value(database: Database, statement: str) -> object:
    async with database.connection() as connection:
        return await connection.fetchval(statement)
