"""The kill switch (ADR 0010): what `stop` and `resume` of an org or a template write, and how a stop is shown."""

from uuid import UUID

import asyncpg
import click

from cli.display import moment, printable
from cli.session import Session

# Stopped again: since then still, and for the newer reason where one is given.
STOP_TEMPLATE = """
    UPDATE templates SET stopped_at = coalesce(stopped_at, $3), stopped_reason = coalesce($4, stopped_reason)
    WHERE org_id = $1 AND template_id = $2
"""
STOP_ORG = """
    UPDATE orgs SET stopped_at = coalesce(stopped_at, $2), stopped_reason = coalesce($3, stopped_reason)
    WHERE org_id = $1
"""
RESUME_TEMPLATE = """
    UPDATE templates SET stopped_at = NULL, stopped_reason = NULL
    WHERE org_id = $1 AND template_id = $2 AND stopped_at IS NOT NULL
"""
RESUME_ORG = "UPDATE orgs SET stopped_at = NULL, stopped_reason = NULL WHERE org_id = $1 AND stopped_at IS NOT NULL"
SELECT_STOPS = """
    SELECT NULL AS template_id, stopped_at, stopped_reason FROM orgs WHERE org_id = $1 AND stopped_at IS NOT NULL
    UNION ALL
    SELECT template_id, stopped_at, stopped_reason FROM templates
    WHERE org_id = $1 AND stopped_at IS NOT NULL AND ($2::text IS NULL OR template_id = $2)
    ORDER BY template_id NULLS FIRST
"""


async def stop(s: Session, org_id: UUID, template_id: str | None, reason: str | None) -> bool:
    """Stop one template, or (None) all of the org. False when there is no such template."""
    now, why = s.clock.now(), (reason or "").strip() or None
    async with s.db.transaction(org_id) as connection:
        if template_id is None:
            done = await connection.execute(STOP_ORG, org_id, now, why)
        else:
            done = await connection.execute(STOP_TEMPLATE, org_id, template_id, now, why)
    return bool(done != "UPDATE 0")


async def resume(s: Session, org_id: UUID, template_id: str | None) -> bool:
    """End a stop. False when there was none."""
    async with s.db.transaction(org_id) as connection:
        if template_id is None:
            done = await connection.execute(RESUME_ORG, org_id)
        else:
            done = await connection.execute(RESUME_TEMPLATE, org_id, template_id)
    return bool(done != "UPDATE 0")


async def say_stops(s: Session, org_id: UUID, org_slug: str, template_id: str | None = None) -> None:
    """A line for the org's stop and for each template's (None: any), so that nobody looks for another cause."""
    async with s.db.transaction(org_id) as connection:
        rows = await connection.fetch(SELECT_STOPS, org_id, template_id)
    for row in rows:
        what, words = ("The org", f"org resume {org_slug}")
        if row["template_id"] is not None:
            what, words = f"Template {row['template_id']}", f"template resume {org_slug} {row['template_id']}"
        click.echo(f"{what} is stopped since {shown(row)}; people get the control content until `justai {words}`.")


def shown(row: asyncpg.Record) -> str:
    """Since when and why, for a line or a cell; empty when it is not stopped."""
    reason = f": {printable(row['stopped_reason'])}" if row["stopped_reason"] else ""
    return f"{moment(row['stopped_at'])}{reason}"
