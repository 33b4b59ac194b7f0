"""Operations on a database of the test's own, asked by anybody in any role."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.console.api.api_key import ApiKeys
from services.console.api.routes import add_api
from shared.admin.context import Actor, Asker, Asking, Drafting, Jobs, Klaviyo, Means
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


class Servers:
    """The API on loopback, once for each way that operations reach the world: its document is dear to make."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._clients: dict[tuple[object, ...], TestClient[web.Request, web.Application]] = {}
        self._actor: Actor | None = None

    async def client_of(self, means: Means, actor: Actor | None) -> TestClient[web.Request, web.Application]:
        """Where this actor asks; None: who asks is told by their API key."""
        self._actor = actor
        key = (means.publisher, means.asker, means.klaviyo, means.klaviyo_url, means.drafting)
        if key not in self._clients:
            keys = ApiKeys(means.database, means.peppers, means.clock)

            async def who(request: web.Request) -> Actor | None:
                return self._actor or await keys(request)

            app = web.Application()
            add_api(app, REGISTRY, means, who)
            self._clients[key] = await self._stack.enter_async_context(TestClient(TestServer(app)))
        return self._clients[key]


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
    drafting: Drafting | None = None
    servers: Servers | None = None

    @property
    def means(self) -> Means:
        return Means(
            self.database, self.clock, KeyRing(KEY), Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom,
            klaviyo=self.klaviyo, klaviyo_url=self.klaviyo_url, publisher=self.publisher, asker=self.asker,
            drafting=self.drafting, wall=self.clock,
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
        assert self.servers is not None, "this rig has no API"
        client = await self.servers.client_of(self.means, actor)
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
