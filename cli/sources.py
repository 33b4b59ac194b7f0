"""`justai source`: where Klaviyo's event files come from, and what became of them."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import click

from cli.display import moment, show_table
from cli.session import Session, command, reaching, session
from cli.ssh_keys import BadKey, host_key, private_key
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import INGEST_FILE
from shared.schemas.jobs import IngestFileJob

INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, host, port, username, path, pattern, host_key, sealed_key, poll_s)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
SELECT_SOURCE = "SELECT source_id FROM sources WHERE org_id = $1 AND name = $2"
SELECT_SOURCES = """
    SELECT s.name, s.username || '@' || s.host || ':' || s.port AS place, s.path, s.pattern, s.enabled,
           s.last_polled_at, s.refused_at, s.last_error, s.mapping,
           count(f.file_id) FILTER (WHERE f.state = 'done') AS done,
           count(f.file_id) FILTER (WHERE f.state IN ('held', 'failed')) AS troubled
    FROM sources s LEFT JOIN ingest_files f USING (source_id)
    WHERE s.org_id = $1 GROUP BY s.source_id ORDER BY s.name
"""
# What is not given (null) stays. Setting any of these columns gives a refused source another try.
UPDATE_SOURCE = """
    UPDATE sources SET
        host = coalesce($2, host), port = coalesce($3, port), username = coalesce($4, username),
        path = coalesce($5, path), pattern = coalesce($6, pattern), host_key = coalesce($7, host_key),
        sealed_key = coalesce($8, sealed_key), poll_s = coalesce($9, poll_s), enabled = coalesce($10, enabled),
        mapping = CASE WHEN $11::jsonb IS NULL THEN mapping ELSE nullif($11, '{}'::jsonb) END
    WHERE source_id = $1
"""
SELECT_FILES = """
    SELECT path, state, rows, rejects, fresh, error, last_seen_at FROM ingest_files
    WHERE source_id = $1 ORDER BY first_seen_at DESC, path LIMIT $2
"""
SELECT_REJECTS = """
    SELECT r.line, r.reason, r.raw FROM ingest_rejects r JOIN ingest_files f USING (file_id)
    WHERE f.source_id = $1 AND f.path = $2 ORDER BY f.first_seen_at DESC, r.line LIMIT $3
"""
SELECT_TROUBLED = """
    SELECT file_id, path FROM ingest_files
    WHERE source_id = $1 AND state IN ('held', 'failed') AND ($2::text IS NULL OR path = $2) ORDER BY mtime, path
"""
_RAW_CHARS = 120
_PORT, _POLL_S = click.IntRange(1, 65_535), click.IntRange(1, 86_400)
_KEY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def source() -> None:
    """SFTP folders that event files are read from."""


@source.command("add")
@click.argument("org_slug")
@click.argument("name")
@click.option("--host", required=True, help="The SFTP server.")
@click.option("--port", type=_PORT, default=22, show_default=True)
@click.option("--user", required=True, help="The login there.")
@click.option("--path", default=".", show_default=True, help="The folder; folders below it are not searched.")
@click.option("--pattern", default="*", show_default=True, help="Which file names: * ? [abc].")
@click.option("--host-key", "shown_key", required=True, help="The server's public key; it is pinned, never learned.")
@click.option("--key-file", required=True, type=_KEY_FILE, help="Our private key for it; stored sealed.")
@click.option("--poll-s", type=_POLL_S, default=60, show_default=True, help="Seconds between listings.")
@command
async def source_add(
    org_slug: str, name: str, host: str, port: int, user: str, path: str, pattern: str, shown_key: str, key_file: Path,
    poll_s: int,
) -> None:  # fmt: skip
    """Add an SFTP folder. A file is read once two listings have seen it unchanged.

    `ssh-keyscan -t ed25519 HOST` shows the server's public key; compare it with what its owner says.
    """
    pinned, ours = _keys(shown_key, key_file)
    source_id = uuid4()
    async with session() as s:
        org_id = await s.org_id(org_slug)
        sealed = s.ring.seal(str(ours), f"{org_id}/source/{source_id}")
        try:
            async with s.db.transaction(org_id) as connection:
                await connection.execute(
                    INSERT_SOURCE, source_id, org_id, name, host, port, user, path, pattern, pinned, sealed, poll_s
                )
        except asyncpg.UniqueViolationError:
            raise click.ClickException(f"There is a source {name!r} already; change it with `source set`.") from None
        except asyncpg.CheckViolationError as error:
            raise click.ClickException(f"A value cannot be used ({error.constraint_name}); is one empty?") from None
    click.echo(f"Added source {name}. See what becomes of its files: justai source files {org_slug} {name}")


@source.command("set")
@click.argument("org_slug")
@click.argument("name")
@click.option("--host")
@click.option("--port", type=_PORT)
@click.option("--user")
@click.option("--path")
@click.option("--pattern")
@click.option("--host-key", "shown_key", help="The server's new public key.")
@click.option("--key-file", type=_KEY_FILE, help="Our new private key; stored sealed.")
@click.option("--poll-s", type=_POLL_S)
@click.option(
    "--map", "pairs", multiple=True, metavar="FIELD=COLUMN", help="Which column a field is; several may be given."
)
@click.option("--no-map", is_flag=True, help="Find the columns by name again.")
@click.option("--on/--off", "enabled", default=None, help="Read it, or leave it alone.")
@command
async def source_set(
    org_slug: str, name: str, host: str | None, port: int | None, user: str | None, path: str | None,
    pattern: str | None, shown_key: str | None, key_file: Path | None, poll_s: int | None, pairs: tuple[str, ...],
    no_map: bool, enabled: bool | None,
) -> None:  # fmt: skip
    """Change a source; what is not given stays. A source that was refused is tried again."""
    mapping = _mapping(pairs) if pairs else {} if no_map else None
    pinned, ours = _keys(shown_key, key_file)
    async with session() as s:
        org_id = await s.org_id(org_slug)
        source_id = await _source_id(s, org_id, org_slug, name)
        sealed = s.ring.seal(ours, f"{org_id}/source/{source_id}") if ours else None
        try:
            async with s.db.transaction(org_id) as connection:
                await connection.execute(
                    UPDATE_SOURCE, source_id, host, port, user, path, pattern, pinned, sealed, poll_s, enabled, mapping
                )
        except asyncpg.CheckViolationError as error:
            raise click.ClickException(f"A value cannot be used ({error.constraint_name}); is one empty?") from None
    click.echo(f"Changed source {name}.")


@source.command("list")
@click.argument("org_slug")
@command
async def source_list(org_slug: str) -> None:
    """List the sources: when each was last read, and what is wrong."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_SOURCES, org_id)
    show_table(
        ("source", "server", "path", "files", "last listing", "done", "held or failed", "trouble"),
        (
            (
                row["name"] if row["enabled"] else f"{row['name']} (off)", row["place"], row["path"], row["pattern"],
                moment(row["last_polled_at"], "never"), row["done"], row["troubled"],
                f"{row['last_error'] or ''}{' (not tried again until it is changed)' if row['refused_at'] else ''}",
            )
            for row in rows
        ),
        empty="No sources yet; add one with `justai source add`.",
    )  # fmt: skip


@source.command("files")
@click.argument("org_slug")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@command
async def source_files(org_slug: str, name: str, limit: int) -> None:
    """List a source's newest files: what was read from each, and why one is held."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        source_id = await _source_id(s, org_id, org_slug, name)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_FILES, source_id, limit)
    show_table(
        ("file", "state", "rows", "new events", "rejects", "last seen", "why"),
        (
            (row["path"], row["state"], row["rows"], row["fresh"], row["rejects"], moment(row["last_seen_at"]),
             row["error"])
            for row in rows
        ),
        empty="No file that fits was seen yet.",
    )  # fmt: skip


@source.command("rejects")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@command
async def source_rejects(org_slug: str, name: str, file: str, limit: int) -> None:
    """List the rows of a FILE that are no events, and why. They hold people's values: mind where you paste them."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        source_id = await _source_id(s, org_id, org_slug, name)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_REJECTS, source_id, file, limit)
    show_table(
        ("line", "why", "row"), ((row["line"], row["reason"], row["raw"][:_RAW_CHARS]) for row in rows),
        empty=f"No rejects of {file}.",
    )  # fmt: skip


@source.command("retry")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file", required=False)
@command
async def source_retry(org_slug: str, name: str, file: str | None) -> None:
    """Load held and failed files again, or only FILE, once the cause is mended. Events count once, however often."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        source_id = await _source_id(s, org_id, org_slug, name)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_TROUBLED, source_id, file)
        if not rows:
            which = f"{file} is neither held nor failed" if file else "No file is held or failed"
            raise click.ClickException(f"{which}; see `justai source files {org_slug} {name}`.")
        with reaching("RabbitMQ", "JUSTAI_AMQP_URL"):
            async with open_publisher(s.amqp_url, "justai-cli", INGEST_FILE) as publisher:
                for row in rows:
                    job = IngestFileJob(org_id=org_id, source_id=source_id, file_id=row["file_id"])
                    await publisher.send_jobs(INGEST_FILE, org_id, [job])
    click.echo(f"Queued {', '.join(row['path'] for row in rows)}.")


async def _source_id(s: Session, org_id: UUID, org_slug: str, name: str) -> UUID:
    async with s.db.transaction(org_id) as connection:
        source_id = await connection.fetchval(SELECT_SOURCE, org_id, name)
    if source_id is None:
        raise click.ClickException(f"No source {name!r}; see `justai source list {org_slug}`.")
    return UUID(str(source_id))


def _keys(shown_key: str | None, key_file: Path | None) -> tuple[str | None, str | None]:
    """The pinned host key and our private key, each where it was given."""
    try:
        pinned = host_key(shown_key) if shown_key is not None else None
    except BadKey as error:
        raise click.ClickException(f"--host-key: {error}.") from None
    try:
        return pinned, private_key(key_file.read_text()) if key_file is not None else None
    except (BadKey, UnicodeDecodeError) as error:
        why = error if isinstance(error, BadKey) else "this is no text"
        raise click.ClickException(f"--key-file: {why}.") from None


def _mapping(pairs: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise click.ClickException(f"--map: {pair!r} is not FIELD=COLUMN, like profile_id=Person.")
        found[field] = column
    return found
