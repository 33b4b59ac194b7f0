"""`justai source files`, `rejects`, `retry` and `accept`: what became of a source's files, and what to do about it."""

from functools import partial

import click

from cli.actor import acting
from cli.display import moment, show_table
from cli.session import Session, command, session
from cli.source_progress import follow_files, how_far
from shared.admin.operation import A, Nothing, Operation, R
from shared.admin.sources import accepting as source_accepting
from shared.admin.sources import files as source_files
from shared.admin.sources import sources
from shared.messaging.topology import INGEST_FILE

_RAW_CHARS = 120


@click.command("files")
@click.argument("org_slug")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--follow", is_flag=True, help="Show with bars how far the files are, until none waits.")
@command
async def list_files(org_slug: str, name: str, limit: int, follow: bool) -> None:
    """List a source's newest files: what was read from each, and why one is held."""
    async with session() as s:
        if follow:
            await follow_files(partial(_seen, s, org_slug, name))
        found = await s.run(source_files.list_files, source_files.AskedFiles(name=name, limit=limit), org_slug)
    show_table(
        ("file", "state", "rows", "new events", "rejects", "last seen", "why"),
        (
            (
                one.path, how_far(one), one.rows, one.fresh, one.rejects, moment(one.last_seen_at), one.error
            )
            for one in found.files
        ),
        empty="No file that fits was seen yet.",
    )  # fmt: skip


async def _seen(s: Session, org_slug: str, name: str) -> tuple[int, list[source_files.SourceFile]]:
    """How many files wait, and those of the newest that are in hand."""
    found = (await s.run(sources.list_sources, Nothing(), org_slug)).sources
    one = next((one for one in found if one.name == name), None)
    files = (await s.run(source_files.list_files, source_files.AskedFiles(name=name, limit=1000), org_slug)).files
    return (one.waiting if one is not None else 0), [file for file in files if file.state == "loading"]


@click.command("rejects")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@command
async def show_rejects(org_slug: str, name: str, file: str, limit: int) -> None:
    """List the rows of a FILE that are no events. They hold people's values: mind where you paste them."""
    async with session() as s:
        asked = source_files.AskedRejects(name=name, file=file, limit=limit)
        found = await s.run(source_files.list_rejects, asked, org_slug)
    show_table(
        ("line", "why", "row"), ((one.line, one.reason, one.raw[:_RAW_CHARS]) for one in found.rejects),
        empty=f"No rejects of {file}.",
    )  # fmt: skip


@click.command("retry")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file", required=False)
@acting
@command
async def retry(org_slug: str, name: str, file: str | None, actor: str) -> None:
    """Load held and failed files again, or only FILE, once the cause is mended. Events count once, however often."""
    done = await _queueing(source_files.retry, source_files.RetryFiles(name=name, file=file), org_slug, actor)
    click.echo(f"Queued {', '.join(done.files)}.")


@click.command("accept")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@acting
@command
async def accept(org_slug: str, name: str, file: str, actor: str) -> None:
    """Load the good rows of a FILE that is held for its bad ones. Look at them first: `justai source rejects`."""
    done = await _queueing(source_accepting.accept, source_accepting.AcceptFile(name=name, file=file), org_slug, actor)
    click.echo(f"Queued {done.file} as it is: {done.rejects} of {done.rows} rows that were read of it do not count.")


async def _queueing(operation: Operation[A, R], asked: A, org_slug: str, actor: str) -> R:
    """Do what has files loaded."""
    async with session() as s, s.publisher(INGEST_FILE) as publisher:
        return await s.run(operation, asked, org_slug, actor, publisher=publisher)
