"""What there is to say of bulk imports: whether the key may, what is on its way, and what a scope would buy."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from shared.db.pool import Connection
from shared.klaviyo.bulk import SCOPES

SELECT_SCOPES = "SELECT scopes FROM integrations WHERE org_id = ANY($1)"
SELECT_ROAD = """
    SELECT (SELECT min(r.reason) FROM bulk_refusals r JOIN integrations i USING (org_id)
            WHERE i.account_key = a.account_key AND r.integration_at = i.updated_at AND r.refused_at > $3) AS refused,
           (SELECT count(*) FROM bulk_jobs b WHERE b.account_key = a.account_key AND b.state <> 'ended') AS jobs,
           (SELECT coalesce(sum(b.rows), 0)::int FROM bulk_jobs b
            WHERE b.account_key = a.account_key AND b.state <> 'ended') AS writes,
           (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY b.latency_s) FROM bulk_jobs b
            WHERE b.account_key = a.account_key AND b.sent_at >= $2) AS takes_s
    FROM klaviyo_accounts a WHERE a.account_key = $1
"""
_REFUSAL_LASTS = timedelta(hours=1)
_BOUGHT = SCOPES - {"profiles:write"}  # without that one nothing works at all


@dataclass(frozen=True, slots=True)
class BulkRoad:
    """`missing_scopes` of the key (of any key, where several orgs share the account); `takes_s`: half of the imports of
    the last day were done in that time."""

    missing_scopes: Sequence[str]
    refused_reason: str | None
    jobs: int
    writes: int
    takes_s: float | None


async def bulk_road(connection: Connection, account_key: str, org_ids: Collection[UUID], now: datetime) -> BulkRoad:
    """The road of one account."""
    scopes = [set(row["scopes"]) for row in await connection.fetch(SELECT_SCOPES, list(org_ids))]
    (row,) = await connection.fetch(SELECT_ROAD, account_key, now - timedelta(days=1), now - _REFUSAL_LASTS)
    return BulkRoad(
        missing_scopes=sorted(set().union(*(_BOUGHT - has for has in scopes))),
        refused_reason=row["refused"],
        jobs=row["jobs"],
        writes=row["writes"],
        takes_s=None if row["takes_s"] is None else round(row["takes_s"], 1),
    )
