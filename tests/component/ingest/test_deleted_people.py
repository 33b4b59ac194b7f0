"""A person who is deleted while files of events are brought in, or of whom there is no email yet."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.ingest.loading.switch import begin_switch
from shared.admin.context import Actor, Asking, Means
from shared.admin.errors import Conflict
from shared.admin.person import person as operations_person
from shared.admin.person.person import Deleted
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.crypto import KeyRing
from shared.db.pool import Connection
from tests.component.cli.rig import PEPPER
from tests.component.ingest.given import Mail, Row, nested_csv
from tests.component.ingest.rig import RING, Rig
from tests.support.waiting import eventually

WHO, OTHER = Mail("T1", "01PERSON"), Mail("T2", "01OTHER")
COPY = UUID("00000000-0000-4000-8000-000000000001")

INSERT_OPEN = """
    INSERT INTO events
        (day, org_id, event_id, metric, profile_id, event_at, transmission_id, machine_open, file_id, line)
    SELECT day, org_id, 'OPEN', 'Opened Email', profile_id, event_at, transmission_id, false, file_id, 99
    FROM events WHERE transmission_id = $1 LIMIT 1
"""
COUNT_WAITING = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND l.locktype = 'advisory' AND a.datname = current_database()
"""


async def load(rig: Rig, folder: Path, name: str, rows: Sequence[Row]) -> None:
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]


def asking(rig: Rig) -> Asking:
    means = Means(rig.database, rig.clock, KeyRing(RING), Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom)
    return Asking(means, Actor("Ada", "person", "owner", rig.org_id, "shop"), "request-1")


async def delete(rig: Rig, person: str = WHO.profile_id) -> Deleted:
    return await run(asking(rig), operations_person.delete, {"user_id": person})


async def told_of(rig: Rig, person: str = WHO.profile_id) -> list[str]:
    """Tables that name them."""
    return [
        table
        for table in ("events", "event_repeats", "sends", "conversions", "generations", "last_copies")
        if await rig.rows(f"SELECT 1 FROM {table} t WHERE t::text LIKE '%' || $1 || '%'", person)
    ]


@asynccontextmanager
async def switching(rig: Rig) -> AsyncIterator[Connection]:
    """A file of the org is being brought in."""
    async with rig.database.connection() as connection, connection.transaction():
        await begin_switch(connection, rig.org_id)
        yield connection


async def test_who_is_deleted_while_a_file_is_brought_in_is_in_no_row_of_it(rig: Rig, folder: Path) -> None:
    await rig.add_generation(WHO.profile_id, copy_id=COPY)
    await load(rig, folder, "first.csv", [WHO.received(), OTHER.received()])

    async def waits() -> None:
        assert (await rig.one(COUNT_WAITING))["count"] == 1

    async with switching(rig) as connection:
        await connection.execute(INSERT_OPEN, WHO.transmission_id)
        deleting = asyncio.create_task(delete(rig))
        await eventually(waits)
    done = await deleting

    assert (done.sends, done.events) == (1, 2)
    assert await told_of(rig) == []
    assert await told_of(rig, OTHER.profile_id) == ["events", "sends"]


async def test_a_deletion_does_not_wait_for_ever_for_a_file(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_person, "WAIT_FOR_FILES", "SET LOCAL lock_timeout = '50ms'")
    await load(rig, folder, "first.csv", [WHO.received()])

    async with switching(rig):
        with pytest.raises(Conflict, match="A file of events is being loaded") as refused:
            await delete(rig)

    assert refused.value.code == "events_are_loading"
    assert await told_of(rig) == ["events", "sends"]
    assert (await delete(rig)).changed
