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
does not move it: `rebuild_rollups` would.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from services.ingest.attribute import ATTRIBUTION, GENERATIONS, SELECT_LOOKBACK_DAYS, recompute_sends
from services.ingest.conversions import orders_of
from services.ingest.switch import (
    BEGIN_LONG_WORK,
    CREATE_WORK_TABLES,
    DROP_WORK_TABLES,
    STATEMENT_TIMEOUT_S,
    begin_switch,
)
from shared import logs, metrics
from shared.clock import Clock, first_of
from shared.db.pool import Connection, Database
from shared.errors import Failure
from shared.schemas.ids import generation_day
from shared.unmatched import KEPT_DAYS

log = logs.get(__name__)

EVERY: Final = timedelta(minutes=5)
"""Between the first two looks; each that finds nothing makes the next rest twice as long, up to LONGEST. The same in
MARK_UNMATCHED of attribute.py."""
LONGEST: Final = timedelta(hours=6)
BATCH: Final = 5_000
"""Emails that one statement looks at."""

_LOOK_EVERY: Final = timedelta(minutes=1)
_COUNT_EVERY: Final = timedelta(hours=1)
_LEASE: Final = timedelta(minutes=10)
_REST_OF_ONE: Final = timedelta(milliseconds=1)  # many emails are looked at less often
_TIMEOUT_S: Final = 900.0
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

CLAIM: Final = """
    UPDATE unmatched u SET claim_id = $2, lease_until = $3, raised = false
    WHERE (u.org_id, u.day, u.message_id) = (
        SELECT org_id, day, message_id FROM unmatched
        WHERE next_at <= $1 AND day >= $4 AND (lease_until IS NULL OR lease_until < $1)
        ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING u.org_id, u.day, u.message_id, u.tries, u.setup,
        (SELECT o.setup FROM unmatched_orgs o WHERE o.org_id = u.org_id) AS setup_now
"""
EXTEND: Final = """
    UPDATE unmatched SET lease_until = $5 WHERE org_id = $1 AND day = $2 AND message_id = $3 AND claim_id = $4
"""
# What a file has told meanwhile is looked at after EVERY.
SETTLE: Final = """
    UPDATE unmatched SET tried_at = $5, tries = $6,
        next_at = CASE WHEN raised THEN least($7, $8::timestamptz) ELSE $8 END, setup = $9,
        no_generation = $10, other_message = $11, not_synced = $12, claim_id = NULL, lease_until = NULL
    WHERE org_id = $1 AND day = $2 AND message_id = $3 AND claim_id = $4
"""
DROP_EMPTY: Final = """
    DELETE FROM unmatched WHERE org_id = $1 AND day = $2 AND message_id = $3 AND NOT raised AND claim_id IS NULL
      AND no_generation + other_message + not_synced = 0
"""

_COLUMNS: Final = "transmission_id, profile_id, message_id, flow_id, sent_at, day"
_SHOWN: Final = "attribution, generation_id, generation_day, template_id, copy_id, cell"
_OF_MESSAGE: Final = {True: "s.message_id = $6", False: "$6 = '' AND s.message_id IS NULL"}
_OPEN: Final = "s.template_id IS NULL"
_BY_FLOW: Final = "s.template_id = ANY ($7::text[]) AND s.attribution = 'flow'"


def _look(which: str, *, named: bool) -> str:
    """$1 to $4: see ATTRIBUTION. $5: the day; $6: the message; $7: the org's templates; $8: after this transmission."""
    return f"""
    WITH t AS MATERIALIZED (
        SELECT {_COLUMNS}, {_SHOWN} FROM sends s
        WHERE s.org_id = $1 AND s.day = $5 AND {which} AND {_OF_MESSAGE[named]} AND s.transmission_id > $8
          AND $7::text[] IS NOT NULL
        ORDER BY s.transmission_id LIMIT {BATCH}
    ), looked AS (
        SELECT t.transmission_id, t.attribution, ROW(t.attribution, t.generation_id, t.generation_day, t.template_id,
            t.copy_id, t.cell) IS DISTINCT FROM ROW({ATTRIBUTION}) AS differs
        FROM t
        {GENERATIONS}
    )
    SELECT count(*) AS looked, max(transmission_id) AS last,
        coalesce(array_agg(transmission_id) FILTER (WHERE differs), '{{}}') AS differing,
        count(*) FILTER (WHERE NOT differs AND attribution = 'no_generation') AS no_generation,
        count(*) FILTER (WHERE NOT differs AND attribution = 'other_message') AS other_message,
        count(*) FILTER (WHERE NOT differs AND attribution = 'flow') AS not_synced
    FROM looked
    """  # noqa: S608  # our own text


LOOK_OPEN: Final = {named: _look(_OPEN, named=named) for named in _OF_MESSAGE}
LOOK_BY_FLOW: Final = {named: _look(_BY_FLOW, named=named) for named in _OF_MESSAGE}
COUNT_BY_FLOW: Final = {
    named: f"""
        SELECT count(*) FROM sends s
        WHERE s.org_id = $1 AND s.day = $5 AND {_BY_FLOW} AND {_OF_MESSAGE[named]}
          AND ($2::date, $3::interval, $4::int) IS NOT NULL
    """  # noqa: S608  # our own text
    for named in _OF_MESSAGE
}
SELECT_TEMPLATES: Final = "SELECT coalesce(array_agg(template_id), '{}') FROM templates WHERE org_id = $1"
TOUCH: Final = "INSERT INTO touched SELECT one, NULL, 0 FROM unnest($1::text[]) one"
COUNT_ANEW: Final = """
    SELECT attribution, count(*) AS emails FROM sends
    WHERE org_id = $1 AND transmission_id = ANY ($2::text[]) GROUP BY attribution
"""
_MATCHED: Final = ("message", "flow")


@dataclass(slots=True)
class _Found:
    """What one look at a message's day found."""

    looked: int = 0
    matched: int = 0
    no_generation: int = 0
    other_message: int = 0
    not_synced: int = 0


@dataclass(frozen=True, slots=True)
class _Claim:
    org_id: UUID
    day: date
    message_id: str
    tries: int
    claim_id: UUID
    setup: str | None
    setup_now: str | None

    @property
    def key(self) -> tuple[UUID, date, str]:
        return self.org_id, self.day, self.message_id


class _ClaimLostError(Exception):
    """Somebody else looks at it now."""


class Unmatched(Protocol):
    """What the runner does, one thing at a time. The last two say whether there was something to do; raises Failure."""

    async def follow(self, now: datetime) -> None: ...
    async def count_one(self, now: datetime) -> bool: ...
    async def try_one(self, now: datetime) -> bool: ...


class StoredUnmatched:
    """On PostgreSQL. `window`: as attribution has it."""

    def __init__(self, database: Database, new_id: Callable[[], UUID], clock: Clock, window: timedelta) -> None:
        self._database, self._new_id, self._clock, self._window = database, new_id, clock, window

    async def follow(self, now: datetime) -> None:
        """Give up what is a week old, have tried at once what a change of flows or templates may have changed, and say
        in metrics how many wait. Safe to repeat, and for every replica."""
        days = _days(now)
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
            org_id = await connection.fetchval(CLAIM_ORG, now, claim_id, now + _LEASE, now - _COUNT_EVERY)
        if org_id is None:
            return False
        waiting = 0
        for day in _days(now):
            async with self._database.transaction(org_id, _TIMEOUT_S) as connection:
                await connection.execute(BEGIN_LONG_WORK)
                waiting += await connection.fetchval(COUNT_NO_DELIVERY, org_id, day, timeout=STATEMENT_TIMEOUT_S)
        async with self._database.transaction(org_id) as connection:
            await connection.execute(SETTLE_ORG, org_id, claim_id, now, waiting)
        return True

    async def try_one(self, now: datetime) -> bool:
        """Look at the emails of one message and day, batch by batch."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(CLAIM, now, claim_id, now + _LEASE, _days(now)[0])
        if row is None:
            return False
        claim = _Claim(row["org_id"], row["day"], row["message_id"], row["tries"], claim_id, row["setup"],
                       row["setup_now"])  # fmt: skip
        try:
            found = await self._look(claim)
            await self._settle(claim, found, now)
        except _ClaimLostError:
            log.info("unmatched.claim_lost", org_id=claim.org_id, day=claim.day.isoformat())
        return True

    async def _look(self, claim: _Claim) -> _Found:
        found, named = _Found(), claim.message_id != ""
        await self._look_all(claim, LOOK_OPEN[named], found)
        if claim.setup != claim.setup_now:
            await self._look_all(claim, LOOK_BY_FLOW[named], found)
        async with self._database.transaction(claim.org_id, _TIMEOUT_S) as connection:
            asked = await self._asked(connection, claim)
            found.not_synced = await connection.fetchval(COUNT_BY_FLOW[named], *asked, timeout=STATEMENT_TIMEOUT_S)
        return found

    async def _look_all(self, claim: _Claim, look: str, found: _Found) -> None:
        after = ""
        while True:
            async with self._database.transaction(claim.org_id, _TIMEOUT_S) as connection:
                asked = await self._asked(connection, claim)
                row = await connection.fetchrow(look, *asked, after, timeout=STATEMENT_TIMEOUT_S)
                assert row is not None  # noqa: S101  # an aggregate has one row
            found.looked += row["looked"]
            found.no_generation += row["no_generation"]
            found.other_message += row["other_message"]
            if row["differing"]:
                await self._match(claim, row["differing"], found)
            if row["looked"] < BATCH:
                return
            after = row["last"]
            await self._extend(claim)

    async def _asked(self, connection: Connection, claim: _Claim) -> tuple[Any, ...]:
        await connection.execute(BEGIN_LONG_WORK)
        lookback: int = await connection.fetchval(SELECT_LOOKBACK_DAYS, claim.org_id, self._window)
        templates: list[str] = await connection.fetchval(SELECT_TEMPLATES, claim.org_id)
        since = claim.day - timedelta(days=1)
        return claim.org_id, since, self._window, lookback, claim.day, claim.message_id, templates

    async def _match(self, claim: _Claim, transmissions: list[str], found: _Found) -> None:
        """Compute them anew from their events, with all that hangs on them."""
        async with self._database.connection(_TIMEOUT_S) as connection, connection.transaction():
            await begin_switch(connection, claim.org_id)
            await connection.execute(CREATE_WORK_TABLES)
            await connection.execute(TOUCH, transmissions)
            orders = await orders_of(connection, claim.org_id)
            await recompute_sends(connection, orders, claim.org_id, self._window)
            anew = await connection.fetch(COUNT_ANEW, claim.org_id, transmissions)
            await connection.execute(DROP_WORK_TABLES)
        by = {row["attribution"]: row["emails"] for row in anew}
        matched = sum(by.get(name, 0) for name in _MATCHED)
        found.matched += matched
        found.no_generation += by.get("no_generation", 0)
        found.other_message += by.get("other_message", 0)
        metrics.count("ingest_unmatched_total", matched, outcome="matched")
        log.info("unmatched.matched", org_id=claim.org_id, day=claim.day.isoformat(), emails=matched)

    async def _extend(self, claim: _Claim) -> None:
        until = self._clock.now() + _LEASE
        async with self._database.transaction(claim.org_id) as connection:
            if await connection.execute(EXTEND, *claim.key, claim.claim_id, until) != "UPDATE 1":
                raise _ClaimLostError

    async def _settle(self, claim: _Claim, found: _Found, now: datetime) -> None:
        doubled, tries = (0, 0) if found.matched else (min(claim.tries, 10), claim.tries + 1)
        rest = max(min(EVERY * 2**doubled, LONGEST), found.looked * _REST_OF_ONE)
        async with self._database.transaction(claim.org_id) as connection:
            await connection.execute(
                SETTLE, *claim.key, claim.claim_id, now, tries, now + EVERY, now + rest, claim.setup_now,
                found.no_generation, found.other_message, found.not_synced,
            )  # fmt: skip
            await connection.execute(DROP_EMPTY, *claim.key)


def _days(now: datetime) -> list[date]:
    """Those whose emails are still tried, today among them."""
    today = generation_day(now)
    return [today - timedelta(days=back) for back in range(KEPT_DAYS, -1, -1)]


class Retrier:
    """A runner."""

    def __init__(self, unmatched: Unmatched, clock: Clock, tick: timedelta) -> None:
        self._unmatched, self._clock, self._tick = unmatched, clock, tick
        self._look_at: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is in hand is finished."""
        while not stop.is_set():
            worked = False
            try:
                now = self._clock.now()
                if self._look_at is None or now >= self._look_at:
                    self._look_at = now + _LOOK_EVERY
                    await self._unmatched.follow(now)
                started_s = self._clock.monotonic()
                worked = await self._unmatched.try_one(now) or await self._unmatched.count_one(now)
                if worked:  # it rests as long as it worked: the database has more to do than that
                    await first_of(self._clock.sleep(self._clock.monotonic() - started_s), stop.wait())
            except Failure as error:
                log.warning("unmatched.look_failed", reason=error.reason)
            except Exception as error:  # of one org; the others' emails are tried
                log.error("unmatched.look_failed", exc_info=error)
            if not worked:
                await first_of(self._clock.sleep(self._tick.total_seconds()), stop.wait())
