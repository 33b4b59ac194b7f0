"""Migrations and row-level security on a real server, with the roles that services use."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.clock import FrozenClock
from shared.db.migrate import Migration, MigrationError, load, migrate, pending, require
from shared.db.pool import Connection, Database, open_database
from shared.errors import Conflict, Outage

NOW = FrozenClock().now()
INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""


async def two_orgs(db: Database) -> tuple[UUID, UUID]:
    ours, theirs = uuid4(), uuid4()
    async with db.transaction() as connection:
        await connection.execute(INSERT_ORG, ours, "ours", NOW)
        await connection.execute(INSERT_ORG, theirs, "theirs", NOW)
        await connection.execute(INSERT_TEMPLATE, ours, NOW)
        await connection.execute(INSERT_TEMPLATE, theirs, NOW)
    return ours, theirs


async def test_migrating_again_changes_nothing_and_services_may_start(database_url: str) -> None:
    assert await migrate(database_url) == []
    await require(database_url)


async def test_a_service_does_not_start_on_an_older_schema(database_url: str) -> None:
    newer = [*load(), Migration("9999_from_the_future", "SELECT 1")]

    with pytest.raises(MigrationError, match="9999_from_the_future"):
        await require(database_url, newer)


async def test_a_failing_file_leaves_nothing_and_many_migrators_do_not_collide(database_url: str) -> None:
    bad = [*load(), Migration("9998_half", "CREATE TABLE half (a int); SELECT 1 / 0")]
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database_url, bad)

    good = [*load(), Migration("9998_half", "CREATE TABLE half (a int)")]
    ran = await asyncio.gather(*(migrate(database_url, good) for _ in range(4)))

    assert sorted(ran, key=len) == [[], [], [], ["9998_half"]]


def test_an_edited_file_is_refused() -> None:
    file = Migration("0001_x", "SELECT 2")

    with pytest.raises(MigrationError, match="0001_x was edited"):
        pending([file], {"0001_x": Migration("0001_x", "SELECT 1").sha256})


async def test_a_tenant_sees_and_changes_its_own_rows_only(database_url: str) -> None:
    async with open_database(database_url, name="test") as db:
        ours, theirs = await two_orgs(db)

        async with db.transaction(ours) as connection:
            seen = await connection.fetch("SELECT org_id FROM templates")
            touched = await connection.execute("UPDATE templates SET name = 'x' WHERE org_id = $1", theirs)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(INSERT_ORG, uuid4(), "new", NOW)

    assert [row["org_id"] for row in seen] == [ours]
    assert touched == "UPDATE 0"


async def test_a_tenant_without_an_org_sees_nothing(database_url: str) -> None:
    async with open_database(database_url, name="test") as db, db.transaction() as connection:
        await connection.execute("SET LOCAL ROLE justai_tenant")

        assert await connection.fetch("SELECT 1 FROM orgs") == []


async def test_every_table_forces_row_level_security(database_url: str) -> None:
    async with open_database(database_url, name="test") as db, db.connection() as connection:
        await connection.execute("SELECT ensure_partition('generations', $1)", NOW.date())
        open_tables = await connection.fetch(
            """
            SELECT relname FROM pg_class
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
              AND NOT (relrowsecurity AND relforcerowsecurity) AND relname <> 'schema_migrations'
            """
        )

    assert [row["relname"] for row in open_tables] == []


async def test_services_own_nothing(database_url: str) -> None:
    async with open_database(database_url, name="test") as db, db.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("ALTER TABLE orgs DISABLE ROW LEVEL SECURITY")


async def test_a_silent_database_is_an_outage_in_time(database_url: str) -> None:
    async with open_database(database_url, name="test") as db:
        with pytest.raises(Outage) as outage:
            async with db.connection(0.2) as connection:
                await connection.execute("SELECT pg_sleep(5)")

        await db.ping()
    assert outage.value.reason == "database_timeout"


async def test_a_connection_whose_client_lost_its_place_is_an_outage_and_never_used_again(database_url: str) -> None:
    """As asyncpg says it of some whose backend was killed within an answer."""
    pids: list[int] = []

    async def work(db: Database, failure: Exception | None) -> None:
        async with db.transaction() as connection:
            pids.append(await connection.fetchval("SELECT pg_backend_pid()"))
            if failure:
                raise failure

    async with open_database(database_url, name="test", max_size=1) as db:
        with pytest.raises(Outage) as outage:
            await work(db, asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"))
        await work(db, None)

    assert len(set(pids)) == 2
    assert outage.value.reason == "database_unreachable"


async def test_a_connection_to_a_server_that_takes_no_writes_is_an_outage_and_never_used_again(
    database_url: str,
) -> None:
    """As after a failover: what was opened while the old primary, or a standby, answered to the name."""
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")

    async def write(db: Database) -> None:
        async with db.connection() as connection:
            await connection.execute(INSERT_ORG, uuid4(), f"org-{uuid4().hex}", NOW)

    try:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        async with open_database(database_url, name="test", max_size=1) as db:
            with pytest.raises(Outage) as outage:
                await write(db)
            with pytest.raises(Outage):  # and it is not ready, though it answers
                await db.ping()

            await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            await db.ping()
            await write(db)
    finally:
        await admin.close()
    assert outage.value.reason == "database_unreachable"


async def test_regression_a_pool_that_only_looked_ready_finds_the_server_that_takes_writes(database_url: str) -> None:
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")
    try:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        async with open_database(database_url, name="test", max_size=1) as db:
            await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

            with pytest.raises(Outage):
                await db.ping()
            await db.ping()
    finally:
        await admin.close()


async def test_a_connection_that_was_given_back_as_the_time_ran_out_is_an_outage_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process that was frozen while it gave the connection back."""
    monkeypatch.setattr("shared.db.pool._GIVE_BACK_TIMEOUT_S", 0.1)
    async with open_database(database_url, name="test") as db:
        release, thawed = asyncpg.Pool.release, asyncio.Event()

        async def freezes(pool: "asyncpg.Pool[asyncpg.Record]", connection: Connection, *, timeout: float) -> None:
            await release(pool, connection, timeout=timeout)
            await thawed.wait()

        monkeypatch.setattr(asyncpg.Pool, "release", freezes)
        with pytest.raises(Outage) as outage:
            async with db.connection() as connection:
                await connection.execute("SELECT 1")

        thawed.set()
        monkeypatch.setattr(asyncpg.Pool, "release", release)
        await db.ping()
    assert outage.value.reason == "database_timeout"


async def test_statements_from_before_a_migration_are_to_be_tried_again_at_once(database_url: str) -> None:
    async with open_database(database_url, name="test", max_size=1) as db:

        async def columns() -> int:
            async with db.transaction() as connection:
                [row] = await connection.fetch("SELECT * FROM klaviyo_accounts")
                return len(row)

        async with db.connection() as connection:
            await connection.execute("INSERT INTO klaviyo_accounts (account_key) VALUES ('acct:A')")
        before = await columns()
        await migrate(database_url, [*load(), Migration("9997_wider", "ALTER TABLE klaviyo_accounts ADD wider int")])

        with pytest.raises(Conflict):
            await columns()
        assert await columns() == before + 1


async def test_a_wrong_argument_is_our_fault_and_no_outage(database_url: str) -> None:
    async with open_database(database_url, name="test") as db:
        with pytest.raises(asyncpg.DataError):
            async with db.connection() as connection:
                await connection.execute("SELECT $1::uuid", "no uuid")


@pytest.fixture
async def empty_url(database_url: str) -> AsyncIterator[str]:
    """A database of this test's own without any migration."""
    name = f"empty_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def test_versions_that_were_served_before_there_was_a_history_can_be_rolled_back_to(empty_url: str) -> None:
    content = next(file for file in load() if file.name == "0018_content")
    before = [file for file in load() if file.name < content.name]
    org_id, copy_id = uuid4(), uuid4()
    await migrate(empty_url, before)
    connection = await asyncpg.connect(empty_url)
    try:
        await connection.execute(INSERT_ORG, org_id, "ours", NOW)
        await connection.execute(INSERT_TEMPLATE, org_id, NOW)
        await connection.execute(
            "INSERT INTO variants (org_id, copy_id, template_id, name, state, version, created_at, updated_at) "
            "VALUES ($1, $2, 'welcome', 'Warm', 'approved', 2, $3, $3)", org_id, copy_id, NOW,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at) "
            "SELECT $1, $2, n, 'Hello', '', '<p>x</p>', $3 FROM generate_series(1, 3) n", org_id, copy_id, NOW,
        )  # fmt: skip

        await migrate(empty_url, [*before, content])

        rows = await connection.fetch("SELECT version, event FROM variant_events ORDER BY event_id")
        assert [tuple(row.values()) for row in rows] == [(1, "approved"), (2, "approved")]
    finally:
        await connection.close()
