"""Our counts beside Klaviyo's totals: real files, a real database, and the account in a box as Klaviyo."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.ingest.reconciling.reconciler import next_due
from simulator.api.operations import PAGE_SCOPES
from simulator.people.events import Event
from simulator.people.export import export_file
from tests.component.ingest.boxed import Boxed, boxed
from tests.component.ingest.given import SENT
from tests.component.ingest.rig import Rig
from tests.support.klaviyo_events import Mail

DAY = timedelta(days=1)
ALL = {*PAGE_SCOPES, "accounts:read"}


@pytest.fixture
async def box(rig: Rig) -> AsyncIterator[Boxed]:
    async with boxed(rig, ALL) as made:
        made.account.timezone = "UTC"
        yield made


async def load(box: Boxed, folder: Path, name: str, events: list[Event]) -> None:
    """A file with these events, read."""
    file = export_file(box.account.id, events, box.rig.clock.now(), "nested", "jsonl", compress=False)
    (folder / name).write_bytes(file.content)
    await box.rig.settle()


async def rows(box: Boxed) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = await box.rig.rows(
        "SELECT * FROM reconciliations r WHERE compared_at = (SELECT compared_at FROM reconcile_orgs o"
        " WHERE o.org_id = r.org_id)"
    )
    return {(row["basis"], row["message_id"], row["measure"]): row for row in found}


async def state(box: Boxed) -> dict[str, Any]:
    return await box.rig.one("SELECT * FROM reconcile_orgs WHERE org_id = $1", box.rig.org_id)


def emails(box: Boxed, number: int, *, hours_ago: float = 30, message: str = "MSG1") -> list[Event]:
    """So many emails, each delivered, opened by a machine and by a person, and clicked."""
    made = []
    for one in range(number):
        mail = Mail(box.account, box.rig.clock.now() - timedelta(hours=hours_ago), f"01P{message}{one}", message)
        made += [mail.received(), mail.opened(30, machine=True), mail.opened(), mail.clicked()]
    return made


async def test_what_agrees_is_stored_as_agreeing_for_every_measure(box: Boxed, folder: Path) -> None:
    older = Mail(box.account, box.rig.clock.now() - 9 * DAY).received()
    newest = Mail(box.account, box.rig.clock.now() - timedelta(hours=1)).received()  # hours are compared up to its own
    today = emails(box, 10, hours_ago=5, message="MSG2")
    await load(box, folder, "a.jsonl", [older, *emails(box, 20), *today, newest])

    assert await box.reconciler().compare_one() is True

    found = await rows(box)
    assert {row["cause"] for row in found.values()} == {"agrees"}
    sent = {key[1:]: row["theirs"] for key, row in found.items() if key[0] == "sent"}
    assert sent == {("MSG1", "delivered"): 20, ("MSG1", "opens"): 40, ("MSG1", "clicks"): 20}
    opens = found["sent", "MSG1", "opens"]
    assert (opens["ours"], opens["people"]) == (40, 20)
    assert found["happened", "MSG2", "opens"]["theirs"] == 20
    now = await state(box)
    assert (now["problem"], now["time_zone"], now["sent_until"]) == (None, "UTC", SENT.replace(hour=0))


async def test_all_messages_take_one_report_and_one_aggregate_a_metric(box: Boxed, folder: Path) -> None:
    events = [one for number in range(30) for one in emails(box, 1, message=f"MSG{number}")]
    await load(box, folder, "a.jsonl", events)

    await box.reconciler().compare_one()

    assert box.calls("query_flow_values") == 1
    assert box.calls("query_metric_aggregates") == 6
    assert len({key[1] for key in await rows(box)}) == 30


async def test_it_is_compared_every_hour_and_whenever_somebody_asks(box: Boxed) -> None:
    reconciler = box.reconciler()
    assert await reconciler.compare_one() is True
    assert await reconciler.compare_one() is False

    box.rig.clock.advance(3600)
    assert await reconciler.compare_one() is True
    await box.rig.run("UPDATE reconcile_orgs SET due_at = NULL")
    box.rig.clock.advance(61)
    assert await reconciler.compare_one() is True


async def test_a_file_that_is_missing_shows_as_late_and_is_not_late_once_it_came(box: Boxed, folder: Path) -> None:
    older = Mail(box.account, box.rig.clock.now() - 9 * DAY).received()
    await load(box, folder, "a.jsonl", [older, *emails(box, 20, hours_ago=60)])
    missing = emails(box, 20, hours_ago=30)
    reconciler = box.reconciler()

    await reconciler.compare_one()
    before = (await rows(box))["sent", "MSG1", "delivered"]
    await load(box, folder, "b.jsonl", missing)
    box.rig.clock.advance(3600)
    await reconciler.compare_one()

    assert (before["ours"], before["theirs"], before["cause"]) == (20, 40, "file_late")
    assert (await rows(box))["sent", "MSG1", "delivered"]["cause"] == "agrees"


async def test_a_held_file_is_named_as_the_cause(box: Boxed, folder: Path) -> None:
    await load(box, folder, "a.jsonl", emails(box, 5))
    emails(box, 20)
    (folder / "b.csv").write_text("colour,size\nred,1\n")
    await box.rig.settle()

    await box.reconciler().compare_one()

    assert (await rows(box))["sent", "MSG1", "delivered"]["cause"] == "unknown_layout"


async def test_days_are_the_accounts_own_where_the_key_may_read_its_time_zone(box: Boxed, folder: Path) -> None:
    box.account.timezone = "America/Los_Angeles"
    midnight = SENT.replace(hour=0)
    older = Mail(box.account, midnight - 9 * DAY).received()
    at_night = [Mail(box.account, midnight + timedelta(hours=2), f"01N{n}").received() for n in range(10)]
    await load(box, folder, "a.jsonl", [older, *at_night])  # two in the morning in UTC is the day before over there

    await box.reconciler().compare_one()

    row = (await rows(box))["sent", "MSG1", "delivered"]
    assert (row["ours"], row["theirs"]) == (10, 10)


async def test_without_the_time_zone_emails_near_midnight_explain_the_difference(box: Boxed, folder: Path) -> None:
    await box.use_key(PAGE_SCOPES)
    box.account.timezone = "America/Los_Angeles"
    midnight = SENT.replace(hour=0)
    older = Mail(box.account, midnight - 9 * DAY).received()
    at_night = [Mail(box.account, midnight + timedelta(hours=2), f"01N{n}").received() for n in range(10)]
    await load(box, folder, "a.jsonl", [older, *at_night, *emails(box, 20)])

    await box.reconciler().compare_one()

    row = (await rows(box))["sent", "MSG1", "delivered"]
    assert (row["ours"], row["theirs"], row["cause"]) == (20, 30, "time_zone")
    assert (await state(box))["time_zone"] is None


async def test_orders_are_compared_for_messages_whose_template_counts_them(box: Boxed, folder: Path) -> None:
    await box.rig.add_flow_message("ACT1", "MSG1")
    await box.rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, treatment_action_id, created_at, updated_at,"
        " conversions) VALUES ($1, 'welcome', 'Welcome', 'active', 'FLOW1', 'ACT1', $2, $2,"
        """ '{"metrics": ["Placed Order"], "refunds": [], "window_h": 72, "currency": null}'::text::jsonb)""",
        box.rig.org_id, SENT,
    )  # fmt: skip
    at = box.rig.clock.now() - timedelta(hours=30)
    events = []
    for number in range(5):
        await box.rig.add_generation(f"01B{number}", copy_id=uuid4(), accepted_at=at - timedelta(minutes=2))
        for message in ("MSG1", "MSG2"):
            mail = Mail(box.account, at, f"01B{number}", message)
            events += [mail.received(), mail.opened()]
        events.append(Mail(box.account, at, f"01B{number}").ordered())
    await load(box, folder, "a.jsonl", events)

    await box.reconciler().compare_one()

    found = await rows(box)
    assert found["sent", "MSG1", "conversions"]["ours"] == 5
    assert ("sent", "MSG2", "conversions") not in found


async def test_a_key_without_flows_still_compares_what_happened_and_says_what_is_missing(
    box: Boxed, folder: Path
) -> None:
    await box.use_key({"metrics:read"})
    newest = Mail(box.account, box.rig.clock.now() - timedelta(hours=1)).received()
    await load(box, folder, "a.jsonl", [*emails(box, 5, hours_ago=5), newest])

    await box.reconciler().compare_one()

    assert {key[0] for key in await rows(box)} == {"happened"}
    assert "flows:read" in (await state(box))["problem"]


async def test_a_revoked_key_is_said_and_tried_again_with_the_last_comparison_kept(box: Boxed, folder: Path) -> None:
    await load(box, folder, "a.jsonl", emails(box, 5))
    reconciler = box.reconciler()
    await reconciler.compare_one()
    compared_at = (await state(box))["compared_at"]
    box.key.revoked = True
    box.rig.clock.advance(3600)

    await reconciler.compare_one()
    refused = await state(box)
    box.key.revoked = False
    box.rig.clock.advance(601)
    await reconciler.compare_one()

    assert "the key is not accepted" in refused["problem"]
    assert refused["compared_at"] == compared_at
    again = await state(box)
    assert again["problem"] is None
    assert again["compared_at"] > compared_at


async def test_orgs_of_one_account_ask_one_after_the_other_within_its_quota(box: Boxed) -> None:
    for number in range(3):
        other = uuid4()
        await box.rig.run("INSERT INTO orgs VALUES ($1, $2, $2, $3)", other, f"shop{number}", SENT)
        await box.connect(other, box.world.add_key(box.account, ALL))
    first, second = box.reconciler(), box.reconciler()

    for _ in range(20):
        await first.compare_one()
        await second.compare_one()
        box.rig.clock.advance(20)

    asked = [one.status for one in box.world.log.since(0, None, 1000) if one.operation == "query_flow_values"]
    assert asked == [200] * 4
    done = await box.rig.one("SELECT count(compared_at) AS n FROM reconcile_orgs")
    assert done["n"] == 4


def test_many_orgs_of_one_account_share_the_reports_of_a_day() -> None:
    hour = timedelta(hours=1)

    assert next_due(SENT, hour, 1) == SENT + hour
    assert next_due(SENT, hour, 8) == SENT + hour
    assert next_due(SENT, hour, 50) - SENT == 6 * hour


async def test_comparisons_are_kept_for_a_week(box: Boxed, folder: Path) -> None:
    await load(box, folder, "a.jsonl", emails(box, 5))
    reconciler = box.reconciler()
    kept = []
    for _ in range(3):
        await reconciler.compare_one()
        kept.append(await box.rig.rows("SELECT DISTINCT compared_at FROM reconciliations ORDER BY 1"))
        box.rig.clock.advance(4 * 86_400)

    assert [len(some) for some in kept] == [1, 2, 1]
    assert kept[2] == kept[1][1:]  # of the third day on nothing is left to compare
