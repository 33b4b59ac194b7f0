"""Every queue, as data. Services declare what they use; a changed argument needs a new queue name.

A job that must wait goes to one of the shared wait queues: the message keeps the routing key of the queue it came
from, so when its time-to-live ends the broker hands it back there. One time-to-live per queue, so nothing waits
behind a longer wait. Dead letters go to `<name>.dead` with the reason in a header.
"""

import zlib
from dataclasses import dataclass, field
from uuid import UUID

WAIT_EXCHANGE = "wait"
DELIVERY_LIMIT = 20
"""Only a net for messages that crash the process: our own attempts travel in a header, because brokers of different
ages count deliveries differently (3.10 counts nacks, 4.3 does not)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts, real seconds; one attempt more than waits. Only tiers named here exist as queues.

    | attempt that failed | waits | since the first |
    | 1 | 5 s   | 5 s    |
    | 2 | 30 s  | 35 s   |
    | 3 | 120 s | 155 s  |
    | 4 | 600 s | 755 s  |
    | 5 | buried | |
    """

    waits_s: tuple[int, ...] = (5, 30, 120, 600)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One kind of job and how its consumers treat it."""

    name: str
    shards: int = 1
    was_one: bool = False  # once one queue: shard 0 keeps its name, and so what lies, waits or is buried there
    prefetch: int = 32  # messages in hand per shard: the bound on memory and on what a crash repeats
    batch_jobs: int = 256  # jobs that one call of the handler gets at most
    # Real seconds for one batch. Longer than the database's own 30: what hangs there is then told as the outage that it
    # is, and spends no job's attempt.
    handler_timeout_s: float = 45
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def queues(self) -> tuple[str, ...]:
        if self.shards == 1:
            return (self.name,)
        numbered = tuple(f"{self.name}.{shard}" for shard in range(self.shards))
        return (self.name, *numbered[1:]) if self.was_one else numbered

    def queue_for(self, org_id: UUID) -> str:
        """An org always lands on one shard, so that one customer's burst delays few others."""
        return self.queues[zlib.crc32(org_id.bytes) % self.shards]


GENERATE = QueueSpec("generate", shards=8, prefetch=16)
WRITE = QueueSpec("write", shards=8, was_one=True, prefetch=8, batch_jobs=250)
# Long jobs: one in hand at a time, done well within the 30 minutes after which a broker takes an unacknowledged message
# back and closes the channel.
INGEST_FILE = QueueSpec("ingest_file", prefetch=1, batch_jobs=1, handler_timeout_s=1500)
EXPORT_HOUR = QueueSpec("export_hour", prefetch=1, batch_jobs=1, handler_timeout_s=1500)
# Queues of their own: who waits at a page must not wait behind hours of a backfill, or behind long files.
PROBE_TARGET = QueueSpec("probe_target", prefetch=4, batch_jobs=1)
PROBE_SOURCE = QueueSpec("probe_source", prefetch=4, batch_jobs=1)

ALL = (GENERATE, WRITE, INGEST_FILE, EXPORT_HOUR, PROBE_TARGET, PROBE_SOURCE)


def wait_queue(wait_s: int) -> str:
    """The name of a wait tier's queue; the `wait` header routes to it (headers named `x-…` never route)."""
    return f"wait.{wait_s}s"


def wait_tiers() -> tuple[int, ...]:
    """Every wait that some policy names, shortest first."""
    return tuple(sorted({wait for spec in ALL for wait in spec.policy.waits_s}))
