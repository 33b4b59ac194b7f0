"""All of an org is computed anew where somebody asks, a day at a time, and a crash loses no more than a day."""

from datetime import date, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.ingest.attribution.rebuild import recompute_day
from services.ingest.attribution.recounts import StoredRecounts
from shared.db.pool import Connection
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")
DAYS = 3


async def ask(rig: Rig) -> None:
    await rig.run("INSERT INTO recounts (org_id, asked_at) VALUES ($1, $2)", rig.org_id, rig.clock.now())


async def recount(rig: Rig) -> int:
    """As the runner does; how many steps it took."""
    stored, steps = StoredRecounts(rig.database, timedelta(days=1)), 0
    while await stored.recount_some(rig.clock.now()):
        steps += 1
    return steps


async def left(rig: Rig) -> tuple[int | None, int | None, bool]:
    row = await rig.one("SELECT total, cardinality(days) AS days, ended_at FROM recounts")
    return row["total"], row["days"], row["ended_at"] is not None


@pytest.fixture
async def shop(rig: Rig, folder: Path) -> tuple[Rig, list[UUID]]:
    """An email a day, matched with the generation there was; the one that it showed was stored late. Its id."""
    rig.clock.advance(10 * 86_400)
    at = [SENT + timedelta(days=day) for day in range(DAYS)]
    for sent_at in at:
        await rig.add_generation(copy_id=uuid4(), accepted_at=sent_at - timedelta(minutes=9))
    (folder / "events.csv").write_bytes(nested_csv([Mail(f"T{n}", sent_at=one).received() for n, one in enumerate(at)]))
    await rig.settle()
    late = [await rig.add_generation(copy_id=COPY, accepted_at=one - timedelta(minutes=2)) for one in at]
    return rig, late


async def shown(rig: Rig) -> list[UUID]:
    return [row["generation_id"] for row in await rig.rows("SELECT generation_id FROM sends ORDER BY transmission_id")]


async def test_a_generation_that_was_stored_late_gets_its_email_when_all_is_computed_anew(
    shop: tuple[Rig, list[UUID]],
) -> None:
    rig, late = shop
    assert await recount(rig) == 0
    await ask(rig)

    assert await recount(rig) == DAYS + 2

    assert await shown(rig) == late
    assert await rig.rows("SELECT copy_id, sends FROM rollups ORDER BY day") == [{"copy_id": COPY, "sends": 1}] * DAYS
    assert await left(rig) == (DAYS, 0, True)


async def test_a_crash_loses_no_more_than_the_day_in_hand(
    shop: tuple[Rig, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, late = shop
    await ask(rig)
    days: list[date] = []

    async def crashes(connection: Connection, org_id: UUID, day: date, window: timedelta) -> None:
        days.append(day)
        await recompute_day(connection, org_id, day, window)
        if len(days) == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr("services.ingest.attribution.recounts.recompute_day", crashes)
    with pytest.raises(RuntimeError):
        await recount(rig)
    assert (await left(rig), (await shown(rig))[0]) == ((DAYS, DAYS - 1, False), late[0])

    assert await recount(rig) == DAYS

    first = SENT.date()
    assert days == [first + timedelta(days=day) for day in (0, 1, 1, 2)]
    assert await shown(rig) == late
