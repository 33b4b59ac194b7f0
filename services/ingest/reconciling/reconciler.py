"""Compares our counts with Klaviyo's own totals, org by org, every hour.

Here and not in the profile writer: what a difference means shows in the ledger of files, which is ingest's, and nothing
of it may come near the deadline of a write. Klaviyo counts the calls of each operation apart, so reading totals takes
nothing from the quota of profile writes; among themselves, orgs that share an account share its reports.

Any number of replicas may run it: an org is claimed with a lease, and an account is asked by one at a time.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.ingest.reconciling.store import Comparisons, Counted, Due, Row, Spans
from shared import logs
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.errors import Failure
from shared.klaviyo.errors import KeyRefused
from shared.klaviyo.reports import FlowTotals, Metric
from shared.reconciling import Basis, Compared, Files, Measure, cause_of
from shared.stepper import one_after_another

log = logs.get(__name__)

DAYS: Final = 7
_HAPPENED: Final = timedelta(hours=24)
_OLDEST_NEWEST: Final = timedelta(days=3)
_LEASE: Final = timedelta(minutes=30)
_TRY_AGAIN: Final = timedelta(minutes=10)
_OUR_TURN: Final = timedelta(seconds=70)
_CALLS_A_DAY: Final = 200  # of 225, which other apps of the account use too

# By metric, the measure that its events are.
METRICS: Final[Mapping[str, Measure]] = {
    "Received Email": "delivered",
    "Opened Email": "opens",
    "Clicked Email": "clicks",
    "Bounced Email": "bounced",
    "Marked Email as Spam": "spam_complaints",
    "Unsubscribed": "unsubscribes",
    "Unsubscribed from Email Marketing": "unsubscribes",
}
_DEFAULT_CONVERSION: Final = "placed order"


class Totals(Protocol):
    """What is asked of `shared.klaviyo.reports.Reports`."""

    async def time_zone(self) -> str | None: ...
    async def metrics(self) -> list[Metric]: ...
    async def flow_totals(self, since: date, until: date, conversion_metric_id: str) -> list[FlowTotals]: ...
    async def happened(self, metric_id: str, since: datetime, until: datetime) -> dict[str, int]: ...


def next_due(now: datetime, every: timedelta, orgs: int) -> datetime:
    """When an org is compared again; where many share an account, its reports of a day are shared out among them."""
    return now + max(every, orgs * timedelta(days=1) / _CALLS_A_DAY)


def whole_days(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The last `DAYS` days that are over in this time zone."""
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=DAYS), today


def last_hours(now: datetime, newest_at: datetime | None) -> tuple[datetime, datetime]:
    """The last 24 whole hours of which we can have all events. A file that comes once a day is not late all day long:
    that it is late at all shows in the whole days."""
    until = now.replace(minute=0, second=0, microsecond=0)
    if newest_at is not None and newest_at > now - _OLDEST_NEWEST:
        until = min(until, newest_at.replace(minute=0, second=0, microsecond=0))
    return until - _HAPPENED, until


@dataclass(frozen=True, slots=True)
class _Asked:
    """Klaviyo's answers, and why there are not more. `sent` None: that was not answered."""

    sent: list[FlowTotals] | None
    happened: Mapping[Measure, Mapping[str, int]]
    problems: list[str]


class Reconciler:
    """A runner."""

    def __init__(
        self,
        comparisons: Comparisons,
        totals_of: Callable[[str, str], Totals],
        ring: KeyRing,
        clock: Clock,
        new_id: Callable[[], UUID],
        *,
        every: timedelta,
        tick_s: float,
    ) -> None:
        """`totals_of` makes a reader of base URL and private key."""
        self._comparisons, self._totals_of, self._ring = comparisons, totals_of, ring
        self._clock, self._new_id, self._every, self._tick_s = clock, new_id, every, tick_s

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the org in hand is left to whoever takes it over."""
        await one_after_another(self.compare_one, stop, self._clock, self._tick_s, "reconcile.interrupted")

    async def compare_one(self) -> bool:
        """Compare one org that is due. False when none is. Raises Outage."""
        now = self._clock.now()
        due = await self._comparisons.claim(self._new_id(), now, _LEASE)
        if due is None:
            return False
        with logs.bound(org_id=due.org_id):
            if not await self._comparisons.take_report(due.account_key, now):
                await self._comparisons.put_off(due, now + _OUR_TURN)
                return True
            try:
                await self._compare(due)
            except (Failure, SealError) as failure:
                reason = failure.reason if isinstance(failure, Failure) else "sealed"
                log.warning("reconcile.failed", reason=reason)
                at = self._clock.now()
                await self._comparisons.put_off(due, at + _TRY_AGAIN, now=at, problem=str(failure))
            except Exception as error:  # an answer that nobody foresaw; the other orgs are compared
                log.error("reconcile.failed", exc_info=error)
                at = self._clock.now()
                why = f"Klaviyo's answer was not understood: {type(error).__name__}"
                await self._comparisons.put_off(due, at + _TRY_AGAIN, now=at, problem=why)
        return True

    async def _compare(self, due: Due) -> None:
        now, ours = self._clock.now(), self._comparisons.ours(due.org_id)
        key = self._ring.open(due.sealed_key, f"{due.org_id}/klaviyo")
        totals = self._totals_of(due.base_url, key)
        name, zone = await _zone(totals, due.scopes)
        sent = whole_days(now, zone)
        files = await ours.files(sent[0], now)
        spans = Spans(name, sent, last_hours(now, files.newest_at))
        metrics = await totals.metrics()
        conversion = _conversion(await ours.conversion_metrics(), metrics)
        asked = await _ask(totals, spans, metrics, conversion)
        orders = conversion.name.lower() if conversion is not None else None
        rows = [
            *_by_sent(asked.sent, await ours.sent(*spans.sent, orders), spans, files),
            *_by_happened(
                asked.happened, await ours.happened(*spans.happened, METRICS), asked.sent or [], spans, files
            ),
        ]
        at = self._clock.now()
        await self._comparisons.settle(
            due, rows, spans, now, next_due(at, self._every, due.orgs), "; ".join(asked.problems) or None
        )
        log.info("reconcile.done", rows=len(rows), differing=sum(row.cause != "agrees" for row in rows))


async def _zone(totals: Totals, scopes: frozenset[str]) -> tuple[str | None, ZoneInfo]:
    """The account's time zone; without a name, UTC in its place."""
    try:
        name = await totals.time_zone() if "accounts:read" in scopes else None
        return name, ZoneInfo(name or "UTC")
    except (KeyRefused, ZoneInfoNotFoundError, ValueError):
        return None, ZoneInfo("UTC")


def _conversion(counted: list[str], metrics: list[Metric]) -> Metric | None:
    """The metric whose orders are compared: what most templates count. A report must be given one, so any will do where
    none is counted."""
    by_name = {one.name.lower(): one for one in metrics}
    return next((by_name[name] for name in (*counted, _DEFAULT_CONVERSION) if name in by_name), None)


async def _ask(totals: Totals, spans: Spans, metrics: list[Metric], conversion: Metric | None) -> _Asked:
    """Both kinds of totals. One that the key may not read does not keep the other away."""
    problems: list[str] = []
    sent: list[FlowTotals] | None = None
    given = conversion or next(iter(metrics), None)
    if given is not None:
        zone = ZoneInfo(spans.time_zone or "UTC")
        first, last = (moment.astimezone(zone).date() for moment in spans.sent)
        try:
            sent = await totals.flow_totals(first, last, given.metric_id)
        except KeyRefused as refused:
            if refused.reason != "scope_missing":
                raise
            problems.append("totals by day of sending need the scope flows:read (Flows: Read)")
    happened: dict[Measure, dict[str, int]] = {}
    for metric in metrics:
        measure = METRICS.get(metric.name)
        if measure is None:
            continue
        of_measure = happened.setdefault(measure, {})
        for message_id, number in (await totals.happened(metric.metric_id, *spans.happened)).items():
            of_measure[message_id] = of_measure.get(message_id, 0) + number
    return _Asked(sent, happened, problems)


def _by_sent(
    theirs: list[FlowTotals] | None, ours: Mapping[str, Counted], spans: Spans, files: Files
) -> list[Row]:  # fmt: skip
    """All measures of every message that either of us knows."""
    if theirs is None:
        return []
    told = {one.message_id: one for one in theirs}
    rows = []
    for message_id in sorted({*told, *ours}):
        counted = ours.get(message_id) or Counted(None, {}, {})
        total = told.get(message_id)
        counts = dict(total.counts) if total is not None else {}
        if "conversions" not in counted.counts:
            counts.pop("conversions", None)  # nobody counts orders of this message
        edge = counted.near_share if spans.time_zone is None else 0.0
        flow_id = total.flow_id if total is not None else counted.flow_id
        rows += _rows("sent", message_id, flow_id, counted, counts, spans.sent, edge, files)
    return rows


def _by_happened(
    theirs: Mapping[Measure, Mapping[str, int]], ours: Mapping[str, Counted], known: list[FlowTotals], spans: Spans,
    files: Files,
) -> list[Row]:  # fmt: skip
    """Messages of campaigns are left out: only Klaviyo's totals of flows were asked for."""
    flows = {one.message_id: one.flow_id for one in known}
    messages = {message_id for counts in theirs.values() for message_id in counts}
    messages |= {message_id for message_id, counted in ours.items() if counted.flow_id is not None}
    rows = []
    for message_id in sorted(messages):
        counted = ours.get(message_id) or Counted(None, {}, {})
        counts: dict[str, int] = {measure: by_message.get(message_id, 0) for measure, by_message in theirs.items()}
        flow_id = counted.flow_id or flows.get(message_id)
        rows += _rows("happened", message_id, flow_id, counted, counts, spans.happened, 0.0, files)
    return rows


def _rows(
    basis: Basis, message_id: str, flow_id: str | None, ours: Counted, theirs: Mapping[str, int],
    span: tuple[datetime, datetime], edge: float, files: Files,
) -> list[Row]:  # fmt: skip
    found = []
    for measure in sorted({*ours.counts, *theirs}):
        mine, its = ours.counts.get(measure, 0), theirs.get(measure, 0)
        people = ours.people.get(measure)
        if not mine and not its:
            continue
        one = Compared(basis, cast(Measure, measure), mine, its, *span, people=people, edge_share=edge)
        found.append(Row(basis, message_id, flow_id, measure, mine, its, people, cause_of(one, files)))
    return found
