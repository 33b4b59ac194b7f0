"""What a service answers when it was asked to try a connection, over its reply address."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ProbeStep(BaseModel):
    """One thing that was tried. `says`: what happened, in words for whoever set the connection up. `lacks`: the rights
    that are missing for it, like `s3:PutObject on arn:aws:s3:::records/jai/*`."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    says: str
    lacks: list[str] = []


class Probed(BaseModel):
    """The steps in their order; after one that failed there are none that need it."""

    model_config = ConfigDict(frozen=True)

    steps: list[ProbeStep]


class FoundField(BaseModel):
    """Where a field of an event is read from. `column` null: from none. `by`: found by its name, set by hand, or inside
    the properties."""

    model_config = ConfigDict(frozen=True)

    field: str
    column: str | None = None
    by: Literal["header", "hand", "inside"] | None = None


class SeenReject(BaseModel):
    """A record that is no event, and why. It holds a person's values."""

    model_config = ConfigDict(frozen=True)

    line: int
    reason: str
    raw: str


class FilePreview(BaseModel):
    """A file as it would be read, of which nothing was stored. Of its first `read_bytes` (packed) bytes; `whole`: it
    has no more. `columns`: the names in it; `events`, `rejected`: how many records of that part are, and are none;
    `rows`, `rejects`: the first of them; `problem`: why the file as a whole would be held."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    read_bytes: int
    whole: bool
    format: str = ""
    columns: list[str] = []
    fields: list[FoundField] = []
    events: int = 0
    rejected: int = 0
    rows: list[dict[str, str]] = []
    rejects: list[SeenReject] = []
    problem: str | None = None


class SourceProbed(Probed):
    """`files`: how many in the folder fit; null: it was not listed. `newest`: the paths of the newest of them."""

    files: int | None = None
    newest: list[str] = []
    preview: FilePreview | None = None
