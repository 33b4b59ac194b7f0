"""A new password for a member: the link that an owner makes and hands over."""

from datetime import datetime
from uuid import UUID

from shared.admin.access.people import SELECT_MEMBER, SELECT_ORGS_OF, OneMember
from shared.admin.context import Asking, Context
from shared.admin.errors import Next, NotFound, Refused
from shared.admin.operation import ResultModel, operation_after
from shared.db.pool import Connection
from shared.people import links, store


class ResetMember(OneMember):
    """`second_factor`: the phone is lost too, so two-factor sign-in is turned off."""

    second_factor: bool = False


class PasswordLink(ResultModel):
    """`path` is handed over by whoever asked, below the console's address; it is shown this once and works once. Using
    it signs the person out everywhere."""

    user_id: UUID
    email: str
    path: str
    expires_at: datetime


async def _alone(asking: Asking, asked: ResetMember) -> None:
    """Raises Refused for an account that may open another org, now or later. Asked across orgs, since no org sees the
    others."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        row = await connection.fetchrow(SELECT_MEMBER, asking.org_id, asked.member)
    if row is not None:
        async with asking.means.database.connection() as connection:
            await _require_alone(connection, row["user_id"])


async def _require_alone(connection: Connection, user_id: UUID) -> None:
    if len(await connection.fetch(SELECT_ORGS_OF, user_id)) != 1:
        raise Refused("works elsewhere too, so only whoever runs the system makes such a link", field="member")
    # A group of the provider lets them into another org at any sign-in, and a password set here would come along.
    if await connection.fetchval(store.SELECT_HAS_IDENTITY, user_id):
        what = "signs in through the provider, so only whoever runs the system makes such a link"
        raise Refused(what, field="member")


@operation_after(
    _alone, "people.reset", "POST", "/people/{member}/reset", "owner",
    "Make a link with which a member sets a new password; it is shown this once.",
)  # fmt: skip
async def reset(context: Context, asked: ResetMember, _: None) -> PasswordLink:
    """Of an account that works in this org alone, and signs in with a password alone: whoever opens it must not open
    another org by it."""
    row = await context.connection.fetchrow(SELECT_MEMBER, context.org_id, asked.member)
    if row is None:
        raise NotFound(f"{asked.member} is no member of {context.org_slug}", next=Next("people.list"))
    user_id, means = row["user_id"], context.means
    token, now = links.mint(means.random_bytes), means.wall.now()

    async def store_it() -> None:  # by the role that may: who serves an org has no business with passwords
        async with means.database.transaction() as connection:
            await connection.execute(store.LOCK_ACCOUNT, user_id)
            await _require_alone(connection, user_id)
            await store.reset_anew(connection, links.digest(token), user_id, drops_totp=asked.second_factor, now=now)

    context.after_commit(store_it)
    return PasswordLink(
        user_id=user_id, email=row["email"], path=links.reset_url("", token), expires_at=now + links.RESET_LIFE
    )
