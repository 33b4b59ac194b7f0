"""Emails that show no generation yet are tried again for a week.

An email may be told of before its generation is stored (a file beside a long queue), before its flow is synced, or
while both were on their way. The switch of a file says of which messages and days some email was not attributed; here
these are looked at again: soon, then ever more seldom, and at once when flows or templates say something else. A look
only reads, in batches; what would be attributed otherwise is computed anew from its events, with exactly the cells,
days and reports that it is and was part of, as a file would have it done.

| why an email waits | what ends it |
|---|---|
| no_generation | its generation is stored; or a week is over |
| other_message | the same, or a flow sync that tells of its message |
| not_synced | it counts, attributed by its flow alone; a flow sync tells more |
| no_delivery | opens and clicks alone: the file that says it was sent, whose switch counts them; only told here |

Any number of replicas may run it. A generation that is stored late and newer than the one an email was matched with
does not move it: only `justai org recount` would.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from services.ingest.attribution.looks import LEASE, TIMEOUT_S, Looks, days_tried
from services.ingest.loading.switch import BEGIN_LONG_WORK, STATEMENT_TIMEOUT_S
from shared import metrics
from shared.clock import Clock
from shared.db.pool import Database
from shared.stepper import Stepper

_LOOK_EVERY: Final = timedelta(minutes=1)
_COUNT_EVERY: Final = timedelta(hours=1)
_REASONS: Final = ("no_generation", "other_message", "not_synced", "no_delivery")

FORGET: Final = """
    WITH old AS (
        SELECT org_id, day, message_id FROM unmatched WHERE day < $1 FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM unmatched u USING old o
        WHERE (u.org_id, u.day, u.message_id) = (o.org_id, o.day, o.message_id)
        RETURNING u.no_generation + u.other_message AS emails
    )
    SELECT coalesce(sum(emails), 0)::bigint FROM gone
"""
# What decides whether a generation fits a message.
FOLLOW_SETUPS: Final = """
    INSERT INTO unmatched_orgs AS u (org_id, setup)
    SELECT o.org_id, md5(concat(
        (SELECT string_agg(DISTINCT (message_id, action_id)::text, ',' ORDER BY (message_id, action_id)::text)
         FROM flow_messages f WHERE f.org_id = o.org_id), ';',
        (SELECT string_agg((template_id, flow_id, treatment_action_id)::text, ',' ORDER BY template_id)
         FROM templates t WHERE t.org_id = o.org_id)))
    FROM orgs o ORDER BY 1
    ON CONFLICT (org_id) DO UPDATE SET setup = excluded.setup WHERE u.setup IS DISTINCT FROM excluded.setup
    RETURNING org_id
"""
# Whoever holds a row is a file's switch, which raises it too.
RAISE: Final = """
    WITH free AS (
        SELECT org_id, day, message_id FROM unmatched WHERE org_id = ANY ($1::uuid[]) FOR UPDATE SKIP LOCKED
    )
    UPDATE unmatched u SET next_at = '-infinity', tries = 0, raised = true FROM free f
    WHERE (u.org_id, u.day, u.message_id) = (f.org_id, f.day, f.message_id)
"""
# An email that names no flow is a campaign's, until a flow sync knows its message.
ADD_SYNCED: Final = """
    INSERT INTO unmatched (org_id, day, message_id)
    SELECT f.org_id, d.day, f.message_id
    FROM (SELECT DISTINCT org_id, message_id FROM flow_messages WHERE org_id = ANY ($1::uuid[])) f
    CROSS JOIN unnest($2::date[]) d (day)
    WHERE EXISTS (SELECT FROM sends s WHERE s.org_id = f.org_id AND s.message_id = f.message_id AND s.day = d.day
        AND s.template_id IS NULL)
    ON CONFLICT DO NOTHING
"""
SUM_WAITING: Final = """
    SELECT (SELECT coalesce(sum(no_generation), 0)::bigint FROM unmatched) AS no_generation,
        (SELECT coalesce(sum(other_message), 0)::bigint FROM unmatched) AS other_message,
        (SELECT coalesce(sum(not_synced), 0)::bigint FROM unmatched) AS not_synced,
        (SELECT coalesce(sum(no_delivery), 0)::bigint FROM unmatched_orgs) AS no_delivery
"""

CLAIM_ORG: Final = """
    UPDATE unmatched_orgs u SET claim_id = $2, lease_until = $3
    WHERE org_id = (
        SELECT org_id FROM unmatched_orgs
        WHERE (counted_at IS NULL OR counted_at < $4) AND (lease_until IS NULL OR lease_until < $1)
        ORDER BY counted_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING u.org_id
"""
COUNT_NO_DELIVERY: Final = """
    SELECT count(*) FROM events e
    WHERE e.org_id = $1 AND e.day = $2 AND e.transmission_id IS NOT NULL
      AND e.metric IN ('Opened Email', 'Clicked Email')
      AND NOT EXISTS (SELECT FROM sends s WHERE s.org_id = $1 AND s.transmission_id = e.transmission_id)
"""
SETTLE_ORG: Final = """
    UPDATE unmatched_orgs SET counted_at = $3, no_delivery = $4, claim_id = NULL, lease_until = NULL
    WHERE org_id = $1 AND claim_id = $2
"""


class Unmatched(Protocol):
    """What the runner does, one thing at a time. The last two say whether there was something to do; raises Failure."""

    async def follow(self, now: datetime) -> None: ...
    async def count_one(self, now: datetime) -> bool: ...
    async def try_one(self, now: datetime) -> bool: ...


class StoredUnmatched:
    """On PostgreSQL. `window`: as attribution has it; `batch`: emails that one statement looks at."""

    def __init__(
        self, database: Database, new_id: Callable[[], UUID], clock: Clock, window: timedelta, batch: int = 5_000
    ) -> None:
        self._database, self._new_id = database, new_id
        self._looks = Looks(database, new_id, clock, window, batch)

    async def follow(self, now: datetime) -> None:
        """Give up what is a week old, have tried at once what a change of flows or templates may have changed, and say
        in metrics how many wait. Safe to repeat, and for every replica."""
        days = days_tried(now)
        async with self._database.transaction() as connection:
            given_up: int = await connection.fetchval(FORGET, days[0])
            changed = [row["org_id"] for row in await connection.fetch(FOLLOW_SETUPS)]
            if changed:
                await connection.execute(RAISE, changed)
                await connection.execute(ADD_SYNCED, changed, days)
            waiting = await connection.fetchrow(SUM_WAITING)
        metrics.count("ingest_unmatched_total", given_up, outcome="given_up")
        for reason in _REASONS:
            metrics.gauge("ingest_waiting", waiting[reason] if waiting else 0, reason=reason)

    async def count_one(self, now: datetime) -> bool:
        """Count one org's opens and clicks that wait for their delivery, once an hour."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            org_id = await connection.fetchval(CLAIM_ORG, now, claim_id, now + LEASE, now - _COUNT_EVERY)
        if org_id is None:
            return False
        waiting = 0
        for day in days_tried(now):
            async with self._database.transaction(org_id, TIMEOUT_S) as connection:
                await connection.execute(BEGIN_LONG_WORK)
                waiting += await connection.fetchval(COUNT_NO_DELIVERY, org_id, day, timeout=STATEMENT_TIMEOUT_S)
        async with self._database.transaction(org_id) as connection:
            await connection.execute(SETTLE_ORG, org_id, claim_id, now, waiting)
        return True

    async def try_one(self, now: datetime) -> bool:
        """Look at the emails of one message and day; see looks.py."""
        return await self._looks.try_one(now)


class Retrier(Stepper):
    """Follows what has changed, then tries or counts."""

    failed = "unmatched.look_failed"

    def __init__(self, unmatched: Unmatched, clock: Clock, tick: timedelta) -> None:
        super().__init__(clock, tick)
        self._unmatched = unmatched
        self._look_at: datetime | None = None

    async def step(self) -> timedelta | None:
        """See Stepper. It rests as long as it worked: the database has more to do than that."""
        now = self._clock.now()
        if self._look_at is None or now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            await self._unmatched.follow(now)
        started_s = self._clock.monotonic()
        if await self._unmatched.try_one(now) or await self._unmatched.count_one(now):
            return timedelta(seconds=self._clock.monotonic() - started_s)
        return None
