"""Taking a held file as it is: its good rows count, the others stay rejects."""

from shared.admin.context import Context
from shared.admin.errors import Next, Refused
from shared.admin.operation import ResultModel, operation
from shared.admin.sources.files import TOO_MANY_REJECTS
from shared.admin.sources.sources import OneSource, source_id_of
from shared.messaging.topology import INGEST_FILE
from shared.schemas.jobs import IngestFileJob

# The newest version of the file: an older one is not on the server any more.
SELECT_NEWEST = """
    SELECT file_id, state, rows, rejects, coalesce(error, '') AS error FROM ingest_files
    WHERE source_id = $1 AND path = $2 ORDER BY first_seen_at DESC, mtime DESC LIMIT 1
"""
ACCEPT = "UPDATE ingest_files SET accepted_at = $2 WHERE file_id = $1 AND state = 'held'"


class AcceptFile(OneSource):
    """`file`: by its path."""

    file: str


class FileAccepted(ResultModel):
    """A file that is loaded as it is. `rows`, `rejects`: what was read of it when it was held."""

    file: str
    rows: int
    rejects: int


@operation(
    "sources.accept", "POST", "/sources/{name}/accept", "editor",
    "Load the good rows of a file that is held for its bad ones.",
)  # fmt: skip
async def accept(context: Context, asked: AcceptFile) -> FileAccepted:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    row = await context.connection.fetchrow(SELECT_NEWEST, source_id, asked.file)
    see = Next("sources.files", (asked.name,))
    if row is None or row["state"] != "held":
        raise Refused(f"{asked.file} is not held", code="not_held", next=see)
    if not row["error"].startswith(TOO_MANY_REJECTS):
        raise Refused(
            f"{asked.file} is not held for bad rows, but because it cannot be read as a whole", code="unreadable_file",
            next=see,
        )  # fmt: skip
    publisher = context.means.need_publisher()
    org_id = context.org_id
    job = IngestFileJob(org_id=org_id, source_id=source_id, file_id=row["file_id"])
    await context.connection.execute(ACCEPT, row["file_id"], context.now)

    async def publish() -> None:
        await publisher.send_jobs(INGEST_FILE, org_id, [job])

    context.after_commit(publish)
    return FileAccepted(file=asked.file, rows=row["rows"], rejects=row["rejects"])
