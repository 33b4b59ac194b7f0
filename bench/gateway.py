"""How fast webhooks are accepted, beside what HTTP and validation alone allow and what others reach.

All servers run on this machine in one run, each in its own process, and are measured in turn in short rounds, so that
noise hits all alike; ratios are medians over the rounds. Every answer counted is a 202; the gateway's means that the
job is confirmed by a quorum queue with fsync on. The aiohttp peers are applications with a router and a Response, as
its documents show them; the gateway is a server of the same library without these, and writes its 202 itself: the
ratio to the limit counts what that wins against what ids and publishing cost.
"""

import asyncio
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

import devstack
from bench import load
from bench.report import Report
from devstack.guarded import GuardedProcess
from devstack.ports import free_ports
from devstack.seeds import INSERT_ORG
from shared.api_keys import Peppers, mint, shown
from shared.db.migrate import migrate
from shared.messaging.broker import connect, open_channel
from shared.messaging.topology import GENERATE

CONNECTIONS = 64
ORGS = 20
ROUNDS = 5
ROUND_S = 2.0
WARM_UP_S = 1.0
REQUESTS = 2_000
BODY_BYTES = 1_024
ROOT = Path(__file__).parents[1]

BARE, LIMIT, OURS, FASTSTREAM, CELERY = "aiohttp bare", "aiohttp + key + read", "gateway", "FastStream", "Celery"
MODULES = {
    BARE: "bench.peers.aiohttp_bare",
    LIMIT: "bench.peers.aiohttp_checked",
    OURS: "services.gateway",
    FASTSTREAM: "bench.peers.fastapi_faststream",
    CELERY: "bench.peers.fastapi_celery",
}
FILLS = {OURS: GENERATE.queues, FASTSTREAM: ("bench.faststream",), CELERY: ("bench.celery",)}
ASKED = {"ratio_to_limit": ">= 0.85", "ratio_to_celery": ">= 10"}

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, 'bench', $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class Org:
    """A tenant of the benchmark."""

    slug: str
    api_key: str


def main() -> int:
    """Measure and report; 0 also when an ask is missed, which the table says."""
    report = Report("gateway")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="justai-bench-")))
        servers = stack.enter_context(devstack.start(("postgres", "rabbitmq"), folder, durable=True)).endpoints
        peppers = f"1:{base64.b64encode(os.urandom(32)).decode()}"
        orgs = asyncio.run(_seed(servers.database_url, Peppers(peppers)))
        ports = dict(zip(MODULES, free_ports(len(MODULES)), strict=True))
        env = {
            "PATH": os.environ["PATH"],
            "BENCH_KEYS": json.dumps({org.api_key: org.slug for org in orgs}),
            "JUSTAI_DATABASE_URL": servers.database_url,
            "JUSTAI_AMQP_URL": servers.amqp_url,
            "JUSTAI_API_KEY_PEPPERS": peppers,
            "JUSTAI_SEAL_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
            "JUSTAI_GATEWAY_LISTEN": f"127.0.0.1:{ports[OURS]}",
            "JUSTAI_LOG_LEVEL": "WARNING",
        }
        for name, module in MODULES.items():
            stack.enter_context(_serving(name, module, ports[name], env))
        outcomes = _measure(ports, orgs, servers.amqp_url)
    _report(report, outcomes)
    return 0


async def _seed(database_url: str, peppers: Peppers) -> list[Org]:
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    now = datetime.now(UTC)
    orgs = [Org(f"org-{number}", mint(os.urandom)) for number in range(ORGS)]
    for org in orgs:
        org_id = uuid4()
        pepper, digest = peppers.digest(org.api_key)
        await connection.execute(INSERT_ORG, org_id, org.slug, now)
        await connection.execute(INSERT_KEY, uuid4(), org_id, shown(org.api_key), digest, pepper, now)
    await connection.close()
    return orgs


@contextmanager
def _serving(name: str, module: str, port: int, env: Mapping[str, str]) -> Iterator[None]:
    process = GuardedProcess([sys.executable, "-m", module, str(port)], env=env, output=sys.stderr.fileno(), cwd=ROOT)
    try:
        asyncio.run(_answering(name, port, process))
        yield
    finally:
        process.kill()


async def _answering(name: str, port: int, process: GuardedProcess) -> None:
    deadline = time.monotonic() + 20
    async with ClientSession(timeout=ClientTimeout(total=2)) as http:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                async with http.get(f"http://127.0.0.1:{port}/"):
                    return
            except (ClientConnectionError, TimeoutError):
                await asyncio.sleep(0.05)
    raise RuntimeError(f"{name} does not answer")


def _measure(ports: Mapping[str, int], orgs: list[Org], amqp_url: str) -> dict[str, list[load.Outcome]]:
    outcomes: dict[str, list[load.Outcome]] = {name: [] for name in ports}
    for number in range(ROUNDS + 1):
        for name, port in ports.items():
            requests = [_webhook(orgs[at % ORGS], at, port) for at in range(REQUESTS)]
            outcome = load.run(load.Load(port, CONNECTIONS, ROUND_S if number else WARM_UP_S, requests))
            if set(outcome.statuses) != {"202"}:
                raise RuntimeError(f"{name} did not accept everything: {outcome.statuses}")
            if number:
                outcomes[name].append(outcome)
            asyncio.run(_purge(amqp_url, FILLS.get(name, ())))
    return outcomes


def _webhook(org: Org, at: int, port: int) -> str:
    person = f"01HZY6Q3V9C5W0K7M2N4P{at:05d}"
    fields = {"first_name": "Ada", "last_order": "Trail shoe, size 38", "note": ""}
    body = {
        "template_id": "welcome_1",
        "user_id": person,
        "tracking_id": f"{person}.Xy12Ab.9876543",
        "attrs": {"persona": "trail runner", "plan": "gold", "city": "Zürich", "language": "de"},
        "fields": fields,
    }
    fields["note"] = "n" * (BODY_BYTES - len(json.dumps(body)))
    return load.webhook(f"127.0.0.1:{port}", org.slug, org.api_key, json.dumps(body).encode())


async def _purge(amqp_url: str, queues: Sequence[str]) -> None:
    """Nobody consumes here; rounds must not find what earlier rounds left."""
    async with connect(amqp_url, "bench") as connection:
        channel = await open_channel(connection)
        for name in queues:
            queue = await channel.declare_queue(name, passive=True, robust=False)
            await queue.purge()


def _report(report: Report, outcomes: Mapping[str, list[load.Outcome]]) -> None:
    rows = []
    for name, rounds in outcomes.items():
        rates = sorted(outcome.rate for outcome in rounds)
        rows.append(
            (
                name,
                f"{statistics.median(rates):,.0f}",
                f"{rates[0]:,.0f} … {rates[-1]:,.0f}",
                f"{statistics.median(outcome.p50_ms for outcome in rounds):.1f}",
                f"{statistics.median(outcome.p99_ms for outcome in rounds):.1f}",
                f"{max(outcome.max_ms for outcome in rounds):.0f}",
            )
        )
    title = f"{CONNECTIONS} connections, {BODY_BYTES} B bodies, {ORGS} orgs, {ROUNDS} rounds of {ROUND_S:g} s"
    report.table(title, ("server", "accepted/s", "least … most", "p50 ms", "p99 ms", "max ms"), rows)

    def ratio(other: str) -> float:
        pairs = zip(outcomes[OURS], outcomes[other], strict=True)
        return statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)

    def rate(name: str) -> float:
        return statistics.median(outcome.rate for outcome in outcomes[name])

    report.finish(
        {
            "ratio_to_limit": ratio(LIMIT),
            "ratio_to_celery": ratio(CELERY),
            "ratio_to_faststream": ratio(FASTSTREAM),
            "p99_ms": statistics.median(outcome.p99_ms for outcome in outcomes[OURS]),
            "gateway_per_s": rate(OURS),
            "limit_per_s": rate(LIMIT),
            "bare_per_s": rate(BARE),
            "faststream_per_s": rate(FASTSTREAM),
            "celery_per_s": rate(CELERY),
        },
        ASKED,
    )


if __name__ == "__main__":
    raise SystemExit(main())
