"""What the upkeep tells whoever scales the writers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.profile_writer.store import Store
from services.profile_writer.upkeep.store import UpkeepStore
from shared.db.pool import Database, open_database

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
INSERT = "INSERT INTO klaviyo_accounts (account_key, runnable_at) VALUES ($1, $2)"


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
