"""PostgreSQL connections, each use of which has an end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from shared.errors import Conflict, Outage, Transient

_CONNECT_TIMEOUT_S = 10.0
_GIVE_BACK_TIMEOUT_S = 2
STATEMENT_TIMEOUT_S = 30
"""Real seconds of one use of a connection, where nobody says otherwise."""
SERVER_SOONER_S = 15
"""By so much the server's limit of a long statement strikes before ours. It says that the statement takes too long,
which is Transient; ours says that the server does not answer, which is an Outage, and cuts the connection."""

BY_KEY: Mapping[str, str] = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""For a pool whose statements find their rows by key and stop early, whatever the planner knows of the tables.

A planner without fresh statistics reads and sorts a table whole: tables that fill and empty within minutes never have
them, and the partition of a new day has none in its first minute, while a plan made then is kept for as long as its
connection. One plan for all values, because planning over every day's partition costs more than looking one up."""

Connection = asyncpg.pool.PoolConnectionProxy
Row = asyncpg.Record
OUTAGE_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # Classes 53 and 58 of SQLSTATE: a full disk, memory or lock table, a page that cannot be read. It is the server's
    # trouble mostly; memory may be short because of the statement alone, and where that would be asked again for ever
    # its caller says so (staging.py).
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    ConnectionError,
)
COLLISIONS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # A migration has given a table another column, which a statement from before asks for as well. The library has
    # forgotten such statements by now, on all connections of the pool.
    asyncpg.InvalidCachedStatementError,
)
CONFLICT_ERRORS = (
    *COLLISIONS,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
NEVER_AGAIN = (
    # Its backend died within an answer, and the library lost its place.
    asyncpg.InternalClientError,
    # The server takes no writes any more, or never did: another one does, and a new connection finds it.
    asyncpg.ReadOnlySQLTransactionError,
)
"""After these a connection is not given back. `connect` chooses a server, and nobody else ever asks again which one it
was: a pool would keep what landed on the wrong one for as long as it is used."""


class Database:
    """A pool whose users cannot hang: taking, using and giving back a connection share one real-time deadline."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self, timeout_s: float = STATEMENT_TIMEOUT_S) -> AsyncIterator[Connection]:
        """One connection. Raises Outage when the server is away or silent, Transient on a conflict, which
        is a Conflict where the same statements may succeed at once.

        A frozen server answers neither the query nor the release (asyncpg 0.32), so past the deadline the
        connection is cut, not returned.
        """
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._acquire()
                try:
                    yield connection
                except NEVER_AGAIN:
                    connection.terminate()
                    raise
                finally:
                    await self._give_back(connection)
        except TimeoutError as error:
            raise Outage("the database did not answer in time", reason="database_timeout") from error
        except CONFLICT_ERRORS as error:
            kind = Conflict if isinstance(error, COLLISIONS) else Transient
            raise kind(f"the database asks to try again: {name_of(error)}", reason="database_conflict") from error
        except asyncpg.ConfigurationLimitExceededError:
            raise  # of class 53, but it is this statement that passes a limit (temp_file_limit), and would again
        except OUTAGE_ERRORS as error:
            raise Outage(f"the database is out of reach: {name_of(error)}", reason="database_unreachable") from error
        except asyncpg.InterfaceError as error:
            # The same class also tells of wrong arguments, which no waiting cures.
            if isinstance(error, asyncpg.DataError) or "clos" not in str(error):
                raise
            raise Outage("the database connection was lost", reason="database_unreachable") from error

    @asynccontextmanager
    async def transaction(
        self, org_id: UUID | None = None, timeout_s: float = STATEMENT_TIMEOUT_S, *, long: bool = False
    ) -> AsyncIterator[Connection]:
        """One transaction. With an org, row-level security shows that org's rows only, whatever the role. `long`: the
        server too lets one statement take as long, but for SERVER_SOONER_S; it still has to be told its `timeout`."""
        async with self.connection(timeout_s) as connection, connection.transaction():
            if org_id is not None:
                await connection.execute(SCOPE_TO_ORG, str(org_id))
            if long:
                await connection.execute(f"SET LOCAL statement_timeout = '{timeout_s - SERVER_SOONER_S:.0f}s'")
            yield connection

    async def ping(self) -> None:
        """Raise Outage when the database does not answer, or takes no writes; for readiness."""
        async with self.connection(1.5) as connection:
            if await connection.fetchval(TAKES_NO_WRITES):
                raise asyncpg.ReadOnlySQLTransactionError

    async def _acquire(self) -> Connection:
        try:
            return await self._pool.acquire()
        except OSError as error:  # refused, unresolved, or several addresses that all failed
            raise Outage(f"the database is out of reach: {name_of(error)}", reason="database_unreachable") from error

    async def _give_back(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
                await asyncio.shield(self._pool.release(connection, timeout=_GIVE_BACK_TIMEOUT_S))
        except (TimeoutError, asyncio.CancelledError):
            # A process that was frozen meanwhile may find it given back and the time over at the same moment.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise


# On a standby too.
TAKES_NO_WRITES = "SELECT current_setting('transaction_read_only')::bool"

# The role changes too: policies of the worker role see all orgs, those of the tenant role only this one.
SCOPE_TO_ORG = "SELECT set_config('app.org_id', $1, true), set_config('role', 'justai_tenant', true)"


@asynccontextmanager
async def open_database(
    database_url: str, *, name: str, role: str = "justai_worker", max_size: int = 8,
    planner: Mapping[str, str] | None = None,
) -> AsyncIterator[Database]:  # fmt: skip
    """A pool that works as `role`, so that row-level security binds even where the login owns the tables. `planner`:
    settings of PostgreSQL's planner, such as `BY_KEY`."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        pool = await asyncpg.create_pool(
            database_url,
            min_size=1,
            max_size=max_size,
            init=_prepare,
            reset=_keep,
            command_timeout=STATEMENT_TIMEOUT_S,
            timeout=_CONNECT_TIMEOUT_S,
            server_settings={
                "application_name": name,
                "role": role,
                "timezone": "UTC",
                "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
                "lock_timeout": "5s",
                "idle_in_transaction_session_timeout": "60s",
                "jit": "off",  # compiling costs more than our short statements take
                **(planner or {}),
            },
        )
    try:
        yield Database(pool)
    finally:
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()


def name_of(error: BaseException) -> str:
    """The type alone: a database message may quote a person's values."""
    return type(error).__name__


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", format="text", encoder=_to_json, decoder=orjson.loads
        )


async def _keep(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Nothing of a session outlives a use: settings, roles and locks are those of a transaction. So nothing is to be
    reset, which would be a third of all round trips; what a use left open is rolled back before this is called."""


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()
