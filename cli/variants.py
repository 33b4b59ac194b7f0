"""`justai variant`: from draft to approved and back, each step by somebody, with its checks and its history."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.given_file import GIVEN_FILE, called, text_of
from cli.operations import told
from cli.session import command, session
from cli.template_file import BadFile, load_yaml
from shared.admin.errors import AdminError
from shared.admin.operation import Operation
from shared.admin.templates.one import OneTemplate
from shared.admin.variants import as_csv as variant_csv
from shared.admin.variants import previewing, variants
from shared.admin.variants import queue as variant_queue_of
from shared.admin.variants import saving as variant_saving
from shared.admin.variants.variants import Blocked, Finding, Step, Stepped


@click.group()
def variant() -> None:
    """Variants: draft → checked → in review → approved → live → archived.

    VARIANT is the variant's name, or its copy_id. A version that was ever written never changes: changed texts come as
    a new version (`justai template import`), and the one that is approved is served until the new one is. An approved
    variant is live while its template is active. One that drives people away is paused by the guardrail until somebody
    resumes it.
    """


def _named(work: Callable[..., Any]) -> Callable[..., Any]:
    for argument in ("VARIANT", "TEMPLATE_ID", "ORG_SLUG"):
        work = click.argument(argument.lower(), metavar=argument)(work)
    return work


def _say(findings: Iterable[Finding]) -> None:
    for one in findings:
        text = printable(f"{one.where}: {one.what}")
        click.echo(f"{'Warning' if one.warning else 'Blocking'} ({one.check}): {text}")


@variant.command("list")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def variant_list(org_slug: str, template_id: str) -> None:
    """List a template's variants, and where each is."""
    async with session() as s:
        found = await s.run(variants.list_variants, OneTemplate(template_id=template_id), org_slug)
    show_table(
        ("variant", "state", "version", "newest", "theme", "copy_id"),
        ((one.name, one.state, one.version, one.newest, one.theme, one.copy_id) for one in found.variants),
        empty=f"No variants; see `justai template list {org_slug}`.",
    )


@variant.command("show")
@_named
@click.option("--version", type=click.IntRange(1), help="Another one than the newest.")
@click.option("--served", is_flag=True, help="The body as it is served: cleaned, inlined, made of MJML.")
@command
async def variant_show(org_slug: str, template_id: str, variant: str, version: int | None, served: bool) -> None:
    """Print one version of a variant as it was written."""
    asked = variants.AskedVersion(template_id=template_id, variant=variant, version=version)
    async with session() as s:
        found = await s.run(variants.show, asked, org_slug)
    one = found.shown
    click.echo(f"# {printable(found.name)}, {found.state}, copy_id {found.copy_id}")
    if (paused := found.paused) is not None:
        click.echo(f"# paused by {paused.actor}, {moment(paused.at)}: {printable(paused.comment)}")
    click.echo(f"# version {one.version} by {one.author or 'unknown'}, {moment(one.created_at)}")
    body = one.served_body if served else one.body
    for name, text in (("subject", one.subject), ("preheader", one.preheader), ("body", body)):
        click.echo(f"\n# {name}\n{text}")


@variant.command("save")
@_named
@click.argument("file", type=GIVEN_FILE)
@acting
@command
async def variant_save(org_slug: str, template_id: str, variant: str, file: Path, actor: str) -> None:
    """Save one variant from a YAML FILE with `subject`, `preheader`, `body` or `mjml`, and `theme`.

    A new version becomes a draft; what is approved stays served until the new one is approved. A VARIANT that is not
    there yet is created. The template's other variants are left alone, as `justai template import` would not.
    """
    try:
        raw = load_yaml(file)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    texts = raw if isinstance(raw, dict) else {}
    asked = variant_saving.SaveVariant.model_validate({**texts, "template_id": template_id, "variant": variant})
    async with session() as s:
        done = await s.run(variant_saving.save, asked, org_slug, actor)
    _say(done.warnings)
    click.echo(f"{done.what:12} {printable(done.name)}  {done.copy_id}")
    click.echo(f'"{printable(done.name)}" is {done.state}.')


@variant.command("export")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def variant_export(org_slug: str, template_id: str) -> None:
    """Print a template's variants as a CSV, a row each, as they were written last.

    For a spreadsheet; `justai variant import` reads it. All of a template is in `justai template export`.
    """
    async with session() as s:
        found = await s.run(variant_csv.export, OneTemplate(template_id=template_id), org_slug)
    click.echo(found.csv, nl=False)


@variant.command("import")
@click.argument("org_slug")
@click.argument("template_id")
@click.argument("file", type=GIVEN_FILE)
@acting
@command
async def variant_import(org_slug: str, template_id: str, file: Path, actor: str) -> None:
    """Save each row of a CSV FILE as a variant, a draft until it is approved.

    Columns: name, and any of theme, subject, preheader, body, mjml. A column that is not there leaves what is, and so
    do variants without a row. Rows that cannot be taken in are named, the others are saved; status 1 tells of them.
    """
    asked = variant_csv.ImportVariants(template_id=template_id, csv=_csv_of(file))
    async with session() as s:
        done = await s.run(variant_csv.take_in, asked, org_slug, actor)
    for saved in done.saved:
        click.echo(f"{saved.what:12} {printable(saved.name)}  {saved.copy_id}")
    for row in done.refused:
        for fault in row.faults:
            click.echo(printable(f"{called(file)}:{row.line}: {row.name}: {fault.field} {fault.message}"), err=True)
    if done.refused:
        count = len(done.refused)
        raise click.ClickException(f"{count} row{'' if count == 1 else 's'} not taken in")


def _csv_of(file: Path) -> str:
    try:
        return text_of(file, "utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{called(file)} is no text in UTF-8; save it as “CSV UTF-8”") from None


@variant.command("try")
@_named
@click.argument("file", type=GIVEN_FILE)
@click.option("--person", type=click.Choice(["example", "nobody", "long"]), default="example", show_default=True)
@command
async def variant_try(org_slug: str, template_id: str, variant: str, file: Path, person: Any) -> None:
    """Check and render the texts of a YAML FILE without saving them.

    PERSON has an example for each field, no field at all, or long values.
    """
    try:
        raw = load_yaml(file)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    texts = {name: str(text) for name, text in raw.items()} if isinstance(raw, dict) else {}
    asked = previewing.TryVariant(
        template_id=template_id, variant=variant, subject=texts.get("subject", ""),
        preheader=texts.get("preheader", ""), body=texts.get("body") or texts.get("mjml", ""), person=person,
    )  # fmt: skip
    async with session() as s:
        found = await s.run(previewing.try_texts, asked, org_slug)
    _say(found.findings)
    if not found.shown:
        raise click.ClickException(f"This person would see the control content: {found.reason}.")
    for name, text in (("subject", found.subject), ("preheader", found.preheader), ("body", found.body)):
        click.echo(f"\n# {name}\n{text}")


@variant.command("queue")
@click.argument("org_slug")
@command
async def variant_queue(org_slug: str) -> None:
    """List the versions that wait for somebody's approval, whoever waits longest first."""
    async with session() as s:
        found = await s.run(variant_queue_of.queue, variant_queue_of.AskedQueue(), org_slug)
    show_table(
        ("since", "template", "variant", "version", "subject", "submitted by"),
        (
            (moment(one.submitted_at), one.template_id, one.name, one.version, one.subject, one.submitted_by)
            for one in found.waiting
        ),
        empty="Nothing waits for a review.",
    )


@variant.command("check")
@_named
@acting
@command
async def variant_check(org_slug: str, template_id: str, variant: str, actor: str) -> None:
    """Check the version that is to be approved, else the approved one.

    docs/content.md lists the checks. Exit code 1 when something blocks its approval. A draft that passes is `checked`.
    """
    asked = variants.OneVariant(template_id=template_id, variant=variant)
    async with session() as s:
        done = await s.run(variants.check, asked, org_slug, actor)
    _say(done.findings)
    if not done.passes:
        blocking = sum(not one.warning for one in done.findings)
        raise click.ClickException(f"{blocking} of these stop its approval.")
    click.echo("Nothing stops its approval.")


@command
async def _step(step: Operation[Step, Stepped], asked: Step, org_slug: str, actor: str) -> None:
    async with session() as s:
        try:
            done = await s.ask(step, asked, org_slug, actor)
        except Blocked as error:
            _say(error.findings)
            raise click.ClickException(f"{error.message}.") from None
        except AdminError as error:
            raise told(error, org_slug) from None
    _say(done.findings)
    click.echo(f'"{printable(done.name)}" is {done.state}, version {done.version}.')


def _steps(step: Operation[Step, Stepped], helped: str, *, comment_required: bool = False) -> None:
    @variant.command(step.name.partition(".")[2], help=helped)
    @_named
    @click.option("--comment", required=comment_required, help="For the history.")
    @click.option(
        "--version",
        type=click.IntRange(1),
        help="Only while it is about this version, so that nothing is done about one that you have not seen.",
    )
    @acting
    def run(
        org_slug: str, template_id: str, variant: str, comment: str | None, version: int | None, actor: str
    ) -> None:
        if comment_required and not (comment or "").strip():
            raise click.ClickException("comment: say why, for whoever reads the history.")
        asked = Step(template_id=template_id, variant=variant, comment=comment or "", version=version)
        _step(step, asked, org_slug, actor)


_steps(variants.submit, "Send the newest version into review, if its checks let it.")
_steps(
    variants.approve,
    "Serve the newest version from now on, if its checks let it. Where the org requires reviews, it must have been "
    "submitted, and whoever wrote or submitted it may not approve it.",
)
_steps(variants.reject, "Send a version that is in review back to its author.", comment_required=True)
_steps(
    variants.rollback,
    "Serve the version again that was served before the approved one. It was approved then, so it needs no review; "
    "done twice, it is undone.",
)
_steps(
    variants.resume,
    "Serve a variant again that the guardrail paused. It is judged anew, by what is sent from now on.",
    comment_required=True,
)
_steps(variants.archive, "Take a variant out; what is on profiles stays (`justai template stop` takes that away).")


@variant.command("diff")
@_named
@click.option("--from", "first", type=click.IntRange(1), help="Version; else the approved one, or the one before.")
@click.option("--to", "second", type=click.IntRange(1), help="Version; without it the newest.")
@command
async def variant_diff(org_slug: str, template_id: str, variant: str, first: int | None, second: int | None) -> None:
    """Show what changed between two versions, as they were written."""
    asked = variants.AskedDiff(template_id=template_id, variant=variant, first=first, second=second)
    async with session() as s:
        found = await s.run(variants.diff, asked, org_slug)
    for line in found.lines:
        click.echo(printable(line))
    if not found.lines:
        click.echo(f"Versions {found.first} and {found.second} say the same.")


@variant.command("history")
@_named
@command
async def variant_history(org_slug: str, template_id: str, variant: str) -> None:
    """Show who did what with a variant, oldest first."""
    asked = variants.OneVariant(template_id=template_id, variant=variant)
    async with session() as s:
        found = await s.run(variants.history, asked, org_slug)
    show_table(
        ("when", "version", "what", "who", "comment"),
        ((moment(one.created_at), one.version, one.event, one.actor, one.comment) for one in found.events),
        empty="Nothing yet.",
    )
