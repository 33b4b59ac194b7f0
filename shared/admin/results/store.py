"""What `justai results` and `justai what-if` read: decisions and what came of them, one row for many alike.

The unit is the generation, one decision for one person: two emails of one generation count once, and so does a person
who clicks twice. `generations` and `write_outcomes` are partitioned by day, so every statement names the days on both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.content.lifecycle import APPROVING
from shared.db.pool import Connection, Database
from shared.inference.strata import Day
from shared.inference.variants import Draws
from shared.schemas.decisions import OUTSIDE, PLANNED_CONTROL
from shared.schemas.ids import generation_day
from shared.zones import begins, day_in

_TIMEOUT_S = 300.0  # of one statement over all that was asked for
_DAY = timedelta(days=1)

# A generation's day may lie one beside the day of its acceptance, at midnight. A send is never before its generation.
# `drawn`: the variant of a draw whose probabilities are logged. Whether its copy could be rendered is no part of the
# draw: leaving those out for whom it could not would make the variant drawn more rarely than it was, and its people the
# ones that it suits.
WITH_DECISIONS = """
    WITH decided AS (
        SELECT g.day, g.generation_id, g.user_id, g.accepted_at, g.copy_id, g.cell, g.eligible, g.probabilities,
            CASE WHEN g.propensity IS NULL THEN g.drawn_copy_id ELSE g.copy_id END AS drawn,
            g.decision = 'control' AND g.reason = ANY ($7::text[]) AS control
        FROM generations g
        WHERE g.org_id = $1 AND g.template_id = $2 AND g.accepted_at >= $3 AND g.accepted_at < $4
          AND g.day BETWEEN $5 AND $6 AND g.decision IN ('treatment', 'control')
          AND NOT (g.decision = 'control' AND g.reason = ANY ($8::text[]))
    ), sent AS (
        SELECT s.generation_id, bool_or(s.delivered) AS delivered, bool_or(s.human_opens > 0) AS opened,
            bool_or(s.human_clicks > 0) AS clicked, bool_or(s.unsubscribed) AS unsubscribed, bool_or(s.spam) AS spam
        FROM sends s
        WHERE s.org_id = $1 AND s.template_id = $2 AND s.day >= $5 AND s.generation_id IS NOT NULL
        GROUP BY s.generation_id
    )
"""
# Where Klaviyo's branches are the split, the control branch never calls us: its sends are those of its message.
OF_CONTROL_BRANCH = """
    s.org_id = $1 AND s.template_id IS NULL AND s.sent_at >= $3 AND s.sent_at < $4 AND s.day BETWEEN $5 AND $6
    AND s.message_id IN (
        SELECT m.message_id FROM templates t
        JOIN flow_messages m ON m.org_id = $1 AND m.action_id = t.control_action_id
        WHERE t.org_id = $1 AND t.template_id = $2)
"""
# Of them those count that were sent on a day with decisions for treatment: the same email may have been sent for months
# before the template decided anything, or while it was stopped, and nothing of that time is a test.
_WITH_UNITS = f"""
    {WITH_DECISIONS}, units AS (
        SELECT width_bucket(d.accepted_at, $9::timestamptz[]) AS bucket, d.control,
            CASE WHEN NOT d.control THEN d.copy_id END AS copy_id, d.cell, d.user_id, d.accepted_at AS at,
            false AS external, w.outcome = 'written' AS written, s.generation_id IS NOT NULL AS sent, s.delivered,
            s.delivered AND s.opened AS opened, s.delivered AND s.clicked AS clicked,
            s.delivered AND s.unsubscribed AS unsubscribed, s.delivered AND s.spam AS spam
        FROM decided d
        LEFT JOIN write_outcomes w ON w.day = d.day AND w.generation_id = d.generation_id AND w.day BETWEEN $5 AND $6
        LEFT JOIN sent s ON s.generation_id = d.generation_id
        UNION ALL
        SELECT width_bucket(s.sent_at, $9::timestamptz[]), true, NULL, '', s.profile_id, s.sent_at, true, false, true,
            s.delivered, s.delivered AND s.human_opens > 0, s.delivered AND s.human_clicks > 0,
            s.delivered AND s.unsubscribed, s.delivered AND s.spam
        FROM sends s WHERE {OF_CONTROL_BRANCH}
    )
"""  # noqa: S608  # the text above
SELECT_FACTS = f"""
    {_WITH_UNITS}, facts AS (
        SELECT $10::date + bucket - 1 AS day, control, copy_id, cell, external,
            (count(*) FILTER (WHERE NOT external))::int AS assigned,
            (count(*) FILTER (WHERE written))::int AS written,
            (count(*) FILTER (WHERE sent))::int AS sent,
            (count(*) FILTER (WHERE delivered))::int AS delivered,
            (count(*) FILTER (WHERE opened))::int AS opened,
            (count(*) FILTER (WHERE clicked))::int AS clicked,
            (count(*) FILTER (WHERE unsubscribed))::int AS unsubscribed,
            (count(*) FILTER (WHERE spam))::int AS spam,
            (count(*) FILTER (WHERE spam OR unsubscribed))::int AS driven_away
        FROM units GROUP BY 1, 2, 3, 4, 5
    )
    SELECT * FROM facts WHERE NOT external OR day IN (SELECT day FROM facts WHERE NOT control)
"""  # noqa: S608  # the text above
# People come back. Their first decision alone is drawn anew in every way of splitting, and their sends are alike.
# A row a day of first decisions and arm; the sums over people, who come on several days, are the arm's in each.
SELECT_PEOPLE = f"""
    {_WITH_UNITS}, compared AS (
        SELECT * FROM units WHERE NOT external OR bucket IN (SELECT bucket FROM units WHERE NOT control)
    ), people AS (
        SELECT user_id, control, count(*) FILTER (WHERE delivered) AS sends, count(*) FILTER (WHERE clicked) AS clicks
        FROM compared GROUP BY user_id, control
    ), first AS (
        SELECT DISTINCT ON (user_id) bucket, control, sent, delivered FROM compared ORDER BY user_id, at
    )
    SELECT $10::date + f.bucket - 1 AS day, control, f.people::int, f.sent::int, f.delivered::int,
        p.sends_squared::float8, p.sends_clicks::float8, p.clicks_squared::float8
    FROM (
        SELECT control, sum(sends * sends) AS sends_squared, sum(sends * clicks) AS sends_clicks,
            sum(clicks * clicks) AS clicks_squared
        FROM people GROUP BY control
    ) p JOIN (
        SELECT bucket, control, count(*) AS people, count(*) FILTER (WHERE sent) AS sent,
            count(*) FILTER (WHERE delivered) AS delivered
        FROM first GROUP BY bucket, control
    ) f USING (control)
"""  # noqa: S608  # the text above
# The fold is a bit of the id, which is a hash: it says nothing of the person.
SELECT_DRAWS = f"""
    {WITH_DECISIONS}
    SELECT get_byte(uuid_send(d.generation_id), 15) & 1 AS fold, d.cell, d.eligible, d.probabilities,
        d.drawn AS copy_id, count(*)::int AS sends, (count(*) FILTER (WHERE s.clicked))::int AS clicks
    FROM decided d JOIN sent s ON s.generation_id = d.generation_id AND s.delivered
    WHERE NOT d.control AND d.drawn IS NOT NULL AND cardinality(d.eligible) = cardinality(d.probabilities)
    GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608  # the text above
# The planner knows little of a partition of today, and a nested loop over all sends of a template would be quadratic:
# 12,000 of them took half a minute.
SET_FOR_REPORTS = f"""
    SET LOCAL statement_timeout = '{_TIMEOUT_S:.0f}s'; SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB'
"""
# As services/generator/assign.py draws it: the holdout first, and of the others the split's control.
SELECT_TEMPLATE = """
    SELECT state, shipped_at, CASE WHEN state = 'active' AND split <> 'external'
        THEN control_share + (1 - control_share) * control_ratio END AS planned_control
    FROM templates WHERE org_id = $1 AND template_id = $2
"""
# `anew_at`: the ranker's guardrail judges a variant by what came after it; null: it was approved once, and that is all.
SELECT_VARIANTS = """
    SELECT v.copy_id, v.name, v.state, v.theme,
        CASE WHEN count(e.event_id) > 1 OR bool_or(e.event <> 'approved') THEN max(e.created_at) END AS anew_at
    FROM variants v LEFT JOIN variant_events e ON e.org_id = v.org_id AND e.copy_id = v.copy_id
        AND e.event = ANY ($3::text[])
    WHERE v.org_id = $1 AND v.template_id = $2 GROUP BY v.copy_id
"""
# Counted ahead and kept for ever, unlike decisions. Of other days than those that are asked for.
SELECT_BEFORE_SHIPPING = """
    SELECT day + shift AS day, control, sum(delivered)::int AS sends, sum(clicked)::int AS clicks FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr = '' AND day + shift < $3 AND NOT day + shift BETWEEN $4 AND $5
    GROUP BY 1, 2
"""


class Fact(NamedTuple):
    """Generations of one day in the zone that was asked for, arm, variant and cell. Everything from `opened` on counts
    delivered ones alone. `external`: sends of Klaviyo's own control branch, of whose people no attrs are known."""

    day: date
    control: bool
    copy_id: UUID | None  # null: control, or treatment that could not be rendered
    cell: str
    external: bool
    assigned: int
    written: int
    sent: int
    delivered: int
    opened: int
    clicked: int
    unsubscribed: int
    spam: int
    driven_away: int  # unsubscribed or complained

    @property
    def clicks_of_day(self) -> Day:
        """For a comparison day by day."""
        return Day.of_events(self.day, self.control, self.delivered, self.clicked)


class Firsts(NamedTuple):
    """People of one arm whose first decision was on this day; of them those whose email was sent, and delivered."""

    day: date
    control: bool
    people: int
    sent: int
    delivered: int


class People(NamedTuple):
    """Sums over one arm's people of delivered generations squared, delivered times clicked, and clicked squared."""

    control: bool
    sends_squared: float
    sends_clicks: float
    clicks_squared: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One template over the time from `since` up to `until`, in days of `zone`."""

    org_id: UUID
    template_id: str
    since: datetime
    until: datetime
    zone: ZoneInfo

    @property
    def arguments(self) -> tuple[Any, ...]:
        """In the order of the statements."""
        first, last = generation_day(self.since) - _DAY, generation_day(self.until) + _DAY
        planned, outside = sorted(PLANNED_CONTROL), sorted(OUTSIDE)
        return self.org_id, self.template_id, self.since, self.until, first, last, planned, outside

    @property
    def days(self) -> tuple[list[datetime], date]:
        """When each of its days begins, and the first of them."""
        first = day_in(self.zone, self.since)
        return begins(first, day_in(self.zone, self.until), self.zone), first

    @property
    def first_whole_day(self) -> date:
        """The first of which no moment is left out."""
        starts, first = self.days
        return first if starts[0] >= self.since else first + _DAY


@dataclass(frozen=True, slots=True)
class Read:
    """All that is known; `names`, `states` and `themes` of every variant that there ever was. `external`: Klaviyo's
    branches are the split.

    `planned_control`: the share that the template's own split makes control; None where Klaviyo's branches do.
    `before`: clicks of days before the template was shipped that are not among the days asked for. `anew`: the day on
    which a variant was last resumed, rolled back or approved again."""

    state: str
    shipped_at: datetime | None
    names: Mapping[UUID, str]
    facts: list[Fact]
    firsts: list[Firsts]
    people: list[People]
    draws: list[Draws]
    external: bool
    states: Mapping[UUID, str] = field(default_factory=dict)
    planned_control: float | None = None
    themes: Mapping[UUID, str] = field(default_factory=dict)
    before: Sequence[Day] = ()
    anew: Mapping[UUID, date] = field(default_factory=dict)


async def read(database: Database, asked: Asked) -> Read:
    """Facts and draws. A file that lands meanwhile may be in the draws alone, which nothing minds."""
    async with database.transaction(asked.org_id, 3 * _TIMEOUT_S) as connection:
        await connection.execute(SET_FOR_REPORTS)
        template = await connection.fetchrow(SELECT_TEMPLATE, asked.org_id, asked.template_id)
        variants = await connection.fetch(SELECT_VARIANTS, asked.org_id, asked.template_id, APPROVING)
        facts = await fetch(connection, SELECT_FACTS, asked, *asked.days)
        people = await fetch(connection, SELECT_PEOPLE, asked, *asked.days)
        draws = await fetch(connection, SELECT_DRAWS, asked)
        before = await _before_shipping(connection, asked, template["shipped_at"] if template else None)
    return Read(
        template["state"] if template else "archived",
        template["shipped_at"] if template else None,
        {row["copy_id"]: row["name"] for row in variants},
        [Fact(*row) for row in facts],
        [Firsts(*(row[name] for name in Firsts._fields)) for row in people],
        [*{row["control"]: People(*(row[name] for name in People._fields)) for row in people}.values()],
        [draws_of(row) for row in draws],
        any(row["external"] for row in facts),
        {row["copy_id"]: row["state"] for row in variants},
        template["planned_control"] if template else None,
        {row["copy_id"]: row["theme"] for row in variants},
        before,
        {row["copy_id"]: day_in(asked.zone, row["anew_at"]) for row in variants if row["anew_at"] is not None},
    )


async def _before_shipping(connection: Connection, asked: Asked, shipped_at: datetime | None) -> list[Day]:
    if shipped_at is None:
        return []
    shipped, last = day_in(asked.zone, shipped_at), day_in(asked.zone, asked.until)
    rows = await connection.fetch(
        SELECT_BEFORE_SHIPPING, asked.org_id, asked.template_id, shipped, asked.days[1], last, timeout=_TIMEOUT_S
    )
    return [Day.of_events(*row) for row in rows]


async def fetch(connection: Connection, statement: str, asked: Asked, *more: object) -> list[Any]:
    """The rows of a report's statement; `more` arguments follow those of what was asked."""
    return list(await connection.fetch(statement, *asked.arguments, *more, timeout=_TIMEOUT_S))


def draws_of(row: Mapping[str, Any]) -> Draws:
    """A row of one kind of draw."""
    return Draws(
        row["fold"], row["cell"], tuple(row["eligible"]), tuple(row["probabilities"]), row["copy_id"], row["sends"],
        row["clicks"],
    )  # fmt: skip


def total(facts: Iterable[Fact]) -> Fact:
    """The counts of all of them together, in a fact whose other columns mean nothing."""
    counts = [0] * 9
    for fact in facts:
        for at, count in enumerate(fact[5:]):
            counts[at] += count
    return Fact(date.min, False, None, "", False, *counts)
