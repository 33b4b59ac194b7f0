"""What emails showed and how writes ended, in plain SQL over all facts: what the counted answers are held against."""

from datetime import datetime
from typing import Any
from uuid import UUID

from shared.admin.outcomes.shown_facts import MISSED_BY_DECISION
from shared.db.pool import Database
from shared.schemas.ids import generation_day

SELECT_SHOWN = """
    WITH told AS (
        SELECT g.generation_id, g.template_id, g.day, g.decision, g.reason AS decided, g.user_id, g.property_prefix,
               g.written_for, g.accepted_at, g.deadline_at, g.clean_at, w.outcome, w.reason, w.at, s.sent_at,
               greatest(g.deadline_at, g.clean_at - t.send_window_s * interval '1 second') AS latest_at
        FROM generations g
        LEFT JOIN templates t ON t.org_id = g.org_id AND t.template_id = g.template_id
        LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
        LEFT JOIN (SELECT generation_id, min(sent_at) AS sent_at FROM sends
                   WHERE org_id = $1 AND day >= $3 AND generation_id IS NOT NULL GROUP BY generation_id) s
          ON s.generation_id = g.generation_id
        WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND g.decision IN ('treatment', 'control')
    ), leaving AS (
        SELECT told.*, coalesce(sent_at, latest_at) AS left_by,
            coalesce(sent_at, CASE outcome WHEN 'superseded' THEN greatest(deadline_at, at) ELSE deadline_at END)
                AS left_at,
            coalesce(sent_at, to_timestamp(900 * (1 + floor(extract(epoch FROM deadline_at) / 900)))) <= $4 AS has_left
        FROM told
    ), later AS (
        SELECT a.generation_id, p.accepted_at, p.written_for = a.written_for AS same,
            p.property_prefix = a.property_prefix AS beside, o.outcome,
            p.property_prefix = a.property_prefix AND o.outcome IN ('written', 'cleared') AND o.at > a.at
                AND o.at <= a.left_at AS through
        FROM leaving a JOIN generations p ON p.org_id = $1 AND p.user_id = a.user_id AND p.accepted_at > a.accepted_at
            AND p.accepted_at <= a.left_at AND p.day <= a.day + 31
            AND p.decision <> 'preview' AND p.reason <> 'unknown_template'
        LEFT JOIN write_outcomes o ON o.day = p.day AND o.generation_id = p.generation_id
        WHERE a.has_left AND a.decision = 'treatment' AND a.outcome IN ('written', 'superseded')
    ), newest AS (
        SELECT DISTINCT ON (generation_id) generation_id, NOT same OR outcome = 'cleared' AS over
        FROM later WHERE through ORDER BY generation_id, accepted_at DESC
    ), found AS (
        SELECT leaving.*, CASE outcome WHEN 'written' THEN coalesce((SELECT over FROM newest n
                WHERE n.generation_id = leaving.generation_id), false)
            ELSE generation_id IN (SELECT generation_id FROM later WHERE beside)
                AND generation_id NOT IN (SELECT generation_id FROM later WHERE same) END AS overwritten
        FROM leaving
    ), judged AS (
        SELECT template_id, sent_at, decided, outcome, reason, decision, CASE
            WHEN outcome IN ('expired', 'rejected') AND reason IS DISTINCT FROM 'profile_not_found' AND (
                SELECT o.outcome = 'written' AND p.clean_at > coalesce(found.sent_at, found.deadline_at)
                FROM generations p JOIN write_outcomes o ON o.day = p.day AND o.generation_id = p.generation_id
                WHERE p.org_id = $1 AND p.user_id = found.user_id AND p.accepted_at < found.accepted_at
                  AND p.day >= found.day - 31 AND p.property_prefix = found.property_prefix
                  AND p.written_for = found.written_for AND o.outcome IN ('written', 'cleared', 'nothing_to_clear')
                ORDER BY p.accepted_at DESC LIMIT 1)
                THEN CASE WHEN left_by > $4 THEN 'pending' WHEN left_by - at > interval '15 minutes' THEN 'unsure'
                    ELSE 'stale' END
            WHEN decision = 'control' AND decided = ANY($5::text[]) THEN 'control_missed'
            WHEN decision = 'control' OR outcome = 'stopped' THEN 'control_planned'
            WHEN outcome = 'superseded' AND NOT has_left THEN 'pending'
            WHEN outcome = 'superseded' AND NOT overwritten THEN 'replaced'
            WHEN outcome = 'superseded' THEN 'control_missed'
            WHEN outcome = 'written' AND (sent_at < at OR overwritten) THEN 'control_missed'
            WHEN outcome = 'written' AND sent_at > clean_at THEN 'unsure'
            WHEN outcome = 'written' AND reason = 'answered_late' AND sent_at IS NULL THEN 'unsure'
            WHEN outcome = 'written' THEN 'right'
            WHEN outcome IS NULL AND latest_at > $4 THEN 'pending'
            ELSE 'control_missed' END AS shown,
            CASE
                WHEN decision = 'control' THEN decided
                WHEN outcome = 'written' AND sent_at < at THEN 'email_left_first'
                WHEN outcome = 'superseded' AND NOT has_left THEN ''
                WHEN overwritten AND outcome IN ('written', 'superseded') THEN 'overwritten'
                WHEN outcome = 'written' AND sent_at > clean_at THEN 'email_left_late'
                WHEN outcome IS NULL AND latest_at <= $4 THEN 'not_settled'
                WHEN outcome = 'written' AND (reason IS NULL OR sent_at IS NOT NULL) THEN 'written'
                ELSE coalesce(reason, outcome, '') END AS because
        FROM found
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
