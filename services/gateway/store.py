"""SQL of the gateway."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.gateway.api_key import ApiKey
from services.gateway.refusals import Kind
from services.gateway.strays import Stray
from services.gateway.tally import Count
from shared.db.pool import Database

LOOK_UP_TIMEOUT_S = 2.0
KEPT_DAYS = 8


class Store:
    """API keys and counts of webhooks in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    SELECT_KEYS = """
        SELECT k.digest, k.key_id, k.org_id, o.slug, k.scopes, k.expires_at, k.revoked_at
        FROM api_keys k JOIN orgs o USING (org_id)
        WHERE k.digest = ANY($1)
    """

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ApiKey]:
        """The keys that are stored under these digests. Raises Outage, Transient."""
        async with self._database.connection(LOOK_UP_TIMEOUT_S) as connection:
            rows = await connection.fetch(self.SELECT_KEYS, digests)
        return {
            row["digest"]: ApiKey(
                row["key_id"],
                UUID(int=row["org_id"].int),  # asyncpg gives a class of its own, which orjson does not know
                row["slug"],
                frozenset(row["scopes"]),
                row["expires_at"],
                row["revoked_at"],
            )
            for row in rows
        }

    # `last_used_at` is none of the columns whose change is told on the channel.
    UPDATE_LAST_USED = """
        UPDATE api_keys k SET last_used_at = used.at
        FROM unnest($1::uuid[], $2::timestamptz[]) AS used (key_id, at)
        WHERE k.key_id = used.key_id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)
    """

    async def mark_used(self, used: Mapping[UUID, datetime]) -> None:
        """Remember when each key was last used; an older time than the stored one changes nothing."""
        async with self._database.connection(LOOK_UP_TIMEOUT_S) as connection:
            await connection.execute(self.UPDATE_LAST_USED, list(used), list(used.values()))

    # In the key's order, so that two replicas never wait for each other's rows. What is old goes by the way.
    COUNT_REFUSED = """
        WITH told AS (
            SELECT o.org_id, (t.last_at AT TIME ZONE 'UTC')::date AS day, t.code, t.webhooks, t.last_at,
                CASE WHEN EXISTS (SELECT FROM flow_messages f WHERE f.org_id = o.org_id AND f.flow_id = t.flow_id)
                       OR EXISTS (SELECT FROM templates p WHERE p.org_id = o.org_id AND p.flow_id = t.flow_id)
                     THEN t.flow_id ELSE '' END AS flow_id
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
                AS t (slug, flow_id, code, webhooks, last_at)
            JOIN orgs o USING (slug)
        ), old AS (
            DELETE FROM refused_webhooks r USING (SELECT org_id, max(day) AS day FROM told GROUP BY org_id) t
            WHERE r.org_id = t.org_id AND r.day < t.day - $6::int
        )
        INSERT INTO refused_webhooks AS r (org_id, day, flow_id, code, webhooks, last_at)
        SELECT org_id, day, flow_id, code, sum(webhooks), max(last_at) FROM told
        GROUP BY org_id, day, flow_id, code ORDER BY org_id, day, flow_id, code
        ON CONFLICT (org_id, day, flow_id, code) DO UPDATE
            SET webhooks = r.webhooks + excluded.webhooks, last_at = greatest(r.last_at, excluded.last_at)
    """

    async def count_refused(self, refused: Mapping[Kind, Count]) -> None:
        """Add to what was refused of each org; slugs that are nobody's are left out. Raises Outage, Transient."""
        slugs, flows, codes = zip(*refused, strict=True)
        counts = [count.webhooks for count in refused.values()]
        last = [count.last_at for count in refused.values()]
        async with self._database.connection(LOOK_UP_TIMEOUT_S) as connection:
            await connection.execute(self.COUNT_REFUSED, slugs, flows, codes, counts, last, KEPT_DAYS)

    # As COUNT_REFUSED.
    COUNT_STRAYS = """
        WITH told AS (
            SELECT org_id, (t.last_at AT TIME ZONE 'UTC')::date AS day, t.flow_id, t.named_flow_id, t.template_id,
                t.webhooks, t.last_at
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[])
                AS t (org_id, flow_id, named_flow_id, template_id, webhooks, last_at)
            JOIN orgs o USING (org_id)
        ), old AS (
            DELETE FROM stray_webhooks s USING (SELECT org_id, max(day) AS day FROM told GROUP BY org_id) t
            WHERE s.org_id = t.org_id AND s.day < t.day - $7::int
        )
        INSERT INTO stray_webhooks AS s (org_id, day, flow_id, named_flow_id, template_id, webhooks, last_at)
        SELECT org_id, day, flow_id, named_flow_id, template_id, webhooks, last_at FROM told
        ORDER BY org_id, day, flow_id, named_flow_id, template_id
        ON CONFLICT (org_id, day, flow_id, named_flow_id, template_id) DO UPDATE
            SET webhooks = s.webhooks + excluded.webhooks, last_at = greatest(s.last_at, excluded.last_at)
    """

    async def count_strays(self, strays: Mapping[Stray, Count]) -> None:
        """Add to what came from one flow and named another. Raises Outage, Transient."""
        orgs, flows, named, templates = zip(*strays, strict=True)
        counts = [count.webhooks for count in strays.values()]
        last = [count.last_at for count in strays.values()]
        async with self._database.connection(LOOK_UP_TIMEOUT_S) as connection:
            await connection.execute(self.COUNT_STRAYS, orgs, flows, named, templates, counts, last, KEPT_DAYS)
