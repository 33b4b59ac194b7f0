"""What emails showed, read: counted quarters from `shown_counts`, the others from the facts (ADR 0021).

A quarter that has changed since it was counted is read as it was counted, as long as that is not long ago: the answer
says as of when it is. Where nobody counts, everything that has changed is read from the facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from shared.admin.outcomes.shown_facts import JUDGED, MISSED_BY_DECISION
from shared.admin.outcomes.shown_spans import QUARTER, SPANS, Parts, columns, parts_of, span_start
from shared.db.pool import Connection
from shared.schemas.ids import generation_day

LAG: Final = timedelta(minutes=15)
"""By how much counts may be behind before the facts are read instead."""

_FEW: Final = timedelta(hours=2)  # so much of the facts is found row by row

# Quarters that are not as they were counted, since when, at the earliest; null: never counted. Of marks that nobody has
# taken yet it is known only that they came after those that somebody took.
SELECT_CHANGED: Final = """
    WITH marks AS MATERIALIZED (SELECT DISTINCT at, day, came FROM shown_marks WHERE org_id = $1),
    said AS (SELECT min(at) FILTER (WHERE came) AS came_at,
                 coalesce((SELECT passed_at FROM shown_orgs WHERE org_id = $1), '-infinity') AS passed_at FROM marks),
    changed AS (
        SELECT q.at, q.counted_at, least(CASE WHEN q.counted < q.revision THEN q.raised_at END,
            CASE WHEN q.next_at <= $3 THEN q.next_at END,
            CASE WHEN q.hangs AND q.at > said.came_at OR q.at IN (SELECT at FROM marks WHERE at IS NOT NULL)
                OR EXISTS (SELECT FROM marks m WHERE m.day BETWEEN q.waits_from AND q.waits_to)
                OR EXISTS (SELECT FROM marks m WHERE m.came AND m.at BETWEEN q.at AND q.left_to)
                THEN said.passed_at END) AS since
        FROM shown_quarters q, said WHERE q.org_id = $1 AND q.at >= $2
    )
    SELECT at, CASE WHEN counted_at IS NOT NULL THEN since END AS since FROM changed
    WHERE counted_at IS NULL OR since IS NOT NULL
    UNION ALL
    SELECT DISTINCT at, NULL::timestamptz FROM marks
    WHERE at >= $2 AND NOT EXISTS (SELECT FROM shown_quarters q WHERE q.org_id = $1 AND q.at = marks.at)
"""
_COLUMNS: Final = "template_id, decision, decided, outcome, reason, shown, because, emails, seen"
_KEPT: Final = f"""
    SELECT {_COLUMNS} FROM unnest(%s::smallint[], %s::timestamptz[]) k (span, at)
    JOIN shown_counts c USING (span, at) WHERE c.org_id = $1
"""  # noqa: S608  # the names above
_ONLY_KEPT: Final = f"WITH found AS ({_KEPT % ('$2', '$3')})"
_WITH_LIVE: Final = f"""
    WITH {JUDGED}, found AS (SELECT {_COLUMNS} FROM grouped UNION ALL {_KEPT % ("$8", "$9")})
"""  # noqa: S608  # the names above
# Nothing but loops over the narrowest index. The planner knows little of today's partition and nothing of an org in it,
# and other plans are as slow as the partition is large.
SET_FOR_FEW: Final = """
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off; SET LOCAL plan_cache_mode = force_custom_plan
"""

# Of one person, behind narrow indexes of every day: three months of them take longer to plan than to read.
SET_PLANNED_ONCE: Final = "SET LOCAL plan_cache_mode = force_generic_plan"

# By key, of tables that grow. To a plan that was made while a table, or today's part of it, was empty, every index that
# begins with the org is as good as any other; such a plan is kept for as long as its connection, and reads the org
# through for one row until the table is analyzed.
SET_PLANNED_ANEW: Final = "SET LOCAL plan_cache_mode = force_custom_plan"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a look back is read from. `as_of`: all that was known until then is counted; null: all that is known."""

    org_id: UUID
    now: datetime
    since: datetime
    as_of: datetime | None
    parts: Parts

    async def fetch(self, connection: Connection, select: str, *more: object) -> Sequence[Any]:
        """`select` reads `found`, which has one row or several for each way in which generations ended and showed; its
        further arguments are `{0}`, `{1}`, …"""
        kept = columns(self.parts.kept)
        live = sum((until - since for since, until in self.parts.live), timedelta())
        if live <= _FEW:
            await connection.execute(SET_FOR_FEW)
        if not live:
            places = [f"${number}" for number in range(4, 4 + len(more))]
            return await connection.fetch(_ONLY_KEPT + select.format(*places), self.org_id, *kept, *more)
        places = [f"${number}" for number in range(10, 10 + len(more))]
        return await connection.fetch(
            _WITH_LIVE + select.format(*places), *facts_of(self.org_id, self.parts.live, self.now), *kept, *more
        )


def facts_of(org_id: UUID, times: Sequence[tuple[datetime, datetime]], now: datetime) -> tuple[object, ...]:
    """The arguments of JUDGED. A generation's day is that of its acceptance."""
    since, until = [one for one, _ in times], [one for _, one in times]
    return org_id, since, until, generation_day(min(since)), max(until).date(), now, list(MISSED_BY_DECISION)


async def reading_of(connection: Connection, org_id: UUID, hours: float, now: datetime) -> Reading:
    """A look back over so many hours, and to the edge of their quarter."""
    since = span_start(now - timedelta(hours=hours), QUARTER)
    rows = await connection.fetch(SELECT_CHANGED, org_id, since, now)
    behind = {row["at"]: row["since"] for row in rows}
    live = {at for at, changed in behind.items() if changed is None or changed < now - LAG}
    lagging = [changed for at, changed in behind.items() if at not in live]
    # The whole of the longest span that now lies in, and one more: a gateway's clock may be ahead.
    until = span_start(now, SPANS[0]) + 2 * SPANS[0]
    return Reading(org_id, now, since, min(lagging, default=None), parts_of(since, until, live))
