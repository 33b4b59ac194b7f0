"""`justai org attributes`: what the attrs of an org's webhooks mean."""

from pathlib import Path

import click
import yaml

from cli.actor import acting
from cli.given_file import GIVEN_FILE
from cli.session import command, session
from cli.template_file import BadFile, read_attributes
from shared.admin.operation import Nothing
from shared.admin.orgs import content_rules


@click.group()
def attributes() -> None:
    """What the attrs of the org's webhooks mean (docs/attributes.md)."""


@attributes.command("import")
@click.argument("org_slug")
@click.argument("file", type=GIVEN_FILE)
@acting
@command
async def attributes_import(org_slug: str, file: Path, actor: str) -> None:
    """Make the org's definitions equal to a YAML FILE: `time_zone`, and `attributes` by name.

    They hold for all of its templates; a template's own definition of the same name goes before. What was defined and
    is missing from the file is a plain text again.
    """
    try:
        read = read_attributes(file)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    async with session() as s:
        await s.run(content_rules.set_attributes, content_rules.SetAttributes(definitions=read), org_slug, actor)
    number = len(read.attributes)
    click.echo(f"{org_slug} has {number} attribute{'' if number == 1 else 's'}; served within 5 seconds.")


@attributes.command("show")
@click.argument("org_slug")
@command
async def attributes_show(org_slug: str) -> None:
    """Print the org's definitions, as a file that can be imported."""
    async with session() as s:
        found = await s.run(content_rules.show_attributes, Nothing(), org_slug)
    zone = {"time_zone": found.time_zone} if found.time_zone else {}
    shown = {**zone, "attributes": found.attributes}
    click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)
