"""Queues by name: what a name promises to those who have messages under it."""

from collections import Counter
from uuid import UUID

from shared.db.pool import STATEMENT_TIMEOUT_S
from shared.messaging.topology import ALL, GENERATE, WRITE, QueueSpec


def test_a_queue_that_was_one_once_keeps_its_name_as_the_first_shard() -> None:
    assert WRITE.queues == ("write", *(f"write.{shard}" for shard in range(1, 8)))
    assert GENERATE.queues[0] == "generate.0"
    assert QueueSpec("lone").queues == ("lone",)


def test_orgs_are_spread_over_the_shards_and_each_stays_on_its_own() -> None:
    orgs = [UUID(int=number * 0x9E3779B97F4A7C15) for number in range(4_000)]
    shards = Counter(WRITE.queue_for(org_id) for org_id in orgs)

    assert set(shards) == set(WRITE.queues)
    assert max(shards.values()) < 2 * min(shards.values())
    assert [WRITE.queue_for(org_id) for org_id in orgs[:20]] == [WRITE.queue_for(org_id) for org_id in orgs[:20]]


def test_a_database_that_hangs_is_an_outage_before_it_is_the_handlers_time_out() -> None:
    """An outage spends no attempt; a time-out would, of each job of the batch."""
    assert min(spec.handler_timeout_s for spec in ALL) >= STATEMENT_TIMEOUT_S + 10
