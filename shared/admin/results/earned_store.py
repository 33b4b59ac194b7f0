"""What `justai results` and `justai what-if` read of conversions: what delivered decisions earned, by arm and draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.admin.results.store import OF_CONTROL_BRANCH, SET_FOR_REPORTS, WITH_DECISIONS, Asked, draws_of, fetch
from shared.db.pool import Database
from shared.inference.strata import Day
from shared.inference.variants import Draws
from shared.schemas.conversions import Conversions
from shared.schemas.policy import Policy

_TIMEOUT_S = 900.0
_OF_DECISIONS = ("sends", "converted", "revenue", "squares")
_OF_PEOPLE = ("sends_squared", "sends_converted", "converted_squared", "sends_revenue", "revenue_squared")

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
# Klaviyo's own control branch: one email, one decision; those of days with decisions for treatment, as in store.py.
# A row a day and arm; the sums over people, who come on several days, are the arm's in each.
SELECT_EARNED = f"""
    {_WITH_ORDERS}, units AS (
        SELECT width_bucket(d.accepted_at, $10::timestamptz[]) AS bucket, d.control, false AS external, d.user_id,
            o.generation_id IS NOT NULL AS converted, coalesce(o.revenue, 0) AS revenue
        FROM decided d JOIN sent s ON s.generation_id = d.generation_id AND s.delivered
        LEFT JOIN orders o ON o.generation_id = d.generation_id
        UNION ALL
        SELECT width_bucket(s.sent_at, $10::timestamptz[]), true, true, s.profile_id, e.converted_at IS NOT NULL,
            least(e.revenue, $9::float8::numeric)
        FROM sends s CROSS JOIN LATERAL earned($1, $2, s.transmission_id, 'infinity') e
        WHERE s.delivered AND {OF_CONTROL_BRANCH}
    ), compared AS (
        SELECT * FROM units WHERE NOT external OR bucket IN (
            SELECT width_bucket(accepted_at, $10::timestamptz[]) FROM decided WHERE NOT control)
    ), people AS (
        SELECT control, user_id, count(*) AS sends, count(*) FILTER (WHERE converted) AS converted,
            sum(revenue) AS revenue
        FROM compared GROUP BY control, user_id
    )
    SELECT $11::date + d.bucket - 1 AS day, d.control, d.sends, d.converted, d.revenue, d.squares, p.sends_squared,
        p.sends_converted, p.converted_squared, p.sends_revenue, p.revenue_squared
    FROM (
        SELECT bucket, control, count(*)::int AS sends, (count(*) FILTER (WHERE converted))::int AS converted,
            sum(revenue)::float8 AS revenue, sum(revenue * revenue)::float8 AS squares
        FROM compared GROUP BY 1, 2
    ) d JOIN (
        SELECT control, sum(sends * sends)::float8 AS sends_squared, sum(sends * converted)::float8 AS sends_converted,
            sum(converted * converted)::float8 AS converted_squared, sum(sends * revenue)::float8 AS sends_revenue,
            sum(revenue * revenue)::float8 AS revenue_squared
        FROM people GROUP BY 1
    ) p USING (control)
    ORDER BY 1
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
    conversions_of_days: Sequence[Day] = ()
    revenue_of_days: Sequence[Day] = ()


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
        days = await fetch(connection, SELECT_EARNED, asked, cap, *asked.days)
        draws = await fetch(connection, SELECT_CONVERTED_DRAWS, asked, cap)
        revenue = [] if cap is None else await fetch(connection, SELECT_REVENUE_DRAWS, asked, cap)
    return Earned(
        Conversions.model_validate(row["conversions"]),
        row["conversions_stale"],
        policy,
        tuple(one["currency"] for one in currencies),
        _arm(days, control=False),
        _arm(days, control=True),
        [draws_of(one) for one in draws],
        [draws_of(one) for one in revenue],
    )


def _arm(rows: Sequence[Mapping[str, Any]], *, control: bool) -> Arm:
    """The arm's days added up."""
    mine = [row for row in rows if row["control"] is control]
    if not mine:
        return Arm(control)
    sums: dict[str, Any] = {name: sum(row[name] for row in mine) for name in _OF_DECISIONS}
    sums |= {name: mine[0][name] for name in _OF_PEOPLE}
    return Arm(
        control=control,
        conversions_of_days=[Day.of_events(row["day"], control, row["sends"], row["converted"]) for row in mine],
        revenue_of_days=[Day(row["day"], control, row["sends"], row["revenue"], row["squares"]) for row in mine],
        **sums,
    )
