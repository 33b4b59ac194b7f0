"""`justai policy`: what decides about the variants of a template, now or then, and the proof that the facts say so."""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import click
import orjson

from cli.display import moment, show_table
from cli.moment import Moment
from cli.session import Session, command, session
from shared.admin.errors import NotFound
from shared.admin.results import policies
from shared.admin.results.policies import in_order
from shared.schemas.policy import Policy
from shared.zones import day_in, zone_of

SELECT_BY_ID = """
    SELECT snapshot_id, model, cells, otherwise FROM policy_snapshots WHERE org_id = $1 AND snapshot_id = $2
"""

_CELLS_SHOWN = 20


@click.group()
def policy() -> None:
    """What decides which variant people get."""


@policy.command("show")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--at", type=Moment(), help="As of this moment, like 2026-11-23T10:00 (UTC); default: now.")
@click.option("--cell", help="Only this cell of attrs, like 'plan=pro'.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table, with all cells.")
@command
async def show(org_slug: str, template_id: str, at: datetime | None, cell: str | None, as_json: bool) -> None:
    """Show the shares of a template's variants: for everybody not listed, then for cells of attrs."""
    async with session() as s:
        asked = policies.AskedPolicy(template_id=template_id, at=at, cell=cell if as_json else None)
        try:
            found = await s.ask(policies.show, asked, org_slug)
        except NotFound:
            raise _no_template(template_id) from None
    if as_json:
        click.echo(orjson.dumps(_policy_json(found), option=orjson.OPT_INDENT_2).decode())
        return
    _show_state(found)
    if at is None and not found.drawn_from:
        click.echo(f"Nobody is drawn for now: {template_id} is not live, or is stopped (justai template show).")
    if not found.variants:
        return
    lines = [("(everybody else)", found.otherwise), *found.cells.items()]
    if cell is not None:
        lines = [(cell, found.cells.get(cell, found.otherwise))]
    shown = lines[: 1 + _CELLS_SHOWN]
    headers = ["cell", *(one.name or str(one.copy_id) for one in found.variants)]
    show_table(headers, [(name, *(f"{share:.4f}" for share in shares)) for name, shares in shown], empty="No shares.")
    if len(lines) > len(shown):
        click.echo(f"{len(lines) - len(shown)} more cells; ask for one with --cell.")


@policy.command("shares")
@click.argument("org_slug")
@click.argument("template_id")
@command
async def show_shares(org_slug: str, template_id: str) -> None:
    """Show how the shares changed, day by day.

    Those of everybody without a cell of their own; the last 90 days.
    """
    async with session() as s:
        found = await s.run(policies.shares, policies.AskedShares(template_id=template_id), org_slug)
    zone = zone_of(found.time_zone)
    show_table(
        ("day", *(one.name or str(one.copy_id) for one in found.variants)),
        (
            (str(day_in(zone, day.at)), *("–" if one is None else f"{one:.4f}" for one in day.shares))
            for day in found.days
        ),
        empty="Nothing was fitted yet: all approved variants are shown alike.",
    )


@policy.command("rebuild")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--at", type=Moment(), help="The snapshot that was served at this moment (UTC); default: now.")
@command
async def rebuild(org_slug: str, template_id: str, at: datetime | None) -> None:
    """Fit a snapshot again and compare; nothing is stored.

    It is fitted twice: from the facts that were stored with it, which must give the same shares to the last digit, and
    from the facts of that moment as the events that are loaded today tell them, which shows what files that came later
    would have changed.
    """
    # Only this command fits anything; the others should not wait for numpy.
    from services.ranker.facts import pack, unpack
    from services.ranker.fit import next_snapshot
    from services.ranker.store import before_of, read_facts, read_replaced, task_of

    async with session() as s:
        org_id = await s.org_id(org_slug)
        row = await _look(s, org_id, template_id, at)
        if row is None or row["fitted_until"] is None:
            raise click.ClickException(
                f"No snapshot of {template_id} was fitted until {moment(at, 'now')} for the variants approved then."
            )
        async with s.db.transaction(org_id, 200) as connection:
            found = await connection.fetchrow(SELECT_BY_ID, org_id, row["previous_id"]) if row["previous_id"] else None
            used = Policy.model_validate(row["settings"]["policy"])
            asked, fitted_until = (org_id, template_id), row["fitted_until"]
            texts = await read_replaced(connection, *asked, fitted_until) if row["settings"].get("by_text") else []
            known_until = policies.known_until_of(row["settings"], fitted_until) or fitted_until
            today = await read_facts(connection, *asked, known_until, used, texts)
    before = before_of(dict(found)) if found else None
    stored = unpack(row["facts"])
    made, now = (
        next_snapshot(task_of(*asked, fitted_until, row["settings"], facts, before)) for facts in (stored, today)
    )
    click.echo(f"Snapshot {row['snapshot_id']}, facts until {moment(known_until)}.")
    served = in_order(row["otherwise"], sorted(row["otherwise"])), {c: tuple(p) for c, p in row["cells"].items()}
    if pack(stored)[1] != row["facts_hash"] or (made.otherwise, dict(made.cells)) != served:
        raise click.ClickException("Its own facts give OTHER shares: another version fitted it, or it was edited.")
    click.echo(f"From its own facts: the same shares in all {1 + len(made.cells)} rows.")
    if now.facts_hash == row["facts_hash"]:
        click.echo("From today's events: the same facts.")
    else:
        change = max(
            abs(a - b)
            for cell in {*made.cells, *now.cells, ""}
            for a, b in zip(made.cells.get(cell, made.otherwise), now.cells.get(cell, now.otherwise), strict=True)
        )
        sends = sum(one.sends for one in today) - sum(one.sends for one in stored)
        click.echo(f"From today's events: other facts ({sends:+} sends); no share differs by more than {change:.4f}.")


async def _look(s: Session, org_id: UUID, template_id: str, at: datetime | None) -> asyncpg.Record | None:
    async with s.db.transaction(org_id) as connection:
        if await connection.fetchrow(policies.SELECT_TEMPLATE, org_id, template_id) is None:
            raise _no_template(template_id)
        row, _ = await policies.served_at(connection, org_id, template_id, at or s.clock.now())
        return row


def _no_template(template_id: str) -> click.ClickException:
    return click.ClickException(f"There is no template {template_id!r}.")


def _policy_json(found: policies.Policy) -> dict[str, Any]:
    """Shares in the order of `variants`. Where none is approved none is listed."""
    if not found.variants:
        return {"drawn_from": found.drawn_from, "snapshot_id": None, "error": found.error}
    return found.model_dump(mode="json", exclude={"reward", "facts_hash"})


def _show_state(found: policies.Policy) -> None:
    if found.error:
        click.echo(f"The last fit failed: {found.error}", err=True)
    if not found.variants:
        click.echo("No variant is approved: everybody is shown the control content.")
        return
    if found.snapshot_id is None:
        names = ", ".join(one.name or str(one.copy_id) for one in found.variants)
        click.echo(f"Nothing was fitted for these variants yet: uniform over {names}.")
        return
    click.echo(f"Snapshot {found.snapshot_id}, model {found.model}, made {moment(found.created_at)}.")
    if found.known_until is not None:
        what = "clicks" if found.reward == "click" else "conversions"
        learned = f" from {found.sends} sends with {found.clicks} {what}" if found.sends is not None else ""
        click.echo(f"Facts until {moment(found.known_until)}{learned}, sha256 {found.facts_hash}.")
