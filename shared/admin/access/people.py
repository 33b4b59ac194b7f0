"""Who works in an org and as what: invited, given another role, removed. People live in real time (`Means.wall`)."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, Field

from shared.admin.audit import INSERT_ENTRY
from shared.admin.context import Context, Means
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.db.pool import Connection
from shared.people import links, store
from shared.people.roles import Role

Email = Annotated[str, Field(max_length=254), AfterValidator(links.email_of)]

SELECT_MEMBER = """
    SELECT u.user_id, u.email FROM memberships m JOIN users u USING (user_id)
    WHERE m.org_id = $1 AND (u.user_id::text = $2 OR u.email = lower($2))
"""
SELECT_INVITE = """
    SELECT invite_id FROM invites WHERE org_id = $1 AND used_at IS NULL AND (invite_id::text = $2 OR email = lower($2))
"""
SELECT_ORGS_OF = "SELECT m.org_id, o.slug FROM memberships m JOIN orgs o USING (org_id) WHERE m.user_id = $1"
_RESET: Final = "people.reset"
_LET_IN: Final = "people.let_in"
_UNLINK: Final = "people.unlink"


class Person(ResultModel):
    """A member. `password` and `provider`: what they can sign in with; the provider is that of single sign-on."""

    user_id: UUID
    email: str
    name: str
    role: Role
    two_factor: bool
    password: bool
    provider: bool
    last_signed_in_at: datetime | None


class Invited(ResultModel):
    """Somebody who was asked in and has not come yet."""

    invite_id: UUID
    email: str
    role: Role
    invited_by: str
    expires_at: datetime


class People(ResultModel):
    """Members by name, open invitations by email."""

    members: list[Person]
    invites: list[Invited]


class Invite(AskedModel):
    """Whom to ask in, as what."""

    email: Email
    role: Role


class NewInvitation(ResultModel):
    """`path` is handed over by whoever asked, below the console's address; it is shown this once and works once."""

    invite_id: UUID
    email: str
    role: Role
    path: str
    expires_at: datetime


class OneInvitation(AskedModel):
    """An open invitation by its id or email."""

    invite: str


class OneMember(AskedModel):
    """A member by id or email."""

    member: str


class ChangeRole(OneMember):
    """What a member becomes."""

    role: Role


class Withdrawn(ResultModel):
    """Whose invitation it was."""

    email: str


class Member(ResultModel):
    """Whose membership it was."""

    user_id: UUID
    email: str


class NewLink(ResultModel):
    """A one-time link of the operator, below the console's address."""

    path: str
    expires_at: datetime


@operation("people.list", "GET", "/people", "viewer", "List who works in the org, and who was invited.")
async def list_people(context: Context, _: Nothing) -> People:
    members = await store.members(context.connection, context.org_id)
    invites = await store.open_invites(context.connection, context.org_id, context.means.wall.now())
    return People(
        members=[Person(**asdict(one)) for one in members], invites=[Invited(**asdict(one)) for one in invites]
    )


@operation(
    "people.invite", "POST", "/people/invites", "owner", "Make a link that lets somebody join; it is shown this once.",
    target=("email",),
)  # fmt: skip
async def invite(context: Context, asked: Invite) -> NewInvitation:
    """An open invitation of the same person is replaced: its link ends."""
    if await store.is_member(context.connection, context.org_id, asked.email):
        raise Refused("is a member already", field="email", next=Next("people.role", (asked.email,)))
    token, invite_id = links.mint(context.means.random_bytes), context.means.new_id()
    expires_at = await store.invite_anew(
        context.connection, invite_id, context.org_id, links.digest(token), asked.email, asked.role,
        context.actor.name, context.means.wall.now(),
    )  # fmt: skip
    return NewInvitation(
        invite_id=invite_id, email=asked.email, role=asked.role, path=links.invite_url("", token), expires_at=expires_at
    )


@operation("people.withdraw", "DELETE", "/people/invites/{invite}", "owner", "Withdraw an invitation; its link ends.")
async def withdraw(context: Context, asked: OneInvitation) -> Withdrawn:
    invite_id = await context.connection.fetchval(SELECT_INVITE, context.org_id, asked.invite)
    email = await store.withdraw_invite(context.connection, context.org_id, invite_id) if invite_id else None
    if email is None:
        raise NotFound(f"No open invitation {asked.invite!r}", field="invite", next=Next("people.list"))
    return Withdrawn(email=email)


@operation("people.role", "PUT", "/people/{member}/role", "owner", "Give a member another role.")
async def change_role(context: Context, asked: ChangeRole) -> Member:
    found = await _member(context, asked.member)
    try:
        await store.change_role(context.connection, context.org_id, found.user_id, asked.role)
    except store.LastOwner as error:
        raise Conflict(str(error), code="last_owner", field="role") from None
    return found


@operation("people.remove", "DELETE", "/people/{member}", "owner", "Take a member out of the org; the account stays.")
async def remove(context: Context, asked: OneMember) -> Member:
    found = await _member(context, asked.member)
    try:
        await store.remove_member(context.connection, context.org_id, found.user_id)
    except store.LastOwner as error:
        raise Conflict(str(error), code="last_owner", field="member") from None
    return found


async def reset_password(means: Means, actor: str, email: str, *, drops_totp: bool, request_id: str) -> NewLink | None:
    """The path of a one-time link; None: there is no such account. The operator's alone, since an account may work in
    several orgs and no owner of one may take it over: each of them finds an entry in its audit log."""
    token, now = links.mint(means.random_bytes), means.wall.now()
    async with means.database.transaction() as connection:
        user_id = await store.user_id_of(connection, email)
        if user_id is None:
            return None
        until = await store.reset_anew(connection, links.digest(token), user_id, drops_totp=drops_totp, now=now)
        await _tell_orgs(connection, means, actor, _RESET, user_id, email, request_id, second_factor=drops_totp)
    return NewLink(path=links.reset_url("", token), expires_at=until)


async def let_in(means: Means, actor: str, email: str, *, request_id: str) -> NewLink | None:
    """The path of a one-time link that signs an owner in, whatever the provider says. None: there is no such account.
    Raises Refused for who owns no org. The operator's alone, and in each org's audit log."""
    token, now = links.mint(means.random_bytes), means.wall.now()
    async with means.database.transaction() as connection:
        user_id = await store.user_id_of(connection, email)
        if user_id is None:
            return None
        if not await store.owns_an_org(connection, user_id):
            raise Refused("owns no org, and only owners are let in so", field="email")
        until = await store.let_in_anew(connection, links.digest(token), user_id, now)
        await _tell_orgs(connection, means, actor, _LET_IN, user_id, email, request_id)
    return NewLink(path=links.let_in_url("", token), expires_at=until)


async def unlink(means: Means, actor: str, email: str, *, request_id: str) -> bool | None:
    """Whether the account was linked to somebody at the provider: the next verified sign-in with this email links it
    anew, and sessions begun through the provider end. None: there is no such account. The operator's alone."""
    async with means.database.transaction() as connection:
        user_id = await store.user_id_of(connection, email)
        if user_id is None:
            return None
        if not await store.unlink(connection, user_id):
            return False
        await _tell_orgs(connection, means, actor, _UNLINK, user_id, email, request_id)
    return True


async def _tell_orgs(
    connection: Connection, means: Means, actor: str, what: str, user_id: UUID, email: str, request_id: str,
    **asked: bool,
) -> None:  # fmt: skip
    for row in await connection.fetch(SELECT_ORGS_OF, user_id):
        await connection.execute(
            INSERT_ENTRY, row["org_id"], means.clock.now(), actor, "cli", what, email, {"email": email, **asked},
            {"user_id": str(user_id)}, request_id,
        )  # fmt: skip


async def _member(context: Context, member: str) -> Member:
    row = await context.connection.fetchrow(SELECT_MEMBER, context.org_id, member)
    if row is None:
        raise NotFound(f"{member} is no member of {context.org_slug}", next=Next("people.list"))
    return Member(email=row["email"], user_id=row["user_id"])
