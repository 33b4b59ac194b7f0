"""`justai variant`: from draft to approved and back, each step by somebody, with its checks and its history."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.session import Session, command, session
from shared.admin import variant_store
from shared.admin.variant_store import Stored, Version
from shared.content.checks import Asked, blocking, check_copy
from shared.content.faults import Finding
from shared.content.lifecycle import Action, NotAllowed, act
from shared.content.rules import OrgRules
from shared.db.pool import Connection


@click.group()
def variant() -> None:
    """Variants: draft → checked → in review → approved → live → archived.

    VARIANT is the variant's name, or its copy_id. A version that was ever written never changes: changed texts come as
    a new version (`justai template import`), and the one that is approved is served until the new one is. An approved
    variant is live while its template is active.
    """


def _named(work: Callable[..., Any]) -> Callable[..., Any]:
    for argument in ("VARIANT", "TEMPLATE_ID", "ORG_SLUG"):
        name = "variant_name" if argument == "VARIANT" else argument.lower()
        work = click.argument(name, metavar=argument)(work)
    return work


@dataclass(frozen=True, slots=True)
class _Open:
    """One variant, held, with all that its checks need."""

    connection: Connection
    org_id: UUID
    template_id: str
    one: Stored
    all: list[Stored]
    rules: OrgRules
    now: datetime


async def _open(s: Session, connection: Connection, org_id: UUID, template_id: str, name: str) -> _Open:
    stored = await variant_store.read_variants(connection, org_id, template_id)
    one = next((one for one in stored if name in (one.name, str(one.copy_id))), None)
    if one is None:
        raise click.ClickException(f"No variant {name!r}; see `justai variant list <org> {template_id}`.")
    rules = await variant_store.read_rules(connection, org_id)
    return _Open(connection, org_id, template_id, one, stored, rules, s.clock.now())


def _check(of: _Open, version: Version) -> list[Finding]:
    """What the checks say of a version, beside the template's other variants that are or may be served."""
    others = {
        other.name: other.at(other.standing.pending or other.standing.version).copy
        for other in of.all
        if other.copy_id != of.one.copy_id and other.standing.state != "archived"
    }
    asked = Asked(of.template_id, of.now.date(), of.rules, of.one.required_fields, others)
    return check_copy(version.copy, asked).findings


def _say(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{'Warning' if finding.warning else 'Blocking'} ({finding.check}): {printable(str(finding))}")


@variant.command("list")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def variant_list(org_slug: str, template_id: str) -> None:
    """List a template's variants, and where each is."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            stored = await variant_store.read_variants(connection, org_id, template_id)
    show_table(
        ("variant", "state", "version", "newest", "theme", "copy_id"),
        ((o.name, o.state, o.standing.version, o.versions[-1].number, o.theme, o.copy_id) for o in stored),
        empty=f"No variants; see `justai template list {org_slug}`.",
    )


@variant.command("show")
@_named
@click.option("--version", "number", type=click.IntRange(1), help="Another one than the newest.")
@click.option("--served", is_flag=True, help="The body as it is served: cleaned, inlined, made of MJML.")
@command
async def variant_show(org_slug: str, template_id: str, variant_name: str, number: int | None, served: bool) -> None:
    """Print one version of a variant as it was written."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            of = await _open(s, connection, org_id, template_id, variant_name)
    version = _version(of.one, number or of.one.versions[-1].number)
    click.echo(f"# {printable(of.one.name)}, {of.one.state}, copy_id {of.one.copy_id}")
    click.echo(f"# version {version.number} by {version.author or 'unknown'}, {moment(version.created_at)}")
    body = version.served_body if served else version.copy.source
    for name, text in (("subject", version.copy.subject), ("preheader", version.copy.preheader), ("body", body)):
        click.echo(f"\n# {name}\n{text}")


def _version(one: Stored, number: int) -> Version:
    found = next((version for version in one.versions if version.number == number), None)
    if found is None:
        raise click.ClickException(f"No version {number}; the newest is {one.versions[-1].number}.")
    return found


@variant.command("check")
@_named
@acting
@command
async def variant_check(org_slug: str, template_id: str, variant_name: str, actor: str) -> None:
    """Check the version that is to be approved, else the approved one.

    docs/content.md lists the checks. Exit code 1 when something blocks its approval. A draft that passes is `checked`.
    """
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            of = await _open(s, connection, org_id, template_id, variant_name)
            number = of.one.standing.pending
            findings = _check(of, of.one.at(number or of.one.standing.version))
            passes = not blocking(findings)
            if passes and number is not None and of.one.standing.proposed_state in (None, "draft"):
                await _act(of, "check", actor)
    _say(findings)
    if not passes:
        raise click.ClickException(f"{len(blocking(findings))} of these stop its approval.")
    click.echo("Nothing stops its approval.")


async def _act(of: _Open, action: Action, actor: str, comment: str = "") -> str:
    """Do it; what the variant is then, in words."""
    one = of.one
    rows = await variant_store.history(of.connection, of.org_id, one.copy_id)
    required = of.rules.review_required
    try:
        move = act(action, one.standing, variant_store.events(rows), actor=actor, review_required=required)
    except NotAllowed as error:
        raise click.ClickException(f'"{one.name}" is {one.state}. {error}') from None
    if action in ("submit", "approve"):
        findings = _check(of, one.at(move.version))
        _say(findings)
        if count := len(blocking(findings)):
            raise click.ClickException(f'"{one.name}", version {move.version}: {count} of these stop its approval.')
    await variant_store.apply(of.connection, of.org_id, one.copy_id, move, actor, of.now, comment)
    return f'"{printable(one.name)}" is {move.standing.shown(served=one.served)}, version {move.version}.'


@command
async def _step(org_slug: str, template_id: str, name: str, action: Action, actor: str, comment: str) -> None:
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            of = await _open(s, connection, org_id, template_id, name)
            said = await _act(of, action, actor, comment)
    click.echo(said)


def _steps(action: Action, helped: str, *, comment_required: bool = False) -> None:
    @variant.command(action, help=helped)
    @_named
    @click.option("--comment", required=comment_required, help="For the history.")
    @acting
    def step(org_slug: str, template_id: str, variant_name: str, comment: str | None, actor: str) -> None:
        if comment_required and not (comment or "").strip():
            raise click.ClickException("comment: say why, for whoever wrote it.")
        _step(org_slug, template_id, variant_name, action, actor, (comment or "").strip())


_steps("submit", "Send the newest version into review, if its checks let it.")
_steps(
    "approve",
    "Serve the newest version from now on, if its checks let it. Where the org requires reviews, it must have been "
    "submitted, and whoever wrote or submitted it may not approve it.",
)
_steps("reject", "Send a version that is in review back to its author.", comment_required=True)
_steps(
    "rollback",
    "Serve the version again that was served before the approved one. It was approved then, so it needs no review; "
    "done twice, it is undone.",
)
_steps("archive", "Take a variant out; what is on profiles stays (`justai template stop` takes that away).")


@variant.command("diff")
@_named
@click.option("--from", "first", type=click.IntRange(1), help="Version; else the approved one, or the one before.")
@click.option("--to", "second", type=click.IntRange(1), help="Version; without it the newest.")
@command
async def variant_diff(
    org_slug: str, template_id: str, variant_name: str, first: int | None, second: int | None
) -> None:
    """Show what changed between two versions, as they were written."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            of = await _open(s, connection, org_id, template_id, variant_name)
    one = of.one
    new = _version(one, second or one.versions[-1].number)
    served = one.standing.version
    old = _version(one, first or (served if served != new.number else max(new.number - 1, 1)))
    lines = list(
        difflib.unified_diff(
            _lines(old), _lines(new), f"version {old.number}", f"version {new.number}", lineterm="", n=2
        )
    )
    for line in lines:
        click.echo(printable(line))
    if not lines:
        click.echo(f"Versions {old.number} and {new.number} say the same.")


def _lines(version: Version) -> list[str]:
    copy = version.copy
    return [f"subject: {copy.subject}", f"preheader: {copy.preheader}", *copy.source.splitlines()]


@variant.command("history")
@_named
@command
async def variant_history(org_slug: str, template_id: str, variant_name: str) -> None:
    """Show who did what with a variant, oldest first."""
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            of = await _open(s, connection, org_id, template_id, variant_name)
            rows = await variant_store.history(connection, org_id, of.one.copy_id)
    show_table(
        ("when", "version", "what", "who", "comment"),
        ((moment(r["created_at"]), r["version"], r["event"], r["actor"], r["comment"]) for r in rows),
        empty="Nothing yet.",
    )
