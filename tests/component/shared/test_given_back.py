"""A connection is given back as it is, without a word to the server. However a use of it ends, the next one finds it as
it was opened: nothing under way, nobody's transaction, org, role, settings, temporary tables or locks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

import asyncpg
import pytest

from shared.db.pool import Connection, Database, open_database
from shared.errors import Transient

SELECT_SESSION = """
    SELECT current_user, nullif(current_setting('app.org_id', true), ''), current_setting('work_mem'),
           current_setting('statement_timeout'), current_setting('plan_cache_mode'),
           pg_current_xact_id_if_assigned(), to_regclass('pg_temp.kept'),
           (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
           (SELECT count(*) FROM pg_cursors WHERE NOT statement LIKE '%pg_cursors%')
"""
MANY = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
SLOW = "SELECT pg_sleep(30)"
LEAVE_MUCH = """
    SET LOCAL work_mem = '1MB'; SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL statement_timeout = '5s';
    CREATE TEMP TABLE kept (n int) ON COMMIT DROP; SELECT pg_advisory_xact_lock(7)
"""


class Gone(Exception):
    """Whatever may go wrong in a use."""


async def ends_with_an_error(connection: Connection) -> None:
    raise Gone


async def is_cancelled_in_a_statement(connection: Connection) -> None:
    await cut_short(connection.execute(SLOW))


async def is_cancelled_in_a_copy_out(connection: Connection) -> None:
    arrived = asyncio.Event()

    async def sink(_: bytes) -> None:
        arrived.set()
        await asyncio.sleep(30)

    await cut_short(connection.copy_from_query(MANY, output=sink), arrived)


async def fails_in_a_copy_out(connection: Connection) -> None:
    async def sink(_: bytes) -> None:
        raise Gone

    await connection.copy_from_query(MANY, output=sink)


async def fails_in_a_copy_in(connection: Connection) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"1\n"
        raise Gone

    await connection.execute("CREATE TEMP TABLE filled (n int) ON COMMIT DROP")
    await connection.copy_to_table("filled", source=source())


async def leaves_a_cursor_in_the_middle(connection: Connection) -> None:
    async for _ in connection.cursor(MANY):
        raise Gone


async def is_refused_by_the_server(connection: Connection) -> None:
    await connection.execute("SELECT 1 / 0")


async def takes_longer_than_it_may(connection: Connection) -> None:
    await connection.execute("SET LOCAL statement_timeout = '10ms'")
    await connection.execute(SLOW)


async def cut_short(work: Awaitable[object], when: asyncio.Event | None = None) -> None:
    """As a caller is cancelled that waits for it."""
    task = asyncio.ensure_future(work)
    if when is not None:
        await when.wait()
    else:
        await asyncio.sleep(0)
    task.cancel()
    await task


USES = [
    ends_with_an_error, is_cancelled_in_a_statement, is_cancelled_in_a_copy_out, fails_in_a_copy_out,
    fails_in_a_copy_in, leaves_a_cursor_in_the_middle, is_refused_by_the_server, takes_longer_than_it_may,
]  # fmt: skip


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_the_next_use_finds_a_connection_as_it_was_opened(
    database_url: str, use: Callable[[Connection], Awaitable[None]]
) -> None:
    async with open_database(database_url, name="test", max_size=1) as db:
        opened = await session_of(db)
        with suppress(Gone, asyncio.CancelledError, asyncpg.DataError, Transient):
            async with db.transaction(uuid4()) as connection:
                await connection.execute(LEAVE_MUCH)
                await use(connection)
        assert await session_of(db) == opened


async def session_of(db: Database) -> tuple[object, ...]:
    async with db.connection() as connection:
        [row] = await connection.fetch(SELECT_SESSION)
        return tuple(row)
