"""SQL of the gateway."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from services.gateway.api_key import ApiKey
from shared.db.pool import Database

LOOK_UP_TIMEOUT_S = 2.0


class Store:
    """API keys in PostgreSQL."""

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
