"""SQL of accounts and sessions. All of it works as the services' role: a session is of a person, not of an org."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.console.people.sessions import ABSOLUTE, Session, With
from shared.db.pool import Connection, Database
from shared.people.roles import Role


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account, as signing in needs it."""

    user_id: UUID
    email: str
    name: str
    password_hash: str | None  # None: there is no password, and none can be right
    sealed_totp: str | None
    totp_since: datetime | None

    @property
    def totp_place(self) -> str:
        """Where its TOTP secret stands, for the key ring."""
        return f"users/{self.user_id}/totp"


@dataclass(frozen=True, slots=True)
class Membership:
    """An org in which a person works."""

    org_id: UUID
    slug: str
    name: str
    time_zone: str | None  # in which its times are shown; null: UTC
    role: Role


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be said once, on the next page."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """One that succeeded."""

    at: datetime
    how: With
    agent: str
    address: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session with its person and everything that person may see."""

    session: Session
    account: Account
    memberships: Sequence[Membership]
    has_notices: bool


_SESSION_COLUMNS = ("digest", "user_id", "stage", "created_at", "seen_at", "agent", "signed_in_with")
_ACCOUNT_COLUMNS = "user_id, email, name, password_hash, sealed_totp, totp_since"
SELECT_ACCOUNT = "SELECT user_id, email, name, password_hash, sealed_totp, totp_since FROM users WHERE email = $1"
SELECT_ANY_USER = "SELECT EXISTS (SELECT FROM users)"
SELECT_SESSION = """
    SELECT s.digest, s.user_id, s.stage, s.created_at, s.seen_at, s.agent, s.signed_in_with,
        s.notices <> '[]' AS has_notices, u.email, u.name, u.password_hash, u.sealed_totp, u.totp_since
    FROM sessions s JOIN users u USING (user_id) WHERE s.digest = $1
"""
SELECT_MEMBERSHIPS = """
    SELECT o.org_id, o.slug, o.name, o.time_zone, m.role
    FROM memberships m JOIN orgs o USING (org_id) WHERE m.user_id = $1 ORDER BY o.name, o.slug
"""
TOUCH_SESSION = "UPDATE sessions SET seen_at = $2 WHERE digest = $1"
INSERT_SESSION = """
    INSERT INTO sessions (digest, user_id, stage, created_at, seen_at, agent, signed_in_with, sealed_id_token)
    VALUES ($1, $2, $3, $4, $4, $5, $6, $7)
"""
SET_LAST_SIGNED_IN = "UPDATE users SET last_signed_in_at = $2 WHERE user_id = $1"
DELETE_SESSION = "DELETE FROM sessions WHERE digest = $1"
DELETE_SESSION_OF = "DELETE FROM sessions WHERE user_id = $1 AND digest = $2"
TAKE_SESSION = "DELETE FROM sessions WHERE digest = $1 RETURNING signed_in_with, sealed_id_token"
SELECT_ID_TOKEN = "SELECT sealed_id_token FROM sessions WHERE digest = $1"  # noqa: S105  # a statement
DELETE_SESSIONS_OF = "DELETE FROM sessions WHERE user_id = $1 AND digest IS DISTINCT FROM $2"
SELECT_SESSIONS_OF = """
    SELECT digest, user_id, stage, created_at, seen_at, agent, signed_in_with FROM sessions
    WHERE user_id = $1 AND stage = 'full' ORDER BY seen_at DESC LIMIT 50
"""
ADD_NOTICE = """
    UPDATE sessions SET notices = notices || jsonb_build_array(jsonb_build_object('tone', $2::text, 'text', $3::text))
    WHERE digest = $1 AND jsonb_array_length(notices) < 10
"""
TAKE_NOTICES = """
    UPDATE sessions s SET notices = '[]' FROM (SELECT digest, notices FROM sessions WHERE digest = $1 FOR UPDATE) old
    WHERE s.digest = old.digest RETURNING old.notices
"""
DELETE_OLD_SESSIONS = "DELETE FROM sessions WHERE created_at < $1"
# No wait is over before its failure; the index knows the failure.
DELETE_OLD_DELAYS = "DELETE FROM signin_delays WHERE last_failed_at < $1 AND blocked_until < $1"
DELETE_OLD_INVITES = "DELETE FROM invites WHERE expires_at < $1"
DELETE_OLD_RESETS = "DELETE FROM password_resets WHERE expires_at < $1"
DELETE_OLD_LINKS = "DELETE FROM signin_links WHERE expires_at < $1"
DELETE_OLD_FLOWS = "DELETE FROM answered_flows WHERE answered_at < $1"
DELETE_OLD_SIGNINS = "DELETE FROM signins WHERE at < $1"
INSERT_SIGNIN = "INSERT INTO signins (user_id, at, how, agent, address) VALUES ($1, $2, $3, $4, $5)"
SELECT_SIGNINS = "SELECT at, how, agent, address FROM signins WHERE user_id = $1 ORDER BY signin_id DESC LIMIT 20"
SIGNINS_KEPT = timedelta(days=90)


class SessionStore:
    """Sessions in PostgreSQL: any replica knows them, and ending one ends it everywhere at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signed_in(self, digest: bytes, now: datetime, *, seen: bool = True) -> SignedIn | None:
        """Who this session is of; None: there is none, or it is over. Notes that it was seen, unless nobody asked."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SELECT_SESSION, digest)
            if row is None:
                return None
            session = Session(**{name: row[name] for name in _SESSION_COLUMNS})
            if session.over(now):
                await connection.execute(DELETE_SESSION, digest)
                return None
            if seen and session.to_be_touched(now):
                await connection.execute(TOUCH_SESSION, digest, now)
            memberships = await connection.fetch(SELECT_MEMBERSHIPS, session.user_id)
        account = Account(**{name: row[name] for name in _ACCOUNT_COLUMNS.split(", ")})
        return SignedIn(session, account, [Membership(**found) for found in memberships], row["has_notices"])

    async def end(self, digest: bytes) -> None:
        """This session counts no more."""
        async with self._database.connection() as connection:
            await connection.execute(DELETE_SESSION, digest)

    async def end_one(self, user_id: UUID, digest: bytes) -> bool:
        """Whether this person had such a session, which counts no more."""
        async with self._database.connection() as connection:
            return await connection.execute(DELETE_SESSION_OF, user_id, digest) == "DELETE 1"

    async def take(self, digest: bytes) -> tuple[With, str | None] | None:
        """End this session; what opened it, and the sealed ID token where that was a provider. None: it was over."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(TAKE_SESSION, digest)
        return (row["signed_in_with"], row["sealed_id_token"]) if row else None

    async def signins_of(self, user_id: UUID) -> list[SignIn]:
        """A person's last sign-ins, newest first."""
        async with self._database.connection() as connection:
            return [SignIn(**row) for row in await connection.fetch(SELECT_SIGNINS, user_id)]

    async def end_all(self, user_id: UUID, but: bytes | None = None) -> int:
        """How many sessions of this person were ended; `but` one, if given."""
        async with self._database.connection() as connection:
            status = await connection.execute(DELETE_SESSIONS_OF, user_id, but)
        return int(status.rpartition(" ")[2])

    async def all_of(self, user_id: UUID, now: datetime) -> list[Session]:
        """A person's sessions that count, newest use first."""
        async with self._database.connection() as connection:
            found = [Session(**row) for row in await connection.fetch(SELECT_SESSIONS_OF, user_id)]
        return [session for session in found if not session.over(now)]

    async def add_notice(self, digest: bytes, notice: Notice) -> None:
        """To be shown on the next page."""
        async with self._database.connection() as connection:
            await connection.execute(ADD_NOTICE, digest, notice.tone, notice.text)

    async def take_notices(self, digest: bytes) -> list[Notice]:
        """What is to be shown now, once."""
        async with self._database.connection() as connection:
            found: list[dict[str, Any]] | None = await connection.fetchval(TAKE_NOTICES, digest)
        return [Notice(one["tone"], one["text"]) for one in found or ()]

    async def forget_old(self, now: datetime) -> None:
        """What has ended is not kept."""
        async with self._database.connection() as connection:
            await connection.execute(DELETE_OLD_SESSIONS, now - ABSOLUTE)
            for statement in (
                DELETE_OLD_DELAYS, DELETE_OLD_INVITES, DELETE_OLD_RESETS, DELETE_OLD_LINKS, DELETE_OLD_FLOWS
            ):  # fmt: skip
                await connection.execute(statement, now - 2 * ABSOLUTE)
            await connection.execute(DELETE_OLD_SIGNINS, now - SIGNINS_KEPT)


async def begin_session(
    connection: Connection, session: Session, *, address: str, sealed_id_token: str | None = None
) -> None:
    """A new session; its id was never anybody's."""
    now, user_id = session.created_at, session.user_id
    await connection.execute(
        INSERT_SESSION, session.digest, user_id, session.stage, now, session.agent, session.signed_in_with,
        sealed_id_token,
    )  # fmt: skip
    if session.stage == "full":
        await connection.execute(SET_LAST_SIGNED_IN, user_id, now)
        await connection.execute(INSERT_SIGNIN, user_id, now, session.signed_in_with, session.agent, address)


async def account_of(connection: Connection, email: str) -> Account | None:
    """By email."""
    row = await connection.fetchrow(SELECT_ACCOUNT, email)
    return Account(**row) if row else None


async def anybody(connection: Connection) -> bool:
    """Whether there is any account at all."""
    return bool(await connection.fetchval(SELECT_ANY_USER))
