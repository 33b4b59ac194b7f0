"""The generator's SQL where only the plan or odd rows show a fault."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.generator.answer_store import AnswerStore
from services.generator.store import FORGOTTEN_AT_ONCE, Store
from shared.clock import FrozenClock
from shared.db.partitions import Partitions
from shared.db.pool import BY_KEY, Database, open_database
from shared.errors import Transient
from tests.component.generator.rig import AT, INSERT_ORG, INSERT_TEMPLATE, INSERT_VARIANT, INSERT_VERSION
from tests.support.waiting import eventually

ORG = UUID("6f1c1b1e-0000-4000-8000-000000000001")
COPIES = [UUID(int=number) for number in (1, 2)]
# Numbered from here on; each made a second after the one before, over these variants.
INSERT_SNAPSHOTS = """
    INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at, fitted_until)
    SELECT $1::uuid, 'welcome', lpad(to_hex(n), 32, '0')::uuid, 'logistic',
           jsonb_build_object('wide', (SELECT string_agg(md5(n || '.' || m), '') FROM generate_series(1, 200) m)),
           (SELECT jsonb_object_agg(copy_id, 1.0 / cardinality($2::uuid[])) FROM unnest($2::uuid[]) copy_id),
           $3::timestamptz + make_interval(secs => n - $4::int), CASE WHEN $6::bool THEN $3::timestamptz END
    FROM generate_series($4::int, $5::int) n
"""


@pytest.fixture
async def generator(database_url: str) -> AsyncIterator[Database]:
    """As the generator works: under row-level security, without statistics. One org with a template of two variants."""
    async with open_database(database_url, name="test", role="justai_worker", planner=BY_KEY, max_size=1) as database:
        async with database.connection() as connection:
            await connection.execute(INSERT_ORG, ORG, "shop", AT)
            await connection.execute(INSERT_TEMPLATE, ORG, "welcome", "active", "jai", AT)
            for copy_id in COPIES:
                await connection.execute(INSERT_VARIANT, ORG, copy_id, "welcome", copy_id.hex, AT)
                await connection.execute(INSERT_VERSION, ORG, copy_id, 1, "<p>A</p>", AT)
        yield database


async def test_regression_who_waits_for_copy_has_no_generation_of_the_org_read_but_their_own(database_url: str) -> None:
    """As the generator works: under row-level security, without statistics, over several days."""
    async with open_database(database_url, name="test", role="justai_worker", planner=BY_KEY) as database:
        await Partitions(database, "generations").ensure(AT.date() + timedelta(days=days) for days in range(2))

        async with database.connection() as connection:
            plan = await connection.fetch(
                f"EXPLAIN {AnswerStore.SELECT_TOLD}", [AT.date()] * 2, [uuid4(), uuid4()], [uuid4(), uuid4()]
            )

    used = re.findall(r"using (generations_2026\w+) on", "\n".join(row[0] for row in plan))
    assert used == ["generations_20261123_pkey", "generations_20261124_pkey"]


async def snapshots(
    database: Database, first: int, last: int, *, fitted: bool, copies: Sequence[UUID] = COPIES, after_s: int = 0
) -> None:
    async with database.connection() as connection:
        at = AT + timedelta(seconds=after_s)
        await connection.execute(INSERT_SNAPSHOTS, ORG, copies, at, first, last, fitted)
        await connection.execute("UPDATE policy_snapshots SET cells = '{}' WHERE snapshot_id < $1", UUID(int=100))


async def served(database: Database) -> int | None:
    """The number of the snapshot; None: no stored one."""
    config = (await Store(database, FrozenClock(AT)).load_orgs([ORG]))[ORG]
    snapshot = config.templates["welcome"].snapshot
    assert snapshot is not None
    return snapshot.snapshot_id.int if snapshot.stored else None


async def test_waits_are_those_of_all_emails_of_a_step_and_older_rows_say_the_least_alone(generator: Database) -> None:
    rows = [
        ("old", "M1", 240, None, False),
        ("until", "M1", 86_400, 172_800, False),
        ("branches", "M1", 180, 600, False),
        ("branches", "M2", 120, 3600, False),
        ("date", "M1", 60, None, True),
        ("other", "M1", None, None, False),
        ("overwritten", "M1", 900, 300, False),  # by a release that does not know the most
    ]
    async with generator.connection() as connection:
        await connection.executemany(
            "INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name,"
            " delay_s, latest_s, open_ended, synced_at) VALUES ($1, 'F', 'F', 'live', $2, $3, 'M', $4, $5, $6, $7)",
            [(ORG, *row, AT) for row in rows],
        )

    waits = (await Store(generator, FrozenClock(AT)).load_orgs([ORG]))[ORG].waits

    assert {action_id: (wait.least_s, wait.most_s) for action_id, wait in waits.items()} == {
        "old": (240, 240),
        "until": (86_400, 172_800),
        "branches": (120, 3600),
        "date": (60, None),
        "overwritten": (900, 900),
    }


async def test_the_newest_fitted_snapshot_over_the_approved_variants_is_served_else_the_newest_of_ours(
    generator: Database,
) -> None:
    assert await served(generator) is None

    await snapshots(generator, 11, 12, fitted=False)
    assert await served(generator) == 12

    await snapshots(generator, 21, 22, fitted=True, after_s=-60)  # older than ours
    assert await served(generator) == 22

    await snapshots(generator, 31, 31, fitted=True, after_s=-59)  # of the same moment: the higher id
    assert await served(generator) == 31

    await snapshots(generator, 41, 42, fitted=True, copies=COPIES[:1], after_s=60)  # over fewer variants
    await snapshots(generator, 51, 52, fitted=True, copies=[*COPIES, UUID(int=3)], after_s=60)  # over more
    assert await served(generator) == 31


async def test_regression_loading_an_org_reads_one_snapshot_however_many_there_were(generator: Database) -> None:
    async def blocks() -> int:
        async with generator.connection() as connection:
            [[plan]] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {Store.SELECT_ORGS}", [ORG])
        return int(plan[0]["Plan"]["Shared Hit Blocks"]) + int(plan[0]["Plan"]["Shared Read Blocks"])

    await snapshots(generator, 1001, 1001, fitted=False)
    await snapshots(generator, 1002, 1002, fitted=True)
    few = await blocks()
    await snapshots(generator, 2001, 3000, fitted=False)
    await snapshots(generator, 3001, 4000, fitted=True)

    assert await blocks() <= few + 10


INSERT_COPIES = """
    INSERT INTO last_copies (org_id, template_id, user_id, copy_id, accepted_at)
    SELECT $1::uuid, 'welcome', $2::text || n, $3::uuid, $4::timestamptz FROM generate_series(1, $5::int) n
"""
LONG_AGO = AT - timedelta(days=31)


async def test_what_people_got_long_ago_is_found_by_its_age_alone(generator: Database) -> None:
    async with generator.connection() as connection:
        plan = await connection.fetch(f"EXPLAIN {Store.FORGET_COPIES}", LONG_AGO, FORGOTTEN_AT_ONCE)

    assert "using last_copies_by_time on" in "\n".join(row[0] for row in plan)


async def test_what_people_got_long_ago_goes_a_page_at_a_time_and_waits_for_nobody(
    generator: Database, database_url: str
) -> None:
    store, other = Store(generator, FrozenClock(AT)), await asyncpg.connect(database_url)
    async with generator.connection() as connection:
        await connection.execute(INSERT_COPIES, ORG, "old", COPIES[0], LONG_AGO, FORGOTTEN_AT_ONCE + 2)
        await connection.execute(INSERT_COPIES, ORG, "young", COPIES[0], AT - timedelta(days=29), 1)

    try:
        async with other.transaction(), asyncio.timeout(30):
            await other.execute("SELECT FROM last_copies WHERE user_id = 'old1' FOR UPDATE")  # comes again just now
            assert await store.forget_copies()
            assert not await store.forget_copies()
            left = await other.fetch("SELECT user_id FROM last_copies ORDER BY 1")
    finally:
        await other.close()

    assert [row["user_id"] for row in left] == ["old1", "young1"]


async def test_a_forgetting_that_fails_is_left_alone_for_minutes(generator: Database) -> None:
    class Looked(FrozenClock):
        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return super().monotonic()

    class Failing(Store):
        tries = 0

        async def forget_copies(self) -> bool:
            self.tries += 1
            raise Transient("the database asks to try again", reason="database_conflict")

    clock, stop = Looked(AT), asyncio.Event()
    store = Failing(generator, clock)
    forgetting = asyncio.create_task(store.keep_forgetting(stop))
    try:
        await eventually(lambda: store.tries == 1)
        clock.advance(60)
        before = clock.looks
        await eventually(lambda: clock.looks > before + 1)
        assert store.tries == 1

        clock.advance(300)
        await eventually(lambda: store.tries == 2)
    finally:
        stop.set()
        await forgetting
