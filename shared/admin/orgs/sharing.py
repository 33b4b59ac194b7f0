"""Other orgs of this installation on the same Klaviyo account. What one is told of another is that it is there, without
its name and its templates'."""

from typing import Final

from shared.admin.context import Asking
from shared.admin.errors import Refused

# Across orgs, so as the worker's role.
SELECT_PREFIXES: Final = """
    SELECT DISTINCT t.property_prefix FROM integrations mine
    JOIN integrations theirs ON theirs.account_key = mine.account_key AND theirs.org_id <> mine.org_id
    JOIN templates t ON t.org_id = theirs.org_id
    WHERE mine.org_id = $1 AND t.state <> 'archived'
"""
# No flow is in two accounts. Of an org whose account is known by its key alone.
SELECT_MAY_SHARE: Final = """
    SELECT EXISTS (
        SELECT FROM integrations mine JOIN flow_messages m USING (org_id)
        JOIN flow_messages t ON t.flow_id = m.flow_id AND t.org_id <> m.org_id
        JOIN integrations theirs ON theirs.org_id = t.org_id
            AND theirs.account_key <> mine.account_key AND theirs.base_url = mine.base_url
        WHERE mine.org_id = $1 AND mine.account_key LIKE 'key:%')
"""


async def prefixes_elsewhere(asking: Asking) -> frozenset[str]:
    """Those of other orgs' templates whose copy goes to the same profiles."""
    async with asking.means.database.transaction() as connection:
        rows = await connection.fetch(SELECT_PREFIXES, asking.org_id)
    return frozenset(row["property_prefix"] for row in rows)


async def may_share(asking: Asking) -> bool:
    """Whether another org read the same flows with a key of its own, so that neither knows of the other's copy."""
    async with asking.means.database.transaction() as connection:
        return bool(await connection.fetchval(SELECT_MAY_SHARE, asking.org_id))


def refuse_taken(prefix: str, elsewhere: frozenset[str]) -> None:
    """Raises Refused for one of another org's."""
    if prefix in elsewhere:
        raise Refused(says_taken(prefix), field="property_prefix")


def says_taken(prefix: str) -> str:
    """Why it should be another."""
    return (
        f"another org writes to {prefix}_… on profiles of the same Klaviyo account, and each takes the other's copy "
        "off; choose another prefix"
    )
