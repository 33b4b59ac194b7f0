"""How people come to have an account and a password: invited, as the first of all, or anew after a reset."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import asyncpg

from services.console.people import store
from services.console.people.delays import key_of
from services.console.people.remembering import Moment, remember
from services.console.people.signing_in import Begun, Caller, Means, begin
from shared.admin.audit import INSERT_ENTRY
from shared.db.pool import Connection
from shared.people import links
from shared.people.roles import Role
from shared.people.store import DELETE_RESETS, LOCK_ACCOUNT

SELECT_INVITE = """
    SELECT i.invite_id, i.org_id, i.email, i.role, i.invited_by, o.slug AS org_slug, o.name AS org_name,
        EXISTS (SELECT FROM users u WHERE u.email = i.email) AS has_account
    FROM invites i JOIN orgs o USING (org_id) WHERE i.digest = $1 AND i.used_at IS NULL AND i.expires_at > $2
"""
USE_INVITE = "UPDATE invites SET used_at = $2 WHERE invite_id = $1 AND used_at IS NULL AND expires_at > $2"
INSERT_USER = "INSERT INTO users (user_id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)"
INSERT_MEMBER = """
    INSERT INTO memberships (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role, by_group = excluded.by_group
"""
SELECT_RESET = """
    SELECT r.user_id, r.drops_totp, u.email, u.name FROM password_resets r JOIN users u USING (user_id)
    WHERE r.digest = $1 AND r.used_at IS NULL AND r.expires_at > $2
"""
USE_RESET = "UPDATE password_resets SET used_at = $2 WHERE digest = $1 AND used_at IS NULL AND expires_at > $2"
SET_PASSWORD = "UPDATE users SET password_hash = $2 WHERE user_id = $1"  # noqa: S105  # a statement
DROP_TOTP = "UPDATE users SET sealed_totp = NULL, totp_since = NULL WHERE user_id = $1"
DELETE_CODES = "DELETE FROM recovery_codes WHERE user_id = $1"
DELETE_DELAYS = "DELETE FROM signin_delays WHERE (kind = 'account' AND key = $1) OR (kind = 'code' AND key = $2)"
LOCK_FIRST_RUN = "SELECT pg_advisory_xact_lock(7331022)"
SELECT_ORGS = "SELECT org_id, slug, name FROM orgs ORDER BY name, slug LIMIT 200"
INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $3, $4)"


class Gone(Exception):
    """The link was used, replaced or is too old; or somebody was here first."""


class Taken(Exception):
    """There is one of that name already."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link invites to."""

    invite_id: UUID
    org_id: UUID
    email: str
    role: Role
    invited_by: str
    org_slug: str
    org_name: str
    has_account: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """Whose password a link sets."""

    user_id: UUID
    drops_totp: bool
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Org:
    """One that is there before anybody can sign in."""

    org_id: UUID
    slug: str
    name: str


async def invitation(means: Means, token: str) -> Invitation:
    """Raises Gone."""
    async with means.database.connection() as connection:
        row = await connection.fetchrow(SELECT_INVITE, links.digest(token), means.clock.now())
    if row is None:
        raise Gone
    return Invitation(**row)


async def join_anew(
    means: Means, invited: Invitation, name: str, password: str, caller: Caller, moment: Moment
) -> Begun:
    """Make the account, use the invite up, sign in. Raises Gone, Taken, Busy."""
    password_hash, user_id, now = await means.hasher.hash(password), means.new_id(), means.clock.now()
    try:
        async with means.database.transaction() as connection:
            await _use(connection, invited, now)
            await connection.execute(INSERT_USER, user_id, invited.email, name, password_hash, now)
            await connection.execute(INSERT_MEMBER, invited.org_id, user_id, invited.role, now)
            await _remember_joining(connection, invited, user_id, moment)
    except asyncpg.UniqueViolationError:
        raise Taken from None
    return await begin(means, user_id, "full", caller)


async def join(means: Means, invited: Invitation, user_id: UUID, moment: Moment) -> None:
    """Let somebody who has an account into one more org. Raises Gone.

    A link for a new password ends: an owner of the org where they worked alone may have it, and must not follow them.
    """
    now = means.clock.now()
    async with means.database.transaction() as connection:
        await _use(connection, invited, now)
        await connection.execute(DELETE_RESETS, user_id)
        await connection.execute(INSERT_MEMBER, invited.org_id, user_id, invited.role, now)
        await _remember_joining(connection, invited, user_id, moment)


async def _remember_joining(connection: Connection, invited: Invitation, user_id: UUID, moment: Moment) -> None:
    """In the log of the org that is joined alone: where else somebody works is none of its business."""
    await connection.execute(
        INSERT_ENTRY, invited.org_id, moment.at, invited.email, "person", "people.join", invited.email,
        {"by": "invitation", "invited_by": invited.invited_by, "role": invited.role}, {"user_id": str(user_id)},
        moment.request_id,
    )  # fmt: skip


async def _use(connection: Connection, invited: Invitation, now: datetime) -> None:
    if await connection.execute(USE_INVITE, invited.invite_id, now) != "UPDATE 1":
        raise Gone


async def asked_reset(means: Means, token: str) -> Reset:
    """Raises Gone."""
    async with means.database.connection() as connection:
        row = await connection.fetchrow(SELECT_RESET, links.digest(token), means.clock.now())
    if row is None:
        raise Gone
    return Reset(**row)


async def reset_password(means: Means, token: str, asked: Reset, password: str, moment: Moment) -> None:
    """Set it, use the link up, and end every session of the person. Raises Gone, Busy."""
    password_hash, now = await means.hasher.hash(password), means.clock.now()
    async with means.database.transaction() as connection:
        await connection.execute(LOCK_ACCOUNT, asked.user_id)
        if await connection.execute(USE_RESET, links.digest(token), now) != "UPDATE 1":
            raise Gone
        await connection.execute(SET_PASSWORD, asked.user_id, password_hash)
        if asked.drops_totp:
            await connection.execute(DROP_TOTP, asked.user_id)
            await connection.execute(DELETE_CODES, asked.user_id)
        await connection.execute(store.DELETE_SESSIONS_OF, asked.user_id, None)
        await connection.execute(
            DELETE_DELAYS, key_of("account", asked.email), key_of("code", str(asked.user_id))
        )  # fmt: skip
        drops: dict[str, bool] = {"second_factor": asked.drops_totp}
        await remember(connection, moment, "people.reset_used", asked.user_id, asked.email, **drops)


def first_run_token(pepper_spec: str) -> str:
    """Opens the set-up page while there is nobody. Made of a secret that all replicas share, so that each prints the
    same, and whichever of them is asked knows it."""
    return hmac.new(pepper_spec.encode(), b"console: the first person", sha256).hexdigest()


async def orgs_there(means: Means) -> list[Org]:
    """The orgs among which the first person chooses."""
    async with means.database.connection() as connection:
        return [Org(**row) for row in await connection.fetch(SELECT_ORGS)]


async def nobody_yet(means: Means) -> bool:
    """Whether the set-up page still works."""
    async with means.database.connection() as connection:
        return not await store.anybody(connection)


@dataclass(frozen=True, slots=True)
class First:
    """The first person, and the org: one that is there (`org_id`), or a new one."""

    email: str
    name: str
    password: str
    org_id: UUID | None
    new_slug: str = ""
    new_name: str = ""


async def set_up(means: Means, first: First, caller: Caller, moment: Moment) -> Begun:
    """Make the first account, owner of its org. Raises Gone when there is somebody already, Taken, Busy."""
    password_hash, user_id, now = await means.hasher.hash(first.password), means.new_id(), means.clock.now()
    try:
        async with means.database.transaction() as connection:
            await connection.execute(LOCK_FIRST_RUN)
            if await store.anybody(connection):
                raise Gone
            org_id = first.org_id
            if org_id is None:
                org_id = means.new_id()
                await connection.execute(INSERT_ORG, org_id, first.new_slug, first.new_name, now)
            await connection.execute(INSERT_USER, user_id, first.email, first.name, password_hash, now)
            await connection.execute(INSERT_MEMBER, org_id, user_id, "owner", now)
            made: dict[str, bool] = {"new_org": first.org_id is None}
            await remember(connection, moment, "people.set_up", user_id, first.email, **made)
    except asyncpg.UniqueViolationError:
        raise Taken from None
    return await begin(means, user_id, "full", caller)
