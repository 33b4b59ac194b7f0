"""Counts what emails showed, by quarter hours of acceptance, as their facts change (ADR 0021).

Who writes facts leaves a mark in the same transaction. Marks are taken away and raise the quarters that they are about,
and days of results that have ended and to which generations came. A raised quarter is counted anew as a whole. Its
revision is read before its facts are, so nothing that comes meanwhile is missed. Any number of replicas may run it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from shared import logs, metrics
from shared.admin.outcomes.shown_facts import JUDGED
from shared.admin.outcomes.shown_spans import QUARTER, SPANS, minutes, span_start
from shared.admin.outcomes.shown_store import SET_FOR_FEW, facts_of
from shared.clock import Clock
from shared.db.pool import Connection, Database
from shared.schemas.ids import generation_day
from shared.stepper import AT_ONCE, Stepper

log = logs.get(__name__)

_TIMEOUT_S: Final = 120.0
_YOUNG: Final = timedelta(hours=2)
_TOLD: Final = timedelta(days=1)
_TELL_EVERY: Final = timedelta(minutes=1)
_MARKS: Final = 10_000

TRY_LOCK_MARKS: Final = "SELECT pg_try_advisory_xact_lock(7331028)"
TAKE_MARKS: Final = """
    DELETE FROM shown_marks
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM shown_marks LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING org_id, at, day, came
"""
PASSED: Final = """
    INSERT INTO shown_orgs (org_id, passed_at) SELECT one, $2 FROM unnest($1::uuid[]) one
    ON CONFLICT (org_id) DO UPDATE SET passed_at = excluded.passed_at
"""
_RAISE: Final = """
    SET revision = q.revision + 1, raised_at = CASE WHEN q.counted < q.revision THEN q.raised_at ELSE {0} END
"""
RAISE_QUARTERS: Final = f"""
    INSERT INTO shown_quarters AS q (org_id, at, raised_at)
    SELECT org_id, at, $3 FROM unnest($1::uuid[], $2::timestamptz[]) m (org_id, at)
    ON CONFLICT (org_id, at) DO UPDATE {_RAISE.format("$3")}
"""  # noqa: S608  # our own text
# An outcome changes only quarters that wait for one of its day: which generation it is of is not asked.
RAISE_WAITING: Final = f"""
    UPDATE shown_quarters q {_RAISE.format("$3")}
    FROM unnest($1::uuid[], $2::date[]) m (org_id, day)
    WHERE q.org_id = m.org_id AND q.waits_from <= m.day AND q.waits_to >= m.day
"""
RAISE_HANGING: Final = f"""
    UPDATE shown_quarters q {_RAISE.format("$3")}
    FROM unnest($1::uuid[], $2::timestamptz[]) m (org_id, at) WHERE q.org_id = m.org_id AND q.hangs AND q.at > m.at
"""
# What was accepted before emails left that are counted as such, and is stored only now. While webhooks are stored in
# time, that is so of those quarters alone whose emails have just left.
RAISE_LEFT: Final = f"""
    UPDATE shown_quarters q {_RAISE.format("$3")}
    FROM unnest($1::uuid[], $2::timestamptz[]) m (org_id, at)
    WHERE q.org_id = m.org_id AND q.left_to >= m.at AND q.at <= m.at
"""
RAISE_PASSED: Final = f"UPDATE shown_quarters q {_RAISE.format('q.next_at')}, next_at = NULL WHERE next_at <= $1"
# A day that is still open is counted once more after its end, whatever comes until then (results.py).
RAISE_ENDED_DAYS: Final = """
    INSERT INTO result_days AS d (org_id, day) SELECT org_id, day FROM unnest($1::uuid[], $2::date[]) m (org_id, day)
    ON CONFLICT (org_id, day) DO UPDATE SET revision = d.revision + 1
    WHERE d.open_until IS NULL OR d.open_until <= $3::timestamptz
"""
# Newest first. Never again at once: while webhooks come, a quarter is raised with every tick.
CLAIM: Final = """
    UPDATE shown_quarters q SET claim_id = $2, lease_until = $3
    WHERE (q.org_id, q.at) = (
        SELECT org_id, at FROM shown_quarters
        WHERE counted < revision AND (lease_until IS NULL OR lease_until < $1) AND (counted_at IS NULL
            OR counted_at < $1 - CASE WHEN at >= $4 THEN $5::interval ELSE $6::interval END)
        ORDER BY at DESC LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING q.org_id, q.at, q.revision
"""
_KEYS: Final = ("template_id", "decision", "decided", "outcome", "reason", "shown", "because")
_KEY: Final = ", ".join(_KEYS)
# Only what differs is written: most rows of a day do not change with one of its quarters.
_STORE: Final = f"""
    stored AS MATERIALIZED (
        SELECT {_KEY}, emails, seen FROM shown_counts WHERE org_id = $1 AND span = {{span}} AND at = {{at}}
    ), gone AS (
        DELETE FROM shown_counts c USING (SELECT {_KEY} FROM stored EXCEPT SELECT {_KEY} FROM grouped) g
        WHERE c.org_id = $1 AND c.span = {{span}} AND c.at = {{at}} AND c.template_id = g.template_id
          AND {" AND ".join(f"c.{key} IS NOT DISTINCT FROM g.{key}" for key in _KEYS)}
        RETURNING 1
    ), put AS (
        INSERT INTO shown_counts AS c (org_id, span, at, {_KEY}, emails, seen)
        SELECT $1, {{span}}, {{at}}, new.* FROM (
            SELECT {_KEY}, emails, seen FROM grouped EXCEPT SELECT {_KEY}, emails, seen FROM stored) new
        ON CONFLICT (org_id, span, at, {_KEY}) DO UPDATE SET emails = excluded.emails, seen = excluded.seen
        RETURNING 1
    )
"""  # noqa: S608  # the names above
# What an outcome could still change: generations without one, those that hang on an older generation without one, and
# copy whose email has left where something newer of its person has none.
COUNT: Final = f"""
    WITH {JUDGED}, {_STORE.format(span="15", at="$8")}
    SELECT EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM put) AS differs,
        coalesce(bool_or(hangs), false) AS hangs,
        min(CASE WHEN leaves_by > $6 THEN leaves_by WHEN shown = 'pending' THEN coalesce(left_by, latest_at) END)
            AS next_at,
        max(left_at) FILTER (WHERE leaves_by <= $6) AS left_to,
        min(CASE WHEN open THEN day ELSE least(waits_from, newer_from) END) AS waits_from,
        max(CASE WHEN open THEN day ELSE greatest(waits_to, newer_to) END) AS waits_to
    FROM (SELECT *, outcome IS NULL AND decided <> 'unknown_template' AS open FROM judged) judged
"""  # noqa: S608  # our own text
# Two quarters of a day may be counted at once; who sums up must see both.
LOCK_SUMS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('shown:' || $1, 0))"
SUM: Final = f"""
    WITH grouped AS (
        SELECT {_KEY}, sum(emails)::bigint AS emails, sum(seen)::bigint AS seen FROM shown_counts
        WHERE org_id = $1 AND span = $4 AND at >= $3 AND at < $3 + $5::interval GROUP BY {_KEY}
    ), {_STORE.format(span="$2::smallint", at="$3")}
    SELECT EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM put)
"""  # noqa: S608  # the names above
# By org, because that is how the counts are found.
COUNT_STALE: Final = """
    SELECT o.slug, s.emails FROM shown_orgs JOIN orgs o USING (org_id) CROSS JOIN LATERAL (
        SELECT sum(emails)::bigint AS emails FROM shown_counts c
        WHERE c.org_id = o.org_id AND c.span = 60 AND c.at >= $1 AND c.shown = 'stale' OFFSET 0) s
    WHERE s.emails > 0 ORDER BY s.emails DESC, o.slug LIMIT $2
"""
_MOST_STALE: Final = 50  # series of a metric
# The oldest change of a quarter since then that is not counted.
UNCOUNTED_SINCE: Final = "SELECT min(raised_at) FROM shown_quarters WHERE counted < revision AND at >= $1"
# The quarter's generations are gone (0040_retention.sql).
IS_DROPPED: Final = "SELECT EXISTS (SELECT FROM dropped_days WHERE day = $1)"
SETTLE: Final = """
    UPDATE shown_quarters SET counted = $4, counted_at = $5::timestamptz, next_at = $6, waits_from = $7,
        waits_to = $8, hangs = $9, left_to = $10, raised_at = CASE WHEN revision > $4 THEN $5::timestamptz END,
        claim_id = NULL, lease_until = NULL
    WHERE org_id = $1 AND at = $2 AND claim_id = $3
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Virtual time. `young`: between two counts of a quarter of the last two hours; `older`: of another one."""

    tick: timedelta
    young: timedelta
    older: timedelta
    lease: timedelta


@dataclass(frozen=True, slots=True)
class Raised:
    """What marks are about: quarters, days for which some wait, the quarters to which generations came, the first of
    them, and all days to which they came."""

    quarters: list[tuple[UUID, datetime]]
    days: list[tuple[UUID, date]]
    came: list[tuple[UUID, datetime]]
    first_came: list[tuple[UUID, datetime]]
    days_came: list[tuple[UUID, date]]


def raised_by(marks: list[Any]) -> Raised:
    """In one order everywhere, so that two transactions cannot wait for each other in a ring. Pure."""
    came = sorted({(mark["org_id"], mark["at"]) for mark in marks if mark["came"]})
    first = {org_id: at for org_id, at in reversed(came)}
    return Raised(
        sorted({(mark["org_id"], mark["at"]) for mark in marks if mark["at"] is not None}),
        sorted({(mark["org_id"], mark["day"]) for mark in marks if mark["day"] is not None}),
        came,
        sorted(first.items()),
        sorted({(org_id, generation_day(at)) for org_id, at in came}),
    )


class ShownCounts(Protocol):
    """What the runner does, one thing at a time. Each says whether there was something to do; raises Failure."""

    async def take_marks(self, now: datetime) -> bool: ...
    async def count_quarter(self, now: datetime) -> bool: ...
    async def stale_since(self, since: datetime) -> Mapping[tuple[str, ...], float]: ...
    async def uncounted_since(self, since: datetime) -> datetime | None: ...


class _ClaimLostError(Exception):
    """Somebody else counts it now; nothing of ours may be kept."""


class _DroppedError(Exception):
    """The quarter's generations are gone; what was counted of them must stay."""


class StoredShownCounts:
    """On PostgreSQL."""

    def __init__(self, database: Database, new_id: Callable[[], UUID], pace: Pace) -> None:
        self._database, self._new_id, self._pace = database, new_id, pace
        self._passed_at: datetime | None = None

    async def take_marks(self, now: datetime) -> bool:
        """Raise what has changed; whether there may be more."""
        # What a mark tells of has happened since they were looked at last, at the earliest.
        since = self._passed_at or now
        async with self._database.transaction(timeout_s=_TIMEOUT_S) as connection:
            if not await connection.fetchval(TRY_LOCK_MARKS):
                return False  # another replica is at it
            await connection.execute(RAISE_PASSED, now)
            marks = await connection.fetch(TAKE_MARKS, _MARKS)
            raised = raised_by(marks)
            for statement, found, at in (
                (RAISE_QUARTERS, raised.quarters, since), (RAISE_WAITING, raised.days, since),
                (RAISE_HANGING, raised.first_came, since), (RAISE_LEFT, raised.came, since),
                (RAISE_ENDED_DAYS, raised.days_came, now),
            ):  # fmt: skip
                if found:
                    await connection.execute(statement, *map(list, zip(*found, strict=True)), at)
            if marks:
                await connection.execute(PASSED, sorted({mark["org_id"] for mark in marks}), now)
        self._passed_at = now
        return len(marks) == _MARKS

    async def count_quarter(self, now: datetime) -> bool:
        """Count one quarter that is due. The count of a claim that was lost meanwhile is not stored."""
        claim_id = self._new_id()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                CLAIM, now, claim_id, now + self._pace.lease, now - _YOUNG, self._pace.young, self._pace.older
            )
        if row is None:
            return False
        org_id, at = row["org_id"], row["at"]
        try:
            async with self._database.transaction(org_id, _TIMEOUT_S, long=True) as connection:
                await connection.execute(SET_FOR_FEW)
                facts = facts_of(org_id, [(at, at + QUARTER)], now)
                found = await connection.fetchrow(COUNT, *facts, at, timeout=_TIMEOUT_S)
                if found is None:
                    raise AssertionError("an aggregate has one row")
                # Asked after the facts were read: what was counted while they were there stands.
                if await connection.fetchval(IS_DROPPED, at.date()):
                    raise _DroppedError
                if found["differs"]:
                    await _sum_up(connection, org_id, at)
                settled = await connection.execute(
                    SETTLE, org_id, at, claim_id, row["revision"], now, found["next_at"], found["waits_from"],
                    found["waits_to"], found["hangs"], found["left_to"],
                )  # fmt: skip
                if settled != "UPDATE 1":
                    raise _ClaimLostError
        except _ClaimLostError:
            log.info("shown.claim_lost", org_id=org_id, quarter=at.isoformat())
        except _DroppedError:
            async with self._database.transaction(org_id) as connection:
                settled_as = (claim_id, row["revision"], now, None, None, None, False, None)
                await connection.execute(SETTLE, org_id, at, *settled_as)
        return True

    async def stale_since(self, since: datetime) -> dict[tuple[str, ...], float]:
        """By org, how many emails of webhooks since then showed older copy, as far as it is counted; orgs without such
        emails are not there."""
        async with self._database.connection(_TIMEOUT_S) as connection:
            rows = await connection.fetch(COUNT_STALE, since, _MOST_STALE)
        return {(row["slug"],): row["emails"] for row in rows}

    async def uncounted_since(self, since: datetime) -> datetime | None:
        """When what waits longest to be counted happened, in quarters since then, of all orgs; None: nothing waits."""
        async with self._database.connection(_TIMEOUT_S) as connection:
            raised_at: datetime | None = await connection.fetchval(UNCOUNTED_SINCE, since)
        return raised_at


async def _sum_up(connection: Connection, org_id: UUID, at: datetime) -> None:
    """The longer spans that the quarter lies in, each from those below it."""
    await connection.execute(LOCK_SUMS, str(org_id))
    below = QUARTER
    for span in reversed(SPANS[:-1]):
        start = span_start(at, span)
        if not await connection.fetchval(SUM, org_id, minutes(span), start, minutes(below), span):
            return
        below = span


class ShownCounter(Stepper):
    """Marks first, then a quarter. A quarter that fails is kept back by its lease."""

    failed = "shown.count_failed"

    def __init__(self, counts: ShownCounts, clock: Clock, tick: timedelta) -> None:
        super().__init__(clock, tick)
        self._counts = counts
        self._tells_at = self._looked_at = self._counted_until = clock.now()

    async def step(self) -> timedelta | None:
        """See Stepper. It rests as long as it worked: where everything misses, a count is dear, and the database has
        more to do than counting."""
        await self._tell(self._clock.now())
        more = await self._counts.take_marks(self._clock.now())
        self._looked_at = self._clock.now()
        started_s = self._clock.monotonic()
        if await self._counts.count_quarter(self._clock.now()):
            metrics.count("results_counted_total", what="quarter")
            return timedelta(seconds=self._clock.monotonic() - started_s)
        return AT_ONCE if more else None

    async def _tell(self, now: datetime) -> None:
        """Also until when all is counted: else a count that fails again and again tells of no stale email for ever."""
        if now < self._tells_at:
            return
        self._tells_at = now + _TELL_EVERY  # what cannot be told keeps nothing from being counted
        try:
            metrics.gauge_each("shown_stale_emails", await self._counts.stale_since(now - _TOLD))
            uncounted = await self._counts.uncounted_since(now - _TOLD)
            self._counted_until = min(uncounted or now, self._looked_at)
        finally:
            metrics.gauge("shown_behind_seconds", (now - self._counted_until).total_seconds())
