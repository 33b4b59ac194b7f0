"""`justai source`: where Klaviyo's event files come from."""

import asyncio
from pathlib import Path
from uuid import uuid4

import asyncpg
import click
from rich.table import Table

from cli.session import command, out, session
from shared.crypto import KeyRing

INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, host, port, username, path, pattern, host_key, sealed_key, poll_s)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
SELECT_SOURCES = """
    SELECT s.name, s.username || '@' || s.host || ':' || s.port || '/' || s.path AS place, s.enabled, s.last_polled_at,
           s.last_error, count(f.file_id) FILTER (WHERE f.state = 'done') AS done,
           count(f.file_id) FILTER (WHERE f.state IN ('held', 'failed')) AS troubled
    FROM sources s LEFT JOIN ingest_files f USING (source_id)
    GROUP BY s.source_id ORDER BY s.name
"""
SELECT_FILES = """
    SELECT f.path, f.state, f.rows, f.rejects, f.fresh, f.error, f.last_seen_at
    FROM ingest_files f JOIN sources s USING (source_id)
    WHERE s.name = $1 ORDER BY f.first_seen_at DESC LIMIT $2
"""


@click.group()
def source() -> None:
    """SFTP folders that event files are read from."""


@source.command("add")
@click.argument("org_slug")
@click.argument("name")
@click.option("--host", required=True, help="The SFTP server.")
@click.option("--port", default=22, show_default=True)
@click.option("--user", required=True, help="The login there.")
@click.option("--path", default=".", show_default=True, help="The folder; folders below it are not searched.")
@click.option("--pattern", default="*", show_default=True, help="Which file names: * ? [abc].")
@click.option(
    "--host-key", required=True, help="The server's public key, `ssh-ed25519 AAAA…`; it is pinned, never learned."
)
@click.option(
    "--key-file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Our private key for it; stored sealed.",
)  # fmt: skip
@click.option("--poll-s", default=60, show_default=True, help="Seconds between listings.")
@command
async def source_add(
    org_slug: str, name: str, host: str, port: int, user: str, path: str, pattern: str, host_key: str, key_file: Path,
    poll_s: int,
) -> None:  # fmt: skip
    """Add an SFTP folder. A file is read once two listings have seen it unchanged."""
    source_id = uuid4()
    private_key = await asyncio.to_thread(key_file.read_text)
    async with session() as s:
        org_id = await s.org_id(org_slug)
        ring = KeyRing(s.settings.seal_keys.get_secret_value())
        sealed = ring.seal(private_key, f"{org_id}/source/{source_id}")
        try:
            async with s.db.transaction(org_id) as connection:
                await connection.execute(
                    INSERT_SOURCE, source_id, org_id, name, host, port, user, path, pattern, host_key, sealed, poll_s
                )
        except asyncpg.UniqueViolationError:
            raise click.ClickException(f"There is a source {name!r} already.") from None
        except asyncpg.CheckViolationError as error:
            raise click.ClickException(f"A value cannot be used: {error.constraint_name}.") from None
    out.print(f"Added source [bold]{name}[/]. See what becomes of its files: justai source files {org_slug} {name}")


@source.command("list")
@click.argument("org_slug")
@command
async def source_list(org_slug: str) -> None:
    """List the sources: when each was last read, and what is wrong."""
    table = Table("source", "place", "last listing", "files done", "held or failed", "trouble")
    async with session() as s, s.db.transaction(await s.org_id(org_slug)) as connection:
        for row in await connection.fetch(SELECT_SOURCES):
            polled = f"{row['last_polled_at']:%Y-%m-%d %H:%M:%S}" if row["last_polled_at"] else "never"
            table.add_row(
                row["name"] if row["enabled"] else f"{row['name']} (off)", row["place"], polled, str(row["done"]),
                str(row["troubled"]), row["last_error"] or "",
            )  # fmt: skip
    out.print(table)


@source.command("files")
@click.argument("org_slug")
@click.argument("name")
@click.option("--limit", default=20, show_default=True)
@command
async def source_files(org_slug: str, name: str, limit: int) -> None:
    """List a source's newest files: what was read from each, and why one is held."""
    table = Table("file", "state", "rows", "new events", "rejects", "why")
    async with session() as s, s.db.transaction(await s.org_id(org_slug)) as connection:
        for row in await connection.fetch(SELECT_FILES, name, limit):
            table.add_row(
                row["path"], row["state"], str(row["rows"]), str(row["fresh"]), str(row["rejects"]), row["error"] or ""
            )
    out.print(table)
