"""Operations on a database of the test's own, asked by anybody in any role."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.console.api.api_key import ApiKeys
from services.console.api.routes import add_api
from shared.admin.context import Actor, Asker, Asking, Jobs, Klaviyo, Means
from shared.admin.operation import A, Operation, R
from shared.admin.registry import REGISTRY
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.crypto import KeyRing
from shared.db.pool import Database
from shared.messaging.topology import QueueSpec
from shared.people.roles import Role
from tests.component.cli.rig import KEY, PEPPER

START = datetime(2026, 11, 23, 10, tzinfo=UTC)


class SetClock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


@dataclass(frozen=True)
class Rig:
    """One org, and others on demand."""

    database: Database
    org_id: UUID
    slug: str = "acme"
    clock: SetClock = field(default_factory=SetClock)
    publisher: Jobs | None = None
    asker: Asker | None = None
    klaviyo: Klaviyo | None = None
    klaviyo_url: str = "https://a.klaviyo.com"

    @property
    def means(self) -> Means:
        return Means(
            self.database, self.clock, KeyRing(KEY), Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom,
            klaviyo=self.klaviyo, klaviyo_url=self.klaviyo_url, publisher=self.publisher, asker=self.asker,
        )  # fmt: skip

    def actor(self, role: Role = "owner", name: str = "Ada") -> Actor:
        return Actor(name, "person", role, self.org_id, self.slug)

    async def run(
        self, operation: Operation[A, R], asked: A | Mapping[str, Any], role: Role = "owner", name: str = "Ada"
    ) -> R:
        return await run(Asking(self.means, self.actor(role, name), "request-1"), operation, asked)

    async def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]

    def with_publisher(self, publisher: Jobs) -> "Rig":
        return replace(self, publisher=publisher)

    async def other(self, slug: str = "other") -> "Rig":
        """Another org in the same database."""
        return replace(self, org_id=await new_org(self.database, slug), slug=slug)

    async def ask(self, method: str, path: str, actor: Actor | None = None, **sent: Any) -> "Answer":
        """What the API answers; who asks is told by their API key, or is this actor."""
        keys = ApiKeys(self.database, Peppers(PEPPER), self.clock)

        async def always(_: web.Request) -> Actor | None:
            return actor

        app = web.Application()
        add_api(app, REGISTRY, self.means, keys if actor is None else always)
        async with TestClient(TestServer(app)) as client:
            answer = await client.request(method, path, **sent)
            return Answer(answer.status, await answer.json(), answer.headers)


class SentJobs:
    """In place of the broker. `entries_seen`: the operations whose entries were stored when jobs came."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.jobs: list[tuple[QueueSpec, Any]] = []
        self.entries_seen: set[str] = set()

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[Any]) -> None:
        rows = await self._rig.rows("SELECT operation FROM audit_log WHERE org_id = $1 ORDER BY audit_id DESC", org_id)
        self.entries_seen.add(rows[0]["operation"])
        self.jobs += [(spec, job) for job in jobs]


class Silent:
    """In place of a service that does not answer; `jobs`: what it was asked."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    async def ask(
        self, spec: QueueSpec, org_id: UUID, job_of: Callable[[str], Any], correlation_id: str, *, wait_s: float
    ) -> bytes | None:
        self.jobs.append(job_of("reply"))
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found


async def new_org(database: Database, slug: str) -> UUID:
    org_id = uuid4()
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)", org_id, slug, START
        )
    return org_id
