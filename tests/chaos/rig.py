"""All services, the servers and a Klaviyo account in a box, each a process that a test may kill, freeze or cut off.

A test sends webhooks through `client`, does harm, and ends with `settled`, which lets the writes end, and `clean` or
`exported_and_clean`, which compare the four ledgers. The clock is the machine's, but leaps over what nobody waits for.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import asyncpg

from devstack import Endpoints
from devstack.isolation import fresh_bucket, fresh_database, fresh_name, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, Processes, python
from devstack.services import SERVICES, environment, services
from shared.clock import LeapingClock, clock_from_spec
from shared.db.migrate import migrate
from tests.chaos import ledgers
from tests.chaos.client import Client, tracking_id
from tests.chaos.oracle import Answer, Ledgers, Violation, report, violations
from tests.chaos.orgs import DELAY_S, Org, Places, add_org
from tests.chaos.servers import OwnServers
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
SETTLE_S = 60.0  # the export's, virtual
_MINUTE_S, _HOUR_S = 60, 3600
_READY_S = 60.0

COUNT_OPEN = """
    SELECT (SELECT count(*) FROM generations g WHERE NOT EXISTS (
               SELECT FROM write_outcomes w WHERE w.day = g.day AND w.generation_id = g.generation_id))
         + (SELECT count(*) FROM pending_writes WHERE action = 'write')
"""
COUNT_STORED = """
    SELECT count(*) FROM unnest($1::text[]) AS asked (id)
    WHERE EXISTS (SELECT FROM generations g WHERE g.generation_id = asked.id::uuid)
       OR EXISTS (SELECT FROM generation_aliases a WHERE a.alias_id = asked.id::uuid)
"""
COUNT_UNEXPORTED = """
    SELECT (SELECT count(*) FROM export_hours WHERE dirty_seq > exported_seq OR state <> 'exported')
         + (SELECT count(*) FROM (SELECT DISTINCT org_id, date_trunc('hour', accepted_at, 'UTC') AS hour
                                  FROM generations WHERE accepted_at < $1) held
            WHERE NOT EXISTS (SELECT FROM export_hours e WHERE e.org_id = held.org_id AND e.hour = held.hour
                              AND e.table_name = 'generations'))
"""
COUNT_LOADED = """
    SELECT count(*) FROM ingest_files WHERE state = 'done' AND regexp_replace(path, '^.*/', '') = ANY($1::text[])
"""


@dataclass
class Rig:
    """What a test sees. `url` of the gateway is the same after a restart."""

    endpoints: Endpoints
    database_url: str
    amqp_url: str
    bucket: str
    folder: Path
    clock: LeapingClock
    env: Mapping[str, str]
    gateway_url: str
    processes: Processes
    commands: dict[str, Command]
    ledger: Path
    events: Path  # where the box drops files of events
    http: aiohttp.ClientSession
    client: Client
    orgs: list[Org] = field(default_factory=list)
    servers: OwnServers | None = None
    exported_until: datetime | None = None

    @property
    def own(self) -> OwnServers:
        assert self.servers is not None, "this rig has no servers of its own"
        return self.servers

    # --- processes -------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        return self.processes.pids[name]

    async def start(self, name: str, *, argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None,
                    wait: bool = True) -> None:  # fmt: skip
        """Start a service again, with another command line or other settings if given; return when it is ready."""
        command = self.commands[name]
        changed = Command(
            name, argv or command.argv, {**command.env, **(env or {})}, command.ready_url, command.stop_within_s
        )  # fmt: skip
        self.processes.start(changed)
        if wait:
            await self.processes.ready(name, within_s=_READY_S)

    async def ready(self, name: str, *, within_s: float) -> float:
        """The seconds until it says that it can do its work."""
        started_s = time.monotonic()
        await self.processes.ready(name, within_s=within_s)
        return time.monotonic() - started_s

    async def died(self, name: str, *, within_s: float) -> int:
        """The exit code of one that ends by itself, once it has; it may be started again."""

        def ended() -> bool:
            return self.processes.exit_code(name) is not None

        await eventually(ended, within_s=within_s, every_s=0.05)
        return (await self.processes.end(name, kill=True))[name]

    async def health(self, name: str, path: str = "/healthz") -> int:
        """The status of one of its health pages; 0: no answer within two seconds."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self.http.get(self._url(name, path), timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status
        return 0

    async def page(self, name: str, path: str) -> str:
        """One of its health pages, such as /metrics."""
        async with self.http.get(self._url(name, path)) as response:
            response.raise_for_status()
            return await response.text()

    def _url(self, name: str, path: str) -> str:
        return (self.commands[name].ready_url or "").removesuffix("/readyz") + path

    async def dead(self, names: Sequence[str]) -> list[str]:
        """Those that do not say that they live, three times in a row, as an orchestrator asks: it would end them."""
        left = list(names)
        for _ in range(3):
            left = [name for name in left if await self.health(name) != 200]
        return left

    # --- looking ---------------------------------------------------------------------------------------------------

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with asyncio.timeout(30):
            connection = await asyncpg.connect(self.database_url)
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

    async def fetchrow(self, statement: str, *values: object) -> asyncpg.Record | None:
        rows = await self.fetch(statement, *values)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *values: object) -> Any:
        row = await self.fetchrow(statement, *values)
        return None if row is None else row[0]

    async def execute(self, statement: str, *values: object) -> None:
        await self.fetchval(statement, *values)

    async def read(self) -> Ledgers:
        rows, aliases = await ledgers.stored(self.database_url)
        await asyncio.sleep(0.6)  # the box's file is flushed twice a second
        writes, emails = ledgers.seen_by_the_box(self.ledger)
        slugs = [org.slug for org in self.orgs]
        exports = await asyncio.to_thread(ledgers.exported, self.endpoints, self.bucket, slugs)
        flows = [one for org in self.orgs for one in await _entries(org)]
        return Ledgers([*self.client.answers, *flows], rows, writes, emails, exports, self.exported_until, aliases)

    # --- loading -----------------------------------------------------------------------------------------------------

    async def enter(self, people: slice, spread_s: float = 0.2) -> None:
        """These people of each org enter its flow in the box, which sends the webhooks and later the emails itself."""
        for org in self.orgs:
            entered = org.people[people]
            await org.box.trigger(org.flow, entered, spread_s)
            at_s = asyncio.get_running_loop().time()
            self.client.answers += [
                Answer(org.slug, one, tracking_id(org, one), at_s, 0.0, 0, error="sent by the box") for one in entered
            ]

    # --- ending ----------------------------------------------------------------------------------------------------

    async def settled(self, *, within_s: float = 60.0) -> None:
        """Whatever was accepted is stored, and every generation's write has ended. Fails with the stories of those that
        are not."""

        async def ended() -> None:
            for org in self.orgs:
                progress = await org.box.progress(org.flow)
                assert progress["webhooks"].get("accepted", 0) == progress["entered"], progress
            accepted = list({one.generation_id for one in self.client.answers if one.accepted})
            assert await self.fetchval(COUNT_STORED, accepted) == len(accepted)
            assert await self.fetchval(COUNT_OPEN) == 0

        try:
            await eventually(ended, within_s=within_s, every_s=0.25)
        except AssertionError as late:
            read = await self.read()
            raise AssertionError(
                f"not settled within {within_s:g} s: {late}\n{report(read, violations(read))}"
            ) from late

    async def clean(self, seed: int, *, allowed: Callable[[Violation], bool] = lambda one: False) -> Ledgers:
        """Compare the ledgers; `seed` is shown when something is wrong."""
        read = await self.read()
        found = [one for one in violations(read) if not allowed(one)]
        assert not found, f"seed {seed}\n{report(read, found)}"
        return read

    async def emails_left(self, within_s: float = 60.0) -> None:
        """Leap over the delay; every email of the flows has left."""
        self.leap(DELAY_S + _MINUTE_S)

        async def finished() -> None:
            for org in self.orgs:
                progress = await org.box.progress(org.flow)
                assert progress["finished"] == progress["entered"], progress

        await eventually(finished, within_s=within_s, every_s=0.25)

    def leap(self, seconds: float) -> None:
        """By whole minutes, so that nobody's count of Klaviyo's minutes is upset."""
        self.clock.leap(-(-seconds // _MINUTE_S) * _MINUTE_S)

    def leap_to_the_next_hour(self) -> datetime:
        """The end of the hour that everything so far lies in; it is closed and settled."""
        now = self.clock.now()
        end = datetime.fromtimestamp((now.timestamp() // _HOUR_S + 1) * _HOUR_S, UTC)
        self.leap((end - now).total_seconds() + SETTLE_S + _MINUTE_S)
        return end

    async def exported(self, until: datetime, *, within_s: float = 90.0) -> None:
        """All hours before `until` are in the bucket, as often as they have changed."""

        async def done() -> None:
            assert await self.fetchval(COUNT_UNEXPORTED, until) == 0

        await eventually(done, within_s=within_s, every_s=0.25)
        self.exported_until = until

    async def loaded(self, *, within_s: float = 60.0) -> list[Path]:
        """The box drops a file of events for each org; each is read, and every event is there once. Returns them."""
        dropped = [await org.box.export(".", layout="nested", format="csv") for org in self.orgs]
        assert all(one["events"] for one in dropped), dropped

        async def done() -> None:
            assert await self.fetchval(COUNT_LOADED, [Path(one["path"]).name for one in dropped]) == len(dropped)

        await eventually(done, within_s=within_s, every_s=0.25)
        return [self.events / Path(one["path"]).name for one in dropped]

    async def exported_and_clean(self, seed: int) -> Ledgers:
        """To the end: writes ended, emails left, hours exported; the ledgers agree."""
        await self.settled()
        await self.emails_left()
        await self.exported(self.leap_to_the_next_hour())
        return await self.clean(seed)


async def _entries(org: Org) -> list[Answer]:
    """What the box itself saw accepted of the webhooks of its flows whose emails have left."""
    rows = (await org.box.outcomes(rows=True))["rows"]
    return [
        Answer(org.slug, row["profile_id"], tracking_id(org, row["profile_id"]), 0.0, 0.0, 202, row["generation_id"])
        for row in rows
        if row["generation_id"] is not None
    ]


@asynccontextmanager
async def open_rig(
    endpoints: Endpoints, folder: Path, *, own: OwnServers | None = None, names: Sequence[str] = SERVICES,
    orgs: int = 2, people: int = 60, imports: bool = False, poll_s: int = 1, **settings: str,
) -> AsyncIterator[Rig]:  # fmt: skip
    """Everything running and ready. With `own` servers their data is this rig's alone from here on. `imports`: the
    orgs' keys may make import jobs; `poll_s`: how often each org's folder of events is listed."""
    leaps, ledger, event_folder = folder / "leaps", folder / "box.jsonl", _made(endpoints, folder)
    LeapingClock.start(leaps)
    spec = f"scaled:1:{time.time()}:{datetime.now(UTC).isoformat()}@{leaps}"
    clock = clock_from_spec(spec)
    assert isinstance(clock, LeapingClock)
    if own is not None:
        await asyncio.to_thread(own.mend)
    async with AsyncExitStack() as stack:
        database_url, amqp_url, bucket = await _corners(endpoints, own, stack)
        env = environment(
            database_url=database_url, amqp_url=amqp_url, clock=spec, gateway_linger_s="0.1",
            egress_settle_s=f"{SETTLE_S:g}", egress_tick_s="2", egress_requeue_s="6", egress_lease_s="6",
            writer_lease_s="5", ingest_stable_s="1", ingest_tick_s="1", ingest_lease_s="6", ingest_requeue_s="10",
            **settings,
        )  # fmt: skip
        (simulator_port,) = free_ports(1)
        simulator_url = f"http://{LOOPBACK}:{simulator_port}"
        box = [
            *python("simulator"), "--port", str(simulator_port), "--clock-spec", spec, "--ledger", str(ledger),
            "--set", "retry_unanswered=true", "--set", "hold_on_retry=true", "--export-root", str(event_folder),
            "--set", "bulk_job_min_s=1", "--set", "bulk_job_max_s=2",
        ]  # fmt: skip
        running = services(env, names)
        commands = {
            one.name: one
            for one in [Command("simulator", box, ready_url=f"{simulator_url}/_sim/health"), *running.commands]
        }
        processes = Processes(folder / "logs", echo=None, colour=False, cwd=ROOT)
        stack.callback(processes.close)
        for one in commands.values():
            processes.start(one)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=400), timeout=aiohttp.ClientTimeout(total=30))
        )
        await processes.ready(within_s=_READY_S)
        rig = Rig(
            endpoints, database_url, amqp_url, bucket, folder, clock, env, running.gateway_url, processes, commands,
            ledger, event_folder, http, Client(http, running.gateway_url, clock), servers=own,
        )  # fmt: skip
        places = Places(
            endpoints, bucket, running.gateway_url, simulator_url, env["JUSTAI_SEAL_KEYS"],
            env["JUSTAI_API_KEY_PEPPERS"], f"{endpoints.sftp_remote_root.rstrip('/')}/{event_folder.name}",
        )  # fmt: skip
        async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as database:
            for number in range(orgs):
                org = await add_org(
                    database, http, clock, places, f"shop-{number}", people, imports=imports, poll_s=poll_s
                )
                rig.orgs.append(org)
        yield rig


def _made(endpoints: Endpoints, folder: Path) -> Path:
    """The rig's folder, and the one in which the box drops event files."""
    folder.mkdir(parents=True, exist_ok=True)
    event_folder = Path(endpoints.sftp_root) / fresh_name("events")
    event_folder.mkdir(parents=True)
    return event_folder


async def _corners(endpoints: Endpoints, own: OwnServers | None, stack: AsyncExitStack) -> tuple[str, str, str]:
    bucket = await stack.enter_async_context(fresh_bucket(endpoints)) if own is None else ""
    if own is None:
        return (
            await stack.enter_async_context(fresh_database(endpoints.database_url)),
            await stack.enter_async_context(fresh_virtual_host(endpoints)),
            bucket,
        )
    # A server that was killed meanwhile takes no farewell: nothing here is given back.
    name = fresh_name("chaos")
    server = await asyncpg.connect(endpoints.database_url)
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
    finally:
        await server.close()
    database_url = urlsplit(endpoints.database_url)._replace(path=f"/{name}").geturl()
    await migrate(database_url)
    await _no_queues(endpoints)
    return database_url, endpoints.amqp_url, await _bucket(endpoints, name)


async def _no_queues(endpoints: Endpoints) -> None:
    """The default virtual host, because it is there again after a total loss, without what a test before has left."""
    async with management(endpoints) as (http, base):
        async with http.get(f"{base}/api/queues/%2F") as response:
            queues = await response.json()
        for queue in queues:
            await (await http.delete(f"{base}/api/queues/%2F/{quote(queue['name'], safe='')}")).release()


@asynccontextmanager
async def management(endpoints: Endpoints) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """RabbitMQ's own API, as an administrator."""
    parts = urlsplit(endpoints.amqp_management_url)
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    async with aiohttp.ClientSession(
        headers=headers, timeout=aiohttp.ClientTimeout(total=30), raise_for_status=True
    ) as http:
        yield http, parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()


async def _bucket(endpoints: Endpoints, name: str) -> str:
    import pyarrow.fs

    s3 = pyarrow.fs.S3FileSystem(
        endpoint_override=endpoints.s3_endpoint, access_key=endpoints.s3_access_key,
        secret_key=endpoints.s3_secret_key, region="us-east-1", scheme="http", allow_bucket_creation=True,
    )  # fmt: skip
    await asyncio.to_thread(s3.create_dir, name)
    return name


def seed_of(name: str) -> int:
    """A test's seed: fixed, unless JUSTAI_CHAOS_SEED says another."""
    return int(os.environ.get("JUSTAI_CHAOS_SEED", 0)) or sum(name.encode())
