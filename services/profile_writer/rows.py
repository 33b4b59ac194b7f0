"""What the rules speak of: one pending write, why it did not leave, what a profile is believed to hold, one outcome."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import Literal, NamedTuple
from uuid import UUID

from shared.errors import Transient

Action = Literal["write", "clear", "clean_up"]
State = Literal["clean", "holding", "unknown", "covered"]
Road = Literal["patch", "import"]
Ending = Literal["written", "cleared", "expired", "superseded", "rejected", "nothing_to_clear", "stopped"]


class Lane(IntEnum):
    """Who is served first."""

    DIRTY = 0  # an older copy could show in the very message that this is about
    FRESH = 1
    RETRY = 2
    CLEAN_UP = 3


class NotSent(Transient):
    """The turn ended before this write left: too late in its slot, or the account stopped. No attempt spent."""


class Stopped(NotSent):
    """Its template or org was stopped when its copy was about to be read; the write has ended."""


class Key(NamedTuple):
    """One set of properties on one profile of one Klaviyo account."""

    account_key: str
    profile_id: str
    prefix: str


class Ref(NamedTuple):
    """One generation, as outcomes name it."""

    day: date
    generation_id: UUID
    org_id: UUID


@dataclass(frozen=True, slots=True)
class Pending:
    """One row of `pending_writes`. `deadline_at`: when its email may leave first, and `latest_at` last, where that is
    later; of one that is `put_off` both are the latter."""

    key: Key
    ref: Ref
    action: Action
    lane: Lane
    written_for: str
    accepted_at: datetime
    deadline_at: datetime
    clean_at: datetime
    next_attempt_at: datetime
    attempt: int = 0
    last_reason: str | None = None
    taken_by: UUID | None = None
    sent: Ref | None = None  # what is in flight while `taken_by` is set
    latest_at: datetime | None = None

    @property
    def put_off(self) -> bool:
        """Whether its email may have left already, as far as anybody knows."""
        return self.latest_at is not None and self.latest_at <= self.deadline_at


class Unanswered(NamedTuple):
    """Requests that Klaviyo may apply yet, though nobody waits for them any more."""

    until: datetime
    what: str | None  # what each of them would bring (`turns.unanswered.brings`); None: they differ


@dataclass(frozen=True, slots=True)
class Held:
    """One row of `profile_state`: what is, or may be, on the profile, and what was decided last for it.

    `clean` only remembers the decision: `accepted_at` and `clean_at` are then those of the newest one. `covered` is
    `unknown`, and what was in flight meanwhile may lie beneath a request of an earlier turn.
    """

    key: Key
    ref: Ref
    state: State
    written_for: str
    older_for: tuple[str, ...]
    accepted_at: datetime
    clean_at: datetime
    decided_at: datetime  # when the newest decision was accepted; an older one that comes late is not written
    decided_until: datetime  # for how long that has to be remembered
    clean_queued: bool = False
    stale_for: tuple[str, ...] = ()  # messages that were decided anew since, so what may show in them is out of date
    unanswered: Unanswered | None = None

    @property
    def dirty(self) -> bool:
        """Whether any copy of ours may be there."""
        return self.state != "clean"

    @property
    def stale(self) -> bool:
        """Whether an email could show an older generation's copy, if nothing were written or cleared."""
        return self.dirty and (bool(self.stale_for) or self.written_for in self.older_for)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of `write_outcomes`."""

    ref: Ref
    ending: Ending
    reason: str | None
    attempts: int
    waited_s: float | None = None  # accepted → written, for the histogram


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one key looks like afterwards, and what ended by it. None: no row."""

    pending: Pending | None
    held: Held | None
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One write job with what its generation says, and whether its template or org is stopped. `latest_at`: see
    Pending."""

    key: Key
    ref: Ref
    action: Literal["write", "clear"]
    written_for: str
    accepted_at: datetime
    deadline_at: datetime
    clean_at: datetime
    stopped: bool = False
    latest_at: datetime | None = None

    @property
    def put_off(self) -> bool:
        """See Pending."""
        return self.latest_at is not None and self.latest_at <= self.deadline_at


@dataclass(frozen=True, slots=True)
class Stored:
    """What a generation says of its write, as its webhook was accepted first. `latest_at`: of its email, never before
    `deadline_at`."""

    written_for: str
    accepted_at: datetime
    deadline_at: datetime
    clean_at: datetime
    latest_at: datetime
