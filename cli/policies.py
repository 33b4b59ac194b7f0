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
from shared.schemas.policy import Policy

SELECT_NEWEST = """
    SELECT snapshot_id, model, cells, otherwise, created_at, fitted_until, settings, facts_hash, facts, previous_id,
           diagnostics
    FROM policy_snapshots WHERE org_id = $1 AND template_id = $2 AND created_at <= $3
    ORDER BY fitted_until IS NULL, created_at DESC, snapshot_id DESC LIMIT 1
"""
SELECT_BY_ID = """
    SELECT snapshot_id, model, cells, otherwise FROM policy_snapshots WHERE org_id = $1 AND snapshot_id = $2
"""
SELECT_TEMPLATE = "SELECT policy FROM templates WHERE org_id = $1 AND template_id = $2"
SELECT_NAMES = "SELECT copy_id::text, name FROM variants WHERE org_id = $1 AND template_id = $2"
SELECT_FIT = "SELECT fitted_at, next_fit_at, error FROM policy_fits WHERE org_id = $1 AND template_id = $2"

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
        org_id = await s.org_id(org_slug)
        row, names, fit = await _look(s, org_id, template_id, at)
    if as_json:
        click.echo(orjson.dumps(_policy_json(row, names, fit, cell), option=orjson.OPT_INDENT_2).decode())
        return
    _show_state(row, fit)
    if row is None:
        return
    order = sorted(row["otherwise"])
    cells = {name: _in_order(shares, order) for name, shares in sorted(row["cells"].items())}
    lines = [("(everybody else)", _in_order(row["otherwise"], order)), *cells.items()]
    if cell is not None:
        lines = [(cell, cells.get(cell, lines[0][1]))]
    shown = lines[: 1 + _CELLS_SHOWN]
    headers = ["cell", *(names.get(copy_id, copy_id) for copy_id in order)]
    show_table(headers, [(name, *(f"{share:.4f}" for share in shares)) for name, shares in shown], empty="No shares.")
    if len(lines) > len(shown):
        click.echo(f"{len(lines) - len(shown)} more cells; ask for one with --cell.")


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
    from services.ranker.store import before_of, read_facts, task_of

    async with session() as s:
        org_id = await s.org_id(org_slug)
        row, _, _ = await _look(s, org_id, template_id, at)
        if row is None or row["fitted_until"] is None:
            raise click.ClickException(f"No snapshot of {template_id} was fitted until {moment(at, 'now')}.")
        async with s.db.transaction(org_id, 200) as connection:
            found = await connection.fetchrow(SELECT_BY_ID, org_id, row["previous_id"]) if row["previous_id"] else None
            used = Policy.model_validate(row["settings"]["policy"])
            today = await read_facts(connection, org_id, template_id, row["fitted_until"], used)
    before = before_of(dict(found)) if found else None
    stored = unpack(row["facts"])
    made, now = (
        next_snapshot(task_of(org_id, template_id, row["fitted_until"], row["settings"], facts, before))
        for facts in (stored, today)
    )
    click.echo(f"Snapshot {row['snapshot_id']}, facts until {moment(row['fitted_until'])} UTC.")
    served = _in_order(row["otherwise"], sorted(row["otherwise"])), {c: tuple(p) for c, p in row["cells"].items()}
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


async def _look(
    s: Session, org_id: UUID, template_id: str, at: datetime | None
) -> tuple[asyncpg.Record | None, dict[str, str], asyncpg.Record | None]:
    async with s.db.transaction(org_id) as connection:
        if await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id) is None:
            raise click.ClickException(f"There is no template {template_id!r}.")
        row = await connection.fetchrow(SELECT_NEWEST, org_id, template_id, at or s.clock.now())
        names = {r["copy_id"]: r["name"] for r in await connection.fetch(SELECT_NAMES, org_id, template_id)}
        return row, names, await connection.fetchrow(SELECT_FIT, org_id, template_id)


def _policy_json(
    row: asyncpg.Record | None, names: dict[str, str], fit: asyncpg.Record | None, cell: str | None
) -> dict[str, Any]:
    """Shares in the order of `variants`. Without a snapshot none is listed: all variants are shown alike."""
    found: dict[str, Any] = {"snapshot_id": None, "error": fit["error"] if fit else None}
    if row is None:
        return found
    order = sorted(row["otherwise"])
    otherwise = _in_order(row["otherwise"], order)
    cells = {name: _in_order(shares, order) for name, shares in sorted(row["cells"].items())}
    told = row["diagnostics"] or {}
    return found | {
        "snapshot_id": str(row["snapshot_id"]), "model": row["model"], "created_at": row["created_at"],
        "fitted_until": row["fitted_until"], "sends": told.get("sends"), "clicks": told.get("clicks"),
        "variants": [{"copy_id": copy_id, "name": names.get(copy_id)} for copy_id in order],
        "otherwise": otherwise, "cells": cells if cell is None else {cell: cells.get(cell, otherwise)},
    }  # fmt: skip


def _show_state(row: asyncpg.Record | None, fit: asyncpg.Record | None) -> None:
    if fit is not None and fit["error"]:
        click.echo(f"The last fit failed: {fit['error']}", err=True)
    if row is None:
        click.echo("Nothing was fitted yet: all approved variants are shown alike.")
        return
    click.echo(f"Snapshot {row['snapshot_id']}, model {row['model']}, made {moment(row['created_at'])} UTC.")
    if row["fitted_until"] is not None:
        told = row["diagnostics"] or {}
        reward = (row["settings"] or {}).get("policy", {}).get("reward", "click")
        what = "clicks" if reward == "click" else "conversions"
        learned = f" from {told['sends']} sends with {told['clicks']} {what}" if "sends" in told else ""
        click.echo(f"Facts until {moment(row['fitted_until'])} UTC{learned}, sha256 {row['facts_hash']}.")


def _in_order(shares: Any, order: list[str]) -> tuple[float, ...]:
    """Shares by copy id, or already in the order of copy ids."""
    return tuple(shares) if isinstance(shares, list) else tuple(shares[copy_id] for copy_id in order)
