"""One generation's story: what is known of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from shared.admin.outcomes.meanings import Meaning
from shared.admin.person.read_back import ReadBack

MOST_EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Option:
    """A variant that could have been drawn."""

    copy_id: UUID
    name: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class Content:
    """The copy of one generation, exactly as it was rendered for its person."""

    subject: str
    preheader: str
    body: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided; `attrs` as given. `draw`: the number in [0, 1) that fell into the drawn variant's share, the
    shares laid end to end in the order of `eligible`; None where no draw decided."""

    decision: str
    reason: str
    means: Meaning
    copy_id: UUID | None
    variant: str | None
    version: int | None
    propensity: float | None
    draw: float | None
    eligible: Sequence[Option]
    cell: str
    attrs: Mapping[str, Any]
    repairs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the profile writer. `ahead`: rows of the same account that are served before it."""

    action: str
    lane: str
    ahead: int
    attempts: int
    last_reason: str | None
    next_attempt_at: datetime
    in_flight: bool
    behind: UUID | None  # the newer generation that waits for this one's answer


@dataclass(frozen=True, slots=True)
class Ended:
    """How its write ended; `took_s` from acceptance on."""

    outcome: str
    reason: str | None
    at: datetime
    attempts: int
    took_s: float
    means: Meaning


@dataclass(frozen=True, slots=True)
class Believed:
    """What the profile writer believes the profile to hold: nothing, a generation's copy, perhaps a generation's."""

    state: str
    generation_id: UUID | None = None
    written_for: str | None = None
    older_for: Sequence[str] = ()
    clean_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What holds up the org's writes now, if anything does."""

    account: str | None
    paused_at: datetime | None
    paused_reason: str | None
    paused_message: str | None
    blocked_until: datetime | None
    blocked_reason: str | None


@dataclass(frozen=True, slots=True)
class Newer:
    """The next generation of the same person and properties, accepted before this one's send window was over."""

    generation_id: UUID
    template_id: str
    decision: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an email, with the place that told of it first: the source's name and the file, where
    they are still known, and the line. `by_machine`: not, or not known to be, by a person; None where it does not
    matter."""

    event_id: str
    metric: str
    event_at: datetime
    url: str | None
    by_machine: bool | None
    source: str | None
    file: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Send:
    """An email that showed this generation, as event files tell; its events oldest first, at most `MOST_EVENTS`."""

    transmission_id: str
    sent_at: datetime
    attribution: str
    delivered: bool
    bounced: bool
    first_open_at: datetime | None
    machine_opens: int
    first_click_at: datetime | None
    unsubscribed: bool
    spam: bool
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Story:
    """All of it. `content`: None where no copy was rendered, or where it cannot be read any more. `alias_seen_at`: when
    the id that was asked for was seen as an alias of this generation; else None."""

    generation_id: UUID
    asked_id: UUID
    alias_seen_at: datetime | None
    org: str
    template_id: str
    user_id: str
    tracking_id: str
    accepted_at: datetime
    deadline_at: datetime
    clean_at: datetime
    prefix: str
    written_for: str
    decided: Decision
    content: Content | None
    waiting: Waiting | None
    ended: Ended | None
    not_there: Meaning | None  # why there is neither
    shows: str
    believed: Believed
    account: Account
    newer: Newer | None
    sends: Sequence[Send]
    read_back: ReadBack | None
