"""`justai source`: where Klaviyo's event files come from, and what became of them."""

import asyncio
from pathlib import Path

import click
from pydantic import SecretStr

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.session import Session, command, session
from cli.source_preview import show_preview
from shared.admin import source_accepting, source_trying, sources
from shared.admin.operation import Nothing
from shared.messaging.topology import INGEST_FILE

_RAW_CHARS = 120
_LOOK_S = 0.5  # real seconds between looks at a listing that was asked for
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
@click.option("--host-key", required=True, help="The server's public key; it is pinned, never learned.")
@click.option("--key-file", "private_key", required=True, type=_KEY_FILE, help="Our private key for it; stored sealed.")
@click.option("--poll-s", type=_POLL_S, default=60, show_default=True, help="Seconds between listings.")
@acting
@command
async def source_add(
    org_slug: str, name: str, host: str, port: int, user: str, path: str, pattern: str, host_key: str,
    private_key: Path, poll_s: int, actor: str,
) -> None:  # fmt: skip
    """Add an SFTP folder. A file is read once two listings have seen it unchanged.

    `ssh-keyscan -t ed25519 HOST` shows the server's public key; compare it with what its owner says.
    """
    asked = sources.AddSource(
        name=name, host=host, port=port, user=user, path=path, pattern=pattern, host_key=host_key,
        private_key=_text_of(private_key), poll_s=poll_s,
    )  # fmt: skip
    async with session() as s:
        await s.run(sources.add, asked, org_slug, actor)
    click.echo(f"Added source {name}. See what becomes of its files: justai source files {org_slug} {name}")


@source.command("set")
@click.argument("org_slug")
@click.argument("name")
@click.option("--host")
@click.option("--port", type=_PORT)
@click.option("--user")
@click.option("--path")
@click.option("--pattern")
@click.option("--host-key", help="The server's new public key.")
@click.option("--key-file", "private_key", type=_KEY_FILE, help="Our new private key; stored sealed.")
@click.option("--poll-s", type=_POLL_S)
@click.option(
    "--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="Which column a field is; several may be given."
)
@click.option("--no-map", is_flag=True, help="Find the columns by name again.")
@click.option("--on/--off", "enabled", default=None, help="Read it, or leave it alone.")
@acting
@command
async def source_set(
    org_slug: str, name: str, host: str | None, port: int | None, user: str | None, path: str | None,
    pattern: str | None, host_key: str | None, private_key: Path | None, poll_s: int | None, mapping: tuple[str, ...],
    no_map: bool, enabled: bool | None, actor: str,
) -> None:  # fmt: skip
    """Change a source; what is not given stays. A source that was refused is tried again."""
    asked = sources.SetSource(
        name=name, host=host, port=port, user=user, path=path, pattern=pattern, host_key=host_key,
        private_key=_text_of(private_key) if private_key is not None else None, poll_s=poll_s,
        mapping=_mapping(mapping) if mapping else {} if no_map else None, enabled=enabled,
    )  # fmt: skip
    async with session() as s:
        await s.run(sources.set_source, asked, org_slug, actor)
    click.echo(f"Changed source {name}.")


@source.command("test")
@click.argument("org_slug")
@click.argument("name", required=False)
@click.option("--host", help="Another server than the stored one.")
@click.option("--port", type=_PORT)
@click.option("--user")
@click.option("--path")
@click.option("--pattern")
@click.option("--host-key", help="Another public key of the server.")
@click.option("--key-file", "private_key", type=_KEY_FILE, help="Another private key of ours; it is not stored.")
@acting
@command
async def source_test(
    org_slug: str, name: str | None, host: str | None, port: int | None, user: str | None, path: str | None,
    pattern: str | None, host_key: str | None, private_key: Path | None, actor: str,
) -> None:  # fmt: skip
    """Have the ingest service try a source now, and say step by step what came of it. Nothing is stored.

    With options, the source is tried with them in place of what is stored; without NAME, before it is added at all.
    """
    typed = source_trying.TrySource(
        name=name, host=host, port=port, user=user, path=path, pattern=pattern, host_key=host_key,
        private_key=_text_of(private_key) if private_key is not None else None,
    )  # fmt: skip
    async with session() as s:
        if name is not None and not typed.model_dump(exclude_none=True, exclude={"name"}):
            found = await s.run(source_trying.try_stored, sources.OneSource(name=name), org_slug, actor)
        else:
            found = await s.run(source_trying.try_typed, typed, org_slug, actor)
    _show_steps(found)
    if not found.works:
        raise click.ClickException("The source cannot be read yet.")


@source.command("preview")
@click.argument("org_slug")
@click.argument("name")
@click.option("--file", help="Its path or name; default: the newest.")
@click.option(
    "--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="Read it so, in place of the stored mapping."
)
@acting
@command
async def source_preview(org_slug: str, name: str, file: str | None, mapping: tuple[str, ...], actor: str) -> None:
    """Show how a file would be read, before anything is stored.

    Which column each field comes from, the first rows as they would be understood, and the first rejects. They hold
    people's values: mind where you paste them.
    """
    asked = source_trying.PreviewSource(name=name, file=file, mapping=_mapping(mapping) if mapping else None)
    async with session() as s:
        found = await s.run(source_trying.preview, asked, org_slug, actor)
    if found.preview is None:
        _show_steps(found)
        raise click.ClickException("No file could be read.")
    show_preview(found.preview)


def _show_steps(found: source_trying.SourceTested) -> None:
    if not found.heard:
        raise click.ClickException(
            f"The ingest service did not answer within {source_trying.PROBE_WAIT_S:g} s. Is it running?"
        )
    for step in found.steps:
        click.echo(f"{'ok' if step.ok else 'FAILED':>6}  {step.name}: {printable(step.says)}")


@source.command("rescan")
@click.argument("org_slug")
@click.argument("name")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30, show_default=True, help="Real seconds to wait.")
@acting
@command
async def source_rescan(org_slug: str, name: str, wait_s: float, actor: str) -> None:
    """Have the ingest service list the folder now, and say what came of it.

    A source that was refused is tried again."""
    async with session() as s:
        asked = await s.run(sources.rescan, sources.OneSource(name=name), org_slug, actor)
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
    click.echo(f"{one.path} was listed: {one.listed} files that fit {one.pattern!r}, {one.ignored} others.")


async def _source(s: Session, org_slug: str, asked: sources.ListingAsked) -> sources.Source | None:
    """The source, once it has an answer that is younger than the question."""
    found = (await s.run(sources.list_sources, Nothing(), org_slug)).sources
    one = next(one for one in found if one.source_id == asked.source_id)
    answered = [at for at in (one.last_polled_at, one.last_error_at) if at is not None and at >= asked.asked_at]
    return one if answered else None


@source.command("list")
@click.argument("org_slug")
@command
async def source_list(org_slug: str) -> None:
    """List the sources: when each was last read, and what is wrong."""
    async with session() as s:
        found = await s.run(sources.list_sources, Nothing(), org_slug)
    show_table(
        ("source", "server", "path", "files", "last listing", "done", "held or failed", "trouble"),
        (
            (
                one.name if one.enabled else f"{one.name} (off)", f"{one.username}@{one.host}:{one.port}", one.path,
                one.pattern, moment(one.last_polled_at, "never"), one.done, one.troubled,
                _trouble(one),
            )
            for one in found.sources
        ),
        empty="No sources yet; add one with `justai source add`.",
    )  # fmt: skip


def _trouble(one: sources.Source) -> str:
    if one.last_error is not None:
        return f"{one.last_error}{' (not tried again until it is changed)' if one.refused_at else ''}"
    return f"no new file since {moment(one.silent_since)}, longer than usual" if one.silent_since else ""


@source.command("files")
@click.argument("org_slug")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@command
async def source_files(org_slug: str, name: str, limit: int) -> None:
    """List a source's newest files: what was read from each, and why one is held."""
    async with session() as s:
        found = await s.run(sources.list_files, sources.AskedFiles(name=name, limit=limit), org_slug)
    show_table(
        ("file", "state", "rows", "new events", "rejects", "last seen", "why"),
        (
            (one.path, one.state, one.rows, one.fresh, one.rejects, moment(one.last_seen_at), one.error)
            for one in found.files
        ),
        empty="No file that fits was seen yet.",
    )


@source.command("rejects")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@command
async def source_rejects(org_slug: str, name: str, file: str, limit: int) -> None:
    """List the rows of a FILE that are no events, and why. They hold people's values: mind where you paste them."""
    async with session() as s:
        asked = sources.AskedRejects(name=name, file=file, limit=limit)
        found = await s.run(sources.list_rejects, asked, org_slug)
    show_table(
        ("line", "why", "row"), ((one.line, one.reason, one.raw[:_RAW_CHARS]) for one in found.rejects),
        empty=f"No rejects of {file}.",
    )  # fmt: skip


@source.command("retry")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file", required=False)
@acting
@command
async def source_retry(org_slug: str, name: str, file: str | None, actor: str) -> None:
    """Load held and failed files again, or only FILE, once the cause is mended. Events count once, however often."""
    async with session() as s:
        await s.org_id(org_slug)
        async with s.publisher(INGEST_FILE) as publisher:
            asked = sources.RetryFiles(name=name, file=file)
            done = await s.run(sources.retry, asked, org_slug, actor, publisher=publisher)
    click.echo(f"Queued {', '.join(done.files)}.")


@source.command("accept")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@acting
@command
async def source_accept(org_slug: str, name: str, file: str, actor: str) -> None:
    """Load the good rows of a FILE that is held for its bad ones. Look at them first: `justai source rejects`."""
    async with session() as s:
        await s.org_id(org_slug)
        async with s.publisher(INGEST_FILE) as publisher:
            asked = source_accepting.AcceptFile(name=name, file=file)
            done = await s.run(source_accepting.accept, asked, org_slug, actor, publisher=publisher)
    click.echo(f"Queued {done.file} as it is: {done.rejects} of {done.rows} rows that were read of it do not count.")


def _text_of(key_file: Path) -> SecretStr:
    try:
        return SecretStr(key_file.read_text())
    except UnicodeDecodeError:
        raise click.ClickException("--key-file: this is no text.") from None


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise click.ClickException(f"--map: {pair!r} is not FIELD=COLUMN, like profile_id=Person.")
        found[field] = column
    return found
