"""A person who is deleted while files of events are brought in, or of whom there is no email yet."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.ingest.loading.staging import Stagings
from services.ingest.loading.switch import begin_switch
from shared.admin import hold
from shared.admin.context import Actor, Asking, Means
from shared.admin.errors import Conflict, NotFound
from shared.admin.outcomes import outcomes
from shared.admin.person import person as operations_person
from shared.admin.person.person import Deleted
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.crypto import KeyRing
from shared.db.pool import Connection
from tests.component.ingest.given import SENT, Mail, Row, again, nested_csv
from tests.component.ingest.rig import PEPPER, RING, Rig
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


async def events_of(rig: Rig, person: str = WHO.profile_id, *, quick: bool = False) -> int:
    return (await run(asking(rig), operations_person.show, {"user_id": person, "quick": quick})).events


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
    monkeypatch.setattr(hold, "WAIT_FOR_FILES", "SET LOCAL lock_timeout = '50ms'")
    await load(rig, folder, "first.csv", [WHO.received()])

    async with switching(rig):
        with pytest.raises(Conflict, match="A file of events is being loaded") as refused:
            await delete(rig)

    assert refused.value.code == "events_are_loading"
    assert await told_of(rig) == ["events", "sends"]
    assert (await delete(rig)).changed


async def test_events_whose_email_never_came_are_counted_and_deleted(rig: Rig, folder: Path) -> None:
    """Of several days, and of the years before there was a partition for each."""
    before = Mail("T3", WHO.profile_id, sent_at=SENT - timedelta(days=3))
    long_ago = Mail("T4", WHO.profile_id, sent_at=datetime(2025, 6, 1, tzinfo=UTC))
    rows = [WHO.opened(), WHO.clicked("https://shop.example/of-this-person"), before.opened(), long_ago.opened()]
    await load(rig, folder, "opens.csv", [*rows, OTHER.opened()])

    held = await events_of(rig), await events_of(rig, quick=True)
    story = await run(asking(rig), outcomes.list_of_person, {"user_id": WHO.profile_id})
    done = await delete(rig)

    assert (held, story.generations, done.events) == ((4, 4), [], 4)
    assert await told_of(rig) == []
    assert await events_of(rig, OTHER.profile_id) == 1
    with pytest.raises(NotFound, match="Nothing is stored"):
        await events_of(rig)
    with pytest.raises(NotFound, match="Nothing is stored"):
        await run(asking(rig), outcomes.list_of_person, {"user_id": WHO.profile_id})


async def test_events_of_an_email_that_is_another_profile_s_since_a_merge_are_deleted(rig: Rig, folder: Path) -> None:
    merged = Mail(OTHER.transmission_id, WHO.profile_id)
    await load(rig, folder, "first.csv", [OTHER.received(), OTHER.opened(), WHO.received()])
    await load(rig, folder, "second.csv", [merged.clicked()])

    held = await events_of(rig), await events_of(rig, quick=True)
    done = await delete(rig)

    assert (held, done.events, done.sends) == ((2, 1), 2, 1)
    assert await told_of(rig) == []
    assert await events_of(rig, OTHER.profile_id) == 2


async def test_what_an_older_file_says_of_an_event_that_is_somebody_else_s_now_is_deleted(
    rig: Rig, folder: Path
) -> None:
    row = WHO.opened()
    await load(rig, folder, "older.csv", [row])
    await load(rig, folder, "newer.csv", [again(row, profile_id=OTHER.profile_id), OTHER.opened()])
    before = await told_of(rig), await events_of(rig)

    done = await delete(rig)

    assert (before, done.events) == ((["event_repeats"], 1), 1)
    assert await told_of(rig) == []
    assert await events_of(rig, OTHER.profile_id) == 2


async def test_who_was_deleted_does_not_come_back_by_a_file_that_tells_of_before(rig: Rig, folder: Path) -> None:
    """As a day's whole window of Klaviyo's does, in which events are that no window before had."""
    first = [WHO.received(), OTHER.received()]
    await load(rig, folder, "quarter.csv", first)
    await delete(rig)

    await load(rig, folder, "whole.csv", [*first, WHO.opened(), Mail("T9", WHO.profile_id).clicked(), OTHER.opened()])

    assert await told_of(rig) == []
    assert await events_of(rig, OTHER.profile_id) == 2
    assert await rig.rows("SELECT line, reason, raw FROM ingest_rejects ORDER BY line") == [
        {"line": line, "reason": "of a person who was deleted", "raw": ""} for line in (2, 4, 5)
    ]


async def test_who_is_deleted_before_anything_of_them_was_stored_does_not_come_in_by_the_next_file(
    rig: Rig, folder: Path
) -> None:
    done = await delete(rig)

    await load(rig, folder, "first.csv", [WHO.received(), OTHER.received()])

    assert (done.changed, done.nothing_was_there) == (True, True)
    assert await told_of(rig) == []
    assert await told_of(rig, OTHER.profile_id) == ["events", "sends"]
    assert await rig.rows("SELECT line, reason FROM ingest_rejects") == [
        {"line": 2, "reason": "of a person who was deleted"}
    ]


async def test_what_happened_between_two_deletions_is_not_loaded_though_the_second_found_nothing(
    rig: Rig, folder: Path
) -> None:
    await load(rig, folder, "first.csv", [WHO.received()])
    await delete(rig)
    rig.clock.advance(7_200)
    again_at = rig.clock.now()
    await delete(rig)

    between = WHO.opened(after=again_at - SENT - timedelta(hours=1))
    await load(rig, folder, "later.csv", [between, OTHER.received()])

    assert await told_of(rig) == []
    assert [row["reason"] for row in await rig.rows("SELECT reason FROM ingest_rejects")] == [
        "of a person who was deleted"
    ]


async def test_what_a_deleted_person_does_afterwards_is_loaded(rig: Rig, folder: Path) -> None:
    await load(rig, folder, "first.csv", [WHO.received()])
    await delete(rig)
    rig.clock.advance(86_400)

    await load(rig, folder, "later.csv", [WHO.opened(), WHO.opened(after=timedelta(hours=20))])

    assert await told_of(rig) == ["events"]
    assert await events_of(rig) == 1


async def test_a_deletion_under_an_older_pepper_counts(rig: Rig, folder: Path) -> None:
    await load(rig, folder, "first.csv", [WHO.received()])
    await delete(rig)
    both = Peppers(f"2:{'B' * 42}A=,{PEPPER}")
    rig.with_deps(stagings=Stagings(rig.database, window=timedelta(days=1), peppers=both))

    await load(rig, folder, "again.csv", [WHO.received()])

    assert await told_of(rig) == []
