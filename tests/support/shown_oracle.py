"""What emails showed and how writes ended, in plain SQL over all facts: what the counted answers are held against."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.admin.outcomes.shown_facts import MISSED_BY_DECISION
from shared.db.pool import Database
from shared.schemas.ids import generation_day

SELECT_SHOWN = """
    WITH told AS (
        SELECT g.template_id, g.day, g.decision, g.reason AS decided, g.user_id, g.property_prefix, g.written_for,
               g.accepted_at, g.deadline_at, w.outcome, w.reason, w.at, s.sent_at
        FROM generations g
        LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
        LEFT JOIN (SELECT generation_id, min(sent_at) AS sent_at FROM sends
                   WHERE org_id = $1 AND day >= $3 AND generation_id IS NOT NULL GROUP BY generation_id) s
          ON s.generation_id = g.generation_id
        WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND g.decision IN ('treatment', 'control')
    ), judged AS (
        SELECT template_id, sent_at, decided, outcome, reason, decision, CASE
            WHEN outcome IN ('expired', 'rejected') AND reason IS DISTINCT FROM 'profile_not_found' AND (
                SELECT o.outcome = 'written' AND p.clean_at > told.deadline_at
                FROM generations p JOIN write_outcomes o ON o.day = p.day AND o.generation_id = p.generation_id
                WHERE p.org_id = $1 AND p.user_id = told.user_id AND p.accepted_at < told.accepted_at
                  AND p.day >= told.day - 31 AND p.property_prefix = told.property_prefix
                  AND p.written_for = told.written_for AND o.outcome IN ('written', 'cleared', 'nothing_to_clear')
                ORDER BY p.accepted_at DESC LIMIT 1) THEN 'stale'
            WHEN decision = 'control' AND decided = ANY($5::text[]) THEN 'control_missed'
            WHEN decision = 'control' OR outcome = 'stopped' THEN 'control_planned'
            WHEN outcome = 'superseded' THEN 'replaced'
            WHEN outcome = 'written' AND sent_at < at THEN 'control_missed'
            WHEN outcome = 'written' AND reason = 'answered_late' THEN 'unsure'
            WHEN outcome = 'written' THEN 'right'
            WHEN outcome IS NULL AND deadline_at > $4 THEN 'pending'
            ELSE 'control_missed' END AS shown,
            CASE
                WHEN decision = 'control' THEN decided
                WHEN outcome = 'written' AND sent_at < at THEN 'email_left_first'
                WHEN outcome IS NULL AND deadline_at <= $4 THEN 'not_settled'
                WHEN outcome = 'written' AND reason IS NULL THEN 'written'
                ELSE coalesce(reason, outcome, '') END AS because
        FROM told
    )
    SELECT template_id, shown, because, min(decision) AS decision, min(outcome) AS outcome, count(*) AS emails,
           count(sent_at) AS seen
    FROM judged GROUP BY template_id, shown, because ORDER BY emails DESC, template_id, because
"""
SELECT_COUNTS = """
    SELECT g.template_id, g.decision, g.reason AS decided, w.outcome, w.reason, count(*) AS generations
    FROM generations g
    LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
    WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND ($4::text IS NULL OR g.template_id = $4)
      AND g.decision IN ('treatment', 'control')
    GROUP BY g.template_id, g.decision, g.reason, w.outcome, w.reason
    ORDER BY g.template_id, generations DESC, g.decision, g.reason
"""


async def shown(database: Database, org_id: UUID, since: datetime, now: datetime) -> set[tuple[Any, ...]]:
    """(template, shown, because, emails, seen)."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            SELECT_SHOWN, org_id, since, generation_day(since), now, list(MISSED_BY_DECISION)
        )  # fmt: skip
    return {(row["template_id"], row["shown"], row["because"], row["emails"], row["seen"]) for row in rows}


async def ended(database: Database, org_id: UUID, since: datetime) -> set[tuple[Any, ...]]:
    """(template, decision, its reason, outcome, its reason, generations)."""
    async with database.connection() as connection:
        return {tuple(row) for row in await connection.fetch(SELECT_COUNTS, org_id, since, generation_day(since), None)}
