"""Who asks, by an API key with the scope `admin`. The database is asked each time: a revoked key is refused at once."""

from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from shared.admin.context import Actor
from shared.admin.errors import Forbidden
from shared.api_keys import Peppers, well_formed
from shared.clock import Clock
from shared.db.pool import Database

SCOPE: Final = "admin"
_MARK_EVERY: Final = timedelta(minutes=1)

SELECT_KEY = """
    SELECT k.key_id, k.org_id, k.name, k.shown, k.scopes, k.last_used_at, o.slug
    FROM api_keys k JOIN orgs o USING (org_id)
    WHERE k.digest = ANY($1) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
"""
UPDATE_LAST_USED = (
    "UPDATE api_keys SET last_used_at = $2 WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < $2)"
)


class ApiKeys:
    """Finds the actor of a request by its key."""

    def __init__(self, database: Database, peppers: Peppers, clock: Clock) -> None:
        self._database, self._peppers, self._clock = database, peppers, clock

    async def __call__(self, request: web.Request) -> Actor | None:
        """The owner that an admin key stands for; None without a key that is valid.

        Raises Forbidden for a key of another kind; Outage, Transient.
        """
        key = presented(request)
        if key is None or not well_formed(key):
            return None
        now = self._clock.now()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SELECT_KEY, self._peppers.digests(key), now)
            if row is not None and _is_old(row["last_used_at"], now):
                await connection.execute(UPDATE_LAST_USED, row["key_id"], now)
        if row is None:
            return None
        if SCOPE not in row["scopes"]:
            raise Forbidden(f"This API key lacks the scope {SCOPE!r}.", code="missing_scope")
        return Actor(f"{row['name']} ({row['shown']})", "key", "owner", row["org_id"], row["slug"])


def presented(request: web.Request) -> str | None:
    """`X-Api-Key: <key>` or `Authorization: Bearer <key>`; None for none, or for several that differ."""
    keys = {key.strip() for key in request.headers.getall("X-Api-Key", ())}
    for authorization in request.headers.getall("Authorization", ()):
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "bearer":
            keys.add(key.strip())
    return keys.pop() if len(keys) == 1 else None


def _is_old(used_at: datetime | None, now: datetime) -> bool:
    return used_at is None or now - used_at >= _MARK_EVERY
