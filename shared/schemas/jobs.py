"""What travels in queues. One message carries 1..N jobs of one kind; ids travel, content stays in PostgreSQL.

Messages only grow: a new field is optional with a default one release before anyone needs it; a changed meaning is
a new `version`, read beside the old one. A field at its default is not written, so what a release does not use of a
newer one it never meets. Every shape that was ever sent is kept in tests/corpus/messages, and read there.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

Attrs = dict[str, str | list[str]]
"""Ranking and selection only; lower-cased where they are read."""

Fields = dict[str, str]
"""Inserted in content; by type they cannot reach the choice."""


class Job(BaseModel):
    """One unit of work. Unknown keys are refused: our own messages have no strangers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preview(Job):
    """A request of somebody who looks at copy: never learned from, counted or exported. `copy_id` forces a variant;
    `write` puts what came of it on the profile all the same."""

    copy_id: UUID | None = None
    write: bool = False


class GenerateJob(Job):
    """One accepted webhook. `earlier_id` is the id the same request had in the window before this one; `reply_to` is
    where somebody waits for its copy (shared/messaging/replies.py)."""

    org_id: UUID
    generation_id: UUID
    earlier_id: UUID
    day: date
    template_id: str
    user_id: str
    tracking_id: str
    attrs: Attrs = {}
    fields: Fields = {}
    repairs: list[str] = []
    accepted_at: AwareDatetime
    reply_to: str | None = None
    preview: Preview | None = None


class WriteJob(Job):
    """Bring one profile to the state that one generation wants.

    `write` puts the generation's copy and markers there; `clear` takes away whatever this prefix holds (the
    generation is control, so an older copy must not show).
    """

    org_id: UUID
    generation_id: UUID
    day: date
    profile_id: str
    prefix: str
    action: Literal["write", "clear"]
    accepted_at: AwareDatetime
    deadline_at: AwareDatetime


class IngestFileJob(Job):
    """Load one file of one source, as it was listed."""

    org_id: UUID
    source_id: UUID
    file_id: UUID


ExportTable = Literal["generations", "outcomes", "variants"]


class ExportHourJob(Job):
    """Write one org-hour of one table anew. `hour` is its UTC start; `variants`, one object, has the first of 1970."""

    org_id: UUID
    table: ExportTable = "generations"
    hour: AwareDatetime
    reason: Literal["schedule", "backfill", "dirty"] = "schedule"


class ProbeTargetJob(Job):
    """Try the org's export target and answer to `reply_to` under `probe_id` (shared/messaging/replies.py)."""

    org_id: UUID
    probe_id: UUID
    reply_to: str


class TypedPlace(Job):
    """What was typed of a source and is not stored yet. `sealed_key` is sealed for the place
    `<org id>/source/<probe id>`; without it, and without anything else that is null, the stored source's counts.
    `org_slug`: whose folder one of kind `folder` is in."""

    kind: str | None = None
    org_slug: str | None = None
    host: str | None = None
    port: int | None = None
    username: str | None = None
    path: str | None = None
    pattern: str | None = None
    host_key: str | None = None
    sealed_key: str | None = None
    bucket: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    access_key: str | None = None


class ProbeSourceJob(Job):
    """Try a source of event files and answer to `reply_to` under `probe_id`: a stored one, one that was only typed, or
    a stored one with what was typed over it. `preview`: also the beginning of its newest file, or of `file`, read by
    `mapping`, or by the stored one where that is null."""

    org_id: UUID
    probe_id: UUID
    reply_to: str
    source_id: UUID | None = None
    typed: TypedPlace | None = None
    preview: bool = False
    file: str | None = None
    mapping: dict[str, str] | None = None


J = TypeVar("J", bound=Job)


class Batch(BaseModel, Generic[J]):
    """The envelope of every message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    version: Literal[1] = 1
    jobs: Annotated[list[J], Field(min_length=1)]


KINDS: dict[type[Job], str] = {
    GenerateJob: "generate",
    WriteJob: "write",
    IngestFileJob: "ingest_file",
    ExportHourJob: "export_hour",
    ProbeTargetJob: "probe_target",
    ProbeSourceJob: "probe_source",
}


def encode_batch(jobs: Sequence[J]) -> bytes:
    """One message of jobs of one kind."""
    return join_encoded(KINDS[type(jobs[0])], [job.model_dump_json(exclude_defaults=True).encode() for job in jobs])


def is_newer(error: ValidationError) -> bool:
    """Whether a message cannot be read because of what only a newer release knows: a version, a field or a word."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    unknown = [fault["type"] in ("extra_forbidden", "literal_error") for fault in faults]
    return all(unknown) or any(fault["loc"] == ("version",) and fault["type"] == "literal_error" for fault in faults)


def join_encoded(kind: str, jobs: list[bytes]) -> bytes:
    """The same envelope around jobs that are JSON already; the gateway's hot path."""
    return b'{"kind":"%s","version":1,"jobs":[%s]}' % (kind.encode(), b",".join(jobs))


def hour_of(at: datetime) -> datetime:
    """The UTC hour that a moment lies in."""
    return at.replace(minute=0, second=0, microsecond=0)
