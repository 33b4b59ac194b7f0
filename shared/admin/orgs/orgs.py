"""Orgs: created by whoever runs the system, looked at and set up by their own people."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from pydantic import Field, StringConstraints

from shared.admin.context import Context
from shared.admin.errors import Conflict, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.db.pool import Connection
from shared.schemas.attributes import ZoneName
from shared.schemas.template_file import Line

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $3, $4)"
SELECT_ORG = """
    SELECT org_id, slug, name, created_at, time_zone, review_required, stopped_at, stopped_reason
    FROM orgs WHERE org_id = $1
"""
SELECT_ORGS = "SELECT slug, name, created_at, stopped_at, stopped_reason FROM orgs ORDER BY slug"
UPDATE_NAME = "UPDATE orgs SET name = $2 WHERE org_id = $1"
UPDATE_ZONE = "UPDATE orgs SET time_zone = $2 WHERE org_id = $1"


class CreateOrg(AskedModel):
    """`slug` is lower-case and part of the webhook URL: /api/generate/<slug>."""

    slug: str
    name: str


class Org(ResultModel):
    """One org. `time_zone`: of its date attributes and of the times that its people are shown; null: UTC."""

    org_id: UUID
    slug: str
    name: str
    created_at: datetime
    time_zone: str | None
    review_required: bool
    stopped_at: datetime | None
    stopped_reason: str | None


class Rename(AskedModel):
    """What people call the org; its slug never changes."""

    name: Annotated[Line, StringConstraints(min_length=1, max_length=200)]


class SetZone(AskedModel):
    """Null: UTC."""

    time_zone: ZoneName | None = Field(description="Like Europe/Berlin.")


@operation(
    "orgs.create", "POST", "", "owner", "Create an org.", target=("slug",),
    only_cli="Before an org is there, nobody belongs to it who could ask.",
)  # fmt: skip
async def create(context: Context, asked: CreateOrg) -> Org:
    if not asked.name:
        raise Refused("an org needs one", field="name")
    try:
        await context.connection.execute(INSERT_ORG, context.org_id, asked.slug, asked.name, context.now)
    except asyncpg.UniqueViolationError:
        raise Conflict(f"There is an org {asked.slug!r} already", field="slug") from None
    except asyncpg.CheckViolationError:
        raise Refused(
            f"{asked.slug!r} cannot be part of the URL; use lower-case letters, digits, - and _, at most 63, "
            "beginning with a letter or digit",
            field="slug",
        ) from None
    return await _org(context)


@operation("orgs.show", "GET", "", "viewer", "Show an org: its name, time zone and whether it is stopped.")
async def show(context: Context, _: Nothing) -> Org:
    return await _org(context)


@operation("orgs.rename", "PUT", "/name", "owner", "Give the org another name; its slug stays.", target=("name",))
async def rename(context: Context, asked: Rename) -> Org:
    await context.connection.execute(UPDATE_NAME, context.org_id, asked.name)
    return await _org(context)


@operation(
    "orgs.zone", "PUT", "/time-zone", "editor", "Set the time zone of date attributes and of times that are shown.",
    target=("time_zone",),
)  # fmt: skip
async def set_zone(context: Context, asked: SetZone) -> Org:
    await context.connection.execute(UPDATE_ZONE, context.org_id, asked.time_zone)
    return await _org(context)


async def _org(context: Context) -> Org:
    (row,) = await context.connection.fetch(SELECT_ORG, context.org_id)
    return Org(**dict(row))


async def read_orgs(connection: Connection) -> list[Any]:
    """Every org, for whoever runs the system; needs the worker's role."""
    return list(await connection.fetch(SELECT_ORGS))
