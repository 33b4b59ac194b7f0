"""A day of generations goes while others work: nobody waits for it, and what was counted of it stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg

from services.egress.retention import StoredDays
from services.ingest.counting.shown import StoredShownCounts
from shared.admin.outcomes.shown_spans import QUARTER
from shared.db.pool import Connection, Database
from tests.component.egress.shop import HOUR, Person, World
from tests.component.egress.test_retention import (
    DAY,
    SHOWN_PACE,
    keeper,
    kept_days,
    old_day,
    results,
)
from tests.support.waiting import eventually

# Other tests' databases lie on the same server.
COUNT_WAITERS = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND a.datname = current_database()
"""
LOCK_QUARTER = "SELECT FROM shown_quarters WHERE at = $1 FOR UPDATE"
HANG_QUARTER = "UPDATE shown_quarters SET hangs = true WHERE at = $1"
ADD_DONE_QUARTER = """
    INSERT INTO shown_quarters (org_id, at, counted) SELECT org_id, $1, 1 FROM orgs
    ON CONFLICT (org_id, at) DO UPDATE SET next_at = NULL, waits_from = NULL, hangs = false, left_to = NULL
"""
SELECT_VERSION = "SELECT xmin::text FROM shown_quarters WHERE at = $1"
RAISE_QUARTER = "UPDATE shown_quarters SET revision = revision + 1 WHERE at = $1"


async def test_regression_inserts_do_not_wait_while_a_day_waits_for_one_of_its_quarters(world: World) -> None:
    shop, today = await old_day(world), world.clock.now()
    await world.admin.execute(HANG_QUARTER, HOUR)
    await world.admin.execute("SELECT ensure_partition('generations', $1)", today.date())
    counting = await asyncpg.connect(world.database_url)
    transaction = counting.transaction()
    await transaction.start()
    await counting.execute(LOCK_QUARTER, HOUR)

    async def waits() -> None:
        assert await world.admin.fetchval(COUNT_WAITERS) == 1

    keeping = asyncio.create_task(keeper(world).look())
    await eventually(waits)
    began_s = asyncio.get_running_loop().time()
    await world.say(shop, [Person("new", today)])
    took_s = asyncio.get_running_loop().time() - began_s
    await transaction.rollback()
    await counting.close()

    assert took_s < 3  # whoever waits does so for 5 s
    assert await keeping == [DAY]


async def test_quarters_that_wait_for_nothing_are_not_written_when_their_day_goes(world: World) -> None:
    await old_day(world)
    await world.admin.execute(HANG_QUARTER, HOUR)
    await world.admin.execute(ADD_DONE_QUARTER, HOUR + QUARTER)
    before = await world.admin.fetchval(SELECT_VERSION, HOUR + QUARTER)

    assert await keeper(world).look() == [DAY]

    assert await world.admin.fetchval(SELECT_VERSION, HOUR + QUARTER) == before
    assert await world.admin.fetchval("SELECT count(*) FROM shown_quarters WHERE hangs") == 0


class DroppedAfterClaim(Database):
    """Whose second transaction begins when the day has just gone."""

    def __init__(self, world: World) -> None:
        vars(self).update(vars(world.db))
        self._world, self._begun = world, 0

    @asynccontextmanager
    async def transaction(self, *args: Any, **kwargs: Any) -> AsyncIterator[Connection]:
        self._begun += 1
        if self._begun == 2:
            assert await StoredDays(self._world.db).drop(DAY, self._world.clock.now())
        async with super().transaction(*args, **kwargs) as connection:
            yield connection


async def test_a_quarter_that_was_claimed_before_its_day_went_keeps_what_was_counted(world: World) -> None:
    await old_day(world)
    before = await results(world)
    world.clock.advance(60)
    await world.admin.execute(RAISE_QUARTER, HOUR)

    assert await StoredShownCounts(DroppedAfterClaim(world), uuid4, SHOWN_PACE).count_quarter(world.clock.now())

    assert await kept_days(world) == []
    assert await results(world) == before
    assert await world.admin.fetchval("SELECT count(*) FROM shown_quarters WHERE counted < revision") == 0
