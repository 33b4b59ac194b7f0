"""Where Klaviyo's system webhooks send events to: an address and a secret, which is shown when it is made."""

import base64
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Conflict, Next, Refused
from shared.admin.operation import ResultModel, operation
from shared.admin.sources.sources import OneSource, kind_of, source_id_of
from shared.db.pool import Connection

KEEPS_H: Final = 24.0
_SECRET_BYTES: Final = 32  # Klaviyo asks for 16 characters at least

INSERT_SOURCE = "INSERT INTO sources (source_id, org_id, name, kind) VALUES ($1, $2, $3, 'webhook')"
INSERT_HOOK = """
    INSERT INTO event_hooks (source_id, org_id, hook_id, sealed_secret, changed_at) VALUES ($1, $2, $3, $4, $5)
"""
ROTATE_HOOK = """
    UPDATE event_hooks SET sealed_before = sealed_secret, before_until = $3, sealed_secret = $2, changed_at = $4
    WHERE source_id = $1
"""
SELECT_HOOK = "SELECT hook_id, changed_at FROM event_hooks WHERE source_id = $1"


class RotateHook(OneSource):
    """The old secret goes on for `keep_hours`, until the new one stands in Klaviyo; 0: not a second longer."""

    keep_hours: Annotated[float, Field(ge=0, le=24 * 30)] = KEEPS_H


class HookMade(ResultModel):
    """The hook with its secret, shown this once. `path`: below the gateway's address."""

    source_id: UUID
    name: str
    path: str
    secret: str


class HookShown(ResultModel):
    """The hook without its secret."""

    name: str
    path: str
    changed_at: datetime


@operation(
    "hooks.create", "POST", "/hooks", "owner",
    "Make a hook for Klaviyo's system webhooks, as a source; its secret is shown this once.", target=("name",),
)  # fmt: skip
async def create(context: Context, asked: OneSource) -> HookMade:
    if not asked.name:
        raise Refused("a hook needs one", field="name")
    source_id, hook_id = context.means.new_id(), context.means.new_id()
    secret = _secret(context)
    try:
        await context.connection.execute(INSERT_SOURCE, source_id, context.org_id, asked.name)
    except asyncpg.UniqueViolationError:
        raise Conflict(
            f"There is a source {asked.name!r} already", field="name", next=Next("hooks.rotate", (asked.name,))
        ) from None
    sealed = context.means.ring.seal(secret, context.place(f"hook/{hook_id}"))
    await context.connection.execute(INSERT_HOOK, source_id, context.org_id, hook_id, sealed, context.now)
    return HookMade(source_id=source_id, name=asked.name, path=_path(context, hook_id), secret=secret)


@operation("hooks.show", "GET", "/hooks/{name}", "viewer", "Show where a hook is; its secret is never shown again.")
async def show(context: Context, asked: OneSource) -> HookShown:
    _, hook_id, changed_at = await _hook(context.connection, context, asked.name)
    return HookShown(name=asked.name, path=_path(context, hook_id), changed_at=changed_at)


@operation(
    "hooks.rotate", "POST", "/hooks/{name}/rotate", "owner",
    "Make another secret for a hook; the old one goes on for a while.",
)  # fmt: skip
async def rotate(context: Context, asked: RotateHook) -> HookMade:
    source_id, hook_id, _ = await _hook(context.connection, context, asked.name)
    secret = _secret(context)
    sealed = context.means.ring.seal(secret, context.place(f"hook/{hook_id}"))
    until = context.now + timedelta(hours=asked.keep_hours)
    await context.connection.execute(ROTATE_HOOK, source_id, sealed, until, context.now)
    return HookMade(source_id=source_id, name=asked.name, path=_path(context, hook_id), secret=secret)


async def _hook(connection: Connection, context: Context, name: str) -> tuple[UUID, UUID, datetime]:
    source_id = await source_id_of(connection, context.org_id, name)
    row = await connection.fetchrow(SELECT_HOOK, source_id)
    if row is None:
        kind, _ = await kind_of(connection, source_id)
        raise Refused(f"is a source of kind {kind}, which has no hook", field="name")
    return source_id, UUID(str(row["hook_id"])), row["changed_at"]


def _secret(context: Context) -> str:
    return base64.urlsafe_b64encode(context.means.random_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def _path(context: Context, hook_id: UUID) -> str:
    return f"/api/klaviyo-events/{context.org_slug}/{hook_id}"
