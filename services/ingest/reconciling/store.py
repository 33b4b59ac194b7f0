"""SQL of the comparison with Klaviyo's totals: who is due, what we count, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.db.pool import Database
from shared.reconciling import EDGE, Files
from shared.source_silence import GAPS, silent_since

REPORT_SPACING: Final = timedelta(seconds=61)  # Klaviyo: two in a minute, of whatever phase
KEEP: Final = timedelta(days=7)
_COUNT_TIMEOUT_S: Final = 300.0
_SET_FOR_COUNTS: Final = "SET LOCAL work_mem = '64MB'"
_HELD_FOR: Final = timedelta(days=14)  # a file that nobody has mended since then explains nothing of this week
_MAX_PROBLEM: Final = 1000
_COUNTED: Final = ("delivered", "opens", "clicks", "bounced", "unsubscribes", "spam_complaints")

ADD_ORGS = """
    INSERT INTO reconcile_orgs (org_id) SELECT org_id FROM integrations
    WHERE NOT EXISTS (SELECT FROM reconcile_orgs r WHERE r.org_id = integrations.org_id) ON CONFLICT DO NOTHING
"""
CLAIM = """
    UPDATE reconcile_orgs r SET claim_id = $2, lease_until = $3 FROM integrations i
    WHERE i.org_id = r.org_id AND r.org_id = (
        SELECT r.org_id FROM reconcile_orgs r JOIN integrations i USING (org_id)
        LEFT JOIN klaviyo_report_calls c USING (account_key)
        WHERE (r.due_at IS NULL OR r.due_at <= $1) AND (r.lease_until IS NULL OR r.lease_until < $1)
          AND (c.last_at IS NULL OR c.last_at <= $1::timestamptz - $4::interval)
        ORDER BY r.due_at NULLS FIRST LIMIT 1 FOR UPDATE OF r SKIP LOCKED)
    RETURNING r.org_id, i.account_key, i.base_url, i.sealed_key, i.scopes,
        (SELECT count(*) FROM integrations o WHERE o.account_key = i.account_key) AS orgs
"""
# Two replicas may have claimed two orgs of one account at the same moment: one of them asks, the other waits.
TAKE_REPORT = """
    INSERT INTO klaviyo_report_calls AS c (account_key, last_at) VALUES ($1, $2)
    ON CONFLICT (account_key) DO UPDATE SET last_at = excluded.last_at WHERE c.last_at <= $2::timestamptz - $3::interval
    RETURNING true
"""
PUT_OFF = """
    UPDATE reconcile_orgs SET claim_id = NULL, lease_until = NULL, due_at = $3, tried_at = coalesce($4, tried_at),
        problem = coalesce($5, problem)
    WHERE org_id = $1 AND claim_id = $2
"""
SETTLE = """
    UPDATE reconcile_orgs SET claim_id = NULL, lease_until = NULL, due_at = $3, tried_at = $4, compared_at = $4,
        problem = $5, time_zone = $6, sent_since = $7, sent_until = $8, happened_since = $9, happened_until = $10
    WHERE org_id = $1 AND claim_id = $2
"""
DELETE_OLD = "DELETE FROM reconciliations WHERE org_id = $1 AND (compared_at < $2 OR compared_at = $3)"
INSERT_ROW = """
    INSERT INTO reconciliations (org_id, compared_at, basis, message_id, flow_id, measure, ours, theirs, people, cause)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

# By when it was sent. `near`: so near the ends that another time zone would move it in or out.
COUNT_SENT = """
    SELECT message_id, max(flow_id) AS flow_id,
        count(*) FILTER (WHERE inside AND delivered) AS delivered,
        count(*) FILTER (WHERE inside AND bounced) AS bounced,
        count(*) FILTER (WHERE inside AND unsubscribed) AS unsubscribes,
        count(*) FILTER (WHERE inside AND spam) AS spam_complaints,
        coalesce(sum(human_opens + machine_opens) FILTER (WHERE inside), 0)::bigint AS opens,
        coalesce(sum(human_opens) FILTER (WHERE inside), 0)::bigint AS people_opens,
        coalesce(sum(human_clicks + bot_clicks) FILTER (WHERE inside), 0)::bigint AS clicks,
        coalesce(sum(human_clicks) FILTER (WHERE inside), 0)::bigint AS people_clicks,
        count(*) FILTER (WHERE near)::float8 / greatest(count(*) FILTER (WHERE inside), 1) AS near_share
    FROM (
        SELECT *, sent_at >= $2 AND sent_at < $3 AS inside,
            abs(extract(epoch FROM sent_at - $2)) < $4 OR abs(extract(epoch FROM sent_at - $3)) < $4 AS near
        FROM sends
        WHERE org_id = $1 AND flow_id IS NOT NULL AND message_id IS NOT NULL
          AND day BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date - 1
            AND ($3::timestamptz AT TIME ZONE 'UTC')::date + 1
    ) s GROUP BY message_id HAVING count(*) FILTER (WHERE inside OR near) > 0
"""
# Orders of one metric, of the templates that count it.
COUNT_CONVERSIONS = """
    SELECT s.message_id, count(*) AS conversions FROM sends s
    JOIN conversions c ON c.org_id = s.org_id AND c.transmission_id = s.transmission_id
      AND c.event_id = c.order_event_id
    JOIN templates t ON t.org_id = c.org_id AND t.template_id = c.template_id
    WHERE s.org_id = $1 AND s.sent_at >= $2 AND s.sent_at < $3
      AND s.day BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date AND ($3::timestamptz AT TIME ZONE 'UTC')::date
      AND EXISTS (SELECT FROM jsonb_array_elements_text(t.conversions->'metrics') m WHERE lower(m) = $4)
    GROUP BY s.message_id
"""
# Messages whose orders somebody counts; of the others there is nothing to compare.
CONVERTING = """
    SELECT DISTINCT f.message_id FROM templates t JOIN flow_messages f ON f.org_id = t.org_id
      AND f.action_id IN (t.treatment_action_id, t.control_action_id)
    WHERE t.org_id = $1
      AND EXISTS (SELECT FROM jsonb_array_elements_text(t.conversions->'metrics') m WHERE lower(m) = $2)
"""
CONVERSION_METRICS = """
    SELECT lower(m) AS metric, count(*) AS n FROM templates t, jsonb_array_elements_text(t.conversions->'metrics') m
    WHERE t.org_id = $1 AND t.conversions IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1
"""
COUNT_HAPPENED = """
    SELECT message_id, metric, max(flow_id) AS flow_id, count(*) AS n,
        count(*) FILTER (WHERE CASE metric WHEN 'Opened Email' THEN machine_open IS FALSE
            WHEN 'Clicked Email' THEN bot_click IS NOT TRUE ELSE true END) AS people
    FROM events
    WHERE org_id = $1 AND event_at >= $2 AND event_at < $3 AND message_id IS NOT NULL AND metric = ANY ($4::text[])
      AND day BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date AND ($3::timestamptz AT TIME ZONE 'UTC')::date
    GROUP BY 1, 2
"""
# Sends come as soon as their delivery does, so they tell as well as events how far back we know. The newest event is
# looked for day by day: all of a week would be a scan of a week.
SELECT_REACH = """
    SELECT
        CASE WHEN EXISTS (SELECT FROM sends WHERE org_id = $1 AND day < ($2::timestamptz AT TIME ZONE 'UTC')::date)
            THEN $2::timestamptz
            ELSE (SELECT min(sent_at) FROM sends WHERE org_id = $1
                    AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date) END AS first_at,
        (SELECT n.newest_at FROM (SELECT back FROM generate_series(-2, 8) back ORDER BY back) b
         CROSS JOIN LATERAL (
             SELECT max(event_at) AS newest_at FROM events
             WHERE org_id = $1 AND day = ($3::timestamptz AT TIME ZONE 'UTC')::date - back) n
         WHERE n.newest_at IS NOT NULL LIMIT 1) AS newest_at
"""
SELECT_SOURCES = f"""
    SELECT s.last_error IS NOT NULL OR s.refused_at IS NOT NULL AS troubled, seen.newest_at, seen.gaps,
        seen.usual_gap_s
    FROM sources s CROSS JOIN LATERAL ({GAPS.format(source_id="s.source_id")}) seen WHERE s.org_id = $1 AND s.enabled
"""  # noqa: S608  # our own text
SELECT_FILES = """
    SELECT count(*) FILTER (WHERE state IN ('held', 'failed') AND first_seen_at >= $2) AS held,
        count(*) FILTER (WHERE state = 'held' AND error LIKE 'unknown_layout%' AND first_seen_at >= $2) AS unknown,
        count(*) FILTER (WHERE state IN ('listed', 'queued', 'loading') AND (state <> 'listed' OR s.kind <> 'klaviyo'))
            AS waiting
    FROM ingest_files f JOIN sources s USING (source_id)
    WHERE f.org_id = $1 AND (first_seen_at >= $2 OR state IN ('listed', 'queued', 'loading'))
"""


@dataclass(frozen=True, slots=True)
class Due:
    """An org whose counts are to be compared now. `orgs`: how many share its account, and so its quota."""

    org_id: UUID
    claim_id: UUID
    account_key: str
    base_url: str
    sealed_key: str
    scopes: frozenset[str]
    orgs: int


class Counted(NamedTuple):
    """Ours of one message: by measure all events, and those of people. `near_share`: `Compared.edge_share`."""

    flow_id: str | None
    counts: Mapping[str, int]
    people: Mapping[str, int]
    near_share: float = 0.0


class Row(NamedTuple):
    """One comparison, as it is stored."""

    basis: str
    message_id: str
    flow_id: str | None
    measure: str
    ours: int
    theirs: int
    people: int | None
    cause: str


class Ours:
    """What we know of one org."""

    def __init__(self, database: Database, org_id: UUID) -> None:
        self._database, self._org_id = database, org_id

    async def conversion_metrics(self) -> list[str]:
        """In lower case, those that most templates count first."""
        return [row["metric"] for row in await self._fetch(CONVERSION_METRICS)]

    async def sent(self, since: datetime, until: datetime, conversion: str | None) -> dict[str, Counted]:
        """By message of a flow, what came of emails sent in the time; orders of the metric where it is counted."""
        rows = await self._fetch(COUNT_SENT, since, until, EDGE.total_seconds())
        orders: dict[str, int] = {}
        if conversion is not None:
            orders = {row["message_id"]: 0 for row in await self._fetch(CONVERTING, conversion)}
            counted = await self._fetch(COUNT_CONVERSIONS, since, until, conversion)
            orders |= {row["message_id"]: row["conversions"] for row in counted}
        return {
            row["message_id"]: Counted(
                row["flow_id"],
                {name: row[name] for name in _COUNTED}
                | ({"conversions": orders[row["message_id"]]} if row["message_id"] in orders else {}),
                {"opens": row["people_opens"], "clicks": row["people_clicks"]},
                row["near_share"],
            )
            for row in rows
        }  # fmt: skip

    async def happened(self, since: datetime, until: datetime, metrics: Mapping[str, str]) -> dict[str, Counted]:
        """By message, events that happened in the time; `metrics` says which measure each is."""
        found: dict[str, Counted] = {}
        for row in await self._fetch(COUNT_HAPPENED, since, until, sorted(metrics)):
            before = found.get(row["message_id"]) or Counted(None, {}, {})
            measure = metrics[row["metric"]]
            people = {measure: before.people.get(measure, 0) + row["people"]} if measure in ("opens", "clicks") else {}
            found[row["message_id"]] = Counted(
                row["flow_id"] or before.flow_id,
                {**before.counts, measure: before.counts.get(measure, 0) + row["n"]},
                {**before.people, **people},
            )
        return found

    async def files(self, since: datetime, now: datetime) -> Files:
        """How the sources are, and how far our events reach."""
        (reach,) = await self._fetch(SELECT_REACH, since, now)
        sources = await self._fetch(SELECT_SOURCES)
        (files,) = await self._fetch(SELECT_FILES, now - _HELD_FOR)
        silent = [silent_since(row["newest_at"], row["gaps"], row["usual_gap_s"], now) for row in sources]
        return Files(
            now=now,
            sources=len(sources),
            troubled_sources=sum(row["troubled"] for row in sources),
            silent_sources=len(silent) - silent.count(None),
            held_files=files["held"],
            unknown_layouts=files["unknown"],
            waiting_files=files["waiting"],
            first_at=reach["first_at"],
            newest_at=reach["newest_at"],
        )

    async def _fetch(self, statement: str, *arguments: object) -> list[Any]:
        async with self._database.transaction(self._org_id, _COUNT_TIMEOUT_S, long=True) as connection:
            await connection.execute(_SET_FOR_COUNTS)
            return list(await connection.fetch(statement, self._org_id, *arguments, timeout=_COUNT_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Spans:
    """What was compared. `time_zone` None: not known, taken to be UTC."""

    time_zone: str | None
    sent: tuple[datetime, datetime]
    happened: tuple[datetime, datetime]


class Comparisons:
    """Who is due, and what came of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ours(self, org_id: UUID) -> Ours:
        return Ours(self._database, org_id)

    async def claim(self, claim_id: UUID, now: datetime, lease: timedelta) -> Due | None:
        """An org that is due and whose account was not asked within the last minute."""
        async with self._database.transaction() as connection:
            await connection.execute(ADD_ORGS)
            row = await connection.fetchrow(CLAIM, now, claim_id, now + lease, REPORT_SPACING)
        if row is None:
            return None
        return Due(
            row["org_id"], claim_id, row["account_key"], row["base_url"], row["sealed_key"], frozenset(row["scopes"]),
            row["orgs"],
        )  # fmt: skip

    async def take_report(self, account_key: str, now: datetime) -> bool:
        """Whether this is our turn to ask for a report of the account."""
        async with self._database.transaction() as connection:
            return bool(await connection.fetchval(TAKE_REPORT, account_key, now, REPORT_SPACING))

    async def put_off(
        self, due: Due, until: datetime, *, now: datetime | None = None, problem: str | None = None
    ) -> None:
        """Nothing was compared; `problem` says why, unless it was only somebody else's turn."""
        async with self._database.transaction() as connection:
            await connection.execute(
                PUT_OFF, due.org_id, due.claim_id, until, now, problem and problem[:_MAX_PROBLEM]
            )  # fmt: skip

    async def settle(
        self, due: Due, rows: Sequence[Row], spans: Spans, now: datetime, again_at: datetime, problem: str | None
    ) -> None:
        """Keep the comparison, unless another worker has taken the org over."""
        async with self._database.transaction(due.org_id) as connection:
            settled = await connection.execute(
                SETTLE, due.org_id, due.claim_id, again_at, now, problem and problem[:_MAX_PROBLEM], spans.time_zone,
                *spans.sent, *spans.happened,
            )  # fmt: skip
            if settled == "UPDATE 1":
                await connection.execute(DELETE_OLD, due.org_id, now - KEEP, now)
                await connection.executemany(INSERT_ROW, [(due.org_id, now, *row) for row in rows])
