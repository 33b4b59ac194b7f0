"""SQL of the guardrail: who is driven away by which variant, and what is paused for it (shared/inference/guardrail.py).

A variant is judged by what was decided since it was last approved, rolled back or resumed: a person who resumes it has
seen what there was, and it would be paused again at once by the same facts.

Where more people leave by all of treatment than by control, that is noted of the template, for somebody to look at: it
names no variant to pause, and the last one is never paused. It is judged by the whole days since anything else than now
was served.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta
from uuid import UUID

from services.ranker.records import Paused
from shared.content.lifecycle import APPROVING
from shared.db.pool import Connection
from shared.inference.guardrail import FEWEST, Counts, Guard, judge_treatment, judge_variants, to_pause
from shared.schemas.decisions import PLANNED_CONTROL

ACTOR = "guardrail"
_BACK = timedelta(days=366)
TIMEOUT_S = 180.0
_CHANGING = (*APPROVING, "paused", "archived", "withdrawn")  # what an event may make of who is served

# Unsubscribes are rare: looks at small templates end here, without a look at any send.
SELECT_LEFT = """
    SELECT copy_id, sum(unsubscribes + spam)::int AS away FROM rollups
    WHERE org_id = $1 AND template_id = $2 AND copy_id IS NOT NULL AND day >= $3 GROUP BY copy_id
"""
SELECT_CHANGED = """
    SELECT max(e.created_at) FROM variants v JOIN variant_events e USING (copy_id)
    WHERE v.org_id = $1 AND v.template_id = $2
      AND e.event = ANY ($3::text[])
"""

# As `justai results` counts: by generation, of delivered ones, control as it was planned (Klaviyo's branch among it).
SELECT_AWAY = """
    WITH since AS (
        SELECT v.copy_id, max(e.created_at) AS at FROM variants v
        LEFT JOIN variant_events e ON e.copy_id = v.copy_id AND e.event = ANY ($5::text[])
        WHERE v.org_id = $1 AND v.template_id = $2 GROUP BY v.copy_id
    ), sent AS (
        SELECT s.generation_day, s.generation_id, bool_or(s.unsubscribed OR s.spam) AS away FROM sends s
        WHERE s.org_id = $1 AND s.template_id = $2 AND s.day >= $3 AND s.delivered AND s.generation_id IS NOT NULL
        GROUP BY 1, 2
    )
    SELECT g.day, g.cell, g.copy_id, count(*)::int AS sends, (count(*) FILTER (WHERE s.away))::int AS away
    FROM sent s JOIN generations g ON g.day = s.generation_day AND g.generation_id = s.generation_id
    JOIN since ON since.copy_id = g.copy_id
    WHERE g.day >= $3::date - 31 AND g.decision = 'treatment' AND g.accepted_at >= coalesce(since.at, '-infinity')
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT g.day, g.cell, NULL, count(*)::int, (count(*) FILTER (WHERE s.away))::int
    FROM sent s JOIN generations g ON g.day = s.generation_day AND g.generation_id = s.generation_id
    WHERE g.day >= $3::date - 31 AND g.decision = 'control' AND g.reason = ANY ($4::text[])
    GROUP BY 1, 2
    UNION ALL
    SELECT s.day, '', NULL, count(*)::int, (count(*) FILTER (WHERE s.unsubscribed OR s.spam))::int
    FROM sends s
    WHERE s.org_id = $1 AND s.template_id IS NULL AND s.day >= $3 AND s.delivered AND s.message_id IN (
        SELECT m.message_id FROM templates t JOIN flow_messages m ON m.org_id = $1 AND m.action_id = t.control_action_id
        WHERE t.org_id = $1 AND t.template_id = $2)
    GROUP BY 1
"""

# In the order in which people's commands take them, so that neither waits for the other in a ring.
TAKE_APPROVED = """
    SELECT copy_id, version FROM variants WHERE org_id = $1 AND template_id = $2 AND state = 'approved'
    ORDER BY created_at, name FOR UPDATE
"""
PAUSE = "UPDATE variants SET state = 'paused', updated_at = $3 WHERE org_id = $1 AND copy_id = $2"
INSERT_EVENT = """
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, comment, created_at)
    VALUES ($1, $2, $3, 'paused', $4, $5, $6)
"""
NOTE = """
    UPDATE policy_fits SET driven_away = $3
    WHERE org_id = $1 AND template_id = $2 AND driven_away IS DISTINCT FROM $3
"""


async def guard(connection: Connection, org_id: UUID, template_id: str, now: datetime) -> list[Paused]:
    """Pause what drives people away, and note where treatment does, within the caller's transaction; what was paused,
    and why."""
    since = (now - _BACK).date()
    rows = await connection.fetch(SELECT_LEFT, org_id, template_id, since)
    left = {row["copy_id"]: row["away"] for row in rows}
    paused: list[Paused] = []
    note = None
    if sum(left.values()) >= FEWEST:
        counts = await _counts(connection, org_id, template_id, since)
        guards = judge_variants(counts, [copy_id for copy_id, away in left.items() if away >= FEWEST])
        paused = await _pause(connection, org_id, template_id, guards, now)
        changed = await connection.fetchval(SELECT_CHANGED, org_id, template_id, _CHANGING)
        note = _noted({key: of for key, of in counts.items() if changed is None or key[0] > changed.date()})
    await connection.execute(NOTE, org_id, template_id, note)
    return paused


def _noted(counts: Counts) -> str | None:
    whole = judge_treatment(counts)
    return f"{whole.said}, day by day, whatever the attrs ({_surely(whole)})" if whole.verdict == "pause" else None


def _surely(found: Guard) -> str:
    return f"p = {found.p:.2g} at all looks"


async def _pause(
    connection: Connection, org_id: UUID, template_id: str, guards: dict[UUID, Guard], now: datetime
) -> list[Paused]:
    if all(one.verdict != "pause" for one in guards.values()):
        return []
    versions = {row["copy_id"]: row["version"] for row in await connection.fetch(TAKE_APPROVED, org_id, template_id)}
    paused = [
        Paused(copy_id, f"{guards[copy_id].said} ({_surely(guards[copy_id])})")
        for copy_id in to_pause(guards, versions)
    ]
    for one in paused:
        await connection.execute(PAUSE, org_id, one.copy_id, now)
        await connection.execute(INSERT_EVENT, org_id, one.copy_id, versions[one.copy_id], ACTOR, one.why, now)
    return paused


async def _counts(connection: Connection, org_id: UUID, template_id: str, since: date) -> Counts:
    rows = await connection.fetch(
        SELECT_AWAY, org_id, template_id, since, sorted(PLANNED_CONTROL), APPROVING, timeout=TIMEOUT_S
    )  # fmt: skip
    counts: dict[tuple[date, str], dict[UUID | None, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        stratum = counts[row["day"], row["cell"]]
        sends, away = stratum.get(row["copy_id"], (0, 0))  # control may be there twice: ours, and Klaviyo's branch
        stratum[row["copy_id"]] = sends + row["sends"], away + row["away"]
    return counts
