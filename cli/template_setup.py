"""`justai template create`, `control`, `export` and `lint`: setting a template up without writing its file."""

from typing import TextIO

import aiohttp
import click

from cli.actor import acting
from cli.display import console, printable
from cli.session import command, session
from shared.admin.operation import Nothing
from shared.admin.templates import lint as template_lint
from shared.admin.templates import prefixes
from shared.admin.templates import writing as template_writing
from shared.admin.templates.one import OneTemplate

_SAID = {"good": "ok", "wrong": "WRONG", "warning": "warning", "unknown": "unknown"}


@click.command("create")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--name", required=True)
@click.option("--prefix", "property_prefix", help="Of the profile properties; default: jai, jai2, … that nobody has.")
@click.option("--control-subject", "subject", required=True, help="What the email shows when our copy must not.")
@click.option("--control-preheader", "preheader", default="")
@click.option("--control-body", "file", required=True, type=click.File("r", encoding="utf-8"))
@acting
@command
async def template_create(
    org_slug: str, template_id: str, actor: str, file: TextIO, property_prefix: str | None, **given: str
) -> None:
    """Create a template: a draft without variants.

    Its control content is what the email falls back to.
    """
    async with session() as s:
        if property_prefix is None:
            property_prefix = (await s.run(prefixes.free_prefix, Nothing(), org_slug)).property_prefix
        asked = template_writing.CreateTemplate(
            template_id=template_id, body=file.read(), property_prefix=property_prefix, **given
        )
        made = await s.run(template_writing.create, asked, org_slug, actor)
    click.echo(f"Created template {made.template_id}, a draft. Its profile properties: {property_prefix}_subject, …")


@click.command("control")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--subject", required=True)
@click.option("--preheader", default="")
@click.option("--body", "file", required=True, type=click.File("r", encoding="utf-8"))
@acting
@command
async def template_control(
    org_slug: str, template_id: str, subject: str, preheader: str, file: TextIO, actor: str
) -> None:
    """Set the control content: what the email shows when our copy must not."""
    asked = template_writing.SetControl(template_id=template_id, subject=subject, preheader=preheader, body=file.read())
    async with session() as s:
        done = await s.run(template_writing.set_control, asked, org_slug, actor)
    click.echo(
        f"Changed. Paste the email snippet again: justai snippet {org_slug} {template_id}"
        if done.changed
        else "That is how it was already."
    )


@click.command("export")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_export(org_slug: str, template_id: str) -> None:
    """Print a template with its variants as the YAML file that `justai template import` reads."""
    async with session() as s:
        found = await s.run(template_writing.export, OneTemplate(template_id=template_id), org_slug)
    click.echo(found.yaml, nl=False)


@click.command("lint")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_lint_command(org_slug: str, template_id: str) -> None:
    """Check the live flow in Klaviyo against what the template needs.

    The flow is live, the webhook comes before the email with the right URL, headers and body and a key that lets it
    in, its last webhooks were not refused, the Time Delay is longer than 99 of 100 writes take, the email holds the
    snippet. Exit code 1 when something is wrong. Needs Flows: Read.
    """
    async with session() as s, aiohttp.ClientSession() as http:
        with console(stderr=True).status("Reading the flow from Klaviyo…"):
            found = await s.run(template_lint.lint, OneTemplate(template_id=template_id), org_slug, http=http)
    for one in found.answers:
        click.echo(f"{_SAID[one.outcome]:8} {one.title}: {printable(one.found)}")
        if one.fix:
            click.echo(f"         {printable(one.fix)}")
    if not found.passes:
        raise click.ClickException(f"{sum(one.outcome == 'wrong' for one in found.answers)} of these are wrong.")
