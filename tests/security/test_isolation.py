"""Row-level security, table by table as the catalogue has them, with the roles that services work as.

A table that is added tomorrow is tested by being there; one that is of no org has to say here why.
ASVS 5.0 V8.4.1: whoever serves one tenant cannot reach another's rows, whatever the statement says.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.db.pool import Connection, Database, open_database

OF_NO_ORG: Final[Mapping[str, str]] = {
    "schema_migrations": "names and digests of files that are public; no role of ours has a right on it",
    "klaviyo_accounts": "of a Klaviyo account, which several orgs may share; only the worker's role has rights",
    "klaviyo_roads": "as klaviyo_accounts, by road",
    "klaviyo_report_calls": "as klaviyo_accounts: which minute the account's next report may be asked for",
    "ring_holders": "of our processes: names of the keys that each can open with; only the worker's role has rights",
    "losses": "spans of the installation that a restore did not bring back; only the worker's role has rights",
    "dropped_days": "days alone, the same for everybody; the tenant's role may read them",
    "events_kept": "a day alone, the same for everybody; the tenant's role may read it",
    "users": "a person may work in several orgs; the tenant's role sees the names of its own members",
    "identities": "of a person; the tenant's role sees which of its members are linked",
    "recovery_codes": "of a person; only the worker's role has rights",
    "sessions": "of a person; only the worker's role has rights",
    "password_resets": "of a person; only the worker's role has rights",
    "signin_delays": "of an account, an address or a user; only the worker's role has rights",
    "signin_links": "of a person; only the worker's role has rights",
    "signins": "of a person; only the worker's role has rights",
    "answered_flows": "of a sign-in that is under way; only the worker's role has rights",
}
SELECT_TABLES = """
    SELECT c.relname AS name, c.relrowsecurity AS secured, c.relforcerowsecurity AS forced, c.relispartition AS part,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped)
            AS of_an_org,
        has_any_column_privilege('justai_tenant', c.oid, 'SELECT') AS tenant_reads,
        has_any_column_privilege('justai_tenant', c.oid, 'INSERT') OR
        has_any_column_privilege('justai_tenant', c.oid, 'UPDATE') OR
        has_table_privilege('justai_tenant', c.oid, 'DELETE') AS tenant_writes,
        ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY 1) AS policies
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace = 'public'::regnamespace ORDER BY 1
"""
SELECT_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, a.attndims > 0 AS list,
        a.attidentity <> '' OR a.attgenerated <> '' AS made,
        NOT a.attnotnull OR a.atthasdef AS optional
    FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""
DROP_RULES = """
    DO $$
    DECLARE one record;
    BEGIN
        FOR one IN SELECT conname, conrelid::regclass AS owner FROM pg_constraint
                   WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace AND conparentid = 0 LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', one.owner, one.conname);
        END LOOP;
    END
    $$
"""
"""Rules about what is in a row, which a row of anything at all would break; who sees it is what is asked here."""

AT: Final = "2026-11-23 10:00+00"


@dataclass(frozen=True)
class Two:
    """A database in which two orgs have a row in every table that knows orgs."""

    db: Database
    ours: UUID
    theirs: UUID
    inserts: Mapping[str, str]

    @property
    def tables(self) -> list[str]:
        return list(self.inserts)


async def tables_of(connection: Connection | asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await connection.fetch(SELECT_TABLES))


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[Two]:
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(f"SELECT ensure_partition(t, '{AT[:10]}') FROM unnest(ARRAY['generations', 'events', "
                            "'write_outcomes']) t")  # fmt: skip
        await owner.execute(DROP_RULES)
        await owner.execute("SET session_replication_role = replica")  # no trigger makes rows of its own
        tables = [row["name"] for row in await tables_of(owner) if row["of_an_org"] and not row["part"]]
        inserts = {table: insert_of(table, await owner.fetch(SELECT_COLUMNS, table)) for table in tables}
        ours, theirs = uuid4(), uuid4()
        for insert in inserts.values():  # as a superuser, whom no policy binds
            await owner.execute(insert, ours)
            await owner.execute(insert, theirs)
        async with open_database(database_url, name="isolation", max_size=2) as db:
            yield Two(db, ours, theirs, inserts)
    finally:
        await owner.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, name="isolation") as opened:
        yield opened


def insert_of(table: str, columns: list[asyncpg.Record]) -> str:
    """A row of anything that has the columns' types; $1 is its org."""
    needed = [row for row in columns if not row["made"] and (row["name"] == "org_id" or not row["optional"])]
    values = ", ".join("$1" if row["name"] == "org_id" else anything(row["type"]) for row in needed)
    names = ", ".join(f'"{row["name"]}"' for row in needed)
    return f"INSERT INTO {table} ({names}) VALUES ({values})"


def anything(kind: str) -> str:
    """An SQL expression of this type, another one each time where a key may want that."""
    if kind.endswith("[]"):
        return f"ARRAY[]::{kind}"
    return {
        "uuid": "gen_random_uuid()",
        "text": "gen_random_uuid()::text",
        "bytea": "sha256(gen_random_uuid()::text::bytea)",
        "timestamp with time zone": f"'{AT}'::timestamptz",
        "date": f"'{AT[:10]}'::date",
        "boolean": "false",
        "jsonb": "'{}'::jsonb",
        "tstzrange": f"tstzrange('{AT}', '{AT}', '[]')",
    }.get(kind, f"'1'::{kind}")


async def touched(connection: Connection, statement: str, *arguments: object) -> int | None:
    """How many rows; None where a right is missing or a policy stands against it, the transaction going on."""
    try:
        async with connection.transaction():
            status = await connection.execute(statement, *arguments)
    except asyncpg.InsufficientPrivilegeError:
        return None
    return int(status.split()[-1]) if status[-1].isdigit() else 0


async def seen_orgs(connection: Connection, table: str) -> set[UUID] | None:
    """Of whom rows are seen; None where nothing may be read."""
    try:
        async with connection.transaction():
            rows = await connection.fetch(f"SELECT DISTINCT org_id FROM {table}")
    except asyncpg.InsufficientPrivilegeError:
        return None
    return {row["org_id"] for row in rows}


async def test_every_table_is_of_an_org_or_says_why_not_and_forces_its_policies(db: Database) -> None:
    async with db.connection() as connection:
        tables = await tables_of(connection)

    assert {row["name"] for row in tables if not row["of_an_org"]} == OF_NO_ORG.keys()
    for row in tables:
        if row["name"] == "schema_migrations":
            assert not row["tenant_reads"]
            continue
        assert (row["name"], row["secured"], row["forced"]) == (row["name"], True, True)
        assert "worker" in row["policies"], row["name"]
        if row["tenant_reads"] or row["tenant_writes"]:
            assert "tenant" in row["policies"], row["name"]
        if not row["of_an_org"]:
            assert not row["tenant_writes"], row["name"]


async def test_no_table_shows_or_takes_a_row_of_another_org(two: Two) -> None:
    async with two.db.transaction(two.ours) as connection:
        for table, insert in two.inserts.items():
            assert (table, await seen_orgs(connection, table)) in ((table, {two.ours}), (table, None))
            for statement in (
                f"UPDATE {table} SET org_id = $1 WHERE org_id = $2",
                f"DELETE FROM {table} WHERE org_id = $2 AND $1::uuid IS NOT NULL",
            ):
                assert await touched(connection, statement, two.ours, two.theirs) in (0, None), statement
            # Nor can a row be handed to them.
            assert (table, await touched(connection, insert, two.theirs)) == (table, None)
            assert (table, await touched(connection, f"UPDATE {table} SET org_id = $1", two.theirs)) == (table, None)

    async with two.db.transaction() as connection:  # and all of it was there to be had
        for table in two.tables:
            assert (table, await seen_orgs(connection, table)) == (table, {two.ours, two.theirs})


async def test_without_an_org_or_with_one_that_is_none_nothing_is_there(two: Two) -> None:
    for setting in (None, "", "00000000-0000-0000-0000-000000000000"):
        async with two.db.transaction() as connection:
            await connection.execute("SET LOCAL ROLE justai_tenant")
            if setting is not None:
                await connection.execute("SELECT set_config('app.org_id', $1, true)", setting)
            for table, insert in two.inserts.items():
                assert (table, await seen_orgs(connection, table)) in ((table, set()), (table, None))
                assert (table, await touched(connection, insert, two.ours)) == (table, None)


async def test_what_is_set_for_one_transaction_is_gone_with_it(db: Database) -> None:
    async with db.transaction(uuid4()) as connection:
        assert await connection.fetchval("SELECT current_user") == "justai_tenant"

    for _ in range(8):  # whichever connection of the pool it was
        async with db.connection() as connection:
            left: Any = await connection.fetchrow("SELECT current_user, current_setting('app.org_id', true) AS org")
            assert (left["current_user"], left["org"] or "") == ("justai_worker", "")


async def test_neither_role_can_leave_its_walls(db: Database) -> None:
    """ASVS 5.0 V13.2.2: least rights; neither owns a table, logs in, bypasses policies or makes things."""
    async with db.connection() as connection:
        roles = await connection.fetch(
            "SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication "
            "AS mighty FROM pg_roles WHERE rolname IN ('justai_worker', 'justai_tenant') ORDER BY 1"
        )
        owned = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) IN ('justai_worker', 'justai_tenant')"
        )
        tenant_may_be = await connection.fetchval("SELECT pg_has_role('justai_tenant', 'justai_worker', 'MEMBER')")
        made = [
            await touched(connection, statement)
            for statement in (
                "CREATE TABLE public.mine (a int)",
                "ALTER TABLE templates DISABLE ROW LEVEL SECURITY",
                "DROP POLICY tenant ON templates",
                "CREATE POLICY all_of_it ON templates USING (true)",
                "TRUNCATE templates",
                "SET session_replication_role = replica",
                "COPY templates TO PROGRAM 'true'",
                "SELECT pg_read_file('PG_VERSION')",
            )
        ]

    assert [(row["rolname"], row["mighty"]) for row in roles] == [("justai_tenant", False), ("justai_worker", False)]
    assert (owned, tenant_may_be) == (0, False)
    assert made == [None] * len(made)


async def test_what_runs_with_the_owners_rights_is_for_nobody_else_and_looks_in_its_own_place(db: Database) -> None:
    async with db.connection() as connection:
        functions = await connection.fetch(
            "SELECT proname AS name, coalesce(proconfig::text, '') AS config, "
            "EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0) AS open "
            "FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY 1"
        )
        views = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
        )

    assert [row["name"] for row in functions] == [
        "detach_day", "detach_generations", "drop_detached_days", "drop_detached_generations", "ensure_partition",
    ]  # fmt: skip
    for row in functions:
        assert not row["open"], row["name"]
        assert "search_path=public, pg_temp" in row["config"], row["name"]
    assert views == 0, "a view reads with its owner's rights: give it security_invoker and a test here"

    async with db.transaction(uuid4()) as connection:
        for function in ("detach_generations", "drop_detached_generations"):
            assert await touched(connection, f"SELECT {function}('2026-11-23')") is None
        assert await touched(connection, "SELECT detach_day('events', '2026-11-23')") is None
        assert await touched(connection, "SELECT drop_detached_days('events')") is None
        with pytest.raises(asyncpg.RaiseError, match="no partitioned table"):
            await connection.execute("SELECT ensure_partition('templates', '2026-11-23')")
    for statement in ("SELECT detach_day('generations', '2026-11-23')", "SELECT drop_detached_days('generations')"):
        async with db.connection() as connection:
            with pytest.raises(asyncpg.RaiseError, match="not dropped so"):
                await connection.execute(statement)
