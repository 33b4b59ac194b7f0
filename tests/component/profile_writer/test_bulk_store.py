"""The bulk road's rows in PostgreSQL: holds, wake-ups, jobs that end once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.profile_writer.bulk.job_store import JobStore
from services.profile_writer.bulk.store import BulkStore
from services.profile_writer.store import Store
from shared.db.pool import BY_KEY, Database, open_database
from shared.klaviyo.bulk import SCOPES

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
ACCOUNT = "acct:A"

CONNECT = """
    INSERT INTO integrations (org_id, account_key, sealed_key, last4, scopes, updated_at)
    VALUES ($1, $2, '-', '....', $3, $4)
"""
PEND = """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                                accepted_at, deadline_at, clean_at, next_attempt_at)
    SELECT $1, 'P' || person, 'jai', $2, 'write', 1, $3::timestamptz::date, gen_random_uuid(), 'w.F.A', $3,
           $3 + interval '1 hour', $3 + interval '2 hours', $3
    FROM generate_series(1, 2) AS person
"""


@pytest.fixture
async def org_id(database_url: str) -> UUID:
    connection = await asyncpg.connect(database_url)
    org_id = uuid4()
    await connection.execute("INSERT INTO orgs VALUES ($1, 'acme', 'Acme', $2)", org_id, NOW)
    await connection.execute(CONNECT, org_id, ACCOUNT, sorted(SCOPES), NOW)
    await connection.execute("INSERT INTO klaviyo_accounts (account_key, bulk_look_at) VALUES ($1, $2)", ACCOUNT, NOW)
    await connection.close()
    return org_id


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def wake(database: Database, at: datetime) -> None:
    async with Store(database).desk({ACCOUNT}) as desk:
        await desk.wake({ACCOUNT}, at)


async def test_an_account_that_is_looked_at_is_due_to_nobody_else(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        claimed = await bulk.claim(NOW)
        assert claimed is not None
        assert claimed[0] == ACCOUNT
        await wake(database, after(1))

        assert await bulk.claim(after(10)) is None
        assert await bulk.next_look() == claimed[1]
        assert await bulk.claim(after(91)) is not None  # whoever held it is gone


async def test_who_is_woken_during_a_look_is_looked_at_again(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        claimed = await bulk.claim(NOW)
        assert claimed is not None
        await wake(database, after(3))
        await bulk.release(*claimed, None)
        assert await bulk.next_look() == after(4)

        claimed = await bulk.claim(after(5))
        assert claimed is not None
        await bulk.release(*claimed, None)
        assert await bulk.next_look() is None


async def test_an_account_none_of_whose_keys_may_import_is_not_looked_at(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        claimed = await bulk.claim(NOW)
        assert claimed is not None
        await bulk.release(*claimed, None)
        async with database.connection() as connection:
            await connection.execute("UPDATE integrations SET scopes = '{profiles:write}'")
        await wake(database, after(1))
        assert await bulk.next_look() is None

        async with database.connection() as connection:
            await connection.execute("UPDATE integrations SET scopes = $1", sorted(SCOPES))
        await wake(database, after(2))
        assert await bulk.next_look() == after(3)


async def test_a_hold_that_is_over_releases_nobody_elses(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        slow = await bulk.claim(NOW)
        other = await bulk.claim(after(91))
        assert slow is not None
        assert other is not None
        await bulk.release(*slow, NOW)
        assert await bulk.claim(after(92)) is None


async def ended(database: Database, org_id: UUID, ending: str) -> tuple[BulkStore, JobStore, UUID]:
    """The job of one row that was taken at NOW and ended so while it was being sent."""
    store = Store(database)
    jobs, job_id = JobStore(database, store), uuid4()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO bulk_jobs VALUES ($1, $2, $3, 'sending', NULL, '{P}', '{jai}', $4, $5, $6, 1, 10, $7)",
            job_id, ACCOUNT, org_id, [NOW.date()], [uuid4()], [NOW], NOW,
        )  # fmt: skip
    assert len((await jobs.rows_of(job_id)).keys) == 1
    async with store.desk({ACCOUNT}) as desk:
        await jobs.end(desk, job_id, ACCOUNT, ending, NOW, looked_out_for=ending == "not_made")
    return BulkStore(database, store), jobs, job_id


async def test_a_job_that_has_ended_is_not_brought_back_by_a_late_answer(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk, jobs, job_id = await ended(database, org_id, "refused")
        await jobs.made(job_id, "K")
        await jobs.lost(job_id, NOW)
        await jobs.adopted(job_id, "K")

        road = await bulk.road(ACCOUNT, NOW, NOW)
        assert (road.jobs, road.doubted) == ((), ())
        assert (await jobs.rows_of(job_id)).keys == []


async def test_a_job_that_nobody_believes_in_is_looked_out_for_until_it_is_found_or_forgotten(
    database_url: str, org_id: UUID
) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk, jobs, job_id = await ended(database, org_id, "not_made")
        await jobs.made(job_id, "K")  # by a worker that was frozen
        await jobs.adopted(job_id, "L")
        road = await bulk.road(ACCOUNT, NOW, after(5))
        rows = await jobs.rows_of(job_id)
        await jobs.forget(job_id)

        assert road.jobs == ()
        assert [(job.klaviyo_job_id, job.ended_at) for job in road.doubted] == [("K", NOW)]
        assert len(rows.keys) == 1
        assert (await bulk.road(ACCOUNT, NOW, after(5))).doubted == ()
        assert (await jobs.rows_of(job_id)).keys == []


async def test_what_klaviyo_asked_for_is_not_shortened_by_a_second_look(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        await bulk.creating(ACCOUNT, after(600), 2)
        await bulk.creating(ACCOUNT, after(1), 0)
        assert (await bulk.road(ACCOUNT, NOW, NOW)).create_at == after(600)


async def test_of_what_no_import_can_be_made_is_left_to_single_writes(database_url: str, org_id: UUID) -> None:
    async with open_database(database_url, name="test", planner=BY_KEY) as database:
        bulk = BulkStore(database, Store(database))
        async with database.connection() as connection:
            await connection.execute(PEND, ACCOUNT, org_id, NOW)
        found = await bulk.candidates(ACCOUNT, org_id, NOW, after(3601), NOW, 10)
        await bulk.unfit(ACCOUNT, found[:1])

        assert len(found) == 2
        assert await bulk.candidates(ACCOUNT, org_id, NOW, after(3601), NOW, 10) == found[1:]
