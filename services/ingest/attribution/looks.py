"""Emails of one message and day that show no generation yet, looked at again; unmatched.py says which and when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from services.ingest.attribution.attribute import (
    ATTRIBUTED,
    ATTRIBUTION,
    GENERATIONS,
    SELECT_LOOKBACK_DAYS,
    recompute_sends,
)
from services.ingest.attribution.conversions import orders_of
from services.ingest.loading.switch import (
    BEGIN_LONG_WORK,
    CREATE_WORK_TABLES,
    DROP_WORK_TABLES,
    STATEMENT_TIMEOUT_S,
    begin_switch,
)
from shared import logs, metrics
from shared.clock import Clock
from shared.db.pool import Connection, Database
from shared.schemas.ids import generation_day
from shared.unmatched import KEPT_DAYS

log = logs.get(__name__)

EVERY: Final = timedelta(minutes=5)
"""Between the first two looks; each that finds nothing makes the next rest twice as long, up to LONGEST. The same in
MARK_UNMATCHED of attribute.py."""
LONGEST: Final = timedelta(hours=6)

LEASE: Final = timedelta(minutes=10)
TIMEOUT_S: Final = 900.0
_REST_OF_ONE: Final = timedelta(milliseconds=1)  # many emails are looked at less often

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
_OF_MESSAGE: Final = {True: "s.message_id = $6", False: "$6 = '' AND s.message_id IS NULL"}
_OPEN: Final = "s.template_id IS NULL"
_BY_FLOW: Final = "s.template_id = ANY ($7::text[]) AND s.attribution = 'flow'"


def _look(which: str, *, named: bool, batch: int) -> str:
    """$1 to $4: see ATTRIBUTION. $5: the day; $6: the message; $7: the org's templates; $8: after this transmission."""
    return f"""
    WITH t AS MATERIALIZED (
        SELECT {_COLUMNS}, {ATTRIBUTED} FROM sends s
        WHERE s.org_id = $1 AND s.day = $5 AND {which} AND {_OF_MESSAGE[named]} AND s.transmission_id > $8
          AND $7::text[] IS NOT NULL
        ORDER BY s.transmission_id LIMIT {batch}
    ), looked AS (
        SELECT t.transmission_id, t.attribution, ROW(t.attribution, t.generation_id, t.generation_day, t.template_id,
            t.copy_id, t.cell, t.drawn_copy_id) IS DISTINCT FROM ROW({ATTRIBUTION}) AS differs
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


def days_tried(now: datetime) -> list[date]:
    """Those whose emails are still tried, today among them."""
    today = generation_day(now)
    return [today - timedelta(days=back) for back in range(KEPT_DAYS, -1, -1)]


class Looks:
    """On PostgreSQL. `window`: as attribution has it; `batch`: emails that one statement looks at."""

    def __init__(
        self, database: Database, new_id: Callable[[], UUID], clock: Clock, window: timedelta, batch: int
    ) -> None:
        self._database, self._new_id, self._clock, self._window = database, new_id, clock, window
        self._batch = batch
        self._open = {named: _look(_OPEN, named=named, batch=batch) for named in _OF_MESSAGE}
        self._by_flow = {named: _look(_BY_FLOW, named=named, batch=batch) for named in _OF_MESSAGE}

    async def try_one(self, now: datetime) -> bool:
        """Look at the emails of one message and day, batch by batch."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(CLAIM, now, claim_id, now + LEASE, days_tried(now)[0])
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
        await self._look_all(claim, self._open[named], found)
        if claim.setup != claim.setup_now:
            await self._look_all(claim, self._by_flow[named], found)
        async with self._database.transaction(claim.org_id, TIMEOUT_S) as connection:
            asked = await self._asked(connection, claim)
            found.not_synced = await connection.fetchval(COUNT_BY_FLOW[named], *asked, timeout=STATEMENT_TIMEOUT_S)
        return found

    async def _look_all(self, claim: _Claim, look: str, found: _Found) -> None:
        after = ""
        while True:
            async with self._database.transaction(claim.org_id, TIMEOUT_S) as connection:
                asked = await self._asked(connection, claim)
                row = await connection.fetchrow(look, *asked, after, timeout=STATEMENT_TIMEOUT_S)
                assert row is not None  # noqa: S101  # an aggregate has one row
            found.looked += row["looked"]
            found.no_generation += row["no_generation"]
            found.other_message += row["other_message"]
            if row["differing"]:
                await self._match(claim, row["differing"], found)
            if row["looked"] < self._batch:
                return
            after = row["last"]
            await self._extend(claim)

    async def _asked(self, connection: Connection, claim: _Claim) -> tuple[Any, ...]:
        await connection.execute(BEGIN_LONG_WORK)
        since = claim.day - timedelta(days=1)
        lookback: int = await connection.fetchval(SELECT_LOOKBACK_DAYS, claim.org_id, self._window, since)
        templates: list[str] = await connection.fetchval(SELECT_TEMPLATES, claim.org_id)
        return claim.org_id, since, self._window, lookback, claim.day, claim.message_id, templates

    async def _match(self, claim: _Claim, transmissions: list[str], found: _Found) -> None:
        """Compute them anew from their events, with all that hangs on them."""
        async with self._database.connection(TIMEOUT_S) as connection, connection.transaction():
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
        until = self._clock.now() + LEASE
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
