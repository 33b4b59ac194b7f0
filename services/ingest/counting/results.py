"""Counts results ahead: days of decisions whose facts have changed, then reports of templates whose counts have.

Any number of replicas may run it. A claim takes a day, or a template, with a lease; what is raised meanwhile is seen by
its revision, which is read before the facts are, so nothing that comes late is missed. Days on which writes and sends
may still happen are counted again and again; for older ones the transaction that changes their sends says so, and
shown.py where generations come late.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from shared import logs, metrics
from shared.admin.results import days as results_days
from shared.admin.results.report import make_report
from shared.clock import Clock
from shared.db.pool import Database
from shared.errors import Failure
from shared.schemas.ids import generation_day
from shared.stepper import AT_ONCE, Stepper
from shared.zones import zone_of

log = logs.get(__name__)

_TIMEOUT_S = 900.0
_DAY = timedelta(days=1)
_MAX_ERROR = 500

# No webhook says that a day has begun; the templates do, which may get one.
OPEN_DAYS = """
    INSERT INTO result_days (org_id, day)
    SELECT DISTINCT org_id, day FROM templates, unnest($1::date[]) day WHERE state IN ('active', 'shipped')
    ON CONFLICT DO NOTHING
"""
CLAIM_DAY = """
    UPDATE result_days d SET claim_id = $2, lease_until = $3
    WHERE (d.org_id, d.day) = (
        SELECT org_id, day FROM result_days
        WHERE (lease_until IS NULL OR lease_until < $1)
          AND (counted_at IS NULL OR counted < revision AND counted_at < $1 - $7::interval
            OR counted_at < least(open_until, $1 - CASE WHEN day >= $4 THEN $5::interval ELSE $6::interval END))
        ORDER BY counted_at NULLS FIRST, day DESC LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING org_id, day, revision
"""
SETTLE_DAY = """
    UPDATE result_days SET counted = $4, counted_at = $5, open_until = $6, claim_id = NULL, lease_until = NULL
    WHERE org_id = $1 AND day = $2 AND claim_id = $3
"""
# Its generations are gone (0040_retention.sql).
IS_DROPPED = "SELECT EXISTS (SELECT FROM dropped_days WHERE day = $1)"
# In one order everywhere, so that two transactions cannot wait for each other in a ring.
RAISE_REPORTS = """
    INSERT INTO result_reports AS r (org_id, template_id) SELECT $1, one FROM unnest($2::text[]) one ORDER BY one
    ON CONFLICT (org_id, template_id) DO UPDATE SET revision = r.revision + 1
"""
CLAIM_REPORT = """
    UPDATE result_reports r SET claim_id = $2, lease_until = $3 FROM orgs o
    WHERE o.org_id = r.org_id AND (r.org_id, r.template_id) = (
        SELECT org_id, template_id FROM result_reports
        WHERE reported < revision AND (lease_until IS NULL OR lease_until < $1)
          AND (as_of IS NULL OR as_of < $1::timestamptz - $4::interval)
        ORDER BY as_of NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING r.org_id, r.template_id, r.revision, o.slug, o.time_zone
"""
SETTLE_REPORT = """
    UPDATE result_reports SET reported = $4, as_of = $5, report = $6, error = NULL, claim_id = NULL, lease_until = NULL
    WHERE org_id = $1 AND template_id = $2 AND claim_id = $3
"""
REPORT_FAILED = """
    UPDATE result_reports SET error = $4, claim_id = NULL, lease_until = $5
    WHERE org_id = $1 AND template_id = $2 AND claim_id = $3
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Virtual time. `fresh`: between two counts of today and yesterday; `older`: of other days that are still open;
    `report`: between two reports of a template; `late`: between two counts of a day
    whose sends keep changing."""

    tick: timedelta
    fresh: timedelta
    older: timedelta
    late: timedelta
    report: timedelta
    lease: timedelta


class Counts(Protocol):
    """What the counter does, one thing at a time. Each says whether there was something to do; raises Failure."""

    async def open_days(self, now: datetime) -> None: ...
    async def count_day(self, now: datetime) -> bool: ...
    async def report(self, now: datetime) -> bool: ...


class StoredCounts:
    """On PostgreSQL."""

    def __init__(self, database: Database, new_id: Callable[[], UUID], pace: Pace) -> None:
        self._database, self._new_id, self._pace = database, new_id, pace

    async def open_days(self, now: datetime) -> None:
        """Today and yesterday of every org that has a live template. Safe to repeat."""
        today = generation_day(now)
        async with self._database.transaction() as connection:
            await connection.execute(OPEN_DAYS, [today - _DAY, today])

    async def count_day(self, now: datetime) -> bool:
        """Count one day that is due. The count of a claim that was lost meanwhile is not stored."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                CLAIM_DAY, now, claim_id, now + self._pace.lease, generation_day(now) - _DAY, self._pace.fresh,
                self._pace.older, self._pace.late,
            )  # fmt: skip
        if row is None:
            return False
        org_id, day = row["org_id"], row["day"]
        async with self._database.transaction(org_id, _TIMEOUT_S) as connection:
            rows, last_on_profile = await results_days.count_day(connection, org_id, day)
        counts = await asyncio.to_thread(results_days.spread, rows)
        async with self._database.transaction(org_id, _TIMEOUT_S) as connection:
            settled = await connection.execute(
                SETTLE_DAY, org_id, day, claim_id, row["revision"], now, _open_until(day, last_on_profile, now)
            )
            # Asked after the facts were read: what was counted while they were there stands.
            if settled == "UPDATE 1" and not await connection.fetchval(IS_DROPPED, day):
                differing = await results_days.store_day(connection, org_id, day, counts)
                await connection.execute(RAISE_REPORTS, org_id, sorted(differing))
        return True

    async def report(self, now: datetime) -> bool:
        """Make the report that has waited longest."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(CLAIM_REPORT, now, claim_id, now + self._pace.lease, self._pace.report)
        if row is None:
            return False
        claim: tuple[Any, ...] = (row["org_id"], row["template_id"], claim_id)
        try:
            zone = zone_of(row["time_zone"])
            report = await make_report(self._database, row["org_id"], row["slug"], row["template_id"], now, zone)
        except Exception as error:  # of this template; the others' are made
            why = str(error) if isinstance(error, Failure | ValueError | ArithmeticError) else type(error).__name__
            async with self._database.transaction(row["org_id"]) as connection:
                await connection.execute(REPORT_FAILED, *claim, why[:_MAX_ERROR], now + self._pace.report)
            log.warning("results.report_failed", org_id=row["org_id"], template_id=row["template_id"], exc_info=error)
            return True
        async with self._database.transaction(row["org_id"]) as connection:
            await connection.execute(SETTLE_REPORT, *claim, row["revision"], now, report)
        return True


def _open_until(day: date, last_on_profile: datetime | None, now: datetime) -> datetime:
    """An email may show our copy until it is cleaned up; its opens come by files, which raise the day by themselves."""
    ends = datetime(day.year, day.month, day.day, tzinfo=now.tzinfo) + 2 * _DAY
    return max(ends, last_on_profile + _DAY) if last_on_profile else ends


class Counter(Stepper):
    """Days first, then reports. A day that fails is kept back by its lease."""

    failed = "results.count_failed"

    def __init__(self, counts: Counts, clock: Clock, tick: timedelta) -> None:
        super().__init__(clock, tick)
        self._counts = counts

    async def step(self) -> timedelta | None:
        """See Stepper."""
        await self._counts.open_days(self._clock.now())
        if await self._counts.count_day(self._clock.now()):
            metrics.count("results_counted_total", what="day")
            return AT_ONCE
        if await self._counts.report(self._clock.now()):
            metrics.count("results_counted_total", what="report")
            return AT_ONCE
        return None
