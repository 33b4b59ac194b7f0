"""SQL of memberships, invites and password resets: what an org's owners and the operator change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from shared.db.pool import Connection
from shared.people.links import INVITE_LIFE, LET_IN_LIFE, RESET_LIFE
from shared.people.roles import Role


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who works in the org."""

    user_id: UUID
    email: str
    name: str
    role: Role
    two_factor: bool
    password: bool
    provider: bool  # linked to who they are at the OpenID Connect provider
    last_signed_in_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invite:
    """Somebody who was asked in and has not come yet."""

    invite_id: UUID
    email: str
    role: Role
    invited_by: str
    expires_at: datetime


class LastOwner(Exception):
    """An org without an owner could not be looked after by anybody."""

    def __init__(self) -> None:
        super().__init__("an org keeps at least one owner; make somebody else an owner first")


SELECT_MEMBERS = """
    SELECT u.user_id, u.email, u.name, m.role, u.totp_since IS NOT NULL AS two_factor, u.has_password AS password,
        EXISTS (SELECT FROM identities i WHERE i.user_id = u.user_id) AS provider, u.last_signed_in_at
    FROM memberships m JOIN users u USING (user_id) WHERE m.org_id = $1 ORDER BY u.name, u.email
"""


async def members(connection: Connection, org_id: UUID) -> list[Member]:
    """By name."""
    return [Member(**row) for row in await connection.fetch(SELECT_MEMBERS, org_id)]


SELECT_INVITES = """
    SELECT invite_id, email, role, invited_by, expires_at FROM invites
    WHERE org_id = $1 AND used_at IS NULL AND expires_at > $2 ORDER BY email
"""


async def open_invites(connection: Connection, org_id: UUID, now: datetime) -> list[Invite]:
    """Those that can still be used, by email."""
    return [Invite(**row) for row in await connection.fetch(SELECT_INVITES, org_id, now)]


SELECT_IS_MEMBER = """
    SELECT EXISTS (SELECT FROM memberships m JOIN users u USING (user_id) WHERE m.org_id = $1 AND u.email = $2)
"""


async def is_member(connection: Connection, org_id: UUID, email: str) -> bool:
    """Whether the owner of this email works in the org already."""
    return bool(await connection.fetchval(SELECT_IS_MEMBER, org_id, email))


UPSERT_INVITE = """
    INSERT INTO invites (invite_id, org_id, digest, email, role, invited_by, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (org_id, email) WHERE used_at IS NULL DO UPDATE SET
        invite_id = excluded.invite_id, digest = excluded.digest, role = excluded.role,
        invited_by = excluded.invited_by, created_at = excluded.created_at, expires_at = excluded.expires_at
"""


async def invite_anew(
    connection: Connection, invite_id: UUID, org_id: UUID, digest: bytes, email: str, role: Role, by: str, now: datetime
) -> datetime:
    """Until when it can be used. An open invite of the same person is replaced: its link ends."""
    expires_at = now + INVITE_LIFE
    await connection.execute(UPSERT_INVITE, invite_id, org_id, digest, email, role, by, now, expires_at)
    return expires_at


DELETE_INVITE = "DELETE FROM invites WHERE org_id = $1 AND invite_id = $2 AND used_at IS NULL RETURNING email"


async def withdraw_invite(connection: Connection, org_id: UUID, invite_id: UUID) -> str | None:
    """Whose invite ended; None: there was none."""
    return cast(str | None, await connection.fetchval(DELETE_INVITE, org_id, invite_id))


# Owners are locked in the same order, so that two who demote each other at once cannot both succeed.
SELECT_OWNERS = "SELECT user_id FROM memberships WHERE org_id = $1 AND role = 'owner' ORDER BY user_id FOR UPDATE"
UPDATE_ROLE = "UPDATE memberships SET role = $3, by_group = $4 WHERE org_id = $1 AND user_id = $2"
DELETE_MEMBER = "DELETE FROM memberships WHERE org_id = $1 AND user_id = $2"


async def change_role(
    connection: Connection, org_id: UUID, user_id: UUID, role: Role, *, by_group: bool = False
) -> bool:
    """False when there is no such member. `by_group`: a group of the provider gives it. Raises LastOwner."""
    if role != "owner":
        await _keep_an_owner(connection, org_id, user_id)
    return await connection.execute(UPDATE_ROLE, org_id, user_id, role, by_group) != "UPDATE 0"


async def remove_member(connection: Connection, org_id: UUID, user_id: UUID) -> bool:
    """False when there is no such member. Raises LastOwner. The account stays: it may work in other orgs."""
    await _keep_an_owner(connection, org_id, user_id)
    return await connection.execute(DELETE_MEMBER, org_id, user_id) != "DELETE 0"


async def _keep_an_owner(connection: Connection, org_id: UUID, user_id: UUID) -> None:
    owners: Sequence[UUID] = [row["user_id"] for row in await connection.fetch(SELECT_OWNERS, org_id)]
    if list(owners) == [user_id]:
        raise LastOwner


SELECT_USER_ID = "SELECT user_id FROM users WHERE email = $1"


async def user_id_of(connection: Connection, email: str) -> UUID | None:
    """The account of an email address."""
    return cast(UUID | None, await connection.fetchval(SELECT_USER_ID, email))


# Before links for a new password, where both are touched: so nothing is set behind the back of whoever ends them all.
LOCK_ACCOUNT = "SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE"
DELETE_SIGNIN_LINKS = "DELETE FROM signin_links WHERE user_id = $1"
DELETE_RESETS = "DELETE FROM password_resets WHERE user_id = $1 AND used_at IS NULL"
INSERT_RESET = """
    INSERT INTO password_resets (digest, user_id, drops_totp, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
"""


async def reset_anew(
    connection: Connection, digest: bytes, user_id: UUID, *, drops_totp: bool, now: datetime
) -> datetime:
    """Until when it can be used. Earlier links of the same person end."""
    expires_at = now + RESET_LIFE
    await connection.execute(DELETE_RESETS, user_id)
    await connection.execute(INSERT_RESET, digest, user_id, drops_totp, now, expires_at)
    return expires_at


SELECT_OWNS_AN_ORG = "SELECT EXISTS (SELECT FROM memberships WHERE user_id = $1 AND role = 'owner')"
UPSERT_SIGNIN_LINK = """
    INSERT INTO signin_links (digest, user_id, expires_at) VALUES ($1, $2, $3)
    ON CONFLICT (user_id) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at
"""


async def owns_an_org(connection: Connection, user_id: UUID) -> bool:
    """Whether there is an org of which this person is an owner."""
    return bool(await connection.fetchval(SELECT_OWNS_AN_ORG, user_id))


async def let_in_anew(connection: Connection, digest: bytes, user_id: UUID, now: datetime) -> datetime:
    """Until when it can be used. An earlier link of the same person ends."""
    expires_at = now + LET_IN_LIFE
    await connection.execute(UPSERT_SIGNIN_LINK, digest, user_id, expires_at)
    return expires_at


SELECT_HAS_IDENTITY = "SELECT EXISTS (SELECT FROM identities WHERE user_id = $1)"
DELETE_IDENTITIES = "DELETE FROM identities WHERE user_id = $1"
DELETE_SESSIONS_BY_PROVIDER = "DELETE FROM sessions WHERE user_id = $1 AND signed_in_with = 'provider'"


async def unlink(connection: Connection, user_id: UUID) -> bool:
    """Whether the account was linked to somebody at a provider, and is no more; sessions begun so end."""
    if await connection.execute(DELETE_IDENTITIES, user_id) == "DELETE 0":
        return False
    await connection.execute(DELETE_SESSIONS_BY_PROVIDER, user_id)
    return True
