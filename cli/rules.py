"""`justai org rules`: what an org says of its copy, in YAML."""

from pathlib import Path

import click
import yaml
from pydantic import ValidationError

from cli.actor import acting
from cli.given_file import GIVEN_FILE, called
from cli.session import command, session
from cli.template_file import BadFile, load_yaml
from shared.admin.operation import Nothing
from shared.admin.orgs import content_rules
from shared.admin.templates.reading import place_in
from shared.admin.wording import what_is_wrong
from shared.content.rules import OrgRules


@click.group()
def rules() -> None:
    """Rules for an org's copy: banned words and claims, promo codes, end dates, who approves."""


@rules.command("import")
@click.argument("org_slug")
@click.argument("file", type=GIVEN_FILE)
@acting
@command
async def rules_import(org_slug: str, file: Path, actor: str) -> None:
    """Replace an org's rules by those of a YAML FILE.

    \b
    review_required: true           # somebody else than who wrote it approves
    missing_default: warning        # a field without a fallback; without this line it blocks
    banned_words: [cheap, "best in town"]
    banned_claims: [clinically proven]
    voice: Warm and plain, never cute.      # for drafts by a model
    promo_codes: [WELCOME10, {code: XMAS25, ends: 2026-12-24}]
    end_dates: {welcome: 2026-12-24}    # by template: the last day of what its copy presses for

    They hold from the next check, import or approval; what is approved stays.
    """
    try:
        read = OrgRules.model_validate(load_yaml(file) or {})
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    except ValidationError as error:
        faults = [f"  {place_in({}, one['loc'])}: {what_is_wrong(one)}" for one in error.errors(include_url=False)]
        raise click.ClickException("\n".join([f"{called(file)} cannot be imported:", *faults])) from None
    async with session() as s:
        await s.run(content_rules.set_rules, content_rules.SetRules(rules=read), org_slug, actor)
    words = len(read.banned_words) + len(read.banned_claims)
    click.echo(
        f"{org_slug}: {words} banned words and claims, {len(read.promo_codes)} promo codes, {len(read.end_dates)} end "
        f"dates; {'reviews are required' if read.review_required else 'no review is required'}."
    )


@rules.command("show")
@click.argument("org_slug")
@command
async def rules_show(org_slug: str) -> None:
    """Print an org's rules as YAML that can be imported again."""
    async with session() as s:
        found = await s.run(content_rules.show_rules, Nothing(), org_slug)
    click.echo(yaml.safe_dump(found.rules.model_dump(), sort_keys=False, allow_unicode=True).rstrip())
