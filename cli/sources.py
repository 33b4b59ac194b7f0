"""`justai source`: where Klaviyo's event files come from. What became of them: source_files.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from pydantic import SecretStr

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.given_file import GIVEN_FILE, text_of
from cli.session import command, session
from cli.source_preview import show_preview
from shared.admin.operation import Nothing
from shared.admin.sources import sources
from shared.admin.sources import trying as source_trying
from shared.admin.sources.kinds import Kind

_PORT, _POLL_S = click.IntRange(1, 65_535), click.IntRange(1, 86_400)
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
                "--key-file", "private_key", type=GIVEN_FILE, help="sftp: our private key for it; stored sealed."
            ),
            click.option("--bucket", help="s3: the bucket."),
            click.option("--region", help="s3: its region; us-east-1 by default."),
            click.option("--endpoint-url", help="s3: a server that is not Amazon's own; '' for Amazon's."),
            click.option("--access-key", help="s3: the id of our key; without one, the service's own role."),
            click.option(
                "--secret-key-file",
                "secret_key",
                type=GIVEN_FILE,
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
        said["private_key"] = _secret_of(said["private_key"], "--key-file")
    if "secret_key" in said:
        secret = _secret_of(said["secret_key"], "--secret-key-file").get_secret_value().strip()
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
    klaviyo Klaviyo's Events API, with the org's own key, which needs events:read and metrics:read; past days
            are read with `justai source backfill`:
              justai source add acme api --kind klaviyo

    Try it first with `justai source test ORG` and the same options; then `justai source preview` shows how a file of it
    would be read.
    """
    asked = sources.AddSource(name=name, kind=kind, poll_s=poll_s, **_given(told))
    async with session() as s:
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
    asked = sources.SetSource(
        name=name, poll_s=poll_s, mapping=_mapping(mapping) if mapping else {} if no_map else None,
        enabled=enabled, **_given(told),
    )  # fmt: skip
    async with session() as s:
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
    typed = source_trying.TrySource(name=name, kind=kind, **_given(told))
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


def _secret_of(key_file: Path, option: str) -> SecretStr:
    try:
        return SecretStr(text_of(key_file))
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
