"""Hears of changed configuration within seconds, or says that it cannot."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import orjson

from shared import logs, metrics
from shared.clock import first_of

log = logs.get(__name__)

CHANNEL = "justai_config"
_CONNECT_TIMEOUT_S = 5.0
_CHECK_EVERY_S = 2.0  # with the time-out below, a connection that died silently is known to be dead within 4 s
_CHECK_TIMEOUT_S = 2.0
_RETRY_S = 1.0
_WHAT_GOES_WRONG = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class ConfigListener:
    """One connection of its own that listens until stopped, and comes back after every loss. Real time throughout."""

    def __init__(
        self,
        database_url: str,
        tables: frozenset[str],
        *,
        name: str,
        on_change: Callable[[UUID | None], None],
        on_listening: Callable[[bool], None],
    ) -> None:
        """`name` is what the database shows of the connection.

        `on_change` gets the org of a change to one of `tables`, None when it is not known which;
        `on_listening` is told when changes begin to reach us and when they do not any more."""
        self._database_url, self._tables, self._name = database_url, tables, name
        self._on_change, self._on_listening = on_change, on_listening

    async def run(self, stop: asyncio.Event) -> None:
        """A runner."""
        while not stop.is_set():
            try:
                await self._listen(stop)
            except _WHAT_GOES_WRONG as error:
                log.warning("config.not_heard", error=type(error).__name__)
                await first_of(stop.wait(), within_s=_RETRY_S)

    async def _listen(self, stop: asyncio.Event) -> None:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await asyncpg.connect(self._database_url, server_settings={"application_name": self._name})
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await connection.add_listener(CHANNEL, self._heard)
            self._on_listening(True)
            while True:
                await first_of(stop.wait(), within_s=_CHECK_EVERY_S)
                if stop.is_set():
                    return
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await _check(connection)
        finally:
            self._on_listening(False)
            await _close(connection)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            change = orjson.loads(str(payload))
            if change["table"] in self._tables:
                self._on_change(UUID(change["org_id"]))
        except (ValueError, KeyError, TypeError):
            self._on_change(None)


async def _check(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Whether the connection lives. Webhooks are ordered by the clocks of the gateways that took them, and deadlines
    are held against those of writers, so each tells how far it is from the one clock that all can see."""
    before = datetime.now(UTC)
    told: datetime = await connection.fetchval("SELECT clock_timestamp()")
    metrics.gauge("clock_offset_seconds", offset_s(before, told, datetime.now(UTC)))


def offset_s(before: datetime, told: datetime, after: datetime) -> float:
    """By how many seconds our clock is surely ahead of one that told its time meanwhile; below 0: behind."""
    return max(0.0, (before - told).total_seconds()) - max(0.0, (told - after).total_seconds())


async def _close(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    try:
        async with asyncio.timeout(2):
            await connection.close()
    except _WHAT_GOES_WRONG:
        connection.terminate()
