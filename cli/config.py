"""`justai export-config` and `justai apply`: what people set up of an org, as files that a repository can keep."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from cli.actor import acting
from cli.display import printable
from cli.given_file import GIVEN_FILE_OR_FOLDER, called
from cli.operations import told
from cli.session import command, session
from cli.template_file import BadFile, read_text
from shared.admin.config import config
from shared.admin.config.plan import ConfigChange
from shared.admin.config.reading import slug_of
from shared.admin.errors import AdminError, Refused
from shared.admin.operation import Nothing

_SIGNS = {"create": "+", "change": "~", "archive": "-"}
_DONE = {"create": "created", "change": "changed", "archive": "archived"}


@click.command("export-config")
@click.argument("org_slug")
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file; - prints."
)
@command
async def export_config(org_slug: str, output: TextIO) -> None:
    """Write what is set up of an org as a file.

    `justai apply` reads it: the org's name and time zone, content rules, attributes, SFTP sources, export bucket, and
    each template with its settings and variants. Not in it: people, API keys, the Klaviyo key and other secrets, stops,
    and drafts beside an approved version.
    """
    async with session() as s:
        found = await s.run(config.show, Nothing(), org_slug)
    output.write(found.yaml)


@click.command("apply")
@click.option(
    "-f", "--file", "paths", required=True, multiple=True, type=GIVEN_FILE_OR_FOLDER,
    help="A YAML file, or a folder whose .yaml and .yml files are read, also in folders below; may be given again.",
)  # fmt: skip
@click.option("--org", "org_slug", help="Which org, where the files do not say it.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--prune", is_flag=True, help="Archive templates and variants that no file names.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting
@command
async def apply(paths: Sequence[Path], org_slug: str | None, dry_run: bool, prune: bool, yes: bool, actor: str) -> None:
    """Make an org what its files say.

    What is wrong with the files is said all at once. Then the plan is shown field by field (+ created, ~ changed,
    - archived) and, once you agree, done as a whole or not at all. A second time there is nothing to do. What no file
    names stays as it is. Changed copy goes through drafts and reviews as it does in the console.

    `justai export-config ORG` writes such a file; docs/config-files.md describes it.
    """
    try:
        files = [config.GivenFile(name=called(path), text=read_text(path)) for path in _files(paths)]
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    slug = org_slug or slug_of([(one.name, one.text) for one in files])
    if slug is None:
        raise click.ClickException("Which org? Say `org: {slug: …}` in a file, or give --org.")
    asked = config.ApplyConfig(files=files, dry_run=True, prune=prune)
    async with session() as s:
        await s.org_id(slug)
        try:
            found = await s.ask(config.apply, asked, slug, actor)
            _show(found)
            if not found.changes or dry_run:
                return
            if not yes and not _agreed(slug, found):
                raise click.ClickException("Nothing was changed.")
            wish = asked.model_copy(update={"dry_run": False, "expected": found.plan_id})
            done = await s.ask(config.apply, wish, slug, actor)
        except Refused as error:
            raise _bad(error) from None
        except AdminError as error:
            raise told(error, slug) from None
    click.echo(f"Done: {_counted(done.changes)}.")


def _files(paths: Sequence[Path]) -> list[Path]:
    """Files as they were given; those of a folder by name. Raises BadFile."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in (".yaml", ".yml") and one.is_file())
            if not inside:
                raise BadFile(f"{path} holds no .yaml or .yml file")
        found |= dict.fromkeys(inside)
    if len(found) > config.MOST_FILES:
        raise BadFile(f"These are {len(found)} files; at most {config.MOST_FILES} are read at once")
    return list(found)


def _bad(error: Refused) -> click.ClickException:
    if not error.faults:
        return click.ClickException(f"{error.message}.")
    count = "1 fault" if len(error.faults) == 1 else f"{len(error.faults)} faults"
    lines = "\n".join(printable(f"  {fault.field}: {fault.message}") for fault in error.faults)
    return click.ClickException(f"Nothing was changed, {count}:\n{lines}")


def _agreed(slug: str, found: config.AppliedConfig) -> bool:
    if not sys.stdin.isatty():
        raise click.ClickException("Nothing was changed: nobody is there to be asked. Give --yes.")
    return click.confirm(f"Do this to {slug} ({_counted(found.changes)})?")


def _show(found: config.AppliedConfig) -> None:
    for warning in found.warnings:
        click.echo(printable(f"Warning: {warning}"), err=True)
    for change in found.changes:
        click.echo(printable(f"{_SIGNS[change.what]} {change.kind} {change.name}"))
        for field in change.fields:
            for line in _field(field.field, field.before, field.after, field.lines):
                click.echo(printable(f"    {line}"))
        for note in change.notes:
            click.echo(printable(f"    → {note}"))
    if found.changes:
        click.echo(f"Plan: {_counted(found.changes)}; {found.same} as {'it is' if found.same == 1 else 'they are'}.")
    else:
        click.echo("Nothing to do.")
    for one in found.to_do:
        click.echo(printable(f"To be done by hand: {one}"))


def _field(name: str, before: str | None, after: str | None, lines: Sequence[str]) -> list[str]:
    if lines:
        return [f"{name}:", *(f"  {line}" for line in lines)]
    if before is None and "\n" in (after or ""):
        return [f"{name}: {len((after or '').splitlines())} lines"]
    return [f"{name}: {after}" if before is None else f"{name}: {before} → {'nothing' if after is None else after}"]


def _counted(changes: Sequence[ConfigChange]) -> str:
    counts = {word: sum(change.what == what for change in changes) for what, word in _DONE.items()}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)
