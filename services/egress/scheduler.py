"""Which hours are due, and the runner that publishes them.

Any number of replicas may run it: opening an hour twice changes nothing, and a job that comes twice finds the hour
claimed or already exported.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.egress.model import Cadence, DueHour, Plan
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Transient
from shared.exports import HOUR, Publisher, Table, hours_between
from shared.messaging.topology import EXPORT_HOUR
from shared.schemas.jobs import ExportHourJob, hour_of
from shared.stepper import Stepper

log = logs.get(__name__)

_OPENED_AT_ONCE = 200  # hours per org and look, so that one org's long history does not keep the others waiting
_PUBLISHED_AT_ONCE = 500
_PAGES_OF_MARKS = 100  # a million marks a look: thousands a second, and yet a look ends
_MARKED_FOR = timedelta(days=30)
_DAY = timedelta(days=1)


def closed_until(now: datetime, cadence: Cadence, settle_s: float) -> datetime:
    """The end of the newest hour that may be exported: of its day (`daily`) or itself (`hourly`) closed at least
    `settle_s` ago. All in UTC, so no daylight saving time adds or takes an hour."""
    settled = now - timedelta(seconds=settle_s)
    return hour_of(settled) if cadence == "hourly" else hour_of(settled).replace(hour=0)


def due_hours(
    now: datetime, cadence: Cadence, first_hour: datetime, done: Collection[datetime], settle_s: float
) -> list[datetime]:
    """The hours from `first_hour` on that are closed and settled and not in `done`, oldest first."""
    seen = set(done)
    return [hour for hour in hours_between(first_hour, closed_until(now, cadence, settle_s)) if hour not in seen]


def rewrite_at(now: datetime, hour: datetime, cadence: Cadence, settle_s: float) -> datetime:
    """When an exported hour of which something became known now is written again: after an eighth of its age, between
    an hour and a day, so that opens that trickle in cost few rewrites; daily, not before the next day's export."""
    wait = min(max((now - hour) / 8, HOUR), _DAY)
    if cadence == "hourly":
        return now + wait
    return max(now + wait, closed_until(now, "daily", settle_s) + _DAY + timedelta(seconds=settle_s))


class Hours(Protocol):
    """What the scheduler asks of the ledger."""

    async def plans(self) -> Sequence[Plan]:
        """Of every target, also of those that are switched off."""

    async def first_hour(self, org_id: UUID, table: Table) -> datetime | None:
        """The earliest hour that holds anything; None while there is nothing."""

    async def known_hours(self, org_id: UUID, table: Table, since: datetime) -> Sequence[datetime]:
        """The hours of the ledger from `since` on."""

    async def open_hours(self, org_id: UUID, table: Table, hours: Sequence[datetime], due_at: datetime) -> None:
        """Put hours into the ledger that are not there yet."""

    async def ask_variants(self, org_id: UUID, closed_at: datetime, due_at: datetime) -> None:
        """Have the table of variants exported, unless that was done or asked for since `closed_at`."""

    async def take_marks(
        self, since: datetime, due_at: Callable[[UUID, datetime], datetime | None]
    ) -> tuple[int, bool]:
        """Raise the exported hours that hold something new, from `since` on; how many, and whether more may be left."""

    async def due(self, now: datetime, settled_before: datetime, limit: int) -> Sequence[DueHour]:
        """Hours that need an export, begin before `settled_before`, and whose due_at has come, where exports are on."""

    async def late_s(self, now: datetime, settle_s: float) -> float:
        """For how long the hour of the last days that waits longest could have been exported; 0 where none waits."""

    async def queued(self, due: Sequence[DueHour], again_at: datetime) -> None:
        """Their jobs are published; if they still need an export at `again_at`, they are due again."""


class Scheduler(Stepper):
    """Looks every `tick_s`, opens hours that are due, and publishes a job for each that waits."""

    failed = "exports.look_failed"

    def __init__(
        self, hours: Hours, publisher: Publisher, clock: Clock, *, settle_s: float, tick_s: float, requeue_s: float
    ) -> None:
        super().__init__(clock, timedelta(seconds=tick_s))
        self._hours, self._publisher = hours, publisher
        self._settle_s, self._requeue_s = settle_s, requeue_s
        # Per target and table: from its first hour, all are open until.
        self._opened: dict[tuple[UUID, datetime | None, Table], tuple[datetime, datetime]] = {}
        self._stuck_at: UUID | None = None  # the org at which the last look could not go on

    async def step(self) -> None:
        """See Stepper."""
        if published := await self.look():
            log.info("exports.published", hours=published)

    async def look(self) -> int:
        """One look; how many jobs were published."""
        now = self._clock.now()
        plans = await self._hours.plans()
        await self._open_all([one for one in plans if one.enabled], now)
        await self._raise_marked({plan.org_id: plan for plan in plans}, now)
        # An hour that is still open is not due, even if a backfill exported it as it stood and more came since.
        settled_before = now - timedelta(seconds=self._settle_s) - HOUR
        due = await self._hours.due(now, settled_before, _PUBLISHED_AT_ONCE)
        for hour in due:
            job = ExportHourJob(org_id=hour.org_id, table=hour.table, hour=hour.hour, reason=hour.reason)
            await self._publisher.send_jobs(EXPORT_HOUR, hour.org_id, [job])
        await self._hours.queued(due, now + timedelta(seconds=self._requeue_s))
        metrics.gauge("export_late_seconds", await self._hours.late_s(now, self._settle_s))
        return len(due)

    async def _open_all(self, plans: Sequence[Plan], now: datetime) -> None:
        """Up to the first org of which the database says nothing in time; the next look begins behind it. So one org
        that is slow keeps the others waiting for a look at the most, and a database that is away is asked once."""
        stuck_at, self._stuck_at = self._stuck_at, None
        for plan in sorted(plans, key=lambda plan: stuck_at is not None and plan.org_id <= stuck_at):
            try:
                for table in plan.tables:
                    if table == "variants":
                        closed_at = closed_until(now, plan.cadence, self._settle_s) + timedelta(seconds=self._settle_s)
                        await self._hours.ask_variants(plan.org_id, closed_at, now)
                    else:
                        await self._open(plan, table, now)
            except Transient as error:  # Outage too
                self._stuck_at = plan.org_id
                log.warning("exports.not_opened", org_id=plan.org_id, reason=error.reason)
                return

    async def _raise_marked(self, plans: Mapping[UUID, Plan], now: datetime) -> None:
        def due_at(org_id: UUID, hour: datetime) -> datetime | None:
            plan = plans.get(org_id)
            return None if plan is None else rewrite_at(now, hour, plan.cadence, self._settle_s)

        for _ in range(_PAGES_OF_MARKS):
            raised, more = await self._hours.take_marks(now - _MARKED_FOR, due_at)
            if raised:
                log.info("exports.raised", hours=raised)
            if not more:
                return

    async def _open(self, plan: Plan, table: Table, now: datetime) -> None:
        first = await self._hours.first_hour(plan.org_id, table)
        if first is None:
            return
        which = plan.org_id, plan.since, table
        known_first, opened_until = self._opened.get(which, (first, first))
        if first < known_first:  # rows arrived late, from before all others
            opened_until = first
        known = await self._hours.known_hours(plan.org_id, table, opened_until)
        hours = due_hours(now, plan.cadence, opened_until, known, self._settle_s)
        if opening := hours[:_OPENED_AT_ONCE]:
            await self._hours.open_hours(plan.org_id, table, opening, now)
        until = closed_until(now, plan.cadence, self._settle_s)
        reached = hours[_OPENED_AT_ONCE] if len(hours) > _OPENED_AT_ONCE else max(opened_until, until)
        self._opened[which] = (first, reached)
