"""`justai template`, `justai snippet`, `justai webhook`: what may be said, and what to paste into Klaviyo."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import click

from cli import stops
from cli.actor import acting
from cli.display import printable, show_table
from cli.session import Session, command, session
from cli.template_file import BadFile, read_template, served_texts
from cli.template_store import SELECT_TEMPLATES, SELECT_VARIANTS, Place, import_template, place_of
from cli.variant_store import read_rules
from cli.webhook_attrs import attrs_to_paste
from shared.content.rules import DEFAULT, OrgRules
from shared.schemas.template_file import TemplateFile
from shared.snippet import Snippet, marker, page_snippet
from shared.snippet import snippet as make_snippet

SELECT_FLOW_READ = """
    SELECT count(*) AS messages, count(*) FILTER (WHERE flow_id = $2 AND action_id = $3) AS fitting
    FROM flow_messages WHERE org_id = $1
"""


SELECT_ATTRIBUTES = """
    SELECT o.attributes AS of_org, t.attributes AS of_template FROM templates t JOIN orgs o USING (org_id)
    WHERE t.org_id = $1 AND t.template_id = $2
"""


@click.group()
def template() -> None:
    """Templates (one email step each) and their variants."""


@template.command("import")
@click.argument("org_slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only judge the file, by the default rules; the database is not needed.")
@acting
def template_import(org_slug: str, file: Path, check: bool, actor: str) -> None:
    """Create or update a template from a YAML FILE.

    A variant is known by its name: changed texts become a new version, a variant that is missing from the file is
    archived. Importing the same file again changes nothing. Example: demo/shop/welcome.yaml

    `approved: true` serves a variant from now on. Where the org requires reviews it goes into review instead, and the
    version that is approved stays served until somebody else approves the new one (`justai variant approve`).

    Bodies are HTML (`body`) or MJML (`mjml`). What is not for mail (scripts, forms, handlers) is taken out and named;
    style sheets move into the elements; Liquid stays exactly as written.

    Copy that some people could not be shown is refused, all faults at once: what is not the language, a field without
    a fallback (`| default: '…'` or an `if` around it, unless the file lists it under `required_fields`), Klaviyo's own
    tags, links that are not for mail, bodies above 80 KB.
    """
    if check:
        _read(file, DEFAULT, datetime.now(UTC).date())
        click.echo(f"{file} can be imported.")
    else:
        _import(org_slug, file, actor)


def _read(file: Path, rules: OrgRules, today: date) -> TemplateFile:
    try:
        parsed, warnings = read_template(file, rules, today)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    return parsed


@command
async def _import(org_slug: str, file: Path, actor: str) -> None:
    async with session() as s:
        org_id, now = await s.org_id(org_slug), s.clock.now()
        async with s.db.transaction(org_id) as connection:
            rules = await read_rules(connection, org_id)
        parsed = _read(file, rules, now.date())
        texts = served_texts(parsed)
        async with s.db.transaction(org_id) as connection:
            done = await import_template(
                connection, org_id, parsed, texts, actor, now, review_required=rules.review_required
            )
        for change in done.changes:
            click.echo(f"{change.what:12} {change.name}  {change.copy_id}")
        for change in done.changes:
            if "in review" in change.standing:
                click.echo(f'"{change.name}" is {change.standing}: somebody else may `justai variant approve` it.')
        approved = sum(change.serves for change in done.changes)
        variants = "1 variant" if approved == 1 else f"{approved} variants"
        click.echo(f"Template {parsed.template_id} is {parsed.state}, {variants} approved.")
        if parsed.state not in ("active", "shipped") or not approved:
            click.echo("People get the control content until the template is active and has an approved variant.")
        await stops.say_stops(s, org_id, org_slug, parsed.template_id)
        if done.snippet_changed:
            click.echo(
                "The email snippet changed (property prefix, flow message or control content): paste it again: "
                f"justai snippet {org_slug} {parsed.template_id}"
            )
        await _warn_of_place(s, org_id, org_slug, parsed)


async def _warn_of_place(s: Session, org_id: UUID, org_slug: str, parsed: TemplateFile) -> None:
    """A wrong id is found here, and not by all emails showing control."""
    if parsed.flow is None:
        return
    flow_id, action_id = parsed.flow.flow_id, parsed.flow.treatment_action_id
    async with s.db.transaction(org_id) as connection:
        row = await connection.fetchrow(SELECT_FLOW_READ, org_id, flow_id, action_id)
    if row is not None and row["messages"] and not row["fitting"]:
        click.echo(
            f"Warning: flow {flow_id} had no email step {action_id} when flows were last read; see "
            f"`justai flows sync {org_slug}`.",
            err=True,
        )


@template.command("list")
@click.argument("org_slug")
@command
async def template_list(org_slug: str) -> None:
    """List an org's templates."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_TEMPLATES, org_id)
    show_table(
        ("template", "name", "state", "approved variants", "property prefix", "flow", "action", "stopped since"),
        (
            (
                row["template_id"], row["name"], row["state"], row["approved"], row["property_prefix"],
                row["flow_id"], row["treatment_action_id"], stops.shown(row),
            )
            for row in rows
        ),
        empty=f"No templates yet; import one with `justai template import {org_slug} FILE`.",
    )  # fmt: skip


@template.command("stop")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--reason", help="Why, for whoever looks at it next.")
@command
async def template_stop(org_slug: str, template_id: str, reason: str | None) -> None:
    """Let no copy of a template reach a profile any more, until it is resumed.

    What waits ends as `stopped`. Copy that is on profiles is taken away first of all, that whose email leaves soonest
    before the rest. New webhooks are answered and decided for the control content. Importing the template does not
    end it.
    """
    async with session() as s:
        org_id = await s.org_id(org_slug)
        if not await stops.stop(s, org_id, template_id, reason):
            raise _no_template(org_slug, template_id)
        await stops.say_stops(s, org_id, org_slug, template_id)


@template.command("resume")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_resume(org_slug: str, template_id: str) -> None:
    """End the stop of a template. What it has ended stays ended; new webhooks are served again."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        await _place(s, org_id, org_slug, template_id)
        ended = await stops.resume(s, org_id, template_id)
        click.echo(f"Template {template_id} is not stopped any more." if ended else f"{template_id} was not stopped.")
        await stops.say_stops(s, org_id, org_slug, template_id)


@template.command("show")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_show(org_slug: str, template_id: str) -> None:
    """List a template's variants."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        await _place(s, org_id, org_slug, template_id)
        async with s.db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_VARIANTS, org_id, template_id)
    show_table(
        ("variant", "state", "version", "theme", "subject", "copy_id"),
        (
            (row["name"], row["state"], row["version"], row["theme"], row["subject"], row["copy_id"])
            for row in rows
        ),
        empty="It has no variants: everybody gets the control content.",
    )  # fmt: skip


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
    if page:
        made = page_snippet()
    else:
        async with session() as s:
            made = _snippet_of(await _place(s, await s.org_id(org_slug), org_slug, template_id), template_id)
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
        org_id = await s.org_id(org_slug)
        place = await _place(s, org_id, org_slug, template_id)
        async with s.db.transaction(org_id) as connection:
            defined = await connection.fetchrow(SELECT_ATTRIBUTES, org_id, template_id)
    attrs, unreadable = attrs_to_paste({**defined["of_org"], **defined["of_template"]} if defined else {})
    tail = f"{place.flow_id or '<flow_id>'}.{place.treatment_action_id or '<treatment_action_id>'}"
    body = {
        "template_id": template_id,
        "user_id": "{{ person.KlaviyoID }}",
        "tracking_id": "{{ person.KlaviyoID }}." + tail,
        "attrs": attrs,
        "fields": {"first_name": "{{ person.first_name }}"},
    }
    click.echo(f"Destination URL: {base_url.rstrip('/')}/api/generate/{org_slug}")
    click.echo("Headers:\n  Content-Type: application/json\n  X-Api-Key: <JUSTAI_API_KEY>")
    click.echo(f"JSON body:\n{json.dumps(body, indent=2, ensure_ascii=False)}")
    if attrs:
        click.echo("The names after `lookup:` must be spelled as the profile property is in Klaviyo, case and all.")
    for name in unreadable:
        click.echo(f"{printable(name)!r} cannot stand in a tag of Klaviyo's: give it another name, or write its value.")


async def _place(s: Session, org_id: UUID, org_slug: str, template_id: str) -> Place:
    async with s.db.transaction(org_id) as connection:
        place = await place_of(connection, org_id, template_id)
    if place is None:
        raise _no_template(org_slug, template_id)
    return place


def _no_template(org_slug: str, template_id: str) -> click.ClickException:
    return click.ClickException(f"No template {template_id!r}; see `justai template list {org_slug}`.")


def _snippet_of(place: Place, template_id: str) -> Snippet:
    if place.flow_id is None or place.treatment_action_id is None:
        raise click.ClickException(
            f"Template {template_id!r} has no flow message yet, so no snippet can fit it: set `flow.flow_id` and "
            "`flow.treatment_action_id` in its file and import it again."
        )
    try:
        fits = marker(template_id, place.flow_id, place.treatment_action_id)
        return make_snippet(place.property_prefix, fits, place.control)
    except ValueError as error:
        raise click.ClickException(f"No snippet can be made of template {template_id!r}: {error}.") from None
