"""The generator's SQL where only concurrency or odd rows show a fault."""

import asyncio
import re
from datetime import timedelta
from uuid import uuid4

from services.generator.answer_store import AnswerStore
from services.generator.store import Store
from shared.clock import FrozenClock
from shared.db.pool import BY_KEY, open_database
from tests.component.generator.rig import AT
from tests.support.waiting import eventually


async def test_regression_writers_that_need_the_same_new_partition_do_not_fail(database_url: str) -> None:
    async with open_database(database_url, name="test", max_size=8) as database:
        store = Store(database, FrozenClock(AT))

        for days in range(5):
            day = AT.date() + timedelta(days=days)
            await asyncio.gather(*(store.ensure_day(day) for _ in range(8)))

        async with database.connection() as connection:
            made = await connection.fetchval(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'generations'::regclass"
            )
    assert made == 5


async def test_partitions_are_there_before_midnight_needs_them(database_url: str) -> None:
    clock, stop = FrozenClock(AT), asyncio.Event()
    async with open_database(database_url, name="test") as database:

        async def there(*days: str) -> bool:
            async with database.connection() as connection:
                return bool(
                    await connection.fetchval(
                        "SELECT bool_and(to_regclass('generations_' || d) IS NOT NULL) FROM unnest($1::text[]) AS d",
                        days,
                    )
                )

        keeping = asyncio.create_task(Store(database, clock).keep_partitions(stop))
        try:
            await eventually(lambda: there("20261123", "20261124"))
            assert not await there("20261125")
            clock.advance(24 * 3600)
            await eventually(lambda: there("20261125"))
        finally:
            stop.set()
            await keeping


async def test_regression_who_waits_for_copy_has_no_generation_of_the_org_read_but_their_own(database_url: str) -> None:
    """As the generator works: under row-level security, without statistics, over several days."""
    async with open_database(database_url, name="test", role="justai_worker", planner=BY_KEY) as database:
        for days in range(2):
            await Store(database, FrozenClock(AT)).ensure_day(AT.date() + timedelta(days=days))

        async with database.connection() as connection:
            plan = await connection.fetch(
                f"EXPLAIN {AnswerStore.SELECT_TOLD}", [AT.date()] * 2, [uuid4(), uuid4()], [uuid4(), uuid4()]
            )

    used = re.findall(r"using (generations_2026\w+) on", "\n".join(row[0] for row in plan))
    assert used == ["generations_20261123_pkey", "generations_20261124_pkey"]
