"""Files of a source: what became of each, the rows that are no events, and loading held ones again."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Next, Refused
from shared.admin.operation import ResultModel, operation
from shared.admin.sources.sources import MENDED, OneSource, source_id_of
from shared.messaging.topology import INGEST_FILE
from shared.schemas.jobs import IngestFileJob

SELECT_FILES = """
    SELECT file_id, path, state, size, rows, rejects, fresh, error, first_seen_at, last_seen_at,
           CASE WHEN state = 'loading' THEN got_bytes END AS got_bytes,
           CASE WHEN state = 'loading' THEN got_rows END AS got_rows,
           CASE WHEN state = 'loading' AND got_at > got_since THEN
               CASE WHEN got_rows > 0 THEN got_rows ELSE got_bytes END / extract(epoch FROM got_at - got_since)
           END::float8 AS per_s
    FROM ingest_files WHERE source_id = $1 ORDER BY first_seen_at DESC, path LIMIT $2
"""
# Of its newest version: what was wrong with an older one is mended, or is wrong with this one too.
SELECT_REJECTS = """
    SELECT line, reason, raw FROM ingest_rejects
    WHERE file_id = (
        SELECT file_id FROM ingest_files WHERE source_id = $1 AND path = $2
        ORDER BY first_seen_at DESC, mtime DESC LIMIT 1)
    ORDER BY line LIMIT $3
"""
SELECT_TROUBLED = f"""
    SELECT file_id, path FROM ingest_files f
    WHERE source_id = $1 AND state IN ('held', 'failed') AND ($2::text IS NULL OR path = $2) AND NOT {MENDED}
    ORDER BY mtime, path
"""  # noqa: S608  # our own text

TOO_MANY_REJECTS: Final = ("too_many_rejects: ", "mostly_rejects: ")
"""How the word on a file begins that is held for its rejects alone; the second is an older release's."""

Limit = Annotated[int, Field(ge=1, le=1000)]


class AskedFiles(OneSource):
    """The newest so many."""

    limit: Limit = 20


class AskedRejects(OneSource):
    """Of one file, by its path."""

    file: str
    limit: Limit = 20


class RetryFiles(OneSource):
    """`file`: only this one, by its path."""

    file: str | None = None


class SourceFile(ResultModel):
    """One file: what was read from it, and why it is held. Of one that is being loaded: `got_bytes` of its `size` are
    fetched, then `got_rows` are read; `per_s`: how many of those a second."""

    file_id: UUID
    path: str
    state: str
    size: int
    rows: int | None
    rejects: int | None
    fresh: int | None
    error: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    got_bytes: int | None = None
    got_rows: int | None = None
    per_s: float | None = None

    @property
    def acceptable(self) -> bool:
        """Whether only its bad rows hold it."""
        return self.state == "held" and (self.error or "").startswith(TOO_MANY_REJECTS)


class Files(ResultModel):
    """Newest first."""

    files: list[SourceFile]


class Reject(ResultModel):
    """A row that is no event, and why. It holds a person's values."""

    line: int
    reason: str
    raw: str


class Rejects(ResultModel):
    """By line."""

    rejects: list[Reject]


class Retried(ResultModel):
    """Files that are loaded again; their events count once, however often."""

    files: list[str]


@operation("sources.files", "GET", "/sources/{name}/files", "viewer", "List a source's newest files.")
async def list_files(context: Context, asked: AskedFiles) -> Files:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    rows = await context.connection.fetch(SELECT_FILES, source_id, asked.limit)
    return Files(files=[SourceFile(**dict(row)) for row in rows])


# They hold people's values, which who only looks at results has no need of.
@operation("sources.rejects", "GET", "/sources/{name}/rejects", "editor", "List the rows of a file that are no events.")
async def list_rejects(context: Context, asked: AskedRejects) -> Rejects:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    rows = await context.connection.fetch(SELECT_REJECTS, source_id, asked.file, asked.limit)
    return Rejects(rejects=[Reject(**dict(row)) for row in rows])


@operation("sources.retry", "POST", "/sources/{name}/retry", "editor", "Load held and failed files again, or only one.")
async def retry(context: Context, asked: RetryFiles) -> Retried:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    rows = await context.connection.fetch(SELECT_TROUBLED, source_id, asked.file)
    if not rows:
        which = f"{asked.file} is neither held nor failed" if asked.file else "No file is held or failed"
        raise Refused(which, code="nothing_to_retry", next=Next("sources.files", (asked.name,)))
    publisher = context.means.need_publisher()
    org_id = context.org_id
    jobs = [IngestFileJob(org_id=org_id, source_id=source_id, file_id=row["file_id"]) for row in rows]

    async def publish() -> None:
        for job in jobs:
            await publisher.send_jobs(INGEST_FILE, org_id, [job])

    context.after_commit(publish)
    return Retried(files=[row["path"] for row in rows])
