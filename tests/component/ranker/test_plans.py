"""A fit looks orders up by their email, even by a plan from before the first order, as every new ranker has it."""

from datetime import timedelta

from services.ranker.store import read_facts
from shared.schemas.policy import Policy
from tests.component.ranker.rig import NOW, Shop, open_shop
from tests.support.rows_read import rows_read

OFTEN = 7  # a connection keeps one plan for all values from the sixth use of a statement on
SENDS = 400
INSERT_ORDERS = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value)
    SELECT org_id, template_id, transmission_id, transmission_id, transmission_id, sent_at + $1, 5 FROM sends
"""


async def fitted(shop: Shop) -> int:
    """Emails with an order, of those that a fit would see."""
    async with shop.database.transaction(shop.org_id) as connection:
        facts = await read_facts(connection, shop.org_id, "welcome", NOW, Policy(reward="conversion", window_h=72))
    return sum(one.sends for one in facts if one.successes)


async def test_a_fit_does_not_read_all_orders_for_each_email(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        await shop.sent(0, "plan=pro", SENDS, 0)
        for _ in range(OFTEN):
            assert await fitted(shop) == 0
        await shop.rows(INSERT_ORDERS, timedelta(hours=5))
        before = await rows_read(shop.database, "^conversions$")

        assert await fitted(shop) == SENDS
        assert await rows_read(shop.database, "^conversions$") - before <= 2 * SENDS
