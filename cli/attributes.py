"""`justai org attributes`: what the attrs of an org's webhooks mean."""

from pathlib import Path

import click
import yaml

from cli.session import command, session
from cli.template_file import BadFile, read_attributes
from shared.schemas.attributes import stored

UPDATE_ATTRIBUTES = "UPDATE orgs SET attributes = $2, time_zone = $3 WHERE org_id = $1"
SELECT_ATTRIBUTES = "SELECT attributes, time_zone FROM orgs WHERE org_id = $1"


@click.group()
def attributes() -> None:
    """What the attrs of the org's webhooks mean (docs/attributes.md)."""


@attributes.command("import")
@click.argument("org_slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command
async def attributes_import(org_slug: str, file: Path) -> None:
    """Make the org's definitions equal to a YAML FILE: `time_zone`, and `attributes` by name.

    They hold for all of its templates; a template's own definition of the same name goes before. What was defined and
    is missing from the file is a plain text again.
    """
    try:
        read = read_attributes(file)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            await connection.execute(UPDATE_ATTRIBUTES, org_id, stored(read.attributes), read.time_zone)
    number = len(read.attributes)
    click.echo(f"{org_slug} has {number} attribute{'' if number == 1 else 's'}; served within 5 seconds.")


@attributes.command("show")
@click.argument("org_slug")
@command
async def attributes_show(org_slug: str) -> None:
    """Print the org's definitions, as a file that can be imported."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            row = await connection.fetchrow(SELECT_ATTRIBUTES, org_id)
    assert row is not None  # noqa: S101  # the session has just found it
    zone = {"time_zone": row["time_zone"]} if row["time_zone"] else {}
    shown = {**zone, "attributes": row["attributes"]}
    click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)
