"""The stage of the writer's benchmark: Klaviyo accounts in a box, generations in the database, real writers.

The box runs in the benchmark's own process, so what it counted is read from it and from nobody else: which copy each
profile held at the moment of its email, what each minute admitted, how often it refused.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil

from bench.copy import email
from devstack import Endpoints
from devstack.isolation import fresh_database, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, Processes, python, supervise
from devstack.seeds import INSERT_ORG, INSERT_TEMPLATE, INSERT_VARIANT
from devstack.services import environment
from shared.clock import Clock, clock_from_spec
from shared.crypto import KeyRing
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.topology import WRITE
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.ids import generation_day
from shared.schemas.jobs import WriteJob
from shared.snippet import properties
from shared.vars_codec import encode_vars
from simulator.account import Account
from simulator.app import Box, serving
from simulator.settings import SimulatorSettings
from simulator.windows import Windows
from simulator.world import World

WRITES = "update_profile"
PAGE_SCOPES = ("profiles:write", "flows:read", "campaigns:read", "metrics:read")
BULK_SCOPES = (*PAGE_SCOPES, "profiles:read", "lists:read", "lists:write")
BODY_BYTES = 10_000
MESSAGE = "welcome.FLOW01.70000001"
ROOT = Path(__file__).parents[1]
_CHUNK = 50
_TAKEN_IN_WITHIN_S = 120
_SEEDING_S, _SEEDED_PER_S = 10.0, 5_000

INSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, updated_at)
    VALUES ($1, $2, $3, $4, '....', $5, $6)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, 1, $3, $4, $5, $6)
"""
COLUMNS = (
    "day", "generation_id", "org_id", "template_id", "user_id", "tracking_id", "accepted_at", "deadline_at",
    "clean_at", "decision", "reason", "copy_id", "variant_version", "property_prefix", "written_for", "vars",
)  # fmt: skip
PENDING_COLUMNS = (
    "account_key", "profile_id", "prefix", "org_id", "action", "lane", "day", "generation_id", "written_for",
    "accepted_at", "deadline_at", "clean_at", "next_attempt_at",
)  # fmt: skip
COUNT_TAKEN_IN = """
    SELECT (SELECT count(*) FROM pending_writes WHERE org_id = $1)
         + (SELECT count(*) FROM write_outcomes WHERE org_id = $1)
"""
SELECT_REASONS = "SELECT outcome, reason, count(*) AS writes FROM write_outcomes WHERE org_id = $1 GROUP BY 1, 2"


@dataclass(frozen=True, slots=True)
class Email:
    """One person's email: when it leaves, and the generation that it is to show."""

    profile_id: str
    generation_id: UUID
    accepted_at: datetime
    leaves_at: datetime


@dataclass(eq=False)
class Shop:
    """One org, its Klaviyo account, the copy it sends."""

    org_id: UUID
    account: Account
    key: str
    scopes: Sequence[str]
    source: VariantSource
    emails: list[Email] = field(default_factory=list)

    @classmethod
    def of_box(cls, world: World, name: str, scopes: Sequence[str] = PAGE_SCOPES) -> "Shop":
        """A new account in the box, whose minute has a phase of its own."""
        account = world.add_account(name)
        copy = email(uuid4(), BODY_BYTES, seed=len(world.accounts))
        return cls(uuid4(), account, world.add_key(account, scopes).value, scopes, copy)

    def people(self, world: World, count: int, *, start: datetime, within_s: float, delay_s: float) -> list[Email]:
        """New people whose webhooks are accepted evenly within so many seconds from `start`."""
        emails = [
            Email(
                world.add_profile(self.account, {}),
                uuid4(),
                start + timedelta(seconds=within_s * number / count),
                start + timedelta(seconds=within_s * number / count + delay_s),
            )
            for number in range(count)
        ]
        self.emails += emails
        return emails

    @property
    def windows(self) -> Windows:
        """What Klaviyo counted of its profile writes."""
        return next(found for name, found in self.account.windows.items() if name == WRITES)

    def judged(self) -> Counter[str]:
        """What each email showed, by the snippet's rule, from the profile as it was when the email left. Each person
        has one generation here, so stale copy cannot occur: that is for the tests."""
        return Counter(self._shown(one) for one in self.emails)

    def _shown(self, one: Email) -> str:
        held = self.account.profiles[one.profile_id].as_of(one.leaves_at).properties
        texts = [held.get(name) for name in properties("jai")]
        if all(text is None for text in texts) or held.get("jai_for") != MESSAGE:
            return "control_missed"
        if held.get("jai_generation") != str(one.generation_id):
            return "foreign"
        expected = copy_of(self.source, one.profile_id)
        shown = (held.get("jai_subject"), held.get("jai_preheader"), held.get("jai_body"))
        return "right" if shown == tuple(expected) else "broken"

    def since(self, moment: datetime | None) -> list[Email]:
        """Those accepted from then on; None: all."""
        return [one for one in self.emails if moment is None or one.accepted_at >= moment]

    def waits_s(self, *, since: datetime) -> list[float]:
        """Acceptance to arrival on the profile, of what was accepted from then on and arrived."""
        arrived = self.account.first_written_at
        return [
            (arrived[str(one.generation_id)] - one.accepted_at).total_seconds()
            for one in self.since(since)
            if str(one.generation_id) in arrived
        ]


def copy_of(source: VariantSource, profile_id: str) -> Vars:
    """One person's copy: the source with the person in it."""
    return Vars(f"Hi {profile_id}", source.preheader, f"{source.body}<p>{profile_id}</p>")


@dataclass
class Stage:
    """Everything of one run of rows."""

    clock: Clock
    box: Box
    db: "asyncpg.Connection[asyncpg.Record]"
    publisher: Publisher
    processes: Processes
    ring: KeyRing
    scale: float
    shops: list[Shop] = field(default_factory=list)

    async def shop(self, name: str, *, scopes: Sequence[str] = PAGE_SCOPES) -> Shop:
        """A new org with an account of its own."""
        shop, now = Shop.of_box(self.box.world, name, scopes), self.clock.now()
        copy, account_key = shop.source, f"acct:{shop.account.id}"
        sealed = self.ring.seal(shop.key, f"{shop.org_id}/klaviyo")
        await self.db.execute(INSERT_ORG, shop.org_id, name, now)
        await self.db.execute(INSERT_INTEGRATION, shop.org_id, account_key, self.box.url, sealed, sorted(scopes), now)
        await self.db.execute(INSERT_TEMPLATE, shop.org_id, now)
        await self.db.execute(INSERT_VARIANT, shop.org_id, copy.copy_id, now)
        await self.db.execute(INSERT_VERSION, shop.org_id, copy.copy_id, copy.subject, copy.preheader, copy.body, now)
        self.shops.append(shop)
        return shop

    async def seed(self, shop: Shop, count: int, *, start: datetime, within_s: float, delay_s: float) -> None:
        """Generations of new people, as the generator stores them."""
        emails = shop.people(self.box.world, count, start=start, within_s=within_s, delay_s=delay_s)
        for day in {generation_day(one.accepted_at) for one in emails}:
            await self.db.execute("SELECT ensure_partition('generations', $1)", day)
        for at in range(0, count, 2_000):
            rows = [_row(shop, one) for one in emails[at : at + 2_000]]
            await self.db.copy_records_to_table("generations", records=rows, columns=COLUMNS)

    async def seeded(self, bursts: Mapping[Shop, tuple[int, float]], *, delay_s: float) -> datetime:
        """Seed so many people within so many seconds for each shop; when it begins, soon."""
        people = sum(count for count, _ in bursts.values())
        start = self.clock.now() + timedelta(seconds=self.scale * (_SEEDING_S + people / _SEEDED_PER_S))
        for shop, (count, within_s) in bursts.items():
            await self.seed(shop, count, start=start, within_s=within_s, delay_s=delay_s)
        if (late_s := (self.clock.now() - start).total_seconds()) > 0:
            raise RuntimeError(f"seeding took {late_s:.0f} s longer than planned")
        return start

    async def published(self, shops: Iterable[Shop], *, until: datetime, since: datetime | None = None) -> None:
        """Publish their jobs as they are accepted, and wait for this moment."""
        async with asyncio.TaskGroup() as group:
            for shop in shops:
                group.create_task(self.publish(shop, since=since))
            await self.until(until)

    async def pend(self, shop: Shop, count: int, *, writable: int, delay_s: float) -> None:
        """So many pending writes put straight into the table, their deadlines behind those of `writable` people of
        flesh and blood."""
        now = self.clock.now()
        await self.seed(shop, writable, start=now, within_s=0, delay_s=delay_s)
        for start in range(0, count, 50_000):
            rows = [_pending(shop, number, now, delay_s) for number in range(start, min(start + 50_000, count))]
            await self.db.copy_records_to_table("pending_writes", records=rows, columns=PENDING_COLUMNS)

    async def publish(self, shop: Shop, *, since: datetime | None = None) -> None:
        """Its write jobs, each when its webhook is accepted."""
        for chunk in _chunks(shop.since(since)):
            await self.clock.sleep((chunk[-1].accepted_at - self.clock.now()).total_seconds())
            jobs = [_job(shop, one) for one in chunk]
            await self.publisher.send_jobs(WRITE, shop.org_id, jobs)

    async def taken_in(self, shop: Shop) -> None:
        """Return when all its writes are pending, or have ended. Raises TimeoutError."""
        async with asyncio.timeout(_TAKEN_IN_WITHIN_S):
            while await self.db.fetchval(COUNT_TAKEN_IN, shop.org_id) < len(shop.emails):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.5)

    async def until(self, moment: datetime) -> None:
        await self.clock.sleep((moment - self.clock.now()).total_seconds())

    async def reasons(self, shop: Shop) -> Counter[str]:
        """How our own books say that its writes ended."""
        rows = await self.db.fetch(SELECT_REASONS, shop.org_id)
        return Counter({f"{row['outcome']} {row['reason'] or ''}".strip(): row["writes"] for row in rows})

    def cpu_s(self) -> float:
        """CPU seconds of all writers so far."""
        seconds: list[float] = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.processes.pids.values()]
        return sum(seconds)

    def rss_mb(self) -> float:
        """Resident memory of the largest writer."""
        sizes: list[int] = [psutil.Process(pid).memory_info().rss for pid in self.processes.pids.values()]
        return max(sizes) / 1e6


@asynccontextmanager
async def staged(
    servers: Endpoints, folder: Path, *, scale: float, writers: int, settings: SimulatorSettings | None = None
) -> AsyncIterator[Stage]:
    """A stage whose clock runs `scale` times as fast as ours, with so many replicas of the writer."""
    origin = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    spec = f"scaled:{scale:g}:{time.time()}:{origin.isoformat()}"
    clock = clock_from_spec(spec)
    world = World(clock, settings or SimulatorSettings(), random.SystemRandom().randrange(10**9))
    async with (
        fresh_database(servers.database_url) as database_url,
        fresh_virtual_host(servers) as amqp_url,
        serving(world) as box,
        open_publisher(amqp_url, "bench", WRITE) as publisher,
    ):
        env = environment(database_url=database_url, amqp_url=amqp_url, clock=spec, log_level="ERROR")
        commands = _writers(env, writers)
        db = await asyncpg.connect(database_url)
        try:
            async with supervise(commands, log_dir=folder / "logs", echo=print, cwd=ROOT) as processes:
                yield Stage(clock, box, db, publisher, processes, KeyRing(env["JUSTAI_SEAL_KEYS"]), scale)
        finally:
            await db.close()


def _writers(env: Mapping[str, str], count: int) -> list[Command]:
    addresses = [f"{LOOPBACK}:{port}" for port in free_ports(count)]
    return [
        Command(
            f"writer-{number}",
            python("services.profile_writer"),
            env={**env, "JUSTAI_HEALTH_LISTEN": address},
            ready_url=f"http://{address}/readyz",
        )
        for number, address in enumerate(addresses, start=1)
    ]


def _row(shop: Shop, one: Email) -> tuple[object, ...]:
    blob = encode_vars(copy_of(shop.source, one.profile_id), shop.source)
    return (
        generation_day(one.accepted_at), one.generation_id, shop.org_id, "welcome", one.profile_id, "t",
        one.accepted_at, one.leaves_at, one.leaves_at + timedelta(seconds=3600), "treatment", "uniform",
        shop.source.copy_id, 1, "jai", MESSAGE, blob,
    )  # fmt: skip


def _pending(shop: Shop, number: int, now: datetime, delay_s: float) -> tuple[object, ...]:
    deadline_at = now + timedelta(seconds=delay_s + 1, milliseconds=number)
    return (
        f"acct:{shop.account.id}", f"N{number}", "jai", shop.org_id, "write", 1, generation_day(now), UUID(int=number),
        MESSAGE, now, deadline_at, deadline_at, now,
    )  # fmt: skip


def _job(shop: Shop, one: Email) -> WriteJob:
    return WriteJob(
        org_id=shop.org_id, generation_id=one.generation_id, day=generation_day(one.accepted_at),
        profile_id=one.profile_id, prefix="jai", action="write", accepted_at=one.accepted_at, deadline_at=one.leaves_at,
    )  # fmt: skip


def _chunks(emails: Sequence[Email]) -> Iterator[Sequence[Email]]:
    """What is published together: so many, or what half a second brings."""
    start = 0
    for at, one in enumerate(emails):
        if at - start >= _CHUNK or (one.accepted_at - emails[start].accepted_at).total_seconds() > 0.5:
            yield emails[start:at]
            start = at
    if start < len(emails):
        yield emails[start:]
