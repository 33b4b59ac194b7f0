"""A new day's partition is made beside whoever reads or writes the table, and is like one made in its place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Literal
from uuid import uuid4

import asyncpg
import pytest

from shared.clock import FrozenClock
from shared.db.partitions import Partitions
from shared.db.pool import Connection, Database, open_database
from shared.errors import Outage
from tests.support.waiting import eventually

AT = FrozenClock().now()
TODAY, TOMORROW = AT.date(), AT.date() + timedelta(days=1)
BY_DAY = {
    "events": """
        INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, file_id, line)
        VALUES ($1, $2, $2::uuid::text, 'Opened Email', 'p', $3, $2, 1)
    """,
    "generations": """
        INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at,
                                 deadline_at, clean_at, decision, reason, property_prefix, written_for)
        VALUES ($1, $2, $2, 'welcome', 'p', 't', $3, $3, $3, 'control', 'template_draft', 'jai', '')
    """,
    "write_outcomes": """
        INSERT INTO write_outcomes (day, generation_id, org_id, outcome, at, attempts)
        VALUES ($1, $2, $2, 'written', $3, 1)
    """,
}
PARENTS = sorted(BY_DAY)
KEPT: tuple[Literal["generations", "write_outcomes"], ...] = ("generations", "write_outcomes")
ENSURE = "SELECT ensure_partition($1, $2)"
SELECT_PARENTS = """
    SELECT relname, partdefid FROM pg_partitioned_table JOIN pg_class c ON c.oid = partrelid ORDER BY 1
"""
ARE_THERE = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name"
# All that the catalogues say of a partition, a line each, but for its own names and bounds.
DESCRIBE = """
    WITH child AS (SELECT * FROM pg_class WHERE oid = $1::text::regclass)
    SELECT replace(line, to_char($2::date, 'YYYYMMDD'), 'DAY') AS line FROM (
        SELECT concat_ws(' ', 'table', relowner::regrole, relacl, relkind, relispartition, relrowsecurity,
                         relforcerowsecurity, relreplident, reloptions, relam, reltablespace, relpersistence,
                         reltoastrelid <> 0, relhastriggers, relhasrules, relchecks) AS line FROM child
        UNION ALL
        SELECT concat_ws(' ', 'column', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
                         attgenerated, attstorage, attcompression, attislocal, attinhcount, attcollation, attacl,
                         attoptions, attstattarget, pg_get_expr(adbin, adrelid))
        FROM child JOIN pg_attribute a ON attrelid = child.oid AND attnum > 0
        LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
        UNION ALL
        SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisprimary, indisunique, indisvalid, indisready,
                         inhparent::regclass, i.reloptions)
        FROM child JOIN pg_index ON indrelid = child.oid JOIN pg_class i ON i.oid = indexrelid
        LEFT JOIN pg_inherits ON inhrelid = indexrelid
        UNION ALL
        SELECT concat_ws(' ', 'constraint', c.conname, c.contype, pg_get_constraintdef(c.oid), c.conislocal,
                         c.coninhcount, c.connoinherit, c.convalidated, p.conname)
        FROM child JOIN pg_constraint c ON c.conrelid = child.oid LEFT JOIN pg_constraint p ON p.oid = c.conparentid
        UNION ALL
        SELECT concat_ws(' ', 'policy', polname, polcmd, polpermissive, polroles::regrole[],
                         pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        FROM child JOIN pg_policy ON polrelid = child.oid
        UNION ALL
        SELECT concat_ws(' ', 'trigger', tgname, pg_get_triggerdef(t.oid), tgenabled, tgparentid <> 0)
        FROM child JOIN pg_trigger t ON tgrelid = child.oid
        UNION ALL
        SELECT concat_ws(' ', 'statistics', stxname, stxkeys) FROM child JOIN pg_statistic_ext ON stxrelid = child.oid
        UNION ALL
        SELECT concat_ws(' ', 'depends', refobjid::regclass, deptype)
        FROM child JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = child.oid
            AND refclassid = 'pg_class'::regclass
    ) described ORDER BY 1
"""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, name="test") as database:
        yield database


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def dumping(owner: "asyncpg.Connection[asyncpg.Record]", parent: str) -> AsyncIterator[None]:
    """As a dump that has not come to its end."""
    async with owner.transaction():
        await owner.execute(f"LOCK TABLE {parent} IN ACCESS SHARE MODE")
        yield


async def put(connection: Connection, parent: str, day: date) -> None:
    await connection.execute(BY_DAY[parent], day, uuid4(), AT)


async def test_the_tables_that_are_kept_by_day_are_these_and_none_has_a_default_partition(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """Attaching a partition would lock a default one against everybody, and read it."""
    found = [tuple(row.values()) for row in await owner.fetch(SELECT_PARENTS)]

    assert found == [(parent, 0) for parent in PARENTS]


@pytest.mark.parametrize("parent", PARENTS)
async def test_regression_a_new_day_begins_while_the_table_is_dumped(
    db: Database, owner: "asyncpg.Connection[asyncpg.Record]", parent: str
) -> None:
    async with db.connection() as connection:
        await connection.execute(ENSURE, parent, TODAY)

    async with dumping(owner, parent), asyncio.timeout(30):
        async with db.transaction() as making:
            await making.execute(ENSURE, parent, TOMORROW)
            async with db.connection() as writing:  # while whoever made it has not committed yet
                await put(writing, parent, TODAY)
        async with db.connection() as connection:
            await put(connection, parent, TOMORROW)
            rows = await connection.fetchval(f"SELECT count(*) FROM {parent}")

    assert rows == 2


@pytest.mark.parametrize("parent", PARENTS)
async def test_a_partition_is_like_one_that_was_made_in_its_place(
    owner: "asyncpg.Connection[asyncpg.Record]", parent: str
) -> None:
    in_place = f"{parent}_{TODAY:%Y%m%d}"
    await owner.execute(
        f"CREATE TABLE {in_place} PARTITION OF {parent} FOR VALUES FROM ('{TODAY}') TO ('{TOMORROW}');"
        f"SELECT secure_table('{in_place}')"
    )
    expected = [row["line"] for row in await owner.fetch(DESCRIBE, in_place, TODAY)]

    await owner.execute(ENSURE, parent, TOMORROW)

    made = [row["line"] for row in await owner.fetch(DESCRIBE, f"{parent}_{TOMORROW:%Y%m%d}", TOMORROW)]
    assert made == expected
    kinds = {line.partition(" ")[0] for line in made}
    assert {"table", "column", "index", "constraint", "policy", "depends"} <= kinds


async def test_regression_writers_that_need_the_same_new_partition_do_not_fail(db: Database) -> None:
    makers = [Partitions(db, "generations") for _ in range(8)]

    for days in range(5):
        await asyncio.gather(*(maker.ensure([TODAY + timedelta(days=days)]) for maker in makers))

    async with db.connection() as connection:
        made = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'generations'::regclass")
    assert made == 5


@pytest.mark.parametrize("parent", KEPT)
async def test_partitions_are_there_before_midnight_needs_them(
    db: Database, parent: Literal["generations", "write_outcomes"]
) -> None:
    clock, stop = FrozenClock(AT), asyncio.Event()

    async def there(*days: int) -> bool:
        names = [f"{parent}_{TODAY + timedelta(days=ahead):%Y%m%d}" for ahead in days]
        async with db.connection() as connection:
            return bool(await connection.fetchval(ARE_THERE, names))

    keeping = asyncio.create_task(Partitions(db, parent).keep(clock, stop))
    try:
        await eventually(lambda: there(0, 1))
        assert not await there(2)
        clock.advance(24 * 3600)
        await eventually(lambda: there(2))
    finally:
        stop.set()
        await keeping


async def test_while_somebody_holds_the_table_it_is_an_outage_and_made_afterwards(
    db: Database, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """So that a batch waits where it is, and no job of it spends an attempt."""
    days = Partitions(db, "write_outcomes")
    async with owner.transaction():
        await owner.execute("LOCK TABLE write_outcomes IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Outage) as outage:
            await days.ensure([TODAY])

    await days.ensure([TODAY])

    assert outage.value.reason == "database_conflict"
    async with db.connection() as connection:
        await put(connection, "write_outcomes", TODAY)
