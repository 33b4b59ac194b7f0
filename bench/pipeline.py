"""One burst the whole way: webhooks in, generations stored, profile writes pending. `make bench-pipeline`

gateway, generator and profile_writer run as they ship, one process each, beside a durable PostgreSQL and RabbitMQ and
beside the load itself, all on the same cores. The accounts are paused, so that writes wait and none is sent:
Klaviyo's quota would be the limit otherwise. Clocked from the first acceptance until every webhook is a stored
generation and a pending write, as the database shows it to somebody who looks five times a second.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil

import devstack
from bench import load
from bench.copy import email, people
from bench.report import Report
from devstack.processes import supervise
from devstack.seeds import INSERT_ORG
from devstack.services import environment, services
from shared.api_keys import Peppers, mint, shown
from shared.db.migrate import migrate

SERVICES = ("gateway", "generator", "profile_writer")
JOBS = 100_000
ORGS, VARIANTS = 20, 4
CONNECTIONS = 256  # a burst: what waits together travels together
WEBHOOK_BYTES, BODY_BYTES = 1_024, 10_000
DELAY_S = 86_400  # so that nothing expires meanwhile
LOOK_EVERY_S = 0.2
GIVE_UP_S = 300
ASKED = {"generations_per_s": ">= 2000", "rss_mb_max": "< 200"}
ROOT = Path(__file__).parents[1]

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, 'bench', $3, $4, $5, $6)
"""
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, delay_s, created_at, updated_at)
    VALUES ($1, 'welcome_1', 'Welcome', 'active', $2, $3, $3)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, 'welcome_1', $3, 'approved', $4, $4)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
INSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, updated_at)
    VALUES ($1, $2, 'http://127.0.0.1:9', 'never opened', '0000', $3)
"""
INSERT_PAUSE = """
    INSERT INTO write_pauses (org_id, account_key, reason, message, paused_at, integration_at)
    VALUES ($1, $2, 'benchmark', 'Nothing is sent.', $3, $3)
"""
SELECT_STARTED = "SELECT min(accepted_at) FROM generations"
SELECT_DONE = """
    SELECT (SELECT count(*) FROM generations WHERE decision = 'treatment') AS stored,
           (SELECT count(*) FROM pending_writes WHERE action = 'write') AS pending
"""


@dataclass(frozen=True, slots=True)
class Org:
    """A tenant of the benchmark."""

    slug: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One burst."""

    sent: load.Outcome
    started_at: datetime
    looks: Sequence["Look"]


@dataclass(frozen=True, slots=True)
class Look:
    """How far everything was at one moment; memory in MB and CPU seconds by service."""

    at: datetime
    stored: int
    pending: int
    rss_mb: Mapping[str, float]
    cpu_s: Mapping[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/pipeline.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help="webhooks to send")
    jobs = parser.parse_args(arguments).jobs
    report = Report("pipeline")
    with (
        tempfile.TemporaryDirectory(prefix="justai-bench-") as folder,
        devstack.start(("postgres", "rabbitmq"), Path(folder), durable=True) as servers,
    ):
        measured = asyncio.run(_measure(servers.endpoints, Path(folder), jobs))
    _report(report, jobs, measured)


async def _measure(servers: devstack.Endpoints, folder: Path, jobs: int) -> Measured:
    await migrate(servers.database_url)
    env = environment(database_url=servers.database_url, amqp_url=servers.amqp_url, log_level="WARNING")
    connection = await asyncpg.connect(servers.database_url)
    try:
        orgs = await _seed(connection, Peppers(env["JUSTAI_API_KEY_PEPPERS"]))
        running = services(env, SERVICES)
        port = int(running.gateway_url.rpartition(":")[2])
        burst = load.Load(port, CONNECTIONS, GIVE_UP_S, _webhooks(orgs, jobs, port), count=jobs)
        async with supervise(running.commands, log_dir=folder / "logs", echo=print, cwd=ROOT) as processes:
            sending = asyncio.create_task(asyncio.to_thread(load.run, burst))
            looks = await _watch(connection, processes.pids, jobs, sending)
            sent = await sending
        started_at = await connection.fetchval(SELECT_STARTED)
    finally:
        await connection.close()
    if sent.statuses != {"202": jobs} or min(looks[-1].stored, looks[-1].pending) < jobs:
        raise RuntimeError(f"not everything arrived: {sent.statuses}, {looks[-1]}")
    return Measured(sent, started_at, looks)


async def _seed(connection: "asyncpg.Connection[asyncpg.Record]", peppers: Peppers) -> list[Org]:
    now = datetime.now(UTC)
    orgs = [Org(f"org-{number}", mint(os.urandom)) for number in range(ORGS)]
    for org in orgs:
        org_id, account_key = uuid4(), f"key:{org.slug}"
        pepper, digest = peppers.digest(org.api_key)
        await connection.execute(INSERT_ORG, org_id, org.slug, now)
        await connection.execute(INSERT_KEY, uuid4(), org_id, shown(org.api_key), digest, pepper, now)
        await connection.execute(INSERT_INTEGRATION, org_id, account_key, now)
        await connection.execute(INSERT_PAUSE, org_id, account_key, now)
        await connection.execute(INSERT_TEMPLATE, org_id, DELAY_S, now)
        for number in range(VARIANTS):
            copy = email(uuid4(), BODY_BYTES, seed=number)
            await connection.execute(INSERT_VARIANT, org_id, copy.copy_id, f"variant {number}", now)
            await connection.execute(
                INSERT_VERSION, org_id, copy.copy_id, copy.version, copy.subject, copy.preheader, copy.body, now
            )
    return orgs


def _webhooks(orgs: Sequence[Org], jobs: int, port: int) -> list[str]:
    """One webhook per person, of the asked size, from all orgs in turn."""
    fields = people(2_000)
    webhooks: list[str] = []
    for number in range(jobs):
        org = orgs[number % len(orgs)]
        person = f"01HZY6Q3V9C5W0K7M2N4P{number:05d}"[:26]
        body: dict[str, object] = {
            "template_id": "welcome_1",
            "user_id": person,
            "tracking_id": f"{person}.Xy12Ab.9876543",
            "attrs": {"persona": "trail runner", "plan": ("gold", "silver")[number % 2], "language": "de"},
            "fields": {**fields[number % len(fields)], "note": ""},
        }
        empty = json.dumps(body, ensure_ascii=False)
        body["fields"] = {**fields[number % len(fields)], "note": "n" * (WEBHOOK_BYTES - len(empty.encode()))}
        text = json.dumps(body, ensure_ascii=False).encode()
        webhooks.append(load.webhook(f"127.0.0.1:{port}", org.slug, org.api_key, text))
    return webhooks


async def _watch(
    connection: "asyncpg.Connection[asyncpg.Record]",
    pids: Mapping[str, int],
    jobs: int,
    sending: "asyncio.Task[load.Outcome]",
) -> list[Look]:
    """Look until all is done, or cannot be any more. Rows are counted only after the last acceptance: before, the
    counting would take its share of what is measured."""
    processes = {name: psutil.Process(pids[name]) for name in SERVICES}
    looks: list[Look] = []
    gives_up_at = time.monotonic() + GIVE_UP_S
    while not looks or min(looks[-1].stored, looks[-1].pending) < jobs:
        if time.monotonic() > gives_up_at or (sending.done() and sending.exception()):
            break
        await asyncio.sleep(LOOK_EVERY_S)
        rss_mb = {name: process.memory_info().rss / 1e6 for name, process in processes.items()}
        stored, pending = (await connection.fetchrow(SELECT_DONE) or (0, 0)) if sending.done() else (0, 0)
        cpu_s = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
        looks.append(Look(datetime.now(UTC), stored, pending, rss_mb, cpu_s))
    return looks


def _report(report: Report, jobs: int, measured: Measured) -> None:
    looks, last = measured.looks, measured.looks[-1]
    half = looks[len(looks) // 2]

    def seconds(look: Look) -> float:
        return (look.at - measured.started_at).total_seconds()

    stored = next(look for look in looks if look.stored >= jobs)
    report.table(
        f"{jobs:,} webhooks of {WEBHOOK_BYTES} B, bodies of {BODY_BYTES // 1000} KB, {ORGS} orgs",
        ("stage", "seconds", "per s"),
        [
            (stage, f"{took_s:.1f}", f"{jobs / took_s:,.0f}")
            for stage, took_s in (
                ("accepted", measured.sent.seconds),
                ("stored", seconds(stored)),
                ("pending", seconds(last)),
            )
        ],
    )
    most = {name: max(look.rss_mb[name] for look in looks) for name in SERVICES}
    growth = {name: last.rss_mb[name] - half.rss_mb[name] for name in SERVICES}
    cpu_us = {name: (last.cpu_s[name] - looks[0].cpu_s[name]) / jobs * 1e6 for name in SERVICES}
    report.table(
        "Resident memory, MB, and CPU",
        ("service", "first", "half-way", "end", "most", "µs a webhook"),
        [
            (
                name,
                *(f"{look.rss_mb[name]:.0f}" for look in (looks[0], half, last)),
                f"{most[name]:.0f}",
                f"{cpu_us[name]:.0f}",
            )
            for name in SERVICES
        ],
    )
    report.finish(
        {
            "generations_per_s": jobs / seconds(last),
            "rss_mb_max": max(most.values()),
            "rss_mb_growth_second_half": max(growth.values()),
            "services_cpu_us": sum(cpu_us.values()),
            "accepted_per_s": measured.sent.rate,
            "accept_p99_ms": measured.sent.p99_ms,
        },
        ASKED,
    )


if __name__ == "__main__":
    main()
