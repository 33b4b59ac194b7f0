"""A burst of one org's write jobs is not in everybody's way, and what lay in the one queue of before is taken in."""

from collections import Counter
from uuid import UUID, uuid4

import pytest

from shared.messaging.topology import WRITE
from shared.schemas.jobs import encode_batch
from tests.component.profile_writer.rig import COUNT_PENDING, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

LOUD = 5_000
# A transaction's number is drawn at its first write, and no turn touches these rows: both accounts are blocked.
COUNT_MEANWHILE = """
    SELECT count(*) FROM pending_writes p, pending_writes q
    WHERE p.org_id = $1 AND q.org_id = $2 AND p.xmin::text::bigint >= $3 AND p.xmin::text::bigint < q.xmin::text::bigint
"""
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


async def test_five_thousand_jobs_of_a_loud_org_do_not_delay_a_quiet_orgs_write(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as loud:
        quiet = await loud.neighbour("quiet", _on_another_shard(loud.org_id))
        jobs = await loud.generate_many(LOUD)
        await loud.hold(until=jobs[0].deadline_at)
        for start in range(0, LOUD, 50):
            await loud.send(*jobs[start : start + 50])
        [person] = quiet.people(1)
        job = await quiet.generate(person)
        await quiet.hold(until=job.deadline_at)

        async with writing(loud), loud.db.connection() as connection:
            # Only then: which of its queues a writer that starts opens first says nothing.
            await eventually(lambda: connection.fetchval(COUNT_PENDING, loud.org_id), within_s=30)
            since = await connection.fetchval(NEXT_TRANSACTION)
            await quiet.send(job)
            await quiet.taken_in(1)
            meanwhile = await connection.fetchval(COUNT_MEANWHILE, loud.org_id, quiet.org_id, since)
            await quiet.hold(until=None)
            outcomes = await quiet.outcomes(1)

        assert [row["outcome"] for row in outcomes.values()] == ["written"]
        assert meanwhile < LOUD / 4


async def test_what_lay_in_the_one_queue_of_before_is_taken_in_whosever_it_is(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as shop:
        other = await shop.neighbour("other", _on_another_shard(shop.org_id))
        jobs = [*await shop.generate_many(20), *await other.generate_many(20)]
        await shop.publisher.send("write", encode_batch(jobs))

        async with writing(shop):
            outcomes = [*(await shop.outcomes(20)).values(), *(await other.outcomes(20)).values()]

    assert Counter(row["outcome"] for row in outcomes) == {"written": 40}


def _on_another_shard(org_id: UUID) -> UUID:
    while WRITE.queue_for(other := uuid4()) == WRITE.queue_for(org_id):
        pass
    return other
