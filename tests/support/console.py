"""The console as it ships, on a real database, with people in two orgs."""

import base64
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from devstack.ports import LOOPBACK, free_ports
from services.console.app import build
from services.console.people.passwords import Hasher
from services.console.settings import Settings
from shared.clock import Clock, FrozenClock
from shared.db.pool import Database, open_database
from shared.people import links, store
from shared.people.roles import Role
from tests.support.services import serving

KEY = base64.b64encode(bytes(32)).decode()
PASSWORD = "violet teapot under the stairs"
DRAFTING: Final[Mapping[str, Any]] = {
    "llm_provider": "openai", "llm_url": "http://127.0.0.1:1/v1", "llm_model": "gpt-test",
}  # fmt: skip
"""Settings of a console that offers drafts; nobody answers it."""

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at, time_zone) VALUES ($1, $2, $3, $4, 'Europe/Berlin')"
INSERT_USER = "INSERT INTO users (user_id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)"
INSERT_MEMBER = "INSERT INTO memberships (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)"


@dataclass
class Stage:
    """One console and what is around it."""

    url: str
    settings: Settings
    db: Database
    wall: Clock
    orgs: dict[str, UUID] = field(default_factory=dict)
    users: dict[str, UUID] = field(default_factory=dict)
    _hash: str = ""

    @property
    def now(self) -> datetime:
        return self.wall.now()

    async def org(self, slug: str, name: str) -> UUID:
        """A tenant."""
        org_id = self.orgs[slug] = uuid4()
        async with self.db.transaction() as connection:
            await connection.execute(INSERT_ORG, org_id, slug, name, self.now)
        return org_id

    async def person(self, name: str, **roles: Role) -> str:
        """Somebody with an account and PASSWORD, in these orgs; the email."""
        email, user_id = f"{name.lower()}@example.com", uuid4()
        self._hash = self._hash or await _hashed()
        async with self.db.transaction() as connection:
            await connection.execute(INSERT_USER, user_id, email, f"{name} Example", self._hash, self.now)
            for slug, role in roles.items():
                await connection.execute(INSERT_MEMBER, self.orgs[slug], user_id, role, self.now)
        self.users[email] = user_id
        return email

    async def staff(self) -> None:
        """Ann owns acme, Cleo may only look."""
        await self.person("Ann", acme="owner")
        await self.person("Cleo", acme="viewer")

    async def invite(self, slug: str, email: str, role: Role = "editor") -> str:
        """The path of an invitation."""
        token = links.mint(os.urandom)
        async with self.db.transaction() as connection:
            await store.invite_anew(
                connection, uuid4(), self.orgs[slug], links.digest(token), email, role, "Ann Example", self.now
            )
        return f"/_invite/{token}"

    async def reset(self, email: str, *, drops_totp: bool = False) -> str:
        """The path of a password reset."""
        token = links.mint(os.urandom)
        async with self.db.transaction() as connection:
            await store.reset_anew(
                connection, links.digest(token), self.users[email], drops_totp=drops_totp, now=self.now
            )
        return f"/_reset/{token}"

    async def let_in(self, email: str) -> str:
        """The path of the operator's link that signs an owner in."""
        token = links.mint(os.urandom)
        async with self.db.transaction() as connection:
            await store.let_in_anew(connection, links.digest(token), self.users[email], self.now)
        return f"/_let-in/{token}"


async def _hashed() -> str:
    hasher = Hasher()
    try:
        return await hasher.hash(PASSWORD)
    finally:
        hasher.close()


@asynccontextmanager
async def console(
    database_url: str, wall: Clock | None = None, *, dev: bool = False, klaviyo_url: str = "https://a.klaviyo.com",
    amqp_url: str = "amqp://127.0.0.1:1/", **more: Any,
) -> AsyncIterator[Stage]:  # fmt: skip
    """A running console with orgs `acme` and `other`, and nobody in them. `more`: other settings."""
    [port] = free_ports(1)
    wall = wall or FrozenClock()
    settings = Settings(
        database_url=database_url, amqp_url=amqp_url, seal_keys=f"k1:{KEY}", api_key_peppers=f"1:{KEY}",
        console_listen=f"{LOOPBACK}:{port}", console_url=f"http://{LOOPBACK}:{port}", console_plain_cookies=True,
        console_dev=dev, console_klaviyo_url=klaviyo_url, **more,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        service = await build(settings, stack, wall=wall)
        db = await stack.enter_async_context(open_database(database_url, name="stage"))
        async with serving(service):
            stage = Stage(settings.console_url, settings, db, wall)
            await stage.org("acme", "Acme Coffee")
            await stage.org("other", "Other Tea")
            yield stage


def said(html: str) -> str:
    """The words of a page, for looking for sentences."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
