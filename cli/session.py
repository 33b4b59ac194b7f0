"""What every command stands on: settings, one database, one org by its slug, and errors people can act on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec
from uuid import UUID

import click
from rich.console import Console

from shared.clock import Clock
from shared.db.pool import Database, open_database
from shared.errors import Failure
from shared.settings import ServiceSettings, SettingsError

P = ParamSpec("P")

out = Console()

SELECT_ORG = "SELECT org_id, name FROM orgs WHERE slug = $1"


class Settings(ServiceSettings):
    """The command line needs what every service needs."""


@dataclass(frozen=True, slots=True)
class Session:
    """Open connections of one command."""

    settings: Settings
    db: Database
    clock: Clock

    async def org_id(self, slug: str) -> UUID:
        """The org of a slug, or a message that says what there is."""
        async with self.db.connection() as connection:
            row = await connection.fetchrow(SELECT_ORG, slug)
            if row is None:
                known = await connection.fetch("SELECT slug FROM orgs ORDER BY slug LIMIT 20")
        if row is None:
            names = ", ".join(found["slug"] for found in known) or "none yet; create one with `justai org create`"
            raise click.ClickException(f"There is no org {slug!r}. Orgs: {names}.")
        return UUID(str(row["org_id"]))


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    """Settings read, database open."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
    async with open_database(
        settings.database_url.get_secret_value(), name="justai-cli", role=settings.database_role, max_size=2
    ) as db:
        yield Session(settings, db, settings.make_clock())


def command(work: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async command; a failure of the world becomes one line instead of a stack."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            asyncio.run(work(*args, **kwargs))
        except Failure as error:
            raise click.ClickException(f"{error} ({error.reason})") from error
        except OSError as error:
            raise click.ClickException(f"A server is out of reach: {error}") from error

    return run
