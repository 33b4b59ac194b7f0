"""`justai source`: where Klaviyo's event files come from, and what became of them."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from pydantic import SecretStr

from cli import drop_keys
from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.session import Session, command, session
from cli.source_preview import show_preview
from cli.source_progress import follow_files, how_far, size
from shared.admin import source_accepting, source_files, source_trying, sources
from shared.admin.operation import Nothing
from shared.admin.source_kinds import Kind
from shared.messaging.topology import INGEST_FILE

_RAW_CHARS = 120
_LOOK_S = 0.5  # real seconds between looks at a listing that was asked for
_PORT, _POLL_S = click.IntRange(1, 65_535), click.IntRange(1, 86_400)
_KEY_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KINDS = click.Choice(list(get_args(Kind)))

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def source() -> None:
    """Where events come from: files on a server, in a folder or a bucket, or Klaviyo."""


def _of_a_kind(function: F) -> F:
    """The options of all kinds; which belong together is said by the operation."""
    for option in reversed(
        (
            click.option("--host", help="sftp: the server."),
            click.option("--port", type=_PORT, help="sftp: its port; 22 by default."),
            click.option("--user", help="sftp: the login there."),
            click.option(
                "--path",
                help="The folder: there, in the org's own (folder), or a prefix (s3). Not searched below.",
            ),
            click.option("--pattern", help="Which file names: * ? [abc]; all by default."),
            click.option("--host-key", help="sftp: the server's public key; it is pinned, never learned."),
            click.option(
                "--key-file", "private_key", type=_KEY_FILE, help="sftp: our private key for it; stored sealed."
            ),
            click.option("--bucket", help="s3: the bucket."),
            click.option("--region", help="s3: its region; us-east-1 by default."),
            click.option("--endpoint-url", help="s3: a server that is not Amazon's own; '' for Amazon's."),
            click.option("--access-key", help="s3: the id of our key; without one, the service's own role."),
            click.option(
                "--secret-key-file",
                "secret_key",
                type=_KEY_FILE,
                help="s3: a file with the key's secret; stored sealed.",
            ),
        )
    ):
        function = option(function)
    return function


def _given(told: dict[str, Any]) -> dict[str, Any]:
    """What was said, with the contents of the files that were named."""
    said = {name: value for name, value in told.items() if value is not None}
    if "private_key" in said:
        said["private_key"] = _text_of(said["private_key"], "--key-file")
    if "secret_key" in said:
        secret = _text_of(said["secret_key"], "--secret-key-file").get_secret_value().strip()
        if not secret:
            raise click.ClickException("--secret-key-file: the file is empty.")
        said["secret_key"] = SecretStr(secret)
    return said


@source.command("add")
@click.argument("org_slug")
@click.argument("name")
@click.option("--kind", type=_KINDS, default="sftp", show_default=True, help="What it is; it stays so.")
@_of_a_kind
@click.option("--poll-s", type=_POLL_S, default=60, show_default=True, help="Seconds between listings.")
@acting
@command
async def source_add(org_slug: str, name: str, kind: Kind, poll_s: int, actor: str, **told: Any) -> None:
    """Add a folder of event files. A file is read once two listings have seen it unchanged.

    \b
    sftp    a folder on somebody's SFTP server. `ssh-keyscan -t ed25519 HOST` shows the server's public key;
            compare it with what its owner says:
              justai source add acme klaviyo --host sftp.example.com --user acme --path /out \\
                --host-key "ssh-ed25519 AAAA…" --key-file id_ed25519
    folder  a folder that our own SFTP server or a mounted volume fills; --path is one in the org's:
              justai source add acme drop --kind folder --path in
    s3      what lies directly below a prefix in a bucket:
              justai source add acme lake --kind s3 --bucket acme-events --path klaviyo --region eu-central-1 \\
                --access-key AKIA… --secret-key-file secret

    klaviyo Klaviyo's Events API, read with the org's own key, which needs events:read and metrics:read; past days are
            read with `justai source backfill`:
              justai source add acme api --kind klaviyo

    Try it first with `justai source test ORG` and the same options; then `justai source preview` shows how a file of it
    would be read.
    """
    async with session() as s:
        asked = sources.AddSource(name=name, kind=kind, poll_s=poll_s, **_given(told))
        await s.run(sources.add, asked, org_slug, actor)
    click.echo(f"Added source {name}. See what becomes of its files: justai source files {org_slug} {name}")


@source.command("set")
@click.argument("org_slug")
@click.argument("name")
@_of_a_kind
@click.option("--poll-s", type=_POLL_S)
@click.option(
    "--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="Which column a field is; several may be given."
)
@click.option("--no-map", is_flag=True, help="Find the columns by name again.")
@click.option("--on/--off", "enabled", default=None, help="Read it, or leave it alone.")
@acting
@command
async def source_set(
    org_slug: str, name: str, poll_s: int | None, mapping: tuple[str, ...], no_map: bool, enabled: bool | None,
    actor: str, **told: Any,
) -> None:  # fmt: skip
    """Change a source; what is not given stays. A source that was refused is tried again."""
    async with session() as s:
        asked = sources.SetSource(
            name=name, poll_s=poll_s, mapping=_mapping(mapping) if mapping else {} if no_map else None,
            enabled=enabled, **_given(told),
        )  # fmt: skip
        await s.run(sources.set_source, asked, org_slug, actor)
    click.echo(f"Changed source {name}.")


@source.command("rm")
@click.argument("org_slug")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@command
async def source_rm(org_slug: str, name: str, yes: bool, actor: str) -> None:
    """Remove a source and its keys. Events that it brought stay and count; files that wait are not read."""
    if not yes:
        click.confirm(f"Remove source {name} of {org_slug}, with its keys?", abort=True)
    async with session() as s:
        await s.run(sources.remove, sources.OneSource(name=name), org_slug, actor)
    click.echo(f"Removed source {name}.")


@source.command("test")
@click.argument("org_slug")
@click.argument("name", required=False)
@click.option("--kind", type=_KINDS, help="Without NAME: what is tried; sftp by default.")
@_of_a_kind
@acting
@command
async def source_test(org_slug: str, name: str | None, kind: Kind | None, actor: str, **told: Any) -> None:
    """Have the ingest service try a source now, and say step by step what came of it. Nothing is stored.

    With options, the source is tried with them in place of what is stored; without NAME, before it is added at all.
    """
    async with session() as s:
        typed = source_trying.TrySource(name=name, kind=kind, **_given(told))
        if name is not None and not typed.model_dump(exclude_none=True, exclude={"name"}):
            found = await s.run(source_trying.try_stored, sources.OneSource(name=name), org_slug, actor)
        else:
            found = await s.run(source_trying.try_typed, typed, org_slug, actor)
    _show_steps(found)
    if not found.works:
        raise click.ClickException("The source cannot be read yet.")


@source.command("drop-key")
@click.argument("org_slug")
@click.option(
    "--keys-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of keys that deploy/sftp-drop reads, like deploy/secrets/drop/keys.",
)  # fmt: skip
@click.option("--key-file", "added", multiple=True, type=_KEY_FILE, help="A public key to let in, like id_ed25519.pub.")
@click.option("--rm", "removed", multiple=True, metavar="SHA256:…", help="A key to take away, by its fingerprint.")
@command
async def source_drop_key(org_slug: str, keys_dir: Path, added: tuple[Path, ...], removed: tuple[str, ...]) -> None:
    """Give an org a login at our own SFTP server, or take it away.

    Without options its keys are shown.

    The login's name is the org's slug. What is put there lands in the org's own folder, which a source of kind folder
    with --path in reads. A change counts within seconds; on Kubernetes, once the secret is made anew from the folder.
    """
    async with session() as s:
        await s.org_id(org_slug)
    keys = drop_keys.keys_of(keys_dir, org_slug)
    by_print = {drop_keys.fingerprint(key).split()[0]: key for key in keys}
    for one in removed:
        if one not in by_print:
            raise click.ClickException(f"--rm: {org_slug} has no key {one}.")
        keys.remove(by_print[one])
    keys += [key for path in added if (key := drop_keys.public_key(path)) not in keys]
    if added or removed:
        drop_keys.write(keys_dir, org_slug, keys)
    for key in keys:
        click.echo(drop_keys.fingerprint(key))
    if not keys:
        click.echo(f"{org_slug} has no login.")


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
@click.option("--all", "everything", is_flag=True, help="Also read again every file that is still in the folder.")
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@click.option("--wait-s", type=click.FloatRange(0, 600), default=30, show_default=True, help="Real seconds to wait.")
@acting
@command
async def source_rescan(
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


@source.command("list")
@click.argument("org_slug")
@command
async def source_list(org_slug: str) -> None:
    """List the sources: when each was last read, and what is wrong."""
    async with session() as s:
        found = await s.run(sources.list_sources, Nothing(), org_slug)
    show_table(
        ("source", "kind", "where", "files", "last listing", "done", "held or failed", "trouble"),
        (
            (
                one.name if one.enabled else f"{one.name} (off)", one.kind, one.place, one.pattern,
                moment(one.last_polled_at, "never"), one.done, one.troubled, trouble_of(one),
            )
            for one in found.sources
        ),
        empty="No sources yet; add one with `justai source add`.",
    )  # fmt: skip


def trouble_of(one: sources.Source) -> str:
    """What is wrong with a source, in one line that says what to do."""
    if one.last_error is not None:
        return f"{one.last_error}{' (not tried again until it is changed)' if one.refused_at else ''}"
    if one.silent_since is None:
        return ""
    return f"no new file since {moment(one.silent_since)}, longer than usual; does whoever puts them there still run?"


@source.command("files")
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


@source.command("rejects")
@click.argument("org_slug")
@click.argument("name")
@click.argument("file")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@command
async def source_rejects(org_slug: str, name: str, file: str, limit: int) -> None:
    """List the rows of a FILE that are no events. They hold people's values: mind where you paste them."""
    async with session() as s:
        asked = source_files.AskedRejects(name=name, file=file, limit=limit)
        found = await s.run(source_files.list_rejects, asked, org_slug)
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
            asked = source_files.RetryFiles(name=name, file=file)
            done = await s.run(source_files.retry, asked, org_slug, actor, publisher=publisher)
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


def _text_of(key_file: Path, option: str) -> SecretStr:
    try:
        return SecretStr(key_file.read_text())
    except UnicodeDecodeError:
        raise click.ClickException(f"{option}: this is no text.") from None


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise click.ClickException(f"--map: {pair!r} is not FIELD=COLUMN, like profile_id=Person.")
        found[field] = column
    return found
