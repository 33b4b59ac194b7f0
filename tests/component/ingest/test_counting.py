"""Results counted ahead: which days, when, and that late events change exactly what they are about."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import NumericValueOutOfRangeError

from services.ingest.counting.results import Pace, StoredCounts
from services.ingest.counting.shown import Pace as ShownPace
from services.ingest.counting.shown import StoredShownCounts
from shared.admin.results import days as results_days
from shared.db.pool import Connection
from shared.errors import Outage
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")
PACE = Pace(
    tick=timedelta(seconds=5), fresh=timedelta(minutes=5), older=timedelta(hours=1), late=timedelta(seconds=30),
    report=timedelta(minutes=15), lease=timedelta(hours=1),
)  # fmt: skip
SHOWN_PACE = ShownPace(
    tick=timedelta(seconds=5), young=timedelta(minutes=1), older=timedelta(minutes=5), lease=timedelta(hours=1)
)
COUNTED = """
    SELECT day, sum(assigned)::int AS assigned, sum(delivered)::int AS delivered, sum(clicked)::int AS clicked
    FROM result_counts WHERE org_id = $1 AND attr = '' GROUP BY day ORDER BY day
"""


def counts_of(rig: Rig, pace: Pace = PACE) -> StoredCounts:
    return StoredCounts(rig.database, uuid4, pace)


async def count_all(rig: Rig) -> int:
    """What the counter does until nothing is due."""
    counts, done = counts_of(rig), 0
    while await counts.count_day(rig.clock.now()):
        done += 1
    return done


async def counted(rig: Rig) -> list[dict[str, Any]]:
    return await rig.rows(COUNTED, rig.org_id)


async def add_template(rig: Rig) -> None:
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, created_at, updated_at) "
        "VALUES ($1, 'welcome', 'Welcome', 'active', 'FLOW1', $2, $2)",
        rig.org_id, SENT,
    )  # fmt: skip


async def load(rig: Rig, folder: Path, name: str, *mails: Mail, clicks: bool = False) -> None:
    rows = [mail.received() for mail in mails] + [mail.clicked() for mail in mails if clicks]
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()


def days_of(rows: list[dict[str, Any]]) -> list[date]:
    return [row["day"] for row in rows]


async def test_a_file_that_comes_late_has_exactly_its_days_counted_anew(rig: Rig, folder: Path) -> None:
    old = SENT - timedelta(days=12)
    for at in (old, SENT):
        await rig.add_generation(copy_id=COPY, accepted_at=at - timedelta(minutes=2), profile_id="P1")
    await load(rig, folder, "today.csv", Mail("T2"))
    await load(rig, folder, "old.csv", Mail("T1", sent_at=old))
    assert await count_all(rig) == 2
    rig.clock.advance(60)

    await load(rig, folder, "clicks.csv", Mail("T1", sent_at=old), clicks=True)
    waiting = await rig.rows("SELECT day FROM result_days WHERE counted < revision")
    assert days_of(waiting) == [old.date()]
    assert await count_all(rig) >= 1

    assert await counted(rig) == [
        {"day": old.date(), "assigned": 1, "delivered": 1, "clicked": 1},
        {"day": SENT.date(), "assigned": 1, "delivered": 1, "clicked": 0},
    ]


async def test_a_send_that_crossed_midnight_counts_on_the_day_of_its_decision(rig: Rig, folder: Path) -> None:
    decided_at = datetime(2026, 11, 22, 23, 55, tzinfo=SENT.tzinfo)
    await rig.add_generation(copy_id=COPY, accepted_at=decided_at, delay=timedelta(minutes=10))

    await load(rig, folder, "events.csv", Mail("T1", sent_at=decided_at + timedelta(minutes=11)))
    await count_all(rig)

    found = [row for row in await counted(rig) if row["assigned"]]
    assert found == [{"day": decided_at.date(), "assigned": 1, "delivered": 1, "clicked": 0}]


async def test_days_of_live_templates_are_opened_and_counted_again_while_they_are_open(rig: Rig) -> None:
    await add_template(rig)
    counts = counts_of(rig)
    await counts.open_days(rig.clock.now())
    assert await count_all(rig) == 2
    await rig.add_generation(copy_id=COPY)
    assert await count_all(rig) == 0

    rig.clock.advance(301)
    assert await count_all(rig) == 2

    assert [row["assigned"] for row in await counted(rig)] == [1]
    rig.clock.advance(10 * 86_400)
    assert await count_all(rig) == 2  # once more after their end, and then no more
    rig.clock.advance(86_400)
    assert await count_all(rig) == 0


async def test_generations_that_come_after_the_end_of_their_day_have_it_counted_once_more(rig: Rig) -> None:
    await add_template(rig)
    await rig.add_generation(copy_id=COPY)
    await counts_of(rig).open_days(rig.clock.now())
    shown = StoredShownCounts(rig.database, uuid4, SHOWN_PACE)
    await shown.take_marks(rig.clock.now())
    await count_all(rig)
    rig.clock.advance(11 * 86_400)
    await count_all(rig)
    rig.clock.advance(86_400)
    assert await count_all(rig) == 0

    await rig.add_generation("P2", copy_id=COPY)
    await rig.add_generation("P3", copy_id=COPY, accepted_at=SENT - timedelta(days=3))
    await shown.take_marks(rig.clock.now())
    assert await count_all(rig) == 2

    assert [(row["day"], row["assigned"]) for row in await counted(rig)] == [
        ((SENT - timedelta(days=3)).date(), 1), (SENT.date(), 2),
    ]  # fmt: skip


async def test_generations_of_a_day_that_is_open_have_it_counted_no_more_often(rig: Rig) -> None:
    await add_template(rig)
    await counts_of(rig).open_days(rig.clock.now())
    await count_all(rig)
    rig.clock.advance(60)

    await rig.add_generation(copy_id=COPY)
    await StoredShownCounts(rig.database, uuid4, SHOWN_PACE).take_marks(rig.clock.now())

    assert await count_all(rig) == 0


async def test_what_is_raised_while_a_day_is_counted_has_it_counted_once_more(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.add_generation(copy_id=COPY)
    await load(rig, folder, "sends.csv", Mail("T1"))
    count = results_days.count_day

    async def raised_meanwhile(connection: Connection, org_id: UUID, day: date) -> Any:
        found = await count(connection, org_id, day)
        await rig.run("UPDATE result_days SET revision = revision + 1")
        return found

    monkeypatch.setattr(results_days, "count_day", raised_meanwhile)
    assert await count_all(rig) == 1
    monkeypatch.undo()
    rig.clock.advance(31)

    assert await count_all(rig) == 1
    assert await rig.rows("SELECT revision - counted AS missing FROM result_days") == [{"missing": 0}]


async def test_two_replicas_never_count_one_day_at_once(rig: Rig) -> None:
    await add_template(rig)
    await counts_of(rig).open_days(rig.clock.now())
    await rig.run("UPDATE result_days SET claim_id = $1, lease_until = $2", uuid4(), rig.clock.now() + PACE.lease)
    assert await count_all(rig) == 0

    rig.clock.advance(PACE.lease.total_seconds() + 1)

    assert await count_all(rig) == 2


async def test_a_report_is_made_when_counts_have_changed_and_not_more_often_than_it_may(rig: Rig, folder: Path) -> None:
    await add_template(rig)
    await rig.add_generation(copy_id=COPY)
    await load(rig, folder, "sends.csv", Mail("T1"))
    counts = counts_of(rig)
    await count_all(rig)
    assert await counts.report(rig.clock.now()) is True
    assert await counts.report(rig.clock.now()) is False
    first = rig.clock.now()

    rig.clock.advance(60)
    await load(rig, folder, "clicks.csv", Mail("T1"), clicks=True)
    await count_all(rig)
    assert await counts.report(rig.clock.now()) is False
    rig.clock.advance(900)
    assert await counts.report(rig.clock.now()) is True

    [row] = await rig.rows("SELECT as_of, report, error FROM result_reports")
    assert row["as_of"] > first
    assert (row["report"]["funnel"]["treatment"]["clicked"], row["error"]) == (1, None)


async def test_a_report_that_fails_says_so_and_is_tried_again_later(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_template(rig)
    await rig.add_generation(copy_id=COPY)
    await load(rig, folder, "sends.csv", Mail("T1"))
    await count_all(rig)

    for failure, why in (
        (Outage("the log took too long"), "the log took too long"),
        (NumericValueOutOfRangeError("ann@example.com"), "NumericValueOutOfRangeError"),  # which nobody foresaw
    ):

        async def fails(*_: object, failure: Exception = failure) -> dict[str, Any]:
            raise failure

        monkeypatch.setattr("services.ingest.counting.results.make_report", fails)
        assert await counts_of(rig).report(rig.clock.now()) is True
        monkeypatch.undo()

        assert await rig.rows("SELECT error FROM result_reports") == [{"error": why}]
        assert await counts_of(rig).report(rig.clock.now()) is False
        rig.clock.advance(901)
    assert await counts_of(rig).report(rig.clock.now()) is True
    assert await rig.rows("SELECT error FROM result_reports") == [{"error": None}]
