"""API keys of an org: made, listed, rotated, revoked. A key itself is shown once; only its digest is stored."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from shared import api_keys
from shared.admin.context import Context
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.db.pool import Connection

Scope = Literal["generate", "preview", "admin"]
KEEPS_H = 168
"""Klaviyo repeats a webhook for a day, perhaps with the headers it had; the rest is for whoever has to paste the new
key into every flow: with an old key that expired too soon, each webhook's person would be skipped for ever."""

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at, expires_at, scopes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
SELECT_KEYS = """
    SELECT key_id, name, shown, scopes, pepper, created_at, last_used_at, expires_at, revoked_at FROM api_keys
    WHERE org_id = $1 ORDER BY created_at
"""
SELECT_ACTIVE = """
    SELECT key_id, name, shown, scopes, created_at, expires_at FROM api_keys
    WHERE org_id = $1 AND (name = $2 OR shown = $2 OR key_id::text = $2) AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > $3)
    ORDER BY created_at DESC FOR UPDATE
"""
EXPIRE_KEY = """
    UPDATE api_keys SET expires_at = least(expires_at, $3) WHERE org_id = $1 AND key_id = $2 RETURNING expires_at
"""
REVOKE_KEYS = """
    UPDATE api_keys SET revoked_at = $3
    WHERE org_id = $1 AND revoked_at IS NULL AND (name = $2 OR shown = $2 OR key_id::text = $2)
    RETURNING shown
"""

KeyName = Annotated[str, StringConstraints(max_length=200)]


class CreateKey(AskedModel):
    """`scopes` besides `generate`, or `admin` alone: a key that stands in a flow's webhook must not manage the org."""

    name: KeyName = Field(description="By which it can be revoked.")
    scopes: tuple[Scope, ...] = ()
    days: Annotated[int, Field(ge=1, le=3650)] | None = Field(None, description="Expires after so many days.")


class CreatedKey(ResultModel):
    """`key` is shown this once."""

    key_id: UUID
    key: str
    name: str
    shown: str
    scopes: list[str]
    expires_at: datetime | None


class Key(ResultModel):
    """What may be shown of a key. `pepper`: the number of the secret that its digest was made with."""

    key_id: UUID
    name: str
    shown: str
    scopes: list[str]
    pepper: int
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class Keys(ResultModel):
    """Oldest first."""

    keys: list[Key]


class NamedKey(AskedModel):
    """Keys by name, as they are shown, or by id."""

    key: str


class Revoked(ResultModel):
    """The keys that were active until now, as they are shown."""

    revoked: list[str]


class RotateKey(AskedModel):
    """The old key goes on for `keep_hours`, so that whoever has it can change over; 0: not a second longer."""

    key: str
    keep_hours: Annotated[float, Field(ge=0, le=24 * 90)] = KEEPS_H


class RotatedKey(ResultModel):
    """The new key, shown this once, and until when the old one works."""

    key_id: UUID
    key: str
    name: str
    shown: str
    old_key_id: UUID
    old_shown: str
    old_expires_at: datetime


@operation("keys.create", "POST", "/keys", "owner", "Create an API key; it is shown this once.", target=("name",))
async def create(context: Context, asked: CreateKey) -> CreatedKey:
    if not asked.name:
        raise Refused("a key needs one, by which it can be revoked", field="name")
    if "admin" in asked.scopes and len(set(asked.scopes)) > 1:
        raise Refused("`admin` stands alone: give webhooks and previews a key of their own", field="scopes")
    scopes: list[str] = ["admin"] if "admin" in asked.scopes else sorted({"generate", *asked.scopes})
    expires_at = context.now + timedelta(days=asked.days) if asked.days else None
    key, key_id = await _insert(context, asked.name, scopes, expires_at)
    return CreatedKey(
        key_id=key_id, key=key, name=asked.name, shown=api_keys.shown(key), scopes=scopes, expires_at=expires_at
    )


async def _insert(context: Context, name: str, scopes: list[str], expires_at: datetime | None) -> tuple[str, UUID]:
    key = api_keys.mint(context.means.random_bytes)
    pepper, digest = context.means.peppers.digest(key)
    key_id = context.means.new_id()
    await context.connection.execute(
        INSERT_KEY, key_id, context.org_id, name, api_keys.shown(key), digest, pepper, context.now, expires_at, scopes
    )
    return key, key_id


@operation("keys.list", "GET", "/keys", "viewer", "List the API keys: what each may do, and when it was last used.")
async def list_keys(context: Context, _: Nothing) -> Keys:
    rows = await context.connection.fetch(SELECT_KEYS, context.org_id)
    return Keys(keys=[Key(**dict(row)) for row in rows])


@operation("keys.revoke", "DELETE", "/keys/{key}", "owner", "Revoke keys; they are refused everywhere within 5 s.")
async def revoke(context: Context, asked: NamedKey) -> Revoked:
    rows = await context.connection.fetch(REVOKE_KEYS, context.org_id, asked.key, context.now)
    if not rows:
        raise _no_key(asked.key)
    return Revoked(revoked=[row["shown"] for row in rows])


@operation(
    "keys.rotate", "POST", "/keys/{key}/rotate", "owner",
    "Create a key in place of another one, which goes on for a while.", target=("key",),
)  # fmt: skip
async def rotate(context: Context, asked: RotateKey) -> RotatedKey:
    rows = await context.connection.fetch(SELECT_ACTIVE, context.org_id, asked.key, context.now)
    if not rows:
        raise _no_key(asked.key)
    if len(rows) > 1:
        raise Conflict(
            f"{len(rows)} active keys are called {asked.key!r}; name one as it is shown", field="key",
            next=Next("keys.list"),
        )  # fmt: skip
    old = rows[0]
    lives = old["expires_at"] - old["created_at"] if old["expires_at"] else None
    key, key_id = await _insert(context, old["name"], old["scopes"], context.now + lives if lives else None)
    until = await _let_expire(context.connection, context.org_id, old["key_id"], context.now, asked.keep_hours)
    return RotatedKey(
        key_id=key_id, key=key, name=old["name"], shown=api_keys.shown(key), old_key_id=old["key_id"],
        old_shown=old["shown"], old_expires_at=until,
    )  # fmt: skip


async def _let_expire(connection: Connection, org_id: UUID, key_id: UUID, now: datetime, keep_hours: float) -> datetime:
    """Until when the old key works; never longer than it would have anyway."""
    until: datetime = await connection.fetchval(EXPIRE_KEY, org_id, key_id, now + timedelta(hours=keep_hours))
    return until


def lets_in(key: Key, now: datetime) -> bool:
    """Whether a webhook may come with it."""
    return "generate" in key.scopes and key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _no_key(name: str) -> NotFound:
    return NotFound(f"No active key {name!r}", field="key", next=Next("keys.list"))
