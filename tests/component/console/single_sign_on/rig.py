"""Consoles with other settings, and what they left in the database."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.support.console import Stage, console
from tests.support.oidc import Provider, settings_for


@asynccontextmanager
async def other_settings(
    database_url: str, wall: FrozenClock, there: Provider, **more: Any
) -> AsyncIterator[tuple[Stage, Browser]]:
    """A console that is told something else."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(console(database_url, wall, **settings_for(there.issuer, **more)))
        yield stage, await stack.enter_async_context(Browser(stage.url))


async def all_rows(stage: Stage, statement: str) -> list[tuple[Any, ...]]:
    async with stage.db.connection() as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


MEMBERS = """
    SELECT u.email, o.slug, m.role, m.by_group
    FROM memberships m JOIN users u USING (user_id) JOIN orgs o USING (org_id)
    ORDER BY u.email, o.slug
"""
