"""SQL of the gateway, and the channel on which changes of keys are told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.gateway.api_key import ApiKey
from shared import logs
from shared.db.pool import Database, name_of

log = logs.get(__name__)

LOOK_UP_TIMEOUT_S = 2.0
CHANNEL = "justai_config"
_TABLES = ("api_keys", "orgs")
_CONNECT_TIMEOUT_S = 5.0
_PING_EVERY_S = 2.0  # with its own time-out, a silent connection is noticed within 4 s
_PING_TIMEOUT_S = 2.0
_RECONNECT_S = 1.0
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


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


class Changes:
    """Listens for changes of keys and orgs on a connection of its own, for as long as the service lives.

    Each (re)connection counts as a change, because one may have been missed before it.
    """

    def __init__(self, database_url: str, on_change: Callable[[], None]) -> None:
        self._database_url, self._on_change = database_url, on_change
        self.listening = False

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._listen(stop)
            except _LOST as error:
                log.warning("changes.lost", error=name_of(error))
            self.listening = False
            await _wait(stop, _RECONNECT_S)

    async def _listen(self, stop: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._database_url, timeout=_CONNECT_TIMEOUT_S, server_settings={"application_name": "gateway.changes"}
        )
        try:
            await connection.add_listener(CHANNEL, self._heard)
            self.listening = True
            self._on_change()
            while not stop.is_set():
                async with asyncio.timeout(_PING_TIMEOUT_S):
                    await connection.execute("SELECT 1")
                await _wait(stop, _PING_EVERY_S)
        finally:
            connection.terminate()  # a farewell would wait for a frozen server, and there is nothing to lose

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        with suppress(ValueError, TypeError, KeyError):
            if orjson.loads(str(payload))["table"] not in _TABLES:
                return
        self._on_change()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
