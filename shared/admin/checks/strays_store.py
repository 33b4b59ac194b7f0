"""Webhooks that came from one flow and named another, read by SQL: of the last two days, bounded."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.admin.checks.refused_store import LATELY
from shared.db.pool import Connection

_MOST: Final = 10

SELECT_STRAYS = """
    SELECT s.flow_id, s.named_flow_id, s.template_id, sum(s.webhooks)::bigint AS webhooks, max(s.last_at) AS last_at,
        (SELECT min(flow_name) FROM flow_messages m WHERE m.org_id = $1 AND m.flow_id = s.flow_id) AS flow_name,
        (SELECT min(flow_name) FROM flow_messages m WHERE m.org_id = $1 AND m.flow_id = s.named_flow_id)
            AS named_flow_name
    FROM stray_webhooks s WHERE s.org_id = $1 AND s.day >= $2::date AND s.last_at >= $3
    GROUP BY s.flow_id, s.named_flow_id, s.template_id ORDER BY last_at DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class StrayWebhooks:
    """So many of one flow. `named_flow_id`: the one in their tracking id."""

    flow_id: str
    named_flow_id: str
    template_id: str
    webhooks: int
    last_at: datetime
    flow_name: str | None
    named_flow_name: str | None


async def read_strays(connection: Connection, org_id: UUID, now: datetime) -> list[StrayWebhooks]:
    """The newest first."""
    since = now - LATELY
    rows = await connection.fetch(SELECT_STRAYS, org_id, since.date(), since, _MOST)
    return [StrayWebhooks(**dict(row)) for row in rows]
