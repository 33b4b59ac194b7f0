"""The words that scheduler, handler, store and S3 share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from shared.errors import Transient
from shared.exports import Reason, Table
from shared.schemas.copy import VariantSource

Cadence = Literal["daily", "hourly"]


@dataclass(frozen=True, slots=True)
class Plan:
    """When one org's hours are exported."""

    org_id: UUID
    cadence: Cadence


@dataclass(frozen=True, slots=True)
class DueHour:
    """One hour of the ledger that waits for its job."""

    org_id: UUID
    hour: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Target:
    """Where one org's exports go, and as whom. Equal targets share one client."""

    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None = None  # None: AWS
    access_key: str | None = None  # None: the process's own identity
    secret: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to export one hour, until somebody claims it with a higher epoch."""

    org_id: UUID
    table: Table
    hour: datetime  # UTC
    epoch: int
    dirty_seq: int  # what the snapshot that is read under this lease covers at least
    had_rows: bool  # whether an earlier export of this hour held rows


@dataclass(frozen=True, slots=True)
class Found:
    """An object in the bucket: its ETag, and what we wrote beside it (`sha256`, `revision`)."""

    etag: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exported:
    """What the ledger keeps of a finished export; no file is there when `rows` is 0."""

    rows: int
    bytes: int
    sha256: str | None
    etag: str | None
    revision: int


class StoredRow(NamedTuple):
    """One generation as PostgreSQL has it; `source` is None when its variant version is not there."""

    event_timestamp: int
    user_id: str
    tracking_id: str
    copy_id: str
    template_id: str
    attrs: Mapping[str, object]
    vars: bytes | None
    source: VariantSource | None


class Superseded(Transient):
    """Somebody else has claimed the hour or replaced its object meanwhile; what we made of it is not to be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="superseded")
