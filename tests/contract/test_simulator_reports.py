"""The box's totals: what the two reports count, and how they refuse. Every answer is held to Klaviyo's document."""

from datetime import timedelta
from typing import Any

import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from tests.contract.simulator_box import Caller
from tests.support.klaviyo_events import Mail

STATISTICS = [
    "delivered",
    "opens",
    "opens_unique",
    "clicks",
    "bounced",
    "unsubscribes",
    "conversions",
    "conversion_value",
]


def report(account: Account, **changes: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "statistics": STATISTICS,
        "timeframe": {"start": "2026-11-22T00:00:00+00:00", "end": "2026-11-24T00:00:00+00:00"},
        "conversion_metric_id": account.metric_named("Placed Order").id,
    }
    return {"data": {"type": "flow-values-report", "attributes": attributes | changes}}


def aggregate(account: Account, metric: str, **changes: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "metric_id": account.metric_named(metric).id,
        "measurements": ["count"],
        "by": ["$message"],
        "interval": "hour",
        "filter": ["greater-or-equal(datetime,2026-11-23T08:00:00)", "less-than(datetime,2026-11-23T10:00:00)"],
    }
    return {"data": {"type": "metric-aggregate", "attributes": attributes | changes}}


async def test_flow_values_count_what_came_of_emails_sent_in_the_time(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    first = Mail(account, clock.now() - timedelta(hours=2))
    for make in (first.received, first.opened, first.clicked, first.unsubscribed, first.ordered):
        make()
    first.opened(60, machine=True)
    Mail(account, clock.now() - timedelta(hours=1), "01OTHER", "MSG2").bounced()
    Mail(account, clock.now() - timedelta(hours=1), flow_id=None, message_id="CAMPAIGN").received()
    Mail(account, clock.now() - timedelta(days=3)).received()
    Mail(account, clock.now() - timedelta(hours=1)).received(late_s=7200)

    answer = await caller.api("POST", "/api/flow-values-reports", report(account))

    rows = {row["groupings"]["flow_message_id"]: row for row in answer.json["data"]["attributes"]["results"]}
    assert set(rows) == {"MSG1", "MSG2"}
    assert rows["MSG1"]["groupings"] == {"flow_id": "FLOW1", "flow_message_id": "MSG1", "send_channel": "email"}
    assert rows["MSG1"]["statistics"] == {
        "delivered": 1, "opens": 2, "opens_unique": 1, "clicks": 1, "bounced": 0, "unsubscribes": 1, "conversions": 1,
        "conversion_value": 20,
    }  # fmt: skip
    assert rows["MSG2"]["statistics"]["bounced"] == 1


async def test_a_time_frame_is_one_of_the_accounts_time_zone_whatever_offset_it_has(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    account.timezone = "America/New_York"
    Mail(account, clock.now().replace(hour=3)).received()  # still the 22nd there

    found = {}
    for day in (22, 23):
        clock.advance(60)
        frame = {"start": f"2026-11-{day}T00:00:00+09:00", "end": f"2026-11-{day + 1}T00:00:00+09:00"}
        answer = await caller.api("POST", "/api/flow-values-reports", report(account, timeframe=frame))
        found[day] = len(answer.json["data"]["attributes"]["results"])

    assert found == {22: 1, 23: 0}


async def test_reports_come_in_pages(caller: Caller, account: Account, clock: FrozenClock) -> None:
    await caller.sim("PUT", "/settings", {"report_page_rows": 2})
    for number in range(3):
        Mail(account, clock.now() - timedelta(hours=1), message_id=f"MSG{number}").received()

    first = await caller.api("POST", "/api/flow-values-reports", report(account))
    clock.advance(60)
    path = first.json["links"]["next"].removeprefix(caller.box.url)
    second = await caller.api("POST", path, report(account))

    assert [len(it.json["data"]["attributes"]["results"]) for it in (first, second)] == [2, 1]
    assert "next" not in second.json["links"]


async def test_aggregates_count_events_by_their_own_time(caller: Caller, account: Account, clock: FrozenClock) -> None:
    mail = Mail(account, clock.now() - timedelta(hours=1, minutes=5))  # 8:55
    mail.received()
    mail.clicked(0)
    mail.clicked(360)
    mail.clicked(361, bot=True)
    Mail(account, clock.now(), message_id="MSG2").clicked(0)  # at ten, which the time does not hold any more

    by_message = await caller.api("POST", "/api/metric-aggregates", aggregate(account, "Clicked Email"))
    by_bot = await caller.api("POST", "/api/metric-aggregates", aggregate(account, "Clicked Email", by=["Bot Click"]))

    attributes = by_message.json["data"]["attributes"]
    assert attributes["dates"] == ["2026-11-23T08:00:00+00:00", "2026-11-23T09:00:00+00:00"]
    assert attributes["data"] == [{"dimensions": ["MSG1"], "measurements": {"count": [1, 2]}}]
    assert [row["dimensions"] for row in by_bot.json["data"]["attributes"]["data"]] == [["0.0"], ["1.0"]]


async def test_aggregates_come_in_pages(caller: Caller, account: Account, clock: FrozenClock) -> None:
    for number in range(3):
        Mail(account, clock.now() - timedelta(hours=1), message_id=f"MSG{number}").received()
    body = aggregate(account, "Received Email", page_size=2)

    first = await caller.api("POST", "/api/metric-aggregates", body)
    body["data"]["attributes"]["page_cursor"] = first.json["links"]["next"].partition("page_cursor=")[2]
    second = await caller.api("POST", "/api/metric-aggregates", body)

    assert [len(it.json["data"]["attributes"]["data"]) for it in (first, second)] == [2, 1]


async def test_reports_have_the_smallest_quota_of_all(caller: Caller, account: Account, clock: FrozenClock) -> None:
    statuses = []
    for _ in range(3):
        clock.advance(1)
        answer = await caller.api("POST", "/api/flow-values-reports", report(account))
        statuses.append(answer.status)

    assert statuses == [200, 200, 429]
    assert int(answer.headers["Retry-After"]) > 50


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"statistics": ["delivered", "joy"]}, "statistics"),
        ({"conversion_metric_id": "NOPE"}, "conversion_metric_id"),
        ({"group_by": ["flow_id"]}, "group_by"),
        ({"timeframe": {"start": "2026-11-22T00:00:00"}}, "timeframe"),
        ({"timeframe": {"start": "2024-11-22T00:00:00", "end": "2026-11-22T00:00:00"}}, "timeframe"),
        ({"filter": "equals(colour,'x')"}, "filter"),
    ],
)
async def test_what_a_report_cannot_count_is_refused_with_its_place(
    caller: Caller, account: Account, changes: dict[str, Any], where: str
) -> None:
    refused = await caller.api("POST", "/api/flow-values-reports", report(account, **changes))

    assert (refused.status, refused.error["source"]) == (400, {"pointer": f"/data/attributes/{where}"})


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"metric_id": "NOPE"}, "metric_id"),
        ({"measurements": ["median"]}, "measurements"),
        ({"by": ["shoe size"]}, "by"),
        ({"filter": ["greater-or-equal(datetime,2026-11-23T08:00:00)"]}, "filter"),
        ({"timezone": "Mars/Base"}, "timezone"),
    ],
)
async def test_what_an_aggregate_cannot_count_is_refused_with_its_place(
    caller: Caller, account: Account, changes: dict[str, Any], where: str
) -> None:
    refused = await caller.api("POST", "/api/metric-aggregates", aggregate(account, "Received Email", **changes))

    assert (refused.status, refused.error["source"]) == (400, {"pointer": f"/data/attributes/{where}"})
