"""What `make bench-pipeline` measures on: orgs, their webhooks, and how far a burst of them has come."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import psutil

from bench import load
from bench.copy import email, people
from bench.cpu import others_cpu_s
from devstack.seeds import INSERT_ORG
from shared.api_keys import Peppers, mint, shown
from shared.schemas.jobs import Attrs

SERVICES = ("gateway", "generator", "profile_writer")

ORGS, VARIANTS = 20, 4
CONNECTIONS = 256  # a burst: what waits together travels together
WEBHOOK_BYTES, BODY_BYTES = 1_024, 10_000
DELAY_S = 86_400  # so that nothing expires meanwhile
LOOK_EVERY_S = 0.2
GIVE_UP_S = 300

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
# Partitions with their indexes and long values.
SELECT_BYTES = """
    SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'generations'::regclass
"""
SELECT_DONE = """
    SELECT (SELECT count(*) FROM generations WHERE decision = 'treatment') AS stored,
           (SELECT count(*) FROM pending_writes WHERE action = 'write') AS pending
"""


@dataclass(frozen=True, slots=True)
class Org:
    """A tenant of the benchmark."""

    slug: str
    org_id: UUID
    api_key: str
    copy_ids: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Look:
    """How far everything was at one moment; memory in MB by service, CPU seconds by service and server."""

    at: datetime
    stored: int
    pending: int
    rss_mb: Mapping[str, float]
    cpu_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """One burst."""

    jobs: int
    sent: load.Outcome
    started_at: datetime
    looks: Sequence[Look]
    db_bytes: int

    def seconds(self, look: Look) -> float:
        """From the first acceptance to this look."""
        return (look.at - self.started_at).total_seconds()

    @property
    def rate(self) -> float:
        """Generations a second, stored and pending."""
        return self.jobs / self.seconds(self.looks[-1])

    def cpu_us(self, service: str) -> float:
        """Of one webhook."""
        return (self.looks[-1].cpu_s[service] - self.looks[0].cpu_s[service]) / self.jobs * 1e6


@dataclass(frozen=True, slots=True)
class Stage:
    """The services as they run."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    port: int
    pids: Mapping[str, int]

    async def burst(self, webhooks: list[str], *, look_every_s: float = LOOK_EVERY_S) -> Measured:
        """Send these webhooks and wait until all are through. Raises RuntimeError when not all arrive."""
        jobs = len(webhooks)
        burst = load.Load(self.port, CONNECTIONS, GIVE_UP_S, webhooks, count=jobs)
        sending = asyncio.create_task(asyncio.to_thread(load.run, burst))
        looks = await self._watch(jobs, sending, look_every_s)
        sent = await sending
        if sent.statuses != {"202": jobs} or min(looks[-1].stored, looks[-1].pending) < jobs:
            raise RuntimeError(f"not everything arrived: {sent.statuses}, {looks[-1]}")
        started_at = await self.connection.fetchval(SELECT_STARTED)
        return Measured(jobs, sent, started_at, looks, await self.connection.fetchval(SELECT_BYTES))

    async def _watch(self, jobs: int, sending: "asyncio.Task[load.Outcome]", look_every_s: float) -> list[Look]:
        """Look until all is done, or cannot be any more. Rows are counted only after the last acceptance: before, the
        counting would take its share of what is measured."""
        processes = {name: psutil.Process(self.pids[name]) for name in SERVICES}
        looks: list[Look] = []
        gives_up_at = time.monotonic() + GIVE_UP_S
        while not looks or min(looks[-1].stored, looks[-1].pending) < jobs:
            if time.monotonic() > gives_up_at or (sending.done() and sending.exception()):
                break
            await asyncio.sleep(look_every_s)
            rss_mb = {name: process.memory_info().rss / 1e6 for name, process in processes.items()}
            stored, pending = (await self.connection.fetchrow(SELECT_DONE) or (0, 0)) if sending.done() else (0, 0)
            ours = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
            cpu_s = ours | others_cpu_s(self.pids.values())
            looks.append(Look(datetime.now(UTC), stored, pending, rss_mb, cpu_s))
        return looks


async def seed(connection: "asyncpg.Connection[asyncpg.Record]", peppers: Peppers, name: str) -> list[Org]:
    """Orgs with a template of the same copy each, on accounts that are paused."""
    now = datetime.now(UTC)
    orgs = []
    for number in range(ORGS):
        org = Org(f"{name}-{number}", uuid4(), mint(os.urandom), [uuid4() for _ in range(VARIANTS)])
        account_key = f"key:{org.slug}"
        pepper, digest = peppers.digest(org.api_key)
        await connection.execute(INSERT_ORG, org.org_id, org.slug, now)
        await connection.execute(INSERT_KEY, uuid4(), org.org_id, shown(org.api_key), digest, pepper, now)
        await connection.execute(INSERT_INTEGRATION, org.org_id, account_key, now)
        await connection.execute(INSERT_PAUSE, org.org_id, account_key, now)
        await connection.execute(INSERT_TEMPLATE, org.org_id, DELAY_S, now)
        for variant, copy_id in enumerate(org.copy_ids):
            copy = email(copy_id, BODY_BYTES, seed=variant)
            await connection.execute(INSERT_VARIANT, org.org_id, copy_id, f"variant {variant}", now)
            await connection.execute(
                INSERT_VERSION, org.org_id, copy_id, copy.version, copy.subject, copy.preheader, copy.body, now
            )
        orgs.append(org)
    return orgs


def plain_attrs(number: int) -> Attrs:
    """Of the person of this number."""
    return {"persona": "trail runner", "plan": ("gold", "silver")[number % 2], "language": "de"}


def webhooks(
    orgs: Sequence[Org], numbers: range, port: int, *, note: str = "",
    attrs: Callable[[int], Attrs] = plain_attrs,
) -> list[str]:  # fmt: skip
    """One webhook for each person of these numbers, of the asked size, from all orgs in turn."""
    fields = people(2_000)
    found: list[str] = []
    for number in numbers:
        org = orgs[number % len(orgs)]
        person = f"01HZY6Q3V9C5W0K7M2N4P{number:05d}"[:26]
        body: dict[str, object] = {
            "template_id": "welcome_1",
            "user_id": person,
            "tracking_id": f"{person}.Xy12Ab.9876543",
            "attrs": attrs(number),
            "fields": {**fields[number % len(fields)], "note": note},
        }
        left = WEBHOOK_BYTES - len(json.dumps(body, ensure_ascii=False).encode())
        body["fields"] = {**fields[number % len(fields)], "note": note + "n" * left}
        text = json.dumps(body, ensure_ascii=False).encode()
        found.append(load.webhook(f"127.0.0.1:{port}", org.slug, org.api_key, text))
    return found
