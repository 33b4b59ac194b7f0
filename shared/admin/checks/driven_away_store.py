"""Templates by which more people leave than by their control, as the ranker noted it, read by SQL."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from shared.db.pool import Connection

_MOST: Final = 20

# Without an approved variant the ranker looks at it no more, and what it noted last would stay for ever.
OF_SERVED: Final = """
    policy_fits p JOIN templates t USING (org_id, template_id)
    WHERE p.driven_away IS NOT NULL AND t.state IN ('active', 'shipped') AND EXISTS (
        SELECT FROM variants v WHERE v.org_id = t.org_id AND v.template_id = t.template_id AND v.state = 'approved')
"""
SELECT_DRIVEN_AWAY = f"""
    SELECT t.template_id, t.name, p.driven_away AS says FROM {OF_SERVED} AND p.org_id = $1
    ORDER BY t.template_id LIMIT $2
"""  # noqa: S608  # the text above


@dataclass(frozen=True, slots=True)
class DrivenAway:
    """One template; `says`: how many left, of how many, against how many of control's."""

    template_id: str
    name: str
    says: str


async def read_driven_away(connection: Connection, org_id: UUID) -> list[DrivenAway]:
    """Those that are served."""
    rows = await connection.fetch(SELECT_DRIVEN_AWAY, org_id, _MOST)
    return [DrivenAway(**dict(row)) for row in rows]
