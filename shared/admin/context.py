"""What an operation works with. Nothing of it is global: whoever serves people makes it, once a request."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from shared.admin.errors import Refused
from shared.api_keys import Peppers
from shared.clock import Clock, SystemClock
from shared.crypto import KeyRing
from shared.db.pool import Connection, Database
from shared.drafting.model import Model
from shared.drafting.settings import NOT_SET_UP, DraftingSettings
from shared.drafting.usage import Prices
from shared.klaviyo.client import KlaviyoClient
from shared.messaging.dead import DeadLetter, Wanted
from shared.messaging.topology import QueueSpec
from shared.people.roles import Role, reaches


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts in which org, and as what there. `cli`: at its word, trusted as whoever may run the command."""

    name: str
    kind: Literal["person", "key", "cli"]
    role: Role
    org_id: UUID
    org_slug: str

    def may(self, least: Role) -> bool:
        """Whether the role reaches this one."""
        return reaches(self.role, least)


class Jobs(Protocol):
    """Sends jobs to whoever does them."""

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[Any]) -> None:
        """Return when the broker has them. Raises Outage."""


class Letters(Protocol):
    """The dead letters of all orgs."""

    async def peek(self, *specs: QueueSpec, limit: int) -> Mapping[str, Sequence[DeadLetter]]:
        """The oldest of each of these kinds, by its name; they stay where they are. Raises Outage."""

    async def replay(self, spec: QueueSpec, *, wanted: Wanted, limit: int) -> Sequence[DeadLetter]:
        """Send the wanted ones round again; returns them. Raises Outage."""


class Asker(Protocol):
    """Asks the service that can answer."""

    async def ask(
        self, spec: QueueSpec, org_id: UUID, job_of: Callable[[str], Any], correlation_id: str, *, wait_s: float
    ) -> bytes | None:
        """The answer to the job made of a reply address; None: none came in time. Raises Outage."""


class Klaviyo(Protocol):
    """Makes clients on connections that are shared."""

    def __call__(self, base_url: str, private_key: str) -> KlaviyoClient:
        """Raises KeyRefused for what cannot be a key."""


@dataclass(frozen=True, slots=True)
class Drafting:
    """The model that drafts, and how much of it one org may have: runs at once, drafts within 24 hours. `here`: this
    process drafts what it asks for by itself; else whichever console is free does."""

    model: Model
    prices: Prices | None
    at_once: int
    a_day: int
    here: bool = False

    @classmethod
    def of(cls, settings: DraftingSettings, *, here: bool = False) -> "Drafting | None":
        """What the settings say; None where they name no model."""
        if settings.model is None:
            return None
        return cls(settings.model, settings.prices, settings.llm_runs, settings.llm_drafts_a_day, here)


@dataclass(frozen=True, slots=True)
class Means:
    """What a process has for all operations. Without a publisher or Klaviyo, operations that need it are refused.
    `wall`: the time of people, whose links end in it, whatever clock the services have. `export_principal`: the ARN as
    which exports are written, where the operator has said it."""

    database: Database
    clock: Clock
    ring: KeyRing
    peppers: Peppers
    new_id: Callable[[], UUID]
    random_bytes: Callable[[int], bytes]
    klaviyo: Klaviyo | None = None
    klaviyo_url: str = "https://a.klaviyo.com"
    publisher: Jobs | None = None
    letters: Letters | None = None
    asker: Asker | None = None
    drafting: Drafting | None = None
    export_principal: str | None = None
    wall: Clock = field(default_factory=SystemClock)

    def need_publisher(self) -> Jobs:
        """Raises Refused where this process has no way to the broker."""
        if self.publisher is None:
            raise Refused("this process has no way to the message broker", code="broker_not_set_up")
        return self.publisher

    def need_asker(self) -> Asker:
        """The same for questions."""
        if self.asker is None:
            raise Refused("this process has no way to the message broker", code="broker_not_set_up")
        return self.asker

    def need_drafting(self) -> Drafting:
        """Raises Refused where no model is set up."""
        if self.drafting is None:
            raise Refused(NOT_SET_UP, code="no_model")
        return self.drafting

    def need_letters(self) -> Letters:
        """The same for dead letters."""
        if self.letters is None:
            raise Refused("this process has no way to the message broker", code="broker_not_set_up")
        return self.letters


@dataclass(frozen=True, slots=True)
class Asking:
    """Somebody who asks for an operation, before its transaction begins."""

    means: Means
    actor: Actor
    request_id: str

    @property
    def org_id(self) -> UUID:
        return self.actor.org_id

    @property
    def org_slug(self) -> str:
        return self.actor.org_slug

    def place(self, what: str) -> str:
        """Where a secret of this org stands, for the key ring: `<org id>/klaviyo`."""
        return f"{self.org_id}/{what}"


@dataclass(frozen=True, slots=True)
class Context(Asking):
    """The same inside the operation's transaction, which sees this org alone. `now`: the one moment of all it does."""

    connection: Connection
    now: datetime
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    @classmethod
    def inside(cls, asking: Asking, connection: Connection, now: datetime) -> "Context":
        """The context of one transaction."""
        return cls(asking.means, asking.actor, asking.request_id, connection, now)

    def after_commit(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do this once the change is stored: what leaves the database must not be undone by a commit that fails."""
        self.afterwards.append(act)
