"""Which account somebody at the provider has: linked, found by verified email, or made where that is allowed.

An account is found by email once. From then on the subject counts, so an address that goes to somebody else at the
provider takes nobody's account along.

Who made that account, nobody knows: whoever had its invitation, or a link for its password, may have chosen what opens
it. So what opened it until then ends, and from then on it opens through the provider.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.console.oidc.admission import Vouched, places_of
from services.console.oidc.errors import SignInRefused
from services.console.oidc.settings import Policy
from services.console.people.joining import INSERT_MEMBER
from services.console.people.second_factor import DELETE_CODES
from services.console.people.signing_in import Means
from services.console.people.store import DELETE_SESSIONS_OF
from shared import logs
from shared.admin.audit import INSERT_ENTRY
from shared.db.pool import Connection
from shared.people.roles import Role
from shared.people.store import DELETE_RESETS, DELETE_SIGNIN_LINKS, LastOwner, change_role, remove_member

log = logs.get(__name__)

LOCK_LINKING = "SELECT pg_advisory_xact_lock(7331023)"  # first sign-ins are rare, and two at once make one account
SELECT_LINKED = """
    SELECT u.user_id, u.email, u.totp_since IS NOT NULL AS two_factor
    FROM identities i JOIN users u USING (user_id) WHERE i.issuer = $1 AND i.subject = $2
"""
SELECT_BY_EMAIL = """
    SELECT u.user_id, u.email, u.totp_since IS NOT NULL AS two_factor, u.has_password,
        EXISTS (SELECT FROM identities i WHERE i.user_id = u.user_id AND i.issuer = $2) AS linked
    FROM users u WHERE u.email = $1 FOR NO KEY UPDATE OF u  -- see LOCK_ACCOUNT
"""
END_WAYS_IN = "UPDATE users SET password_hash = NULL, sealed_totp = NULL, totp_since = NULL WHERE user_id = $1"
INSERT_IDENTITY = "INSERT INTO identities (issuer, subject, user_id, email, linked_at) VALUES ($1, $2, $3, $4, $5)"
INSERT_USER = "INSERT INTO users (user_id, email, name, created_at) VALUES ($1, $2, $3, $4)"
USE_INVITES = """
    UPDATE invites SET used_at = $2 WHERE email = $1 AND used_at IS NULL AND expires_at > $2 RETURNING org_id, role
"""
SELECT_ORG = "SELECT org_id FROM orgs WHERE slug = $1"
SELECT_PLACES = """
    SELECT o.org_id, o.slug, m.role, m.by_group
    FROM orgs o LEFT JOIN memberships m ON m.org_id = o.org_id AND m.user_id = $1 WHERE o.slug = ANY($2::text[])
    ORDER BY o.slug
"""
INSERT_BY_GROUP = """
    INSERT INTO memberships (org_id, user_id, role, created_at, by_group) VALUES ($1, $2, $3, $4, true)
    ON CONFLICT (org_id, user_id) DO NOTHING
"""
SELECT_ORGS_OF = "SELECT org_id FROM memberships WHERE user_id = $1"
ANSWER_FLOW = "INSERT INTO answered_flows (digest, answered_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whose session may begin."""

    user_id: UUID
    email: str
    two_factor: bool


async def answer_once(means: Means, digest: bytes) -> bool:
    """False when this flow was answered before, on whatever replica."""
    async with means.database.connection() as connection:
        return await connection.execute(ANSWER_FLOW, digest, means.clock.now()) == "INSERT 0 1"


async def admit(means: Means, who: Vouched, policy: Policy, *, at: datetime, request_id: str) -> Admitted:
    """The account, with the places that the person's groups give now; `at`: the system's time, for audit logs. Raises
    SignInRefused."""
    async with means.database.transaction() as connection:
        entry = _Entry(connection, means.clock.now(), at, request_id)
        found = await _linked(connection, who)
        if found is None:
            await connection.execute(LOCK_LINKING)
            found = await _linked(connection, who) or await _link(means, entry, who, policy)
        await _place_by_groups(entry, found, who, policy)
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    """One sign-in's transaction, and what the audit logs get to know of it."""

    connection: Connection
    now: datetime
    at: datetime
    request_id: str

    async def end_ways_in(self, user_id: UUID) -> None:
        """What opened this account until now opens it no more, by whomever it was set."""
        await self.connection.execute(DELETE_RESETS, user_id)
        await self.connection.execute(DELETE_SIGNIN_LINKS, user_id)
        await self.connection.execute(END_WAYS_IN, user_id)
        await self.connection.execute(DELETE_CODES, user_id)
        await self.connection.execute(DELETE_SESSIONS_OF, user_id, None)

    async def write(self, org_id: UUID, operation: str, email: str, **asked: str) -> None:
        await self.connection.execute(
            INSERT_ENTRY, org_id, self.at, email, "person", operation, email, {"by": "provider", **asked}, {},
            self.request_id,
        )  # fmt: skip


async def _linked(connection: Connection, who: Vouched) -> Admitted | None:
    row = await connection.fetchrow(SELECT_LINKED, who.issuer, who.subject)
    return Admitted(**row) if row else None


async def _link(means: Means, entry: _Entry, who: Vouched, policy: Policy) -> Admitted:
    if who.email is None:
        raise SignInRefused("email_unverified")
    row = await entry.connection.fetchrow(SELECT_BY_EMAIL, who.email, who.issuer)
    ended = {}
    if row is None:
        found = await _make(means, entry, who, who.email, policy)
    elif row["linked"]:
        raise SignInRefused("linked_to_another")
    else:
        await entry.end_ways_in(row["user_id"])
        found = Admitted(row["user_id"], row["email"], two_factor=False)
        ways = {"password": row["has_password"], "second factor": row["two_factor"]}
        ended = {"ended": ", ".join([way for way, was_there in ways.items() if was_there] + ["sessions"])}
    await entry.connection.execute(INSERT_IDENTITY, who.issuer, who.subject, found.user_id, who.email, entry.now)
    for org in await entry.connection.fetch(SELECT_ORGS_OF, found.user_id):
        await entry.write(org["org_id"], "people.link", found.email, **ended)
    return found


async def _make(means: Means, entry: _Entry, who: Vouched, email: str, policy: Policy) -> Admitted:
    """An account without a password, for who is invited, or may come without. Whoever reads an address's mail could
    have used its invitations; who the provider says has it may, too."""
    connection, user_id = entry.connection, means.new_id()
    places = [(row["org_id"], row["role"]) for row in await connection.fetch(USE_INVITES, email, entry.now)]
    if not places and policy.joins is not None:
        org_id = await connection.fetchval(SELECT_ORG, policy.joins.org)
        if org_id is None:
            raise SignInRefused("no_such_org", policy.joins.org)
        places = [(org_id, policy.joins.role)]
    by_groups = places_of(who.groups or frozenset(), policy) if policy.groups_admit else {}
    if not places and not any(by_groups.values()):
        raise SignInRefused("unknown_person")
    await connection.execute(INSERT_USER, user_id, email, who.name, entry.now)
    for org_id, role in places:
        await connection.execute(INSERT_MEMBER, org_id, user_id, role, entry.now)
        await entry.write(org_id, "people.join", email, role=role)
    return Admitted(user_id, email, two_factor=False)


async def _place_by_groups(entry: _Entry, found: Admitted, who: Vouched, policy: Policy) -> None:
    if not policy.places:
        return
    if who.groups is None:
        log.warning("oidc.groups_not_told", user_id=str(found.user_id))
        return
    wanted = places_of(who.groups, policy)
    rows = await entry.connection.fetch(SELECT_PLACES, found.user_id, sorted(wanted))
    for missing in wanted.keys() - {row["slug"] for row in rows}:
        log.warning("oidc.no_such_org", org=missing)
    for row in rows:
        role = wanted[row["slug"]]
        if row["role"] is None and role is not None:
            await entry.connection.execute(DELETE_RESETS, found.user_id)  # as whoever joins by an invitation
            await entry.connection.execute(INSERT_BY_GROUP, row["org_id"], found.user_id, role, entry.now)
            await entry.write(row["org_id"], "people.join", found.email, role=role)
        elif row["by_group"] and row["role"] != role:
            await _follow(entry, found, row["org_id"], role)


async def _follow(entry: _Entry, found: Admitted, org_id: UUID, role: Role | None) -> None:
    """The group gives another role now, or none; an org's last owner stays one."""
    try:
        if role is None:
            await remove_member(entry.connection, org_id, found.user_id)
            await entry.write(org_id, "people.remove", found.email)
        else:
            await change_role(entry.connection, org_id, found.user_id, role, by_group=True)
            await entry.write(org_id, "people.role", found.email, role=role)
    except LastOwner:
        log.warning("oidc.last_owner_stays", user_id=str(found.user_id), org_id=str(org_id))
