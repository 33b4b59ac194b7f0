"""The words that scheduler, handler, store and S3 share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from shared.errors import Transient
from shared.export_access import KEY_ARN, Encryption, Reach, account_of
from shared.exports import Layout, Reason, Record, Table
from shared.schemas.copy import Vars
from shared.vars_codec import Opener

Cadence = Literal["daily", "hourly"]
Field = bytes | None
"""One field as PostgreSQL's binary form has it: a text in UTF-8, a number in network order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When one org's hours are exported, and of which tables. Not `enabled`: not now; what changes is remembered.
    `since`: when the target was first named; one that was given up and is named again has a ledger of its own."""

    org_id: UUID
    cadence: Cadence
    tables: tuple[Table, ...] = ("generations",)
    enabled: bool = True
    since: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DueHour:
    """One hour of the ledger that waits for its job."""

    org_id: UUID
    hour: datetime
    reason: Reason
    table: Table = "generations"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one org's exports go, and as whom. Equal targets share one client; what is written makes no other one.
    `bucket` empty: into the folder of the installation, below the org's slug."""

    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None = None  # None: AWS
    access_key: str | None = None  # None: the process's own identity
    secret: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    bucket_owner: str | None = None  # an AWS account; None: the role's; empty: anybody
    encryption: Encryption = "bucket"
    kms_key_id: str | None = None
    org_slug: str = ""
    record: Record = field(default="page", compare=False)
    layout: Layout = field(default="plain", compare=False)
    success_file: bool = field(default=False, compare=False)

    @property
    def reach(self) -> Reach:
        """The same, as policies name it."""
        key = self.kms_key_id if self.kms_key_id and KEY_ARN.fullmatch(self.kms_key_id) else None
        return Reach(self.bucket, self.prefix, self.region, key)

    @property
    def expected_owner(self) -> str | None:
        """The account that the bucket must belong to, or every call is refused; None: that is not known."""
        if self.bucket_owner is not None or self.role_arn is None or self.endpoint_url is not None:
            return self.bucket_owner or None
        return account_of(self.role_arn)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to export one hour, until somebody claims it with a higher epoch."""

    org_id: UUID
    table: Table
    hour: datetime  # UTC
    epoch: int
    dirty_seq: int  # what the snapshot that is read under this lease covers at least
    had_rows: bool  # whether an earlier export of this hour held rows
    at: datetime  # when it was claimed
    reason: str = "schedule"  # why it is exported
    people_deleted: int = 0  # how often somebody was taken out of this hour, until now


@dataclass(frozen=True, slots=True)
class Found:
    """An object in the bucket: its ETag, what we wrote beside it (`sha256`, `revision`, …), and its size in bytes."""

    etag: str
    metadata: Mapping[str, str]
    size: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Exported:
    """What the ledger keeps of a finished export; no file is there when `rows` is 0."""

    rows: int
    bytes: int
    sha256: str | None
    etag: str | None
    revision: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class Details:
    """What an analyst's record says more of generations, by column, as `StoredRows`. `propensities`: float8."""

    generations: Sequence[Field]
    variant_names: Sequence[Field]
    propensities: Sequence[Field]
    snapshots: Sequence[Field]
    decisions: Sequence[Field]
    reasons: Sequence[Field]
    outcomes: Sequence[Field]
    outcome_reasons: Sequence[Field]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Generations by column, as PostgreSQL sends them. `accepted_us`: microseconds since 1970, UTC. `copies`: None
    where nothing was chosen; `openers`: None where a variant version is not there. `attrs`: JSON texts of objects."""

    accepted_us: npt.NDArray[np.int64]
    users: Sequence[Field]
    trackings: Sequence[Field]
    copies: Sequence[Field]
    templates: Sequence[Field]
    attrs: Sequence[bytes]
    vars: Sequence[Field]
    openers: Sequence[Opener | None]
    details: Details | None = None

    def __len__(self) -> int:
        return len(self.users)


class OutcomeRow(NamedTuple):
    """What became of one generation, as far as it is known; moments in microseconds since 1970, UTC."""

    event_timestamp: int
    generation_id: str
    user_id: str
    tracking_id: str
    template_id: str
    copy_id: str | None
    control: bool
    sends: int
    sent_us: int | None
    delivered: bool
    opened: bool
    clicked: bool
    bounced: bool
    unsubscribed: bool
    spam: bool
    conversions: int
    revenue: float | None
    currency: str | None
    decision: str
    reason: str


class VersionRow(NamedTuple):
    """One version of a variant's texts, without them."""

    version: int
    content_sha256: str
    created_us: int


class VariantRow(NamedTuple):
    """One variant with the texts that are served, in Liquid, and the days on which it was first and last chosen."""

    copy_id: str
    template_id: str
    template_name: str
    name: str
    theme: str
    status: str
    version: int
    content_sha256: str
    vars: Vars
    versions: Sequence[VersionRow]
    created_us: int
    first_used: date | None
    last_used: date | None


class Superseded(Transient):
    """Somebody else has claimed the hour or replaced its object meanwhile; what we made of it is not to be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="superseded")
