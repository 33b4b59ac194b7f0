"""From orders to the sends that they follow, in SQL: computed anew for each order that a file, or a setting, touched.

An order is an event of a metric that a template's `conversions` name (shared/schemas/conversions.py). It belongs to the
newest delivered send of the template to that person, if that is at most the window older: last touch. Sends of the
template are those that show one of its generations, and those of its control message, where Klaviyo's branches are the
split. A refund belongs to the send of its order: the newest one of the same person with the same order id.

| what comes | what is computed anew |
|---|---|
| an order or a refund, early or late | it, and the orders and refunds of the same id |
| another word of a newer file, or of none any more (retract.py) | the same |
| a send, or one that moves: in time, to another template, to not delivered | orders of its person in its window |
| another definition of conversions | all orders of the org |

`bought` says which events, `placed` where the sends stood before (sign -1) and stand now (+1).
"""

from datetime import date, timedelta
from uuid import UUID

from services.ingest.loading.switch import EVENTS_SINCE, STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

REFUND_DAYS, EARLY_DAYS = 90, 7
"""Most days that a refund comes after its order, and, where clocks or zones are wrong, before it."""

SELECT_METRICS = """
    SELECT
        coalesce(array_agg(DISTINCT lower(m.name)) FILTER (WHERE NOT m.refunds), '{}') AS orders,
        coalesce(array_agg(DISTINCT lower(m.name)) FILTER (WHERE m.refunds), '{}') AS refunds,
        coalesce(max((conversions->>'window_h')::int), 0) AS window_h
    FROM templates CROSS JOIN LATERAL (
        SELECT name, false AS refunds FROM jsonb_array_elements_text(conversions->'metrics') one (name)
        UNION ALL SELECT name, true FROM jsonb_array_elements_text(conversions->'refunds') one (name)
    ) m
    WHERE org_id = $1 AND conversions IS NOT NULL
"""

NOTE_PLACES = """
    INSERT INTO placed
    SELECT s.transmission_id, s.profile_id, s.sent_at, s.template_id, s.message_id, s.delivered, $2::int
    FROM tallies t JOIN sends s ON s.org_id = $1 AND s.transmission_id = t.transmission_id
"""

SELECT_MOVED_DAYS = """
    SELECT (min(sent_at) AT TIME ZONE 'UTC')::date AS first, (max(sent_at) AT TIME ZONE 'UTC')::date AS last FROM placed
"""

# Most sends that a file touches were only opened: they stand where they stood, and their orders with them.
TOUCH_ORDERS_OF_MOVED = """
    INSERT INTO bought
    SELECT e.event_id, e.day FROM (
        SELECT DISTINCT profile_id, sent_at FROM placed
        GROUP BY transmission_id, profile_id, sent_at, template_id, message_id, delivered HAVING sum(sign) <> 0
    ) p JOIN events e ON e.org_id = $1 AND e.profile_id = p.profile_id
    WHERE e.transmission_id IS NULL AND e.day BETWEEN $4 AND $5
      AND e.event_at >= p.sent_at AND e.event_at <= p.sent_at + $3 * interval '1 hour'
      AND lower(e.metric) = ANY ($2::text[])
"""

TOUCH_ALL_ORDERS = """
    INSERT INTO bought
    SELECT event_id, day FROM events
    WHERE org_id = $1 AND transmission_id IS NULL AND lower(metric) = ANY ($2::text[])
      AND day >= (SELECT min(day) FROM sends WHERE org_id = $1)
"""

# Of metrics that nobody names any more, too.
TOUCH_ALL_CONVERSIONS = """
    INSERT INTO bought SELECT event_id, (at AT TIME ZONE 'UTC')::date FROM conversions WHERE org_id = $1
"""

SELECT_DAYS = "SELECT min(day) AS first, max(day) AS last FROM bought"

# An order's refunds follow it, and which of the orders of one id they belong to shows when all of those are there. Each
# day is a partition to look into, so it is not looked further than need be.
TOUCH_REFUNDS = """
    INSERT INTO bought
    SELECT r.event_id, r.day FROM bought b
    JOIN events e ON e.org_id = $1 AND e.event_id = b.event_id AND e.day = b.day AND e.day BETWEEN $3 AND $4
    JOIN events r ON r.org_id = $1 AND r.profile_id = e.profile_id AND r.order_id = e.order_id
    WHERE r.transmission_id IS NULL AND r.day BETWEEN e.day - $6::int AND e.day + $5::int
      AND r.day BETWEEN $3::date - $6::int AND $4::date + $5::int AND lower(r.metric) = ANY ($2::text[])
"""
TOUCH_REFUNDED = """
    INSERT INTO bought
    SELECT o.event_id, o.day FROM bought b
    JOIN events r ON r.org_id = $1 AND r.event_id = b.event_id AND r.day = b.day
      AND lower(r.metric) = ANY ($2::text[])
    JOIN events o ON o.org_id = $1 AND o.profile_id = r.profile_id AND o.order_id = r.order_id
    WHERE o.transmission_id IS NULL AND o.day BETWEEN r.day - $5::int AND r.day + $6::int
      AND o.day BETWEEN $3::date - $5::int AND $4::date + $6::int AND lower(o.metric) = ANY ($7::text[])
"""

# Asked before conversions change and after. A send of Klaviyo's own control branch is in no rollup: without a day it
# has the template's report made anew, and nothing else.
NOTE_CELLS = """
    INSERT INTO cells
    SELECT DISTINCT c.template_id, s.copy_id, s.cell, CASE WHEN s.template_id = c.template_id THEN s.day END
    FROM (SELECT DISTINCT event_id FROM bought) b
    CROSS JOIN LATERAL (  -- the rows are new to the planner, who would join all of them with all
        SELECT c.transmission_id, c.template_id FROM conversions c
        WHERE c.org_id = $1 AND c.event_id = b.event_id OFFSET 0
    ) c
    CROSS JOIN LATERAL (
        SELECT * FROM sends s WHERE s.org_id = $1 AND s.transmission_id = c.transmission_id OFFSET 0
    ) s
"""

# An order whose event is gone stays counted, and its refunds with it.
DELETE_CONVERSIONS = f"""
    DELETE FROM conversions c USING (SELECT DISTINCT event_id FROM bought) b
    WHERE c.org_id = $1 AND c.event_id = b.event_id AND NOT EXISTS (
        SELECT FROM conversions o
        WHERE o.org_id = $1 AND o.template_id = c.template_id AND o.event_id = c.order_event_id
          AND (o.at AT TIME ZONE 'UTC')::date < {EVENTS_SINCE})
"""  # noqa: S608  # our own text

# A value below zero that is said of an order is none; one of a refund may be written either way.
INSERT_ORDERS = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value, currency)
    SELECT $1, t.template_id, e.event_id, e.event_id, s.transmission_id, e.event_at,
        CASE WHEN e.value IS NOT NULL AND coalesce(e.currency = t.conversions->>'currency', true)
             THEN greatest(e.value, 0)::numeric END,
        e.currency
    FROM (SELECT DISTINCT event_id, day FROM bought) b
    JOIN events e ON e.org_id = $1 AND e.event_id = b.event_id AND e.day = b.day AND e.day BETWEEN $2 AND $3
    JOIN templates t ON t.org_id = $1 AND EXISTS (
        SELECT FROM jsonb_array_elements_text(t.conversions->'metrics') m WHERE lower(m) = lower(e.metric))
    CROSS JOIN LATERAL (
        SELECT s.transmission_id FROM sends s
        WHERE s.org_id = $1 AND s.profile_id = e.profile_id AND s.delivered AND s.sent_at <= e.event_at
          AND s.sent_at >= e.event_at - (t.conversions->>'window_h')::int * interval '1 hour'
          AND (s.template_id = t.template_id OR s.template_id IS NULL AND EXISTS (
              SELECT FROM flow_messages f
              WHERE f.org_id = $1 AND f.action_id = t.control_action_id AND f.message_id = s.message_id))
        ORDER BY s.sent_at DESC, s.transmission_id DESC LIMIT 1
    ) s
    ON CONFLICT (org_id, template_id, event_id) DO NOTHING
"""

# All that is said of an order stands in `bought` together, so its send is among those that were just found. A refund in
# another currency than the template's takes nothing off, and none is taken off an order without a value: it has no row,
# unless it comes by itself to all that the order says, in the order's currency.
INSERT_REFUNDS = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value, currency)
    WITH told AS MATERIALIZED (
        SELECT e.event_id, e.day, e.event_at, e.profile_id, e.order_id, lower(e.metric) AS metric, e.value, e.currency
        FROM (SELECT DISTINCT event_id, day FROM bought) b
        JOIN events e ON e.org_id = $1 AND e.event_id = b.event_id AND e.day = b.day AND e.day BETWEEN $2 AND $3
        WHERE e.order_id IS NOT NULL
    ), refunds AS MATERIALIZED (
        SELECT t.template_id, coalesce(r.currency = t.conversions->>'currency', true) AS ours, r.* FROM templates t
        CROSS JOIN LATERAL jsonb_array_elements_text(t.conversions->'refunds') m
        JOIN told r ON r.metric = lower(m)
        WHERE t.org_id = $1
    ), found AS (
        SELECT DISTINCT ON (r.template_id, r.event_id) r.template_id, r.event_id, r.event_at, r.currency, r.ours,
            abs(r.value)::numeric AS value, c.event_id AS order_event_id, c.transmission_id, c.value AS counted,
            c.currency = r.currency AND abs(r.value) >= o.value AS whole
        FROM refunds r
        JOIN told o ON o.profile_id = r.profile_id AND o.order_id = r.order_id
          AND o.day BETWEEN r.day - $4::int AND r.day + $5::int
        JOIN conversions c ON c.org_id = $1 AND c.template_id = r.template_id AND c.event_id = o.event_id
        WHERE c.order_event_id = c.event_id
        ORDER BY r.template_id, r.event_id, o.event_at DESC, o.event_id DESC
    )
    SELECT $1, template_id, event_id, order_event_id, transmission_id, event_at,
        CASE WHEN value IS NULL THEN -counted WHEN ours THEN -value END, currency
    FROM found WHERE value IS NULL OR ours AND counted IS NOT NULL OR whole
    ON CONFLICT (org_id, template_id, event_id) DO NOTHING
"""


class Orders:
    """What the templates of one org count, within the caller's transaction, which holds the org's lock."""

    def __init__(
        self, connection: Connection, org_id: UUID, orders: list[str], refunds: list[str], window_h: int
    ) -> None:
        self._connection, self._org_id, self._window_h = connection, org_id, window_h
        self._orders, self._refunds = orders, refunds
        self.metrics = sorted({*orders, *refunds})
        """In lower case, refunds among them; empty: nothing is counted."""

    async def note_places(self, sign: int) -> None:
        """Where the sends in `tallies` stand, before they change (-1) and after (1)."""
        if self.metrics:
            await self._run(NOTE_PLACES, sign)

    async def recount(self) -> None:
        """Bring the conversions of all that was touched to what events and sends say, and note whose cells that is."""
        if self.metrics:
            moved = await self._connection.fetchrow(SELECT_MOVED_DAYS, timeout=STATEMENT_TIMEOUT_S)
            if moved is not None and moved["first"] is not None:
                last: date = moved["last"] + timedelta(days=self._window_h // 24 + 2)
                await self._run(TOUCH_ORDERS_OF_MOVED, self.metrics, self._window_h, moved["first"], last)
            await self._recount_bought()

    async def recount_all(self) -> None:
        """The same for all orders of the org, also when it counts none any more."""
        await self._run(TOUCH_ALL_CONVERSIONS)
        if self.metrics:
            await self._run(TOUCH_ALL_ORDERS, self.metrics)
        await self._recount_bought()

    async def _recount_bought(self) -> None:
        days = await self._connection.fetchrow(SELECT_DAYS, timeout=STATEMENT_TIMEOUT_S)
        if days is None or days["first"] is None:
            return
        await self._connection.execute("ANALYZE bought")
        if self._refunds:
            first, last = days["first"], days["last"]
            await self._run(TOUCH_REFUNDS, self._refunds, first, last, REFUND_DAYS, EARLY_DAYS)
            after = last + timedelta(days=REFUND_DAYS)
            await self._run(TOUCH_REFUNDED, self._refunds, first, after, REFUND_DAYS, EARLY_DAYS, self._orders)
        spread = timedelta(days=REFUND_DAYS + EARLY_DAYS)
        within = days["first"] - spread, days["last"] + spread
        await self._run(NOTE_CELLS)
        await self._run(DELETE_CONVERSIONS)
        await self._run(INSERT_ORDERS, *within)
        await self._run(INSERT_REFUNDS, *within, REFUND_DAYS, EARLY_DAYS)
        await self._run(NOTE_CELLS)

    async def _run(self, statement: str, *arguments: object) -> None:
        await self._connection.execute(statement, self._org_id, *arguments, timeout=STATEMENT_TIMEOUT_S)


async def orders_of(connection: Connection, org_id: UUID) -> Orders:
    """What the org's templates count now."""
    row = await connection.fetchrow(SELECT_METRICS, org_id)
    return Orders(connection, org_id, *(row or ([], [], 0)))
