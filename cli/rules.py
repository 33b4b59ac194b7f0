"""`justai org rules`: what an org says of its copy, in YAML."""

from pathlib import Path

import click
import yaml
from pydantic import ValidationError

from cli.session import command, session
from cli.template_file import BadFile, load_yaml, place_in
from cli.variant_store import read_rules, write_rules
from shared.admin.wording import what_is_wrong
from shared.content.rules import OrgRules


@click.group()
def rules() -> None:
    """Rules for an org's copy: banned words and claims, promo codes, end dates, who approves."""


@rules.command("import")
@click.argument("org_slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command
async def rules_import(org_slug: str, file: Path) -> None:
    """Replace an org's rules by those of a YAML FILE.

    \b
    review_required: true           # somebody else than who wrote it approves
    missing_default: warning        # a field without a fallback; without this line it blocks
    banned_words: [cheap, "best in town"]
    banned_claims: [clinically proven]
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
        raise click.ClickException("\n".join([f"{file} cannot be imported:", *faults])) from None
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            await write_rules(connection, org_id, read, s.clock.now())
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
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            stored = await read_rules(connection, org_id)
    click.echo(yaml.safe_dump(stored.model_dump(), sort_keys=False, allow_unicode=True).rstrip())
