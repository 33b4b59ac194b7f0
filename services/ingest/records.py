"""What the parts of this service hand to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.errors import Permanent, Transient


class Event(NamedTuple):
    """One thing a person (or a machine) did, as its row says. Times are UTC; None: the row does not say."""

    line: int
    event_id: str
    metric: str
    profile_id: str
    event_at: datetime
    message_id: str | None
    flow_id: str | None
    transmission_id: str | None
    handoff_at: datetime | None
    machine_open: bool | None
    bot_click: bool | None
    url: str | None
    value: float | None
    currency: str | None = None
    order_id: str | None = None


STAGED: Final = ("line", "event_at", "day", *(name for name in Event._fields if name not in ("line", "event_at")))
"""The columns of a row on its way in: an event's, the numbers first, and its day in UTC."""


class Reject(NamedTuple):
    """One record that is not an event, and why."""

    line: int
    reason: str
    raw: str


class Piece(NamedTuple):
    """A bounded part of a file. `copied`: further events, `told` of them, as rows of STAGED (`copy_rows`)."""

    events: list[Event]
    rejects: list[Reject]
    copied: bytes | memoryview = b""
    told: int = 0

    @property
    def rows(self) -> int:
        return len(self.events) + len(self.rejects) + self.told


class Taken(NamedTuple):
    """What became of a block of rows: `told` events, as rows for COPY, and the numbers of the rows in doubt."""

    copied: bytes | memoryview
    told: int
    doubtful: Sequence[int]


class Listed(NamedTuple):
    """One version of a file, as a listing shows it. `tag`: what else tells versions apart, where the kind of source has
    such a thing (S3: the ETag)."""

    path: str
    size: int
    mtime: datetime
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder: the files that are for us, and how many entries are not."""

    files: list[Listed]
    ignored: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where files come from. What its kind has no use for is empty: `host`, `port`, `username`, `host_key` are SFTP's,
    `bucket`, `region`, `endpoint_url`, `access_key` S3's. `sealed_key`: the kind's secret, sealed for
    `<org id>/source/<source id>`."""

    org_id: UUID
    source_id: UUID
    host: str
    port: int
    username: str
    path: str
    pattern: str
    host_key: str
    sealed_key: str
    mapping: object  # as stored; mapping.check_mapping tells whether it is one
    kind: str = "sftp"
    org_slug: str = ""
    bucket: str = ""
    region: str = ""
    endpoint_url: str = ""
    access_key: str = ""
    reread: bool = False  # somebody asked to have all of it read again

    @property
    def sized(self) -> bool:
        """Whether listings tell how large a file is; a window of time is as large as it turns out to be."""
        return self.kind != "klaviyo"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A file that is ours to load until the lease ends."""

    file_id: UUID
    claim_id: UUID
    listed: Listed
    source: Source
    accepted: bool = False  # a person wants its good rows, however many are bad


@dataclass(frozen=True, slots=True)
class Got:
    """How far a file in hand is: its bytes are fetched, then its rows are staged; `since` when that, or while there are
    no rows the fetching, began."""

    bytes: int
    rows: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading a file did. rows = events + rejects; `fresh` events were not known before, `corrected` ones said
    something else, `gone` ones are said by no file any more."""

    rows: int
    rejects: int
    fresh: int = 0
    corrected: int = 0
    gone: int = 0


class Unreadable(Permanent):
    """The file as a whole cannot be read, and reading it again will not help: it is held for a person."""


class Changed(Transient):
    """The file is not what was listed: still being written, replaced, or gone. The next listings decide."""


class SourceUnreachable(Transient):
    """The server does not let us in right now; says why. Nothing is wrong with the file."""


class SourceRefused(Permanent):
    """The server is not the one whose key is pinned, or our key is unusable: not tried until the source is changed."""
