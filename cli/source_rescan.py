"""`justai source rescan`: have a folder listed now."""

import asyncio

import click

from cli.actor import acting
from cli.display import printable
from cli.session import Session, command, session
from cli.source_progress import size
from shared.admin.operation import Nothing
from shared.admin.sources import sources

_LOOK_S = 0.5  # real seconds between looks at a listing that was asked for


@click.command("rescan")
@click.argument("org_slug")
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Also read again every file that is still in the folder.")
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30, show_default=True, help="Real seconds to wait.")
@acting
@command
async def rescan(
    org_slug: str, name: str, everything: bool, yes: bool, wait_s: float, actor: str
) -> None:  # fmt: skip
    """Have the ingest service list the folder now, and say what came of it.

    A source that was refused is tried again. With --all every file that is still there is read again, loaded or held:
    say after a mapping was set. Events count once, however often a file is read."""
    async with session() as s:
        if everything:
            would = await s.run(
                sources.rescan, sources.RescanSource(name=name, everything=True, dry_run=True), org_slug, actor
            )
            click.echo(
                f"At most {would.files} files with {size(would.bytes)} are read again: those that are still there."
            )
            if not yes:
                click.confirm("Read them again?", abort=True)
        asked = await s.run(
            sources.rescan, sources.RescanSource(name=name, everything=everything), org_slug, actor
        )  # fmt: skip
        now = asyncio.get_running_loop().time
        until = now() + wait_s
        while (one := await _source(s, org_slug, asked)) is None:
            if now() >= until:
                raise click.ClickException(
                    f"Nothing was heard within {wait_s:g} s; it stays asked for. Is the ingest service running? See "
                    f"`justai source list {org_slug}`."
                )
            await asyncio.sleep(_LOOK_S)
    if one.last_error is not None:
        raise click.ClickException(f"{name}: {printable(one.last_error)}")
    click.echo(f"{one.place} was listed: {one.listed} files that fit {one.pattern!r}, {one.ignored} others.")
    if everything and one.reread_files is not None:
        click.echo(
            f"{one.reread_files} files with {size(one.reread_bytes or 0)} are read again; watch them with "
            f"`justai source files {org_slug} {name} --follow`."
        )


async def _source(s: Session, org_slug: str, asked: sources.ListingAsked) -> sources.Source | None:
    """The source, once it has an answer that is younger than the question."""
    found = (await s.run(sources.list_sources, Nothing(), org_slug)).sources
    one = next(one for one in found if one.source_id == asked.source_id)
    answered = [at for at in (one.last_polled_at, one.last_error_at) if at is not None and at >= asked.asked_at]
    return one if answered else None
