"""From a number of the results to its emails, and from each to file and line."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shared.admin.errors import NotFound, Refused
from shared.admin.results import sends
from shared.admin.results.results import show as show_results
from shared.admin.results.sends import OneSend, Sends
from tests.component.admin.rig import Rig as AdminRig
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_counting import add_template, count_all

COPIES = [UUID(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2)]
DAY = SENT.date()


@pytest.fixture
async def told(rig: Rig, folder: Path) -> Rig:
    """Twelve people: two variants and control, gold, silver and who says nothing; what happened differs."""
    await add_template(rig)
    rows = []
    for number in range(12):
        copy_id = [*COPIES, None][number % 3]
        cell = ["plan=gold", "plan=silver%26more", ""][number // 4]
        await rig.add_generation(
            f"P{number}", copy_id=copy_id, cell=cell, accepted_at=SENT - timedelta(minutes=2, days=number % 2)
        )
        await rig.run("UPDATE generations SET reason = 'control_split' WHERE decision = 'control'")
        mail = Mail(f"T{number:02}", f"P{number}", sent_at=SENT - timedelta(days=number % 2))
        rows += [mail.received()]
        rows += [mail.opened()] if number % 2 else [mail.opened(machine_open=True)]
        rows += [mail.clicked()] if number in (0, 1, 2, 6) else []
        rows += [mail.happened_somehow("Marked Email as Spam")] if number == 5 else []
    (folder / "events.csv").write_bytes(nested_csv(rows))
    await rig.settle()
    await count_all(rig)
    return rig


def people(rig: Rig) -> AdminRig:
    return AdminRig(rig.database, rig.org_id, "shop")


async def listed(rig: Rig, **asked: Any) -> Sends:
    span = {"template_id": "welcome", "since": DAY - timedelta(days=3), "until": DAY}
    found: Sends = await people(rig).run(sends.list_sends, {**span, **asked}, "editor")
    return found


@pytest.mark.parametrize("arm", ["treatment", pytest.param("control", marks=pytest.mark.long)])
async def test_so_many_emails_are_listed_as_the_results_count(told: Rig, arm: str) -> None:
    asked = {"template_id": "welcome", "since": DAY - timedelta(days=3), "until": DAY}
    results = await people(told).run(show_results, asked, "viewer")
    counts = getattr(results, arm)

    lists = {what: await listed(told, arm=arm, what=what) for what in sends._FILTERS}

    assert {what: len(found.sends) for what, found in lists.items()} == {
        what: getattr(counts, what) for what in sends._FILTERS
    }
    assert counts.delivered > counts.clicked > 0
    assert all(one.arm == arm for found in lists.values() for one in found.sends)


async def test_a_cell_of_the_results_is_a_variant_a_day_or_a_value(told: Rig) -> None:
    async with told.database.connection() as connection:
        await connection.execute(
            "INSERT INTO variants (copy_id, org_id, template_id, name, state, created_at, updated_at) "
            "VALUES ($1, $2, 'welcome', 'Warm', 'approved', $3, $3)",
            COPIES[0], told.org_id, SENT,
        )  # fmt: skip

    of_variant = await listed(told, variant="Warm")
    of_day = await listed(told, since=DAY, until=DAY)
    silver = await listed(told, attr="plan", value="silver&more")
    of_none = await listed(told, attr="plan")

    assert [one.transmission_id for one in of_variant.sends] == ["T00", "T06", "T03", "T09"]
    assert {one.variant for one in of_variant.sends} == {"Warm"}
    assert [one.transmission_id for one in of_day.sends] == [f"T{number:02}" for number in range(0, 12, 2)]
    assert {one.transmission_id for one in silver.sends} == {"T04", "T05", "T06", "T07"}
    assert {one.transmission_id for one in of_none.sends} == {"T08", "T09", "T10", "T11"}
    with pytest.raises(NotFound, match="No variant 'Cold'"):
        await listed(told, variant="Cold")


@pytest.mark.long
async def test_a_long_list_comes_in_parts_that_miss_and_repeat_nothing(told: Rig) -> None:
    whole = await listed(told)
    parts, after = [], None
    while True:
        part = await listed(told, limit=5, after=after)
        parts += part.sends
        after = part.next
        if after is None:
            break

    assert parts == whole.sends
    assert len(parts) == 12
    with pytest.raises(Refused, match="said as its next"):
        await listed(told, after="yesterday")


async def test_an_email_leads_to_the_file_and_line_of_each_of_its_events(told: Rig) -> None:
    found: OneSend = await people(told).run(sends.show, {"transmission_id": "T05"}, "editor")
    lines = [line.split(",")[0] for line in (await _file(told)).splitlines()]

    assert [(one.metric, one.why) for one in found.events] == [
        ("Received Email", "names it"), ("Opened Email", "names it"), ("Marked Email as Spam", "follows it"),
    ]  # fmt: skip
    assert (found.template_id, found.spam, found.human_opens) == ("welcome", True, 1)
    assert [lines[one.line - 1] for one in found.events] == [one.event_id for one in found.events]
    assert {(one.source, Path(str(one.path)).name) for one in found.events} == {("klaviyo", "events.csv")}
    with pytest.raises(NotFound, match="No email 'T99'"):
        await people(told).run(sends.show, {"transmission_id": "T99"}, "editor")


async def _file(rig: Rig) -> str:
    source = await rig.one("SELECT path FROM ingest_files")
    async with rig.deps.servers.open(await _source(rig)) as folder:
        return b"".join([block async for block in folder.read(source["path"], 1 << 20)]).decode()


async def _source(rig: Rig) -> Any:
    row = await rig.one("SELECT org_id, source_id FROM sources")
    return await rig.sources.find(row["org_id"], row["source_id"])
