"""What emails showed, from the facts: each generation judged by its decision, the end of its write and its send."""

from typing import Final

from shared.schemas.decisions import NOT_RENDERED
from shared.writes import LATEST_AT

MISSED_BY_DECISION: Final = (*sorted(NOT_RENDERED), "unknown_template")
"""Reasons of a control decision that was not planned."""

OWN_WORDS: Final = ("", "not_settled", "written", "email_left_first", "email_left_late", "overwritten")
"""Reasons that are no write's end's."""

# $1 org, $2 and $3 times (from, until), $4 and $5 the first and last day of generations in them, $6 now, $7
# MISSED_BY_DECISION. The days keep all but these partitions, and 31 before them, unread and out of the plan.
#
# Older copy shows where a generation did not get through (`expired`, `rejected`) and the last that had got through for
# the same message was written and not yet due to be taken away. Few rows are asked so, each by the person's index.
# `place`: how many had got through from the newest on; an older one without an end yet may still become the last.
# Once the write has ended, the older copy is taken off in the first lane. So it showed where the email left no later
# than minutes after that end; of a later one it is not known, for when copy came off is not kept. `left_by`: the
# email's moment, or without a send the latest that its flow allows (`latest_at`), which is days after the deadline
# where it waits until a time of day or a weekday. Nothing is told before, nor of a write that has not ended: it is
# tried for as long.
# A send is of the person of its generation (services/ingest/attribution/attribute.py), so the person's index finds it.
_TOLD: Final = f"""
        SELECT g.generation_id, g.template_id, g.day, g.decision, g.reason AS decided, g.user_id, g.property_prefix,
               g.written_for, g.accepted_at, g.deadline_at, g.clean_at, w.outcome, w.reason, w.at,
               w.outcome IN ('expired', 'rejected') AND w.reason IS DISTINCT FROM 'profile_not_found' AS hangs,
               CASE WHEN coalesce(w.outcome, 'expired') IN ('expired', 'rejected') THEN coalesce((
                   SELECT {LATEST_AT} FROM templates t WHERE t.org_id = $1 AND t.template_id = g.template_id),
                   g.deadline_at) END AS latest_at,
               (SELECT min(s.sent_at) FROM sends s WHERE s.org_id = $1 AND s.profile_id = g.user_id
                   AND s.sent_at >= g.accepted_at AND s.generation_id = g.generation_id) AS sent_at
"""  # noqa: S608  # the text above
_ENDED: Final = """
        LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day BETWEEN $4 AND $5
"""
# What was decided later for the person of a copy that was written, or gave way while it waited, and before its email
# left. The email shows what got through last: control, where that was for another message or took the copy off. What
# gave way to a later generation of the same message, on whichever properties, is counted with that one. Without a send
# an email counts as left at the end of the quarter hour in which it was due (`leaves_by`): it is not looked at before,
# and after that only what is stored late changes it. Most people have nothing later, so this is one look into an index.
_NEWER: Final = """
        FROM (
            SELECT *, CASE WHEN decision = 'treatment' AND outcome IN ('written', 'superseded') THEN coalesce(sent_at,
                    date_bin('15 minutes', deadline_at, 'epoch'::timestamptz) + interval '15 minutes') END AS leaves_by,
                coalesce(sent_at, CASE outcome WHEN 'superseded' THEN greatest(deadline_at, at) ELSE deadline_at END)
                    AS left_at
            FROM known {order}
        ) told LEFT JOIN LATERAL (
            SELECT CASE told.outcome WHEN 'superseded' THEN bool_or(beside) AND NOT bool_or(same)
                    ELSE max(accepted_at) FILTER (WHERE through AND (NOT same OR outcome = 'cleared')) > coalesce(
                        max(accepted_at) FILTER (WHERE through AND same AND outcome = 'written'), '-infinity')
                END AS overwritten,
                min(day) FILTER (WHERE open) AS newer_from, max(day) FILTER (WHERE open) AS newer_to
            FROM (
                SELECT p.day, p.accepted_at, o.outcome, p.written_for = told.written_for AS same,
                    p.property_prefix = told.property_prefix AS beside, p.property_prefix = told.property_prefix
                        AND o.outcome IN ('written', 'cleared') AND o.at > told.at AND o.at <= told.left_at AS through,
                    told.outcome = 'written' AND p.property_prefix = told.property_prefix AND o.outcome IS NULL AS open
                FROM generations p LEFT JOIN LATERAL (
                    SELECT o.outcome, o.at FROM write_outcomes o WHERE o.day = p.day
                      AND o.day BETWEEN $4 AND $5::date + 31 AND o.generation_id = p.generation_id LIMIT 1) o ON true
                WHERE told.leaves_by <= $6 AND p.org_id = $1 AND p.user_id = told.user_id
                  AND p.accepted_at > told.accepted_at AND p.accepted_at <= told.left_at
                  AND p.day BETWEEN $4 AND $5::date + 31 AND p.day <= told.day + 31
                  AND p.day BETWEEN told.day AND (told.left_at AT TIME ZONE 'UTC')::date
                  AND p.decision <> 'preview' AND p.reason <> 'unknown_template'
            ) later) newer ON true
"""
_BECAUSE: Final = """CASE
                WHEN decision = 'control' THEN decided
                WHEN outcome IS NULL THEN CASE WHEN latest_at <= $6 THEN 'not_settled' ELSE '' END
                WHEN outcome = 'superseded' AND leaves_by > $6 THEN ''
                WHEN outcome = 'written' AND sent_at < told.at THEN 'email_left_first'
                WHEN overwritten THEN 'overwritten'
                WHEN outcome = 'written' AND sent_at > clean_at THEN 'email_left_late'
                WHEN outcome = 'written' AND (reason IS NULL OR sent_at >= told.at) THEN 'written'
                ELSE coalesce(reason, outcome) END"""
_JUDGING: Final = f"""
    judged AS (
        SELECT told.*, older.waits_from, older.waits_to, older.left_by, CASE
            WHEN hangs AND older.shows THEN CASE WHEN left_by > $6 THEN 'pending'
                WHEN left_by <= told.at + interval '15 minutes' THEN 'stale' ELSE 'unsure' END
            WHEN decision = 'control' AND decided = ANY($7::text[]) THEN 'control_missed'
            WHEN decision = 'control' OR outcome = 'stopped' THEN 'control_planned'
            WHEN outcome = 'superseded' AND leaves_by > $6 THEN 'pending'
            WHEN outcome = 'written' AND sent_at < told.at OR overwritten THEN 'control_missed'
            WHEN outcome = 'superseded' THEN 'replaced'
            WHEN outcome = 'written' AND (sent_at IS NULL AND reason = 'answered_late' OR sent_at > clean_at)
                THEN 'unsure'
            WHEN outcome = 'written' THEN 'right'
            WHEN outcome IS NULL AND latest_at > $6 THEN 'pending'
            ELSE 'control_missed' END AS shown,
            {_BECAUSE} AS because
        FROM told LEFT JOIN LATERAL (
            SELECT bool_or(shows) FILTER (WHERE through AND place = 1) AS shows,
                min(day) FILTER (WHERE open AND place = 0) AS waits_from,
                max(day) FILTER (WHERE open AND place = 0) AS waits_to,
                CASE WHEN told.hangs THEN coalesce(told.sent_at, told.latest_at) END AS left_by
            FROM (
                SELECT p.day, o.through, o.shows, coalesce(o.open, p.decision <> 'preview' AND
                        p.reason <> 'unknown_template') AS open,
                    count(*) FILTER (WHERE o.through) OVER (ORDER BY p.accepted_at DESC) AS place
                FROM generations p LEFT JOIN LATERAL (
                    SELECT o.outcome IN ('written', 'cleared', 'nothing_to_clear') AS through, false AS open,
                        o.outcome = 'written' AND p.clean_at > coalesce(told.sent_at, told.deadline_at) AS shows
                    FROM write_outcomes o WHERE o.day = p.day AND o.day BETWEEN $4::date - 31 AND $5
                      AND o.generation_id = p.generation_id LIMIT 1) o ON true
                WHERE told.hangs AND p.org_id = $1 AND p.user_id = told.user_id AND p.accepted_at < told.accepted_at
                  AND p.day BETWEEN $4::date - 31 AND $5 AND p.day >= told.day - 31
                  AND p.property_prefix = told.property_prefix AND p.written_for = told.written_for
            ) earlier) older ON true
    )
"""  # noqa: S608  # the text above
JUDGED: Final = f"""
    known AS MATERIALIZED (
        {_TOLD}
        FROM unnest($2::timestamptz[], $3::timestamptz[]) r (since, until)
        JOIN generations g ON g.org_id = $1 AND g.accepted_at >= r.since AND g.accepted_at < r.until
            AND g.day BETWEEN $4 AND $5 AND g.decision IN ('treatment', 'control')
        {_ENDED}
    ), told AS (
        SELECT told.*, newer.* {_NEWER.format(order="")}
    ), {_JUDGING}, grouped AS (
        SELECT template_id, decision, decided, outcome, reason, shown, because, count(*) AS emails,
               count(sent_at) AS seen
        FROM judged GROUP BY template_id, decision, decided, outcome, reason, shown, because
    )
"""  # noqa: S608  # the texts above
# The newest that showed the same for the same reason, of one time: each row is judged when it is come to, from the
# newest on, and none after the last that is wanted. What showed is the dearest to know: without a wish for it, it is
# asked of those that are wanted alone. Most reasons are those of the write's end; nothing more is asked of generations
# whose write did not end so. $2 and $3 are the time, $8 because, $9 shown or null, $10 a template or null, $11 how
# many. `there`: how many there were, where {_COUNT} counts them, which comes to all of them.
_NEWEST: Final = f"""
    WITH known AS NOT MATERIALIZED (
        {_TOLD}
        FROM {{_FROM}}
        WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.accepted_at < $3 AND g.day BETWEEN $4 AND $5
          AND g.decision IN ('treatment', 'control') AND (g.decision <> 'control' OR g.reason = $8)
          AND ($10::text IS NULL OR g.template_id = $10)
          AND (g.decision = 'control' OR coalesce(w.reason, w.outcome) = $8
            OR $8 IN ({", ".join(f"'{word}'" for word in OWN_WORDS)}))
    ), told AS NOT MATERIALIZED (
        SELECT told.*, newer.*, {{_COUNT}} AS known_there
        {_NEWER.format(order="ORDER BY accepted_at DESC")}
        WHERE {_BECAUSE} = $8
        ORDER BY accepted_at DESC LIMIT CASE WHEN $9::text IS NULL THEN $11::bigint END
    ), {_JUDGING}
    SELECT generation_id, accepted_at, template_id, user_id, decision, decided, outcome, reason, at, sent_at, shown,
        CASE WHEN $9::text IS NULL THEN known_there ELSE {{_COUNT}} END AS there
    FROM judged WHERE ($9::text IS NULL OR shown = $9)
    ORDER BY accepted_at DESC LIMIT $11
"""  # noqa: S608  # the texts above
NEWEST_JUDGED: Final = _NEWEST.format(_COUNT="NULL::bigint", _FROM=f"generations g {_ENDED}")
# The same for reasons of a write's end that few have, from those ends: as far as they came within $12 of the time.
NEWEST_OF_FEW: Final = _NEWEST.format(
    _COUNT="count(*) OVER ()",
    _FROM="""
        write_outcomes w JOIN generations g ON g.day = w.day AND g.generation_id = w.generation_id
            AND w.org_id = $1 AND w.day BETWEEN $4 AND $5 AND coalesce(w.reason, w.outcome) = $8
            AND w.outcome NOT IN ('written', 'cleared', 'nothing_to_clear')
            AND w.at >= $2::timestamptz - $12::interval AND w.at < $3::timestamptz + $12::interval
    """,
)
