"""What every command stands on: settings, one database, one org by its slug, and errors people can act on."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from pathlib import Path
from secrets import token_hex
from typing import Any, ParamSpec, TypedDict, Unpack
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import click
from pydantic import ValidationError

from cli import operations
from cli.actor import somebody
from shared.admin import run
from shared.admin.context import Actor, Asking, Drafting, Jobs, Means
from shared.admin.errors import AdminError, Refused
from shared.admin.operation import A, Operation, R
from shared.api_keys import Peppers
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.db import migrate
from shared.db.pool import Database, open_database
from shared.errors import Failure, Outage
from shared.keyring import read_ring
from shared.klaviyo.client import KlaviyoClient
from shared.messaging.asking import SeldomAsker
from shared.messaging.dead import Graveyard
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.topology import QueueSpec
from shared.settings import ServiceSettings, SettingsError

P = ParamSpec("P")

SELECT_ORG = "SELECT org_id FROM orgs WHERE slug = $1"
SELECT_SLUGS = "SELECT slug FROM orgs ORDER BY slug LIMIT 20"


class Using(TypedDict, total=False):
    """What an operation may need beside the database."""

    http: aiohttp.ClientSession
    publisher: Jobs
    drafting: Drafting | None


@dataclass(frozen=True)
class Session:
    """Open connections of one command."""

    settings: ServiceSettings
    db: Database
    clock: Clock
    ring: KeyRing

    @cached_property
    def means(self) -> Means:
        """What operations work with; Klaviyo and the broker only where a command says so."""
        peppers = Peppers(self.settings.api_key_peppers.get_secret_value())
        return Means(
            self.db, self.clock, self.ring, peppers, new_id=uuid4, random_bytes=os.urandom,
            export_principal=self.settings.export_principal,
        )  # fmt: skip

    async def run(
        self, operation: Operation[A, R], asked: A, org_slug: str, actor: str | None = None, **using: Unpack[Using]
    ) -> R:
        """Do it for this org; what it refuses is said as this command line says it."""
        try:
            return await self.ask(operation, asked, org_slug, actor, **using)
        except AdminError as error:
            raise operations.told(error, org_slug) from None

    async def ask(
        self, operation: Operation[A, R], asked: A, org_slug: str, actor: str | None = None, **using: Unpack[Using]
    ) -> R:
        """The same, with errors as they are. Whoever may run the command may do everything; `actor` is who they say
        they are. Raises AdminError."""
        acting = Actor(actor or somebody(), "cli", "owner", await self.org_id(org_slug), org_slug)
        http = using.get("http")
        klaviyo = partial(_client, http, self.clock) if http is not None else None
        letters = Graveyard(self.amqp_url, "justai-cli")
        asker = SeldomAsker(self.amqp_url, "justai-cli", token=partial(token_hex, 8))
        means = replace(
            self.means, klaviyo=klaviyo, publisher=using.get("publisher"), letters=letters, asker=asker,
            drafting=using.get("drafting"),
        )  # fmt: skip
        return await run.run(Asking(means, acting, f"cli-{uuid4()}"), operation, asked)

    async def create(self, operation: Operation[A, R], asked: A, org_slug: str, actor: str | None = None) -> R:
        """Do it for an org that is not there yet."""
        acting = Actor(actor or somebody(), "cli", "owner", uuid4(), org_slug)
        try:
            return await run.run(Asking(self.means, acting, f"cli-{uuid4()}"), operation, asked)
        except AdminError as error:
            raise operations.told(error, org_slug) from None

    @asynccontextmanager
    async def publisher(self, *specs: QueueSpec) -> AsyncIterator[Jobs]:
        """A way to these queues, which is opened when something is to be sent."""
        async with AsyncExitStack() as stack:
            yield _Lazy(stack, partial(open_publisher, self.amqp_url, "justai-cli", *specs))

    @property
    def amqp_url(self) -> str:
        return self.settings.amqp_url.get_secret_value()

    async def org_id(self, slug: str) -> UUID:
        """The org of a slug, or a message that says what there is."""
        async with self.db.connection() as connection:
            org_id = await connection.fetchval(SELECT_ORG, slug)
            known = [] if org_id else await connection.fetch(SELECT_SLUGS)
        if org_id is None:
            names = ", ".join(found["slug"] for found in known) or "none yet; create one with `justai org create`"
            raise click.ClickException(f"There is no org {slug!r}. Orgs: {names}.")
        return UUID(str(org_id))


class _Lazy:
    """A command that finds nothing to send does without the broker."""

    def __init__(self, stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[Publisher]]) -> None:
        self._stack, self._opening = stack, opening
        self._publisher: Jobs | None = None

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[Any]) -> None:
        """Return when the broker has them."""
        with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
            if self._publisher is None:
                self._publisher = await self._stack.enter_async_context(self._opening())
            await self._publisher.send_jobs(spec, org_id, jobs)


def _client(http: aiohttp.ClientSession, clock: Clock, base_url: str, private_key: str) -> KlaviyoClient:
    return KlaviyoClient(http, base_url, private_key, clock=clock)


def read_settings() -> ServiceSettings:
    """The settings, or all their faults."""
    try:
        return ServiceSettings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None


def has_database() -> bool:
    """Whether this place is told of one at all."""
    folder = os.environ.get("JUSTAI_SECRETS_DIR")
    return bool(os.environ.get("JUSTAI_DATABASE_URL") or (folder and (Path(folder) / "justai_database_url").exists()))


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    """Settings read, database open and up to date."""
    settings = read_settings()
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        with reaching("PostgreSQL", "JUSTAI_DATABASE_URL"):
            await migrate.require(url)
            opening = open_database(url, name="justai-cli", role=settings.database_role, max_size=2)
            db = await stack.enter_async_context(opening)
        ring = await read_ring(settings.seal_keys.get_secret_value())
        yield Session(settings, db, settings.make_clock(), ring)


@contextmanager
def reaching(server: str, variable: str) -> Iterator[None]:
    """Says which server does not let us in, and where its address is set."""
    try:
        yield
    except TimeoutError:
        raise click.ClickException(f"{server} does not answer in time ({variable}).") from None
    except OSError as error:
        raise click.ClickException(f"{server} is out of reach ({variable}): {error}") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, Outage) as error:
        raise click.ClickException(f"{server} refuses us ({variable}): {error}") from None


def command(work: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async command; a failure of the world becomes one line instead of a stack."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.disable(logging.CRITICAL)  # what libraries say about a failure comes as our one line
        try:
            asyncio.run(work(*args, **kwargs))
        except Failure as error:
            raise click.ClickException(f"{error} ({error.reason})") from error
        except ValidationError as error:
            raise operations.told(Refused.of(error), str(kwargs.get("org_slug", "ORG"))) from None
        except migrate.MigrationError as error:
            raise click.ClickException(str(error)) from error
        except SealError as error:
            raise click.ClickException(
                f"A stored secret does not open: {error}. Put the key it names behind the others in JUSTAI_SEAL_KEYS, "
                "or store the secret again."
            ) from error
        except asyncpg.PostgresError as error:
            raise click.ClickException(f"The database refuses this: {error}") from error
        except OSError as error:
            if error.filename is not None:  # of a connection there is none
                raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
            raise click.ClickException(f"A server is out of reach: {error or 'no answer in time'}") from error
        finally:
            logging.disable(logging.NOTSET)

    return run


def read_secret(what: str) -> str:
    """A secret, asked for without showing it, or one line of standard input: on a command line it would stay in the
    shell's history and show in the list of processes."""
    given = str(click.prompt(what, hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise click.ClickException(f"{what}: it is read from standard input, which was empty.")
    return given.strip()
