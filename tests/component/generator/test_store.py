"""The generator's SQL where only the plan or odd rows show a fault."""

import re
from datetime import timedelta
from uuid import uuid4

from services.generator.answer_store import AnswerStore
from shared.db.partitions import Partitions
from shared.db.pool import BY_KEY, open_database
from tests.component.generator.rig import AT


async def test_regression_who_waits_for_copy_has_no_generation_of_the_org_read_but_their_own(database_url: str) -> None:
    """As the generator works: under row-level security, without statistics, over several days."""
    async with open_database(database_url, name="test", role="justai_worker", planner=BY_KEY) as database:
        await Partitions(database, "generations").ensure(AT.date() + timedelta(days=days) for days in range(2))

        async with database.connection() as connection:
            plan = await connection.fetch(
                f"EXPLAIN {AnswerStore.SELECT_TOLD}", [AT.date()] * 2, [uuid4(), uuid4()], [uuid4(), uuid4()]
            )

    used = re.findall(r"using (generations_2026\w+) on", "\n".join(row[0] for row in plan))
    assert used == ["generations_20261123_pkey", "generations_20261124_pkey"]
