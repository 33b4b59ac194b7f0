"""Stops (ADR 0010): what stopping and resuming an org or a template writes, and what is stopped."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from shared.admin.context import Context
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.admin.templates.one import OneTemplate, no_template
from shared.db.pool import Connection

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
SELECT_IS_THERE = "SELECT count(*) FROM templates WHERE org_id = $1 AND template_id = $2"

Reason = Annotated[str, StringConstraints(max_length=1000)]


class Stop(ResultModel):
    """Since when and why; without a template: all of the org."""

    template_id: str | None
    stopped_at: datetime
    stopped_reason: str | None


class Stops(ResultModel):
    """What is stopped now, the org first."""

    stops: list[Stop]


class Resumed(ResultModel):
    """`ended`: there was a stop, and it is over. `stops`: what still keeps copy away."""

    ended: bool
    stops: list[Stop]


class StopOrg(AskedModel):
    """Stop all templates."""

    reason: Reason | None = Field(None, description="Why, for whoever looks at it next.")


class StopTemplate(AskedModel):
    """Stop one template."""

    template_id: str
    reason: Reason | None = Field(None, description="Why, for whoever looks at it next.")


class SomeStops(AskedModel):
    """Of one template and the org, or all there are."""

    template_id: str | None = None


@operation("orgs.stop", "POST", "/stop", "editor", "Let no copy of any template reach a profile until it is resumed.")
async def stop_org(context: Context, asked: StopOrg) -> Stops:
    await context.connection.execute(STOP_ORG, context.org_id, context.now, asked.reason or None)
    return Stops(stops=await read_stops(context.connection, context.org_id))


@operation("orgs.resume", "POST", "/resume", "editor", "End the stop of the org; what it has ended stays ended.")
async def resume_org(context: Context, _: Nothing) -> Resumed:
    done = await context.connection.execute(RESUME_ORG, context.org_id)
    return Resumed(ended=done != "UPDATE 0", stops=await read_stops(context.connection, context.org_id))


@operation(
    "templates.stop", "POST", "/templates/{template_id}/stop", "editor",
    "Let no copy of a template reach a profile until it is resumed.",
)  # fmt: skip
async def stop_template(context: Context, asked: StopTemplate) -> Stops:
    connection, org_id = context.connection, context.org_id
    done = await connection.execute(STOP_TEMPLATE, org_id, asked.template_id, context.now, asked.reason or None)
    if done == "UPDATE 0":
        raise no_template(asked.template_id)
    return Stops(stops=await read_stops(connection, org_id, asked.template_id))


@operation(
    "templates.resume", "POST", "/templates/{template_id}/resume", "editor",
    "End the stop of a template; what it has ended stays ended.",
)  # fmt: skip
async def resume_template(context: Context, asked: OneTemplate) -> Resumed:
    connection, org_id = context.connection, context.org_id
    if not await connection.fetchval(SELECT_IS_THERE, org_id, asked.template_id):
        raise no_template(asked.template_id)
    done = await connection.execute(RESUME_TEMPLATE, org_id, asked.template_id)
    return Resumed(ended=done != "UPDATE 0", stops=await read_stops(connection, org_id, asked.template_id))


@operation("stops.list", "GET", "/stops", "viewer", "List what is stopped, since when and why.")
async def list_stops(context: Context, asked: SomeStops) -> Stops:
    return Stops(stops=await read_stops(context.connection, context.org_id, asked.template_id))


async def read_stops(connection: Connection, org_id: UUID, template_id: str | None = None) -> list[Stop]:
    """The org's stop and each template's, or only this one's."""
    rows = await connection.fetch(SELECT_STOPS, org_id, template_id)
    return [Stop(**dict(row)) for row in rows]
