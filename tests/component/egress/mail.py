"""What became of generations: how their writes ended, the emails that were sent, and what these earned."""

from datetime import datetime
from typing import Any

from tests.component.egress.shop import Shop, World

INSERT_ENDED = """
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts)
    SELECT day, generation_id, org_id, $3, $4, $5, 1 FROM generations WHERE org_id = $1 AND user_id = $2
"""
INSERT_SEND = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks,
        bot_clicks)
    SELECT org_id, 'T-' || user_id, user_id, $3, $3::timestamptz::date, 'message', generation_id, day, template_id,
        copy_id, true, false, false, false, 0, 0, 0, 0
    FROM generations WHERE org_id = $1 AND user_id = $2
"""
INSERT_ORDER = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value)
    VALUES ($1, 'welcome', 'E-' || $2::text, 'E-' || $2::text, 'T-' || $2::text, $3, $4)
"""


async def ended(world: World, shop: Shop, user_id: str, outcome: str, reason: str | None = None) -> None:
    """The profile writer has settled the write of this person's generation."""
    day = await world.admin.fetchval("SELECT day FROM generations WHERE user_id = $1", user_id)
    await world.admin.execute("SELECT ensure_partition('write_outcomes', $1)", day)
    await world.admin.execute(INSERT_ENDED, shop.org_id, user_id, outcome, reason, world.clock.now())


async def sent(world: World, shop: Shop, user_id: str, at: datetime) -> None:
    """Events of its delivery were loaded."""
    await world.admin.execute(INSERT_SEND, shop.org_id, user_id, at)


async def changed(world: World, shop: Shop, user_id: str, **columns: Any) -> None:
    """More events were loaded: the send is computed anew."""
    names = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns, 3))
    statement = f"UPDATE sends SET {names} WHERE org_id = $1 AND profile_id = $2"
    await world.admin.execute(statement, shop.org_id, user_id, *columns.values())


async def bought(world: World, shop: Shop, user_id: str, at: datetime, value: float) -> None:
    """An order was attributed to the send."""
    await world.admin.execute(INSERT_ORDER, shop.org_id, user_id, at, value)
