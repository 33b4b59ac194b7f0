"""What `justai results` and `justai what-if` read of conversions: what delivered decisions earned, by arm and draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.admin.results.store import SET_FOR_REPORTS, WITH_DECISIONS, Asked, draws_of, fetch
from shared.db.pool import Database
from shared.inference.variants import Draws
from shared.schemas.conversions import Conversions
from shared.schemas.policy import Policy

_TIMEOUT_S = 900.0

SELECT_DEFINED = """
    SELECT conversions, conversions_stale, policy FROM templates WHERE org_id = $1 AND template_id = $2
"""
SELECT_CURRENCIES = """
    SELECT DISTINCT currency FROM conversions
    WHERE org_id = $1 AND template_id = $2 AND currency IS NOT NULL ORDER BY 1 LIMIT 5
"""

# The unit is the decision, as everywhere: what its emails earned together, at most the cap.
_WITH_ORDERS = f"""
    {WITH_DECISIONS}, orders AS (
        SELECT s.generation_id, least(sum(e.revenue), $9::float8::numeric) AS revenue
        FROM sends s CROSS JOIN LATERAL earned($1, $2, s.transmission_id, 'infinity') e
        WHERE s.org_id = $1 AND s.template_id = $2 AND s.day >= $5 AND s.generation_id IS NOT NULL AND s.delivered
          AND e.converted_at IS NOT NULL
        GROUP BY s.generation_id
    )
"""  # noqa: S608  # the text above
# Klaviyo's own control branch: one email, one decision.
SELECT_EARNED = f"""
    {_WITH_ORDERS}, units AS (
        SELECT d.control, d.user_id, o.generation_id IS NOT NULL AS converted, coalesce(o.revenue, 0) AS revenue
        FROM decided d JOIN sent s ON s.generation_id = d.generation_id AND s.delivered
        LEFT JOIN orders o ON o.generation_id = d.generation_id
        UNION ALL
        SELECT true, s.profile_id, e.converted_at IS NOT NULL, least(e.revenue, $9::float8::numeric)
        FROM sends s CROSS JOIN LATERAL earned($1, $2, s.transmission_id, 'infinity') e
        WHERE s.org_id = $1 AND s.template_id IS NULL AND s.sent_at >= $3 AND s.sent_at < $4
          AND s.day BETWEEN $5 AND $6 AND s.delivered AND s.message_id IN (
            SELECT m.message_id FROM templates t
            JOIN flow_messages m ON m.org_id = $1 AND m.action_id = t.control_action_id
            WHERE t.org_id = $1 AND t.template_id = $2)
    ), people AS (
        SELECT control, user_id, count(*) AS sends, count(*) FILTER (WHERE converted) AS converted,
            sum(revenue) AS revenue, sum(revenue * revenue) AS squares
        FROM units GROUP BY control, user_id
    )
    SELECT control, sum(sends)::int AS sends, sum(converted)::int AS converted, sum(revenue)::float8 AS revenue,
        sum(squares)::float8 AS squares, sum(sends * sends)::float8 AS sends_squared,
        sum(sends * converted)::float8 AS sends_converted, sum(converted * converted)::float8 AS converted_squared,
        sum(sends * revenue)::float8 AS sends_revenue, sum(revenue * revenue)::float8 AS revenue_squared
    FROM people GROUP BY control
"""  # noqa: S608  # the text above
_SELECT_DRAWS = f"""
    {_WITH_ORDERS}
    SELECT get_byte(uuid_send(d.generation_id), 15) & 1 AS fold, d.cell, d.eligible, d.probabilities,
        d.drawn AS copy_id, count(*)::int AS sends, %s AS clicks
    FROM decided d JOIN sent s ON s.generation_id = d.generation_id AND s.delivered
    LEFT JOIN orders o ON o.generation_id = d.generation_id
    WHERE NOT d.control AND d.drawn IS NOT NULL AND cardinality(d.eligible) = cardinality(d.probabilities)
    GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608  # the text above
SELECT_CONVERTED_DRAWS = _SELECT_DRAWS % "count(o.generation_id)::int"
SELECT_REVENUE_DRAWS = _SELECT_DRAWS % "coalesce(sum(o.revenue / $9::float8::numeric), 0)::float8"


class Arm(NamedTuple):
    """Delivered decisions of one arm: how many converted, what they earned (capped); and sums over people as in
    `People`, for conversions and for revenue. `squares`: of each decision's revenue."""

    control: bool
    sends: int = 0
    converted: int = 0
    revenue: float = 0.0
    squares: float = 0.0
    sends_squared: float = 0.0
    sends_converted: float = 0.0
    converted_squared: float = 0.0
    sends_revenue: float = 0.0
    revenue_squared: float = 0.0


@dataclass(frozen=True, slots=True)
class Earned:
    """All that is known of a template's conversions. `stale`: ingest has still to count by the present definition.
    `currencies`: those that orders name. `revenue_draws` are fractions of the cap; without one there are none."""

    defined: Conversions
    stale: bool
    policy: Policy
    currencies: tuple[str, ...]
    treatment: Arm
    control: Arm
    draws: list[Draws]
    revenue_draws: list[Draws]

    @property
    def cap(self) -> float | None:
        """What one decision counts as at most."""
        return self.policy.revenue_cap

    @property
    def currency(self) -> str:
        """Of all values; empty where nobody said it."""
        return self.defined.currency or (self.currencies[0] if len(self.currencies) == 1 else "")


async def read_earned(database: Database, asked: Asked) -> Earned | None:
    """None where the template counts no conversions."""
    async with database.transaction(asked.org_id, _TIMEOUT_S) as connection:
        await connection.execute(SET_FOR_REPORTS)
        row = await connection.fetchrow(SELECT_DEFINED, asked.org_id, asked.template_id)
        if row is None or row["conversions"] is None:
            return None
        policy = Policy.model_validate(row["policy"])
        currencies = await connection.fetch(SELECT_CURRENCIES, asked.org_id, asked.template_id)
        cap = policy.revenue_cap
        arms = [_arm(one) for one in await fetch(connection, SELECT_EARNED, asked, cap)]
        draws = await fetch(connection, SELECT_CONVERTED_DRAWS, asked, cap)
        revenue = [] if cap is None else await fetch(connection, SELECT_REVENUE_DRAWS, asked, cap)
    return Earned(
        Conversions.model_validate(row["conversions"]),
        row["conversions_stale"],
        policy,
        tuple(one["currency"] for one in currencies),
        next((one for one in arms if not one.control), Arm(control=False)),
        next((one for one in arms if one.control), Arm(control=True)),
        [draws_of(one) for one in draws],
        [draws_of(one) for one in revenue],
    )


def _arm(row: Mapping[str, Any]) -> Arm:
    return Arm(**row)
