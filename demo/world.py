"""Everything the story plays in: the servers, our services and the simulator, each as a process of its own."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import pyarrow.fs

from demo.box import Box
from devstack import Endpoints
from devstack.isolation import fresh_bucket, fresh_database, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, Processes, python, supervise
from devstack.services import SERVICES, environment, run_justai, services
from shared.clock import LeapingClock, clock_from_spec


@dataclass(frozen=True, slots=True)
class World:
    """Where everything is while the story plays."""

    endpoints: Endpoints
    env: Mapping[str, str]
    clock: LeapingClock
    gateway_url: str
    console_url: str
    simulator_url: str
    event_folder: str  # where the simulator drops event files, as the SFTP server says it
    bucket: str
    run_dir: Path
    box: Box
    database: "asyncpg.Pool[asyncpg.Record]"
    services: Mapping[str, Command]
    processes: Processes

    async def justai(self, *arguments: str, given: str = "") -> str:
        """Run the `justai` command as a person would; its output. Raises CommandFailed."""
        return await run_justai(self.env, *arguments, given=given)

    def s3(self) -> pyarrow.fs.S3FileSystem:
        """The bucket's server, for reading back what was exported."""
        return pyarrow.fs.S3FileSystem(
            endpoint_override=self.endpoints.s3_endpoint,
            access_key=self.endpoints.s3_access_key,
            secret_key=self.endpoints.s3_secret_key,
            region="us-east-1",
            scheme="http",
        )


@asynccontextmanager
async def open_world(
    endpoints: Endpoints, run_dir: Path, *, factor: float, echo: Callable[[str], None] | None, colour: bool, **more: str
) -> AsyncIterator[World]:
    """Start the simulator and the services on the given servers; stop them on the way out. `more`: further settings by
    name in lower case.

    The clock starts at the present, runs `factor` times as fast and leaps when the story says so, for all processes
    alike.
    """
    leaps = (run_dir / "leaps").resolve()
    LeapingClock.start(leaps)
    clock_spec = f"scaled:{factor:g}:{time.time()}:{datetime.now(UTC).isoformat()}@{leaps}"
    clock = clock_from_spec(clock_spec)
    assert isinstance(clock, LeapingClock)  # noqa: S101  # for the type alone
    async with (
        fresh_database(endpoints.database_url) as database_url,
        fresh_virtual_host(endpoints) as amqp_url,
        fresh_bucket(endpoints) as bucket,
    ):
        simulator_port, console_port = free_ports(2)
        simulator_url, console_url = f"http://{LOOPBACK}:{simulator_port}", f"http://{LOOPBACK}:{console_port}"
        env = environment(
            database_url=database_url,
            amqp_url=amqp_url,
            clock=clock_spec,
            gateway_linger_s="0.1",
            ingest_stable_s="20",
            egress_settle_s="60",
            console_listen=f"{LOOPBACK}:{console_port}",
            console_url=console_url,
            console_plain_cookies="true",  # it is http, on this machine
            console_klaviyo_url=simulator_url,
            **more,
        )
        running = services(env, (*SERVICES, "console"))
        folder = Path(endpoints.sftp_root) / bucket
        folder.mkdir(parents=True)
        commands: Sequence[Command] = [_simulator(simulator_port, clock_spec, folder, simulator_url), *running.commands]
        async with (
            supervise(commands, log_dir=run_dir / "logs", echo=echo, colour=colour) as processes,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
            asyncpg.create_pool(database_url, min_size=1, max_size=2) as database,
        ):
            yield World(
                endpoints=endpoints, env=env, clock=clock, gateway_url=running.gateway_url,
                console_url=console_url, simulator_url=simulator_url,
                event_folder=f"{endpoints.sftp_remote_root.rstrip('/')}/{folder.name}", bucket=bucket,
                run_dir=run_dir, box=Box(http, simulator_url), database=database,
                services={command.name: command for command in running.commands}, processes=processes,
            )  # fmt: skip


def _simulator(port: int, clock_spec: str, folder: Path, url: str) -> Command:
    argv = [*python("simulator"), "--port", str(port), "--clock-spec", clock_spec, "--export-root", str(folder)]
    return Command("simulator", argv, ready_url=f"{url}/_sim/health")


def write_json(path: Path, content: object) -> None:
    """Replace a result file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_text(json.dumps(content, indent=2) + "\n")
