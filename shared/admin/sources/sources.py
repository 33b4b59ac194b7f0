"""Where event files are read from: folders of several kinds, and what became of their files."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from shared.admin.context import Context
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.admin.sources.kinds import (
    DEFAULT_REGION,
    Bucket,
    Endpoint,
    Kind,
    Region,
    demand_fitting,
    demand_whole,
    place_of,
)
from shared.admin.sources.ssh_keys import BadKey, host_key, private_key
from shared.db.pool import Connection
from shared.event_fields import EVENT_FIELDS, HASH, unknown_fields
from shared.source_silence import GAPS, silent_since

INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, kind, host, port, username, path, pattern, host_key, sealed_key,
                         poll_s, bucket, region, endpoint_url, access_key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""
SELECT_SOURCE = "SELECT source_id FROM sources WHERE org_id = $1 AND name = $2"
# A later version of the file was loaded.
MENDED = """EXISTS (
        SELECT FROM ingest_files n WHERE n.source_id = f.source_id AND n.path = f.path AND n.state = 'done'
          AND (n.first_seen_at, n.mtime) > (f.first_seen_at, f.mtime))"""
SELECT_KIND = "SELECT kind, access_key FROM sources WHERE source_id = $1"
SELECT_SOURCES = f"""
    WITH counted AS (
    SELECT s.source_id, s.name, s.kind, s.host, s.port, s.username, s.path, s.pattern, s.host_key, s.bucket, s.region,
           s.endpoint_url, s.access_key, s.poll_s, s.enabled, s.mapping, s.last_polled_at, s.listed, s.ignored,
           s.last_error, s.last_error_at, s.refused_at, s.reread_at, s.reread_files, s.reread_bytes,
           count(f.file_id) FILTER (WHERE f.state = 'done') AS done,
           count(f.file_id) FILTER (WHERE f.state IN ('held', 'failed') AND NOT {MENDED}) AS troubled,
           count(f.file_id) FILTER (WHERE f.state IN ('listed', 'queued', 'loading')) AS waiting,
           min(f.first_seen_at) FILTER (WHERE f.state IN ('listed', 'queued', 'loading')) AS waiting_since
    FROM sources s LEFT JOIN ingest_files f USING (source_id)
    WHERE s.org_id = $1 AND s.removed_at IS NULL GROUP BY s.source_id
    )
    SELECT * FROM counted CROSS JOIN LATERAL ({GAPS.format(source_id="counted.source_id")}) seen ORDER BY name
"""  # noqa: S608  # our own text
# What is not given (null) stays. Setting any of these columns gives a refused source another try.
UPDATE_SOURCE = """
    UPDATE sources SET
        host = coalesce($2, host), port = coalesce($3, port), username = coalesce($4, username),
        path = coalesce($5, path), pattern = coalesce($6, pattern), host_key = coalesce($7, host_key),
        sealed_key = CASE WHEN $15 = '' THEN '' ELSE coalesce($8, sealed_key) END,
        poll_s = coalesce($9, poll_s), enabled = coalesce($10, enabled), bucket = coalesce($12, bucket),
        region = coalesce($13, region), endpoint_url = coalesce($14, endpoint_url),
        access_key = coalesce($15, access_key),
        mapping = CASE WHEN $11::jsonb IS NULL THEN mapping ELSE nullif($11, '{}'::jsonb) END
    WHERE source_id = $1
"""
# Events tell file and line: a source that brought any keeps its row, without its secret and under another name.
REMOVE_SOURCE = """
    UPDATE sources SET enabled = false, sealed_key = '', access_key = CASE WHEN kind = 's3' THEN '' ELSE access_key END,
        removed_at = $2, name = name || ' (removed ' || to_char($2 AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ')'
    WHERE source_id = $1
"""
FORGET_WAITING = "DELETE FROM ingest_files WHERE source_id = $1 AND state IN ('listed', 'queued')"
DELETE_SOURCE = """
    DELETE FROM sources s WHERE source_id = $1 AND NOT EXISTS (SELECT FROM ingest_files f WHERE f.source_id = $1)
"""
# Its service looks for folders that are due every second or so.
LIST_NOW = """
    UPDATE sources SET next_poll_at = NULL, refused_at = NULL, reread_at = CASE WHEN $2 THEN $3 ELSE reread_at END
    WHERE source_id = $1 AND enabled
"""
# Of each file its newest version: an older one is not in the folder any more.
SELECT_SETTLED = """
    SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes
    FROM (SELECT DISTINCT ON (path) state, size FROM ingest_files
          WHERE source_id = $1 ORDER BY path, first_seen_at DESC, mtime DESC) newest
    WHERE state IN ('done', 'held', 'failed')
"""
Port = Annotated[int, Field(ge=1, le=65_535)]
Path = Annotated[str, Field(description="The folder, or the prefix in a bucket.")]
PollS = Annotated[int, Field(ge=1, le=86_400, description="Seconds between listings.")]


def known_fields(mapping: dict[str, str]) -> dict[str, str]:
    """The mapping. Raises ValueError where it names what is no field."""
    if strangers := unknown_fields(mapping):
        raise ValueError(f"names unknown fields {', '.join(strangers)}; known are {', '.join(EVENT_FIELDS)}")
    if hashed := sorted(field for field, column in mapping.items() if column == HASH and field != "event_id"):
        raise ValueError(f"takes {HASH} for event_id alone, not for {', '.join(hashed)}")
    return mapping


class Given(AskedModel):
    """What one kind of source or another has. `host_key`: the server's public key, as `ssh-keyscan` shows it; it is
    pinned, never learned. Without `access_key` the bucket is read as the service itself, where the operator lets it."""

    host: str | None = None
    port: Port | None = None
    user: str | None = None
    path: Path | None = None
    pattern: str | None = None
    host_key: str | None = None
    private_key: SecretStr | None = Field(
        None, description="Ours for that server, in OpenSSH's or PEM form; stored sealed."
    )
    bucket: Bucket | None = None
    region: Region | None = None
    endpoint_url: Endpoint | None = Field(None, description="Any S3 server; empty: Amazon's own.")
    access_key: str | None = None
    secret_key: SecretStr | None = Field(None, description="Of the access key; stored sealed.")

    def secret(self) -> str | None:
        """The kind's secret, to be sealed. Raises Refused."""
        if self.private_key is not None:
            return our_key(self.private_key)
        return self.secret_key.get_secret_value() if self.secret_key is not None else None


class AddSource(Given):
    """`path`: the folder, as the server says it; of kind `folder`, one in the org's own; of kind `s3`, the prefix.
    Folders below it are not searched."""

    name: str
    kind: Kind = "sftp"
    poll_s: PollS = 60


# A header's names count as they stand there, with their spaces.
_Column = Annotated[str, StringConstraints(strip_whitespace=False)]
Mapping = Annotated[dict[str, _Column], AfterValidator(known_fields)]
"""By field of an event, the name of the column that it is read from."""


class SetSource(Given):
    """What is not given stays. `mapping`: which column a field is; empty: they are found by name again."""

    name: str
    poll_s: PollS | None = None
    mapping: Mapping | None = None
    enabled: bool | None = None


class OneSource(AskedModel):
    """A source by its name."""

    name: str


class RescanSource(OneSource):
    """`everything`: also read again what was loaded, held or given up and is still in the folder. `dry_run`: only say
    how much that is."""

    everything: bool = False
    dry_run: bool = False


class SourceId(ResultModel):
    """The source that was added or changed."""

    source_id: UUID
    name: str


class ListingAsked(ResultModel):
    """A listing after this moment (`last_polled_at` or `last_error_at` of the source) is the answer. `files`, `bytes`:
    so much is read again, if all of it is still in the folder."""

    source_id: UUID
    asked_at: datetime
    files: int = 0
    bytes: int = 0
    changed: bool = True


class Source(ResultModel):
    """One source. `place`: where its files are, in one line; what its kind has no use for is empty. `listed`,
    `ignored`: files in the folder that fit the pattern, and other things there; `done`, `troubled`: files loaded, and
    held or failed; `waiting`: to be loaded, the oldest seen at `waiting_since`; `refused_at`: not tried again until it
    is changed; `silent_since`: nothing new has come since then, which is more than twice its usual gap, `usual_gap_s`;
    `reread_at`: asked then to read all again, which the next listing begins; the last one to do so queued
    `reread_files`.
    """

    source_id: UUID
    name: str
    kind: str
    place: str
    host: str
    port: int
    username: str
    path: str
    pattern: str
    host_key: str
    bucket: str
    region: str
    endpoint_url: str
    access_key: str
    poll_s: int
    enabled: bool
    mapping: dict[str, str] | None
    last_polled_at: datetime | None
    listed: int
    ignored: int
    last_error: str | None
    last_error_at: datetime | None
    refused_at: datetime | None
    done: int
    troubled: int
    waiting: int
    waiting_since: datetime | None
    silent_since: datetime | None
    usual_gap_s: float | None
    reread_at: datetime | None = None
    reread_files: int | None = None
    reread_bytes: int | None = None


class Sources(ResultModel):
    """By name."""

    sources: list[Source]


@operation(
    "sources.add", "POST", "/sources", "owner", "Add a folder that event files are read from: SFTP, ours, or S3.",
    target=("name",),
)  # fmt: skip
async def add(context: Context, asked: AddSource) -> SourceId:
    given = {name: getattr(asked, name) for name in Given.model_fields}
    demand_whole(asked.kind, given)
    pinned = pinned_key(asked.host_key) if asked.host_key is not None else ""
    secret = asked.secret()
    source_id = context.means.new_id()
    sealed = context.means.ring.seal(secret, context.place(f"source/{source_id}")) if secret else ""
    try:
        await context.connection.execute(
            INSERT_SOURCE, source_id, context.org_id, asked.name, asked.kind, asked.host or "", asked.port or 22,
            asked.user or "", asked.path or ".", asked.pattern or "*", pinned, sealed, asked.poll_s,
            asked.bucket or "", asked.region or (DEFAULT_REGION if asked.kind == "s3" else ""),
            asked.endpoint_url or "", asked.access_key or "",
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        said = f"There is a source {asked.name!r} already"
        raise Conflict(said, field="name", next=Next("sources.set", (asked.name,))) from None
    except asyncpg.CheckViolationError as error:
        raise _unusable(error) from None
    return SourceId(source_id=source_id, name=asked.name)


@operation("sources.set", "PATCH", "/sources/{name}", "owner", "Change a source; one that was refused is tried again.")
async def set_source(context: Context, asked: SetSource) -> SourceId:
    pinned = pinned_key(asked.host_key) if asked.host_key is not None else None
    secret = asked.secret()
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    kind, access_key = await kind_of(context.connection, source_id)
    demand_fitting(kind, {name: getattr(asked, name) for name in Given.model_fields}, access_key)
    sealed = context.means.ring.seal(secret, context.place(f"source/{source_id}")) if secret is not None else None
    try:
        await context.connection.execute(
            UPDATE_SOURCE, source_id, asked.host, asked.port, asked.user, asked.path, asked.pattern, pinned, sealed,
            asked.poll_s, asked.enabled, asked.mapping, asked.bucket, asked.region, asked.endpoint_url,
            asked.access_key,
        )  # fmt: skip
    except asyncpg.CheckViolationError as error:
        raise _unusable(error) from None
    return SourceId(source_id=source_id, name=asked.name)


@operation("sources.remove", "DELETE", "/sources/{name}", "owner", "Remove a source; what it brought stays and counts.")
async def remove(context: Context, asked: OneSource) -> SourceId:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    await context.connection.execute(FORGET_WAITING, source_id)
    if await context.connection.execute(DELETE_SOURCE, source_id) == "DELETE 0":
        await context.connection.execute(REMOVE_SOURCE, source_id, context.now)
    return SourceId(source_id=source_id, name=asked.name)


@operation(
    "sources.rescan", "POST", "/sources/{name}/rescan", "editor",
    "Have the folder listed now, or all of it read again; a source that was refused is tried again.",
)  # fmt: skip
async def rescan(context: Context, asked: RescanSource) -> ListingAsked:
    """The service that reads folders does it, from where it will read them later. What is read again counts once."""
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    much: dict[str, int] = {}
    if asked.everything:
        much = dict(await context.connection.fetchrow(SELECT_SETTLED, source_id) or {})
    if asked.dry_run:
        return ListingAsked(source_id=source_id, asked_at=context.now, changed=False, **much)
    if await context.connection.execute(LIST_NOW, source_id, asked.everything, context.now) == "UPDATE 0":
        raise Conflict(f"Source {asked.name!r} is switched off", next=Next("sources.set", (asked.name,)))
    return ListingAsked(source_id=source_id, asked_at=context.now, **much)


@operation("sources.list", "GET", "/sources", "viewer", "List the sources: when each was last read, and what is wrong.")
async def list_sources(context: Context, _: Nothing) -> Sources:
    rows = await context.connection.fetch(SELECT_SOURCES, context.org_id)
    return Sources(sources=[_source(dict(row), context) for row in rows])


def _source(row: dict[str, Any], context: Context) -> Source:
    newest_at, gaps = row.pop("newest_at"), row.pop("gaps")
    since = silent_since(newest_at, gaps, row["usual_gap_s"], context.now) if row["enabled"] else None
    return Source(**row, place=place_of(row["kind"], row, context.org_slug), silent_since=since)


async def source_id_of(connection: Connection, org_id: UUID, name: str) -> UUID:
    """Raises NotFound."""
    source_id = await connection.fetchval(SELECT_SOURCE, org_id, name)
    if source_id is None:
        raise NotFound(f"No source {name!r}", field="name", next=Next("sources.list"))
    return UUID(str(source_id))


async def kind_of(connection: Connection, source_id: UUID) -> tuple[str, str]:
    """A stored source's kind, and the access key that it has."""
    row = await connection.fetchrow(SELECT_KIND, source_id)
    if row is None:
        raise NotFound("The source is gone", field="name", next=Next("sources.list"))
    return row["kind"], row["access_key"]


def pinned_key(text: str) -> str:
    """A server's public key. Raises Refused."""
    try:
        return host_key(text)
    except BadKey as error:
        raise Refused(str(error), field="host_key") from None


def our_key(text: SecretStr) -> str:
    """A private key that a service can use. Raises Refused."""
    try:
        return private_key(text.get_secret_value())
    except BadKey as error:
        raise Refused(str(error), field="private_key") from None


def _unusable(error: asyncpg.CheckViolationError) -> Refused:
    return Refused(f"A value cannot be used ({error.constraint_name}); is one empty?")
