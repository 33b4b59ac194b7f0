"""Whether anything is stored of a person. Who asks for one of whom nothing is, gets the same answer in every org."""

from shared.admin.context import Asking
from shared.admin.errors import NotFound
from shared.admin.person.told import told_of

SELECT_KNOWN = """
    SELECT EXISTS (SELECT FROM generations WHERE org_id = $1 AND user_id = $2)
        OR EXISTS (SELECT FROM sends WHERE org_id = $1 AND profile_id = $2)
        OR EXISTS (SELECT FROM events WHERE org_id = $1 AND profile_id = $2 AND transmission_id IS NULL)
        OR EXISTS (SELECT FROM last_copies WHERE org_id = $1 AND user_id = $2)
        OR EXISTS (SELECT FROM event_repeats WHERE org_id = $1 AND said ->> 'profile_id' = $2 AND said IS NOT NULL)
"""
# By every account, as the org may have been connected to another one.
COUNT_ON_PROFILE = """
    SELECT count(*) FILTER (WHERE s.state <> 'clean') AS on_profile, count(*) AS remembered
    FROM klaviyo_accounts a JOIN profile_state s ON s.account_key = a.account_key AND s.profile_id = $2
    WHERE s.org_id = $1
"""


async def on_profile(asking: Asking, user_id: str) -> tuple[int, int]:
    """Sets of our properties that the Klaviyo profile holds, or may hold; and all that are remembered, those that were
    taken off among them. As the worker's role, since an account belongs to no org: the statement names the org."""
    async with asking.means.database.connection() as connection:
        row = await connection.fetchrow(COUNT_ON_PROFILE, asking.org_id, user_id)
    return (0, 0) if row is None else (row["on_profile"], row["remembered"])


async def has_rows(asking: Asking, user_id: str) -> bool:
    """Whether an index finds anything of the person in this org."""
    async with asking.means.database.transaction(asking.org_id) as connection:
        return bool(await connection.fetchval(SELECT_KNOWN, asking.org_id, user_id))


async def is_known(asking: Asking, user_id: str) -> bool:
    """Whether anything is stored of them. Where no index says so, all days of events are read."""
    return await has_rows(asking, user_id) or bool(await told_of(asking, user_id, only_whether=True))


def nobody(user_id: str) -> NotFound:
    """Nothing is stored of them."""
    return NotFound(
        f"Nothing is stored of a person {user_id!r}; an id is that of the Klaviyo profile, not an email address, and a "
        "webhook of the last seconds may still be on its way",
        field="user_id",
        code="no_such_person",
    )
