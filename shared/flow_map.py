"""What was last read of an org's flows, as it is kept: the map from events to steps, and the wait before each email."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.db.pool import Connection
from shared.klaviyo.flows import FlowMessage

# In one transaction with what was read, and first: whoever reads the same org waits for it. `found`: null where only
# some flows were asked for.
UPSERT_READ: Final = """
    INSERT INTO klaviyo_reads (org_id, kind, tried_at, read_at, found) VALUES ($1, $2, $3, $3, coalesce($4, 0))
    ON CONFLICT (org_id, kind) DO UPDATE SET tried_at = excluded.tried_at, read_at = excluded.read_at,
        found = coalesce($4, klaviyo_reads.found), problem = NULL
"""
UPSERT_UNREAD: Final = """
    INSERT INTO klaviyo_reads (org_id, kind, tried_at, problem) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org_id, kind) DO UPDATE SET tried_at = excluded.tried_at, problem = excluded.problem
"""
UPSERT: Final = """
    INSERT INTO flow_messages AS m (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name,
                                    delay_s, latest_s, open_ended, synced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (org_id, action_id, message_id) DO UPDATE SET
        flow_id = excluded.flow_id, flow_name = excluded.flow_name, flow_status = excluded.flow_status,
        message_name = excluded.message_name, delay_s = excluded.delay_s, latest_s = excluded.latest_s,
        open_ended = excluded.open_ended, synced_at = excluded.synced_at,
        delay_changed_at = CASE WHEN m.delay_s IS NULL OR excluded.delay_s IS NULL
                OR (m.delay_s, greatest(m.delay_s, m.latest_s), m.open_ended)
                 = (excluded.delay_s, greatest(excluded.delay_s, excluded.latest_s), excluded.open_ended)
            THEN m.delay_changed_at ELSE excluded.synced_at END,
        former_s = CASE WHEN greatest(m.delay_s, m.latest_s) > greatest(excluded.delay_s, excluded.latest_s, 0)
            THEN greatest(m.former_s, m.delay_s, m.latest_s) ELSE m.former_s END,
        former_until = CASE WHEN greatest(m.delay_s, m.latest_s) > greatest(excluded.delay_s, excluded.latest_s, 0)
            THEN greatest(m.former_until, excluded.synced_at + make_interval(secs => greatest(m.delay_s, m.latest_s)))
            ELSE m.former_until END
"""
# What was kept before and not read now. $2, $3: what was read.
_UNREAD: Final = """
    org_id = $1 AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) r (action_id, message_id)
                                    WHERE (r.action_id, r.message_id) = (m.action_id, m.message_id))
"""
# Emails of a step that a template names as control's are known by this alone, also those that it sends no more. Only
# where somebody asked: events of the last week are read by this map, and an email that it knows no more is attributed
# anew, by its flow alone.
DELETE: Final = f"""
    DELETE FROM flow_messages m WHERE {_UNREAD} AND NOT EXISTS (
        SELECT FROM templates t WHERE t.org_id = $1 AND t.control_action_id = m.action_id)
"""  # noqa: S608  # our own text
# $4: the flows that were asked for, null for all; $5: now.
AGE: Final = f"""
    UPDATE flow_messages m SET delay_s = NULL, latest_s = NULL, open_ended = false,
        former_s = greatest(former_s, delay_s, latest_s),
        former_until = greatest(former_until, $5::timestamptz + make_interval(secs => greatest(delay_s, latest_s))),
        flow_status = coalesce((
        SELECT min(f.flow_status) FROM flow_messages f JOIN unnest($2::text[], $3::text[]) r (action_id, message_id)
            ON (r.action_id, r.message_id) = (f.action_id, f.message_id)
        WHERE f.org_id = $1 AND f.flow_id = m.flow_id), 'gone')
    WHERE {_UNREAD} AND ($4::text[] IS NULL OR flow_id = ANY ($4::text[]))
"""  # noqa: S608  # our own text


async def keep_flows(
    connection: Connection, org_id: UUID, found: Sequence[FlowMessage], at: datetime,
    only: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Keep what was read; in the caller's transaction. Of all flows: what was not read is forgotten. Of these flows
    alone, as a runner reads them: it is kept without a wait, for emails that were sent are still read by it. Repeating
    it changes nothing."""
    flows = len({one.flow_id for one in found}) if only is None else None
    await connection.execute(UPSERT_READ, org_id, "flows", at, flows)
    rows = sorted(found, key=lambda one: (one.action_id, one.message_id))
    await connection.executemany(UPSERT, [_row(org_id, one, at) for one in rows])
    read = [one.action_id for one in rows], [one.message_id for one in rows]
    if only is None:
        await connection.execute(DELETE, org_id, *read)
    await connection.execute(AGE, org_id, *read, None if only is None else sorted(only), at)


def _row(org_id: UUID, one: FlowMessage, at: datetime) -> tuple[object, ...]:
    wait = one.wait
    least_s, most_s = (wait.least_s, wait.most_s) if wait is not None else (None, None)
    return (
        org_id, one.flow_id, one.flow_name, one.flow_status, one.action_id, one.message_id, one.message_name,
        least_s, most_s, wait is not None and most_s is None, at,
    )  # fmt: skip
