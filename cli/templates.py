"""`justai template`, `justai snippet`, `justai webhook`: what may be said, and what to paste into Klaviyo."""

import json
from pathlib import Path

import click
import yaml
from pydantic import ValidationError
from rich.table import Table

from cli.session import Session, command, out, session
from cli.template_store import SELECT_TEMPLATES, SELECT_VARIANTS, Place, import_template, place_of
from shared.schemas.template_file import TemplateFile
from shared.snippet import Snippet, marker, page_snippet
from shared.snippet import snippet as make_snippet


@click.group()
def template() -> None:
    """Templates (one email step each) and their variants."""


@template.command("import")
@click.argument("org_slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command
async def template_import(org_slug: str, file: Path) -> None:
    """Create or update a template from a YAML FILE.

    A variant is known by its name: changed texts become a new version, a variant that is missing from the file is
    archived. Importing the same file again changes nothing. Example: demo/shop/welcome.yaml
    """
    parsed = read_template(file)
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            changes = await import_template(connection, org_id, parsed, s.clock.now())
    for change in changes:
        out.print(f"{change.what:12} {change.name}  [dim]{change.copy_id}[/]")
    approved = sum(variant.approved for variant in parsed.variants)
    out.print(f"Template [bold]{parsed.template_id}[/] is {parsed.state}, {approved} variants approved.")
    if parsed.state not in ("active", "shipped") or not approved:
        out.print("People get the control content until the template is active and has an approved variant.")


@template.command("list")
@click.argument("org_slug")
@command
async def template_list(org_slug: str) -> None:
    """List an org's templates."""
    table = Table("template", "name", "state", "approved variants", "property prefix", "flow", "action")
    async with session() as s, s.db.transaction(await s.org_id(org_slug)) as connection:
        for row in await connection.fetch(SELECT_TEMPLATES):
            table.add_row(
                row["template_id"], row["name"], row["state"], str(row["approved"]), row["property_prefix"],
                row["flow_id"] or "-", row["treatment_action_id"] or "-",
            )  # fmt: skip
    out.print(table)


@template.command("show")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_show(org_slug: str, template_id: str) -> None:
    """List a template's variants."""
    table = Table("variant", "state", "version", "theme", "subject", "copy_id")
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            for row in await connection.fetch(SELECT_VARIANTS, org_id, template_id):
                table.add_row(
                    row["name"], row["state"], str(row["version"]), row["theme"], row["subject"], str(row["copy_id"])
                )
    out.print(table)


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: subject, preheader, body.")
@click.option("--page", is_flag=True, help="The literal snippet of the public page instead (not safe).")
@command
async def snippet(org_slug: str, template_id: str, as_json: bool, page: bool) -> None:
    """Print what to paste into the treatment email: subject line, preview text, body.

    The email then shows our copy only when the profile holds copy for exactly this flow message; otherwise it shows
    the template's control content. It is never blank and never another template's copy.
    """
    async with session() as s:
        made = page_snippet() if page else await _snippet_of(s, org_slug, template_id)
    if as_json:
        click.echo(json.dumps({"subject": made.subject, "preheader": made.preheader, "body": made.body}))
        return
    for label, text in (("Subject line", made.subject), ("Preview text", made.preheader), ("Body (HTML)", made.body)):
        click.echo(f"\n# {label}\n{text}")


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--base-url", default="https://<your host>", help="Where the gateway is reached from outside.")
@command
async def webhook(org_slug: str, template_id: str, base_url: str) -> None:
    """Print what to enter in the flow's Webhook step: destination URL, headers, JSON body."""
    async with session() as s:
        place = await _place(s, org_slug, template_id)
    tail = f"{place.flow_id or '<flow_id>'}.{place.treatment_action_id or '<treatment_action_id>'}"
    body = {
        "template_id": template_id,
        "user_id": "{{ person.KlaviyoID }}",
        "tracking_id": "{{ person.KlaviyoID }}." + tail,
        "attrs": {},
        "fields": {"first_name": "{{ person.first_name }}"},
    }
    click.echo(f"Destination URL: {base_url}/api/generate/{org_slug}")
    click.echo("Headers:\n  Content-Type: application/json\n  X-Api-Key: <JUSTAI_API_KEY>")
    click.echo(f"JSON body:\n{json.dumps(body, indent=2)}")


def read_template(file: Path) -> TemplateFile:
    """The parsed file, or every fault of it by field."""
    try:
        return TemplateFile.model_validate(yaml.safe_load(file.read_text()))
    except yaml.YAMLError as error:
        raise click.ClickException(f"{file} is not YAML: {error}") from None
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors()]
        raise click.ClickException(f"{file} is not a template:\n" + "\n".join(faults)) from None


async def _place(s: Session, org_slug: str, template_id: str) -> Place:
    org_id = await s.org_id(org_slug)
    async with s.db.transaction(org_id) as connection:
        place = await place_of(connection, org_id, template_id)
    if place is None:
        raise click.ClickException(f"No template {template_id!r}; see `justai template list {org_slug}`.")
    return place


async def _snippet_of(s: Session, org_slug: str, template_id: str) -> Snippet:
    place = await _place(s, org_slug, template_id)
    if place.flow_id is None or place.treatment_action_id is None:
        raise click.ClickException(
            f"Template {template_id!r} has no flow message yet, so no snippet can fit it: set `flow.flow_id` and "
            "`flow.treatment_action_id` in its file and import it again."
        )
    fits = marker(template_id, place.flow_id, place.treatment_action_id)
    return make_snippet(place.property_prefix, fits, place.control)
