"""`justai template`, `justai snippet`, `justai webhook`: what may be said, and what to paste into Klaviyo."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

from cli import stops
from cli.actor import acting
from cli.display import printable, show_table
from cli.gateway_url import gateway_url
from cli.given_file import GIVEN_FILE, called
from cli.session import command, session
from cli.template_file import BadFile, bad_file, lines, load_yaml, read_template
from cli.template_setup import template_control, template_create, template_export, template_lint_command
from shared.admin import stops as admin_stops
from shared.admin.errors import Refused
from shared.admin.operation import Nothing
from shared.admin.templates import pasting, templates
from shared.admin.templates import settings as template_settings
from shared.admin.templates.one import OneTemplate
from shared.admin.templates.search import SearchTemplates
from shared.admin.templates.search import search as search_templates
from shared.admin.templates.templates import ImportedTemplate, Templates
from shared.content.rules import DEFAULT
from shared.schemas.policy import Model, Reward
from shared.snippet import page_snippet


@click.group()
def template() -> None:
    """Templates (one email step each) and their variants."""


@template.command("import")
@click.argument("org_slug")
@click.argument("file", type=GIVEN_FILE)
@click.option("--check", is_flag=True, help="Only judge the file, by the default rules; the database is not needed.")
@click.option("--dry-run", is_flag=True, help="Only tell what it would do, and change nothing.")
@acting
def template_import(org_slug: str, file: Path, check: bool, dry_run: bool, actor: str) -> None:
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
    try:
        if check:
            _, warnings = read_template(file, DEFAULT, datetime.now(UTC).date())
            for warning in warnings:
                click.echo(f"Warning: {warning}", err=True)
            click.echo(f"{called(file)} can be imported.")
        else:
            _import(org_slug, file, load_yaml(file), actor, dry_run)
    except BadFile as error:
        raise click.ClickException(str(error)) from None


@command
async def _import(org_slug: str, file: Path, raw: object, actor: str, dry_run: bool) -> None:
    async with session() as s:
        await s.org_id(org_slug)
        try:
            asked = templates.ImportTemplate(template=raw, dry_run=dry_run)
            done = await s.ask(templates.import_template, asked, org_slug, actor)
        except Refused as error:
            raise bad_file(called(file), lines(error.faults)) from None
    for warning in done.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if dry_run:
        click.echo("Nothing is changed. It would be done so:" if done.differs else "Nothing is to be done.")
    _say(done, org_slug)
    if done.place_unknown:
        click.echo(
            f"Warning: flow {done.flow_id} had no email step {done.treatment_action_id} when flows were last read; see "
            f"`justai flows sync {org_slug}`.",
            err=True,
        )


def _say(done: ImportedTemplate, org_slug: str) -> None:
    for change in done.changes:
        click.echo(f"{change.what:12} {change.name}  {change.copy_id}")
        for words in change.touched:
            click.echo(f'"{change.name}": {words}.')
    for change in done.changes:
        if "in review" in change.standing:
            click.echo(f'"{change.name}" is {change.standing}: somebody else may `justai variant approve` it.')
    approved = sum(change.serves for change in done.changes)
    variants = "1 variant" if approved == 1 else f"{approved} variants"
    click.echo(f"Template {done.template_id} is {done.state}, {variants} approved.")
    if done.state not in ("active", "shipped") or not approved:
        click.echo("People get the control content until the template is active and has an approved variant.")
    stops.told(org_slug, done.stops)
    if done.snippet_changed:
        _say_snippet_changed(org_slug, done.template_id)


def _say_snippet_changed(org_slug: str, template_id: str) -> None:
    click.echo(
        "The email snippet changed (property prefix, flow message or control content): paste it again: "
        f"justai snippet {org_slug} {template_id}"
    )


@template.command("list")
@click.argument("org_slug")
@click.option("--search", default="", help="A part of the name or the id.")
@click.option("--state", type=click.Choice(get_args(templates.State)), help="Only those.")
@command
async def template_list(org_slug: str, search: str, state: templates.State | None) -> None:
    """List an org's templates."""
    async with session() as s:
        found = await s.run(templates.list_templates, Nothing(), org_slug)
        if search or state:
            asked = SearchTemplates(search=search, state=state, limit=500)
            some = {one.template_id for one in (await s.run(search_templates, asked, org_slug)).templates}
            found = Templates(templates=[one for one in found.templates if one.template_id in some])
    show_table(
        ("template", "name", "state", "approved variants", "property prefix", "flow", "action", "stopped since"),
        (
            (
                one.template_id, one.name, one.state, one.approved, one.property_prefix, one.flow_id,
                one.treatment_action_id, stops.shown(one.stopped_at, one.stopped_reason),
            )
            for one in found.templates
        ),
        empty="No such template."
        if search or state
        else f"No templates yet; import one with `justai template import {org_slug} FILE`.",
    )  # fmt: skip


@template.command("set")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--name")
@click.option("--flow", "flow_id", help="The flow; `justai flows list` shows ids.")
@click.option("--treatment", "treatment_action_id", help="The email step that shows our copy.")
@click.option("--control", "control_action_id", help="The email step of the other branch, where Klaviyo splits.")
@click.option("--prefix", "property_prefix", help="Of the profile properties.")
@click.option("--delay-s", type=int, help="From webhook to email, where the flow does not tell.")
@click.option("--send-window-s", type=int, help="After the email was due, until our copy is taken away.")
@click.option("--split", type=click.Choice(["external", "random", "persistent"]), help="Who is control while active.")
@click.option("--control-ratio", type=float, help="So many of all, like 0.1: for split random and persistent.")
@click.option("--control-share", type=float, help="So many persons are control for good, also once it is shipped.")
@click.option(
    "--repeat", type=click.Choice(["avoid", "allow"]), help="May a person get the same variant twice running?"
)
@click.option("--model", type=click.Choice(get_args(Model)), help="How variants get their shares.")
@click.option("--reward", type=click.Choice(get_args(Reward)), help="What the ranker learns from.")
@click.option("--revenue-cap", type=float, help="What a send earns above it counts as this; for reward revenue.")
@click.option(
    "--conversion", "metrics", multiple=True, help="A metric that counts, like 'Placed Order'. Several may be given."
)
@click.option("--window-h", type=int, help="Hours after a send within which a conversion is its; with --conversion.")
@click.option("--currency", help="Of values, like EUR; with --conversion.")
@click.option("--no-conversions", is_flag=True, help="Count none.")
@acting
@command
async def template_set(org_slug: str, template_id: str, actor: str, **given: object) -> None:
    """Change where a template lives in Klaviyo, and how it tests and learns; what is not given stays."""
    values = _set_of(
        {name: value for name, value in given.items() if value is not None and value is not False and value != ()}
    )
    asked = template_settings.SetTemplate.model_validate({"template_id": template_id, **values})
    async with session() as s:
        done = await s.run(template_settings.set_template, asked, org_slug, actor)
    click.echo(f"Changed template {template_id}." if done.changed else "That is how it was already.")
    if done.snippet_changed:
        _say_snippet_changed(org_slug, template_id)


def _set_of(given: dict[str, object]) -> dict[str, object]:
    """Options as the operation's fields."""
    policy = {name: given.pop(name) for name in ("model", "reward", "revenue_cap") if name in given}
    counted = {name: given.pop(name) for name in ("metrics", "window_h", "currency") if name in given}
    if counted and "metrics" not in counted:
        raise click.UsageError("--window-h and --currency go with --conversion.")
    if given.pop("no_conversions", None):
        if counted:
            raise click.UsageError("--no-conversions goes without --conversion.")
        given["conversions"] = None
    return given | ({"policy": policy} if policy else {}) | ({"conversions": counted} if counted else {})


@template.command("state")
@click.argument("org_slug")
@click.argument("template_id")
@click.argument("state", type=click.Choice(get_args(templates.State)))
@acting
@command
async def template_state(org_slug: str, template_id: str, state: templates.State, actor: str) -> None:
    """Lead a template through its life.

    \b
    draft     people get the control content
    active    variants are chosen; needs a flow message and an approved variant
    shipped   the split has ended, the holdout stays; variants and the ranker go on
    archived  people get the control content
    """
    asked = template_settings.SetState(template_id=template_id, state=state)
    async with session() as s:
        done = await s.run(template_settings.set_state, asked, org_slug, actor)
    click.echo(f"Template {template_id} is {done.template.state}{'' if done.changed else ' already'}.")


@template.command("stop")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--reason", help="Why, for whoever looks at it next.")
@acting
@command
async def template_stop(org_slug: str, template_id: str, reason: str | None, actor: str) -> None:
    """Let no copy of a template reach a profile any more, until it is resumed.

    What waits ends as `stopped`. Copy that is on profiles is taken away first of all, that whose email leaves soonest
    before the rest. New webhooks are answered and decided for the control content. Importing the template does not
    end it.
    """
    async with session() as s:
        asked = admin_stops.StopTemplate(template_id=template_id, reason=reason)
        found = await s.run(admin_stops.stop_template, asked, org_slug, actor)
    stops.told(org_slug, found.stops)


@template.command("resume")
@click.argument("org_slug")
@click.argument("template_id")
@acting
@command
async def template_resume(org_slug: str, template_id: str, actor: str) -> None:
    """End the stop of a template. What it has ended stays ended; new webhooks are served again."""
    async with session() as s:
        asked = OneTemplate(template_id=template_id)
        found = await s.run(admin_stops.resume_template, asked, org_slug, actor)
    ended = f"Template {template_id} is not stopped any more."
    click.echo(ended if found.ended else f"{template_id} was not stopped.")
    stops.told(org_slug, found.stops)


@template.command("show")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def template_show(org_slug: str, template_id: str) -> None:
    """List a template's variants."""
    async with session() as s:
        found = await s.run(templates.show, OneTemplate(template_id=template_id), org_slug)
    show_table(
        ("variant", "state", "version", "theme", "subject", "copy_id"),
        ((one.name, one.state, one.version, one.theme, one.subject, one.copy_id) for one in found.variants),
        empty="It has no variants: everybody gets the control content.",
    )


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: subject, preheader, body.")
@click.option("--page", is_flag=True, help="The literal snippet of the public page instead (not safe).")
@command
async def snippet(org_slug: str, template_id: str, as_json: bool, page: bool) -> None:
    """Print what to paste into the treatment email: subject line, preview text, body.

    The email then shows our copy only when the profile holds copy for exactly this flow message and person; otherwise
    it shows the template's control content. It is never blank and never another template's copy.
    """
    if page:
        page_made = page_snippet()
        made = pasting.EmailSnippet(subject=page_made.subject, preheader=page_made.preheader, body=page_made.body)
    else:
        async with session() as s:
            made = await s.run(pasting.snippet, OneTemplate(template_id=template_id), org_slug)
    if as_json:
        click.echo(json.dumps({"subject": made.subject, "preheader": made.preheader, "body": made.body}))
        return
    for label, text in (("Subject line", made.subject), ("Preview text", made.preheader), ("Body (HTML)", made.body)):
        click.echo(f"\n# {label}\n{text}")


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@gateway_url
@command
async def webhook(org_slug: str, template_id: str, base_url: str) -> None:
    """Print what to enter in the flow's Webhook step: destination URL, headers, JSON body."""
    async with session() as s:
        asked = pasting.AskedWebhook(template_id=template_id, base_url=base_url)
        made = await s.run(pasting.webhook, asked, org_slug)
    click.echo(f"Destination URL: {made.url}")
    click.echo("Headers:\n" + "\n".join(f"  {name}: {value}" for name, value in made.headers.items()))
    click.echo(f"JSON body:\n{made.body}")
    if made.reads_attrs:
        click.echo("The names after `lookup:` must be spelled as the profile property is in Klaviyo, case and all.")
    for name in made.unreadable_attrs:
        click.echo(f"{printable(name)!r} cannot stand in a tag of Klaviyo's: give it another name, or write its value.")


for _one in (template_create, template_control, template_export, template_lint_command):
    template.add_command(_one)
