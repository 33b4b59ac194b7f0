"""SQL of reading flows again: whose are due, which, and what came of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.db.pool import Database
from shared.flow_map import UPSERT_UNREAD, keep_flows
from shared.klaviyo.flows import FlowMessage

_MAX_PROBLEM: Final = 1_000

# Flows of ours: those that templates name, and those that hold a webhook of ours. To be tried is to be claimed.
_OURS: Final = """
    SELECT flow_id FROM templates WHERE org_id = {org} AND flow_id IS NOT NULL AND state <> 'archived'
    UNION SELECT flow_id FROM flow_messages WHERE org_id = {org} AND delay_s IS NOT NULL
"""
CLAIM: Final = f"""
    WITH due AS (
        INSERT INTO klaviyo_reads AS k (org_id, kind, tried_at)
        SELECT i.org_id, 'flows', $1 FROM integrations i
        LEFT JOIN klaviyo_reads r ON r.org_id = i.org_id AND r.kind = 'flows'
        WHERE 'flows:read' = ANY (i.scopes) AND (r.tried_at IS NULL OR r.tried_at <= $1::timestamptz - $2::interval)
          AND EXISTS ({_OURS.format(org="i.org_id")})
        ORDER BY r.tried_at NULLS FIRST LIMIT 1
        ON CONFLICT (org_id, kind) DO UPDATE SET tried_at = excluded.tried_at
            WHERE k.tried_at <= $1::timestamptz - $2::interval
        RETURNING org_id
    )
    SELECT i.org_id, i.base_url, i.sealed_key FROM due JOIN integrations i USING (org_id)
"""  # noqa: S608  # our own text
SELECT_OURS: Final = f"""
    SELECT o.flow_id FROM ({_OURS.format(org="$1")}) o
    LEFT JOIN flow_messages m ON m.org_id = $1 AND m.flow_id = o.flow_id
    GROUP BY 1 ORDER BY max(m.synced_at) NULLS FIRST, 1
"""  # noqa: S608  # our own text
READ_SINCE: Final = "SELECT read_at >= $2 FROM klaviyo_reads WHERE org_id = $1 AND kind = 'flows' FOR UPDATE"


@dataclass(frozen=True, slots=True)
class DueFlows:
    """An org whose flows are to be read now."""

    org_id: UUID
    base_url: str
    sealed_key: str


class KeptFlows:
    """Every method raises Outage when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, every: timedelta) -> DueFlows | None:
        """An org of which nobody has tried to read the flows for so long."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(CLAIM, now, every)
        return None if row is None else DueFlows(row["org_id"], row["base_url"], row["sealed_key"])

    async def ours(self, org_id: UUID) -> Sequence[str]:
        """Flows that copy is written for, also those that the account has no more; first those that were read longest
        ago."""
        async with self._database.transaction(org_id) as connection:
            return [row["flow_id"] for row in await connection.fetch(SELECT_OURS, org_id)]

    async def keep(
        self, org_id: UUID, found: Sequence[FlowMessage], only: Collection[str], began: datetime, now: datetime
    ) -> bool:
        """Whether it was kept: what somebody has read in the meantime is newer. Repeating it changes nothing."""
        async with self._database.transaction(org_id) as connection:
            if await connection.fetchval(READ_SINCE, org_id, began):
                return False
            await keep_flows(connection, org_id, found, now, only)
        return True

    async def tell(self, org_id: UUID, began: datetime, now: datetime, problem: str) -> None:
        """Why they could not be read; what was read before stays. Nothing where somebody has read them in the
        meantime."""
        async with self._database.transaction(org_id) as connection:
            if not await connection.fetchval(READ_SINCE, org_id, began):
                await connection.execute(UPSERT_UNREAD, org_id, "flows", now, problem[:_MAX_PROBLEM])
