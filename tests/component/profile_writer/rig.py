"""The profile writer on a real database and broker, writing to a Klaviyo account in a box; all on one scaled clock."""

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, Processes, python, supervise
from devstack.seeds import INSERT_ORG, INSERT_TEMPLATE, INSERT_VARIANT
from devstack.services import environment
from services.profile_writer.app import build
from services.profile_writer.settings import Settings
from shared.clock import Clock, ScaledClock, clock_from_spec
from shared.crypto import KeyRing
from shared.db.pool import BY_KEY, Database, open_database
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.topology import WRITE
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.ids import generation_day
from shared.schemas.jobs import WriteJob
from shared.vars_codec import encode_vars
from simulator.account import Account, PrivateKey
from simulator.app import Box, serving
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.support.waiting import eventually

FACTOR = 10.0
_KEY = base64.b64encode(bytes(32)).decode()
RING = KeyRing(f"k1:{_KEY}")
MESSAGE = "welcome.FLOW01.70000001"

INSERT_INTEGRATION = """
    INSERT INTO integrations (org_id, account_key, base_url, sealed_key, last4, scopes, updated_at)
    VALUES ($1, $2, $3, $4, '....', $5, $6)
    ON CONFLICT (org_id) DO UPDATE SET
        sealed_key = excluded.sealed_key, scopes = excluded.scopes, updated_at = excluded.updated_at
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, 1, 'Hi {{ name }}', 'pre', '<p>Hello {{ name }}</p>', $3)
"""
INSERT_GENERATION = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
                             clean_at, decision, reason, copy_id, variant_version, property_prefix, written_for, vars)
    VALUES ($1, $2, $3, $12, $4, 't', $5, $6, $7, $8, 'uniform', $9, 1, 'jai', $10, $11)
"""
SELECT_OUTCOMES = "SELECT generation_id, outcome, reason, attempts FROM write_outcomes WHERE org_id = $1"
COUNT_PENDING = "SELECT count(*) FROM pending_writes WHERE org_id = $1"
HOLD = """
    INSERT INTO klaviyo_accounts (account_key, blocked_until, runnable_at) VALUES ($1, $2, $3)
    ON CONFLICT (account_key) DO UPDATE SET blocked_until = $2, runnable_at = $3
"""
SELECT_IN_FLIGHT = "SELECT profile_id FROM pending_writes WHERE taken_by IS NOT NULL"
SELECT_STATE = "SELECT profile_id, state FROM profile_state WHERE state <> 'clean'"


@dataclass
class Rig:
    """One org, its account in a box, and the writer beside them."""

    database_url: str
    amqp_url: str
    clock_spec: str
    clock: Clock
    db: Database
    publisher: Publisher
    box: Box
    account: Account
    key: PrivateKey
    org_id: UUID
    source: VariantSource

    def people(self, count: int) -> list[str]:
        return [self.box.world.add_profile(self.account, {"email": f"p{n}@people.example"}) for n in range(count)]

    async def generate(
        self, profile_id: str, *, delay_s: float = 600, window_s: float = 600, name: str = "Ann", control: bool = False,
        written_for: str = MESSAGE, generation_id: UUID | None = None,
    ) -> WriteJob:  # fmt: skip
        """Store a generation as the generator does; its write job."""
        now, generation_id = self.clock.now(), generation_id or uuid4()
        deadline_at = now + timedelta(seconds=delay_s)
        async with self.db.connection() as connection:
            await connection.execute("SELECT ensure_partition('generations', $1)", generation_day(now))
            await connection.execute(
                INSERT_GENERATION, generation_day(now), generation_id, self.org_id, profile_id, now, deadline_at,
                deadline_at + timedelta(seconds=window_s), "control" if control else "treatment",
                None if control else self.source.copy_id, written_for,
                None if control else self._copy(name), written_for.partition(".")[0],
            )  # fmt: skip
        return self._job(profile_id, generation_id, now, deadline_at, "clear" if control else "write")

    async def generate_many(
        self, people: Sequence[str] | int, *, delay_s: float = 3600, name: str = "Ann"
    ) -> list[WriteJob]:
        """One generation for each of these people, or of so many whom nobody else needs, accepted now and stored at
        once; their write jobs."""
        now, blob = self.clock.now(), self._copy(name)
        deadline_at, day = now + timedelta(seconds=delay_s), generation_day(now)
        clean_at = deadline_at + timedelta(seconds=600)
        whom = self.people(people) if isinstance(people, int) else people
        jobs = [self._job(person, uuid4(), now, deadline_at, "write") for person in whom]
        rows = [
            (day, job.generation_id, self.org_id, job.profile_id, now, deadline_at, clean_at, "treatment",
             self.source.copy_id, MESSAGE, blob, "welcome")
            for job in jobs
        ]  # fmt: skip
        async with self.db.connection() as connection:
            await connection.execute("SELECT ensure_partition('generations', $1)", day)
            await connection.executemany(INSERT_GENERATION, rows)
        return jobs

    def _copy(self, name: str) -> bytes:
        return encode_vars(Vars(f"Hi {name}", "pre", f"<p>Hello {name}</p>"), self.source)

    def _job(
        self, profile_id: str, generation_id: UUID, at: datetime, deadline_at: datetime,
        action: Literal["write", "clear"],
    ) -> WriteJob:  # fmt: skip
        return WriteJob(
            org_id=self.org_id, generation_id=generation_id, day=generation_day(at), profile_id=profile_id,
            prefix="jai", action=action, accepted_at=at, deadline_at=deadline_at,
        )  # fmt: skip

    async def send(self, *jobs: WriteJob) -> None:
        await self.publisher.send_jobs(WRITE, self.org_id, jobs)

    async def outcomes(self, count: int, within_s: float = 40) -> dict[UUID, asyncpg.Record]:
        """The org's outcomes by generation, once there are this many."""

        async def enough() -> dict[UUID, asyncpg.Record]:
            async with self.db.connection() as connection:
                rows = await connection.fetch(SELECT_OUTCOMES, self.org_id)
            assert len(rows) == count, [dict(row) for row in rows]
            return {row["generation_id"]: row for row in rows}

        return await eventually(enough, within_s=within_s)

    async def hold(self, *, until: datetime | None) -> None:
        """Let no request of this account leave before then, as after a long Retry-After; None lets them go."""
        async with self.db.connection() as connection:
            await connection.execute(HOLD, f"acct:{self.account.id}", until, self.clock.now())

    async def taken_in(self, count: int, within_s: float = 30) -> None:
        """Return when so many writes of the org are pending."""

        async def enough() -> None:
            async with self.db.connection() as connection:
                assert await connection.fetchval(COUNT_PENDING, self.org_id) == count

        await eventually(enough, within_s=within_s)

    async def dirty(self) -> list[str]:
        async with self.db.connection() as connection:
            return [row["profile_id"] for row in await connection.fetch(SELECT_STATE)]

    async def in_flight(self) -> list[str]:
        """Whose writes a turn has taken, and no answer is settled."""
        async with self.db.connection() as connection:
            return [row["profile_id"] for row in await connection.fetch(SELECT_IN_FLIGHT)]

    def properties(self, profile_id: str) -> dict[str, Any]:
        return dict(self.account.profiles[profile_id].state.properties)

    def patches(self) -> list[Any]:
        """What the box was asked to write in this account, oldest first."""
        asked = self.box.world.log.since(0, "update_profile", 100_000)
        return [entry for entry in asked if entry.account_id == self.account.id]

    def imports(self) -> list[Any]:
        """The same by the second road."""
        asked = self.box.world.log.since(0, "create_or_update_profile", 100_000)
        return [entry for entry in asked if entry.account_id == self.account.id]

    async def neighbour(self, slug: str, org_id: UUID | None = None) -> "Rig":
        """Another org with an account of its own in the same box, beside the same writer."""
        account, key = _account(self.box.world, slug)
        org_id = org_id or uuid4()
        other = replace(
            self, account=account, key=key, org_id=org_id, source=await _org(self.db, org_id, slug, self.clock)
        )
        await other.connect(key.value)
        return other

    async def connect(self, private_key: str) -> None:
        """Store a Klaviyo key for the org, as `justai klaviyo connect` does."""
        sealed = RING.seal(private_key, f"{self.org_id}/klaviyo")
        async with self.db.transaction() as connection:
            await connection.execute(
                INSERT_INTEGRATION, self.org_id, f"acct:{self.account.id}", self.box.url, sealed,
                sorted(self.key.scopes), self.clock.now(),
            )  # fmt: skip


@asynccontextmanager
async def rigged(
    database_url: str, amqp_url: str, *, factor: float = FACTOR, scopes: Collection[str] = ("profiles:write",),
    settings: SimulatorSettings | None = None,
) -> AsyncIterator[Rig]:  # fmt: skip
    """Everything but the writer itself, which `writing` starts. `scopes` are those of the org's key."""
    spec = f"scaled:{factor:g}:{time.time()}:{datetime(2026, 11, 23, 10, 0, tzinfo=UTC).isoformat()}"
    clock = clock_from_spec(spec)
    world = World(clock, settings or SimulatorSettings(), 1, None)
    async with (
        serving(world) as box,
        open_database(database_url, name="rig", planner=BY_KEY) as db,
        open_publisher(amqp_url, "rig", WRITE) as publisher,
    ):
        account, key = _account(world, "shop", phase_s=random.Random(3).uniform(0, 59), scopes=scopes)
        org_id = uuid4()
        source = await _org(db, org_id, "shop", clock)
        rig = Rig(database_url, amqp_url, spec, clock, db, publisher, box, account, key, org_id, source)
        await rig.connect(key.value)
        yield rig


def settings(rig: Rig) -> dict[str, str]:
    """What a command line beside the writer is told."""
    return {
        "JUSTAI_DATABASE_URL": rig.database_url,
        "JUSTAI_AMQP_URL": rig.amqp_url,
        "JUSTAI_CLOCK": rig.clock_spec,
        "JUSTAI_SEAL_KEYS": f"k1:{_KEY}",
        "JUSTAI_API_KEY_PEPPERS": f"1:{_KEY}",
    }


def _account(
    world: World, name: str, phase_s: float | None = None, scopes: Collection[str] = ("profiles:write",)
) -> tuple[Account, PrivateKey]:
    account = world.add_account(name, phase_s=phase_s)
    return account, world.add_key(account, scopes)


async def _org(db: Database, org_id: UUID, slug: str, clock: Clock) -> VariantSource:
    """An org with one template and one variant; the source of its copy."""
    copy_id, now = uuid4(), clock.now()
    async with db.transaction() as connection:
        await connection.execute(INSERT_ORG, org_id, slug, now)
        await connection.execute(INSERT_TEMPLATE, org_id, now)
        await connection.execute(INSERT_VARIANT, org_id, copy_id, now)
        await connection.execute(INSERT_VERSION, org_id, copy_id, now)
    return VariantSource(copy_id, 1, "Hi {{ name }}", "pre", "<p>Hello {{ name }}</p>")


class JumpingClock(ScaledClock):
    """One that is set while a process runs: its time of day is ahead all at once, and who sleeps notices nothing."""

    ahead = timedelta(0)

    @classmethod
    def of(cls, clock_spec: str) -> "JumpingClock":
        _, factor, real_origin, origin = clock_spec.split(":", 3)
        return cls(datetime.fromisoformat(origin), float(factor), float(real_origin))

    def now(self) -> datetime:
        return super().now() + self.ahead


def settings_of(rig: Rig, *, import_road: bool = False, clock: Clock | None = None) -> Settings:
    """The writer's settings on this rig; `clock`: instead of the rig's."""

    class Clocked(Settings):
        def make_clock(self) -> Clock:
            return clock or super().make_clock()

    return Clocked(
        database_url=rig.database_url, amqp_url=rig.amqp_url, clock=rig.clock_spec, seal_keys=f"k1:{_KEY}",
        api_key_peppers=f"1:{_KEY}", writer_import_road=import_road,
    )  # fmt: skip


@asynccontextmanager
async def writing(rig: Rig, *, import_road: bool = False, clock: Clock | None = None) -> AsyncIterator[None]:
    """One replica of the writer, started through its own composition root, stopped as on SIGTERM. `clock`: its own."""
    settings = settings_of(rig, import_road=import_road, clock=clock)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await build(settings, stack)
        async with asyncio.TaskGroup() as runners:
            for name, runner in service.runners.items():
                runners.create_task(runner(stop), name=name)
            try:
                yield
            finally:
                stop.set()


@asynccontextmanager
async def replicas(rig: Rig, folder: Path, *clock_specs: str, **settings: str) -> AsyncIterator[Processes]:
    """Writers as processes, one for each clock: `writer-1`, `writer-2` and so on; settings by name in lower case."""
    env = environment(
        database_url=rig.database_url, amqp_url=rig.amqp_url, log_level="WARNING",
        **{"seal_keys": f"k1:{_KEY}", **settings},
    )  # fmt: skip
    addresses = [f"{LOOPBACK}:{port}" for port in free_ports(len(clock_specs))]
    commands = [
        Command(
            f"writer-{number}", python("services.profile_writer"),
            env={**env, "JUSTAI_CLOCK": spec, "JUSTAI_HEALTH_LISTEN": address}, ready_url=f"http://{address}/readyz",
        )
        for number, (spec, address) in enumerate(zip(clock_specs, addresses, strict=True), start=1)
    ]  # fmt: skip
    async with supervise(commands, log_dir=folder, cwd=Path(__file__).parents[3]) as processes:
        yield processes


def shifted(clock_spec: str, seconds: float) -> str:
    """The same clock, so much ahead."""
    kind, factor, real_origin, origin = clock_spec.split(":", 3)
    ahead = datetime.fromisoformat(origin) + timedelta(seconds=seconds)
    return f"{kind}:{factor}:{real_origin}:{ahead.isoformat()}"
