"""What the gateway let in and what it refused, read by SQL: of the last two days, bounded whatever an org is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.admin.outcomes.shown_store import SET_FOR_FEW
from shared.db.pool import Connection
from shared.klaviyo.lint_access import Access, OrgKey
from shared.schemas.ids import generation_day

LATELY: Final = timedelta(days=2)
SAMPLE: Final = 2_000
"""Generations that are looked at: the newest, of the last two days."""
_MOST_REFUSALS: Final = 10

SELECT_REFUSED = """
    SELECT r.flow_id, f.flow_name, r.code, sum(r.webhooks)::bigint AS webhooks, max(r.last_at) AS last_at
    FROM refused_webhooks r LEFT JOIN LATERAL (
        SELECT min(flow_name) AS flow_name FROM flow_messages m WHERE m.org_id = r.org_id AND m.flow_id = r.flow_id
    ) f ON true
    WHERE r.org_id = $1 AND r.day >= $2::date AND r.last_at >= $3
    GROUP BY r.flow_id, f.flow_name, r.code ORDER BY last_at DESC LIMIT $4
"""
SELECT_LET_IN = """
    SELECT max(accepted_at) FROM (
        SELECT template_id, accepted_at FROM generations
        WHERE org_id = $1 AND accepted_at >= $2 AND day >= $3 AND decision IN ('treatment', 'control')
        ORDER BY accepted_at DESC LIMIT $4
    ) newest WHERE template_id = $5
"""
SELECT_KEY = """
    SELECT name, shown, scopes @> '{generate}' AS may_generate, expires_at, revoked_at FROM api_keys
    WHERE org_id = $1 AND digest = ANY($2)
"""


@dataclass(frozen=True, slots=True)
class RefusedWebhooks:
    """So many of a flow for one reason. `flow_id` empty: they named none, or none of the org's."""

    flow_id: str
    flow_name: str | None
    code: str
    webhooks: int
    last_at: datetime


async def read_refused(connection: Connection, org_id: UUID, now: datetime) -> list[RefusedWebhooks]:
    """The newest first."""
    since = now - LATELY
    rows = await connection.fetch(SELECT_REFUSED, org_id, since.date(), since, _MOST_REFUSALS)
    return [RefusedWebhooks(**dict(row)) for row in rows]


async def read_access(
    connection: Connection, org_id: UUID, now: datetime, *, template_id: str, flow_id: str, digests: Sequence[bytes]
) -> Access:
    """Of the flow of one template. `digests`: those under which the key in its webhook may be stored."""
    since = now - LATELY
    key = await connection.fetchrow(SELECT_KEY, org_id, digests)
    await connection.execute(SET_FOR_FEW)
    let_in_at = await connection.fetchval(SELECT_LET_IN, org_id, since, generation_day(since), SAMPLE, template_id)
    refused = [one for one in await read_refused(connection, org_id, now) if one.flow_id == flow_id]
    return Access(
        now=now,
        key=None if key is None else OrgKey(**dict(key)),
        let_in_at=let_in_at,
        refused_at=refused[0].last_at if refused else None,
        code=refused[0].code if refused else "",
        refused=sum(one.webhooks for one in refused),
    )
