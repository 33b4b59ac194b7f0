"""What the upkeep tells whoever scales the writers, and what it looks after."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.profile_writer.store import Store
from services.profile_writer.upkeep.move_store import MoveStore
from services.profile_writer.upkeep.store import UpkeepStore
from services.profile_writer.upkeep.upkeep import Upkeep
from shared.clock import FrozenClock
from shared.db.pool import Database, open_database
from shared.errors import Transient
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


async def test_orgs_are_paused_until_there_is_another_key(database: Database) -> None:
    orgs = UUID(int=1), UUID(int=2)
    async with database.connection() as connection:
        for number, org_id in enumerate(orgs):
            await connection.execute(INSERT_ORG, org_id, f"shop-{number}", NOW)
            await connection.execute(CONNECT, org_id, list(SCOPES), NOW)
            await connection.execute(PAUSE, org_id, NOW)
    upkeep = UpkeepStore(database, Store(database))
    assert await upkeep.paused() == 2

    async with database.connection() as connection:
        await connection.execute("UPDATE integrations SET updated_at = now() WHERE org_id = $1", orgs[0])

    assert await upkeep.paused() == 1


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
