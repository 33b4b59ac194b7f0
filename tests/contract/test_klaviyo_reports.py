"""Our reader of Klaviyo's totals against the account in a box."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import aiohttp
import pytest

from shared.clock import FrozenClock
from shared.errors import Permanent
from shared.klaviyo.errors import KeyRefused
from shared.klaviyo.reports import Reports, flow_totals_of, happened_in
from simulator.account import Account
from simulator.app import serving
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.contract.klaviyo_spec import check_request, load_spec
from tests.contract.klaviyo_stage import PAGE_SCOPES, Hurrying
from tests.support.klaviyo_events import Mail


@dataclass
class Boxed:
    world: World
    account: Account
    clock: FrozenClock
    reports: Reports


@asynccontextmanager
async def reports_in_a_box(
    scopes: set[str] = PAGE_SCOPES, settings: SimulatorSettings | None = None
) -> AsyncIterator[Boxed]:
    clock = FrozenClock()
    world = World(clock, settings, 1)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, scopes)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        yield Boxed(world, account, clock, Reports(session, box.url, key.value, Hurrying(clock)))
    if (spec := load_spec()) is not None:
        for request in world.log.since(0, None, 10_000):
            if request.status < 300:
                check_request(spec, request.method, request.path, request.headers, request.body)


async def test_totals_of_all_messages_are_read_in_one_request_with_the_pages_scopes() -> None:
    async with reports_in_a_box() as box:
        mail = Mail(box.account, box.clock.now() - timedelta(days=1))
        for make in (mail.received, mail.opened, mail.clicked, mail.ordered):
            make()
        Mail(box.account, box.clock.now() - timedelta(days=1), message_id="MSG2").bounced()
        conversion = box.account.metric_named("Placed Order").id

        found = {
            one.message_id: one
            for one in await box.reports.flow_totals(date(2026, 11, 22), date(2026, 11, 23), conversion)
        }

        assert found["MSG1"].counts == {
            "delivered": 1, "opens": 1, "clicks": 1, "bounced": 0, "unsubscribes": 0, "spam_complaints": 0,
            "conversions": 1,
        }  # fmt: skip
        assert (found["MSG2"].flow_id, found["MSG2"].counts["bounced"]) == ("FLOW1", 1)
        assert len(list(box.world.log.since(0, None, 10))) == 1


async def test_pages_of_totals_are_followed_within_the_quota() -> None:
    async with reports_in_a_box(settings=SimulatorSettings(report_page_rows=2)) as box:
        for number in range(5):
            Mail(box.account, box.clock.now() - timedelta(days=1), message_id=f"MSG{number}").received()
        conversion = box.account.metric_named("Placed Order").id

        found = await box.reports.flow_totals(date(2026, 11, 22), date(2026, 11, 23), conversion)

        assert {one.message_id for one in found} == {f"MSG{number}" for number in range(5)}
        assert [one.status for one in box.world.log.since(0, None, 10)] == [200, 200, 200]


async def test_what_happened_is_counted_by_flow_message_and_campaigns_are_left_out() -> None:
    async with reports_in_a_box() as box:
        now = box.clock.now()
        for number in range(1003):  # more than a page
            Mail(box.account, now - timedelta(minutes=90), message_id=f"MSG{number}").received()
        Mail(box.account, now - timedelta(minutes=30)).received()
        Mail(box.account, now - timedelta(minutes=90), flow_id=None, message_id="CAMPAIGN").received()
        received = next(one for one in await box.reports.metrics() if one.name == "Received Email")

        found = await box.reports.happened(received.metric_id, now - timedelta(hours=2), now - timedelta(hours=1))

        assert len(found) == 1003
        assert found["MSG1"] == 1
        assert "CAMPAIGN" not in found


async def test_the_time_zone_needs_a_scope_of_its_own() -> None:
    async with reports_in_a_box() as box:
        with pytest.raises(KeyRefused) as refused:
            await box.reports.time_zone()
        assert refused.value.reason == "scope_missing"
    async with reports_in_a_box({"accounts:read"}) as box:
        assert await box.reports.time_zone() == "Europe/London"


async def test_a_throttled_report_is_waited_for() -> None:
    async with reports_in_a_box() as box:
        box.world.faults.append(
            Fault(kind="status", status=429, operation="query_flow_values", count=1, retry_after_s=40)
        )

        assert (
            await box.reports.flow_totals(
                date(2026, 11, 22), date(2026, 11, 23), box.account.metric_named("Placed Order").id
            )
            == []
        )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": {"attributes": {"results": [{"groupings": {}, "statistics": {}}]}}},
        {"data": {"attributes": {"results": [{"groupings": {"flow_id": "F", "flow_message_id": "M"},
                                              "statistics": {"opens": "many"}}]}}},
    ],
)  # fmt: skip
def test_a_report_of_another_shape_is_said_to_be_unreadable(document: dict[str, object]) -> None:
    with pytest.raises(Permanent, match="cannot be read"):
        flow_totals_of(document)


def test_an_aggregate_of_another_shape_is_said_to_be_unreadable() -> None:
    with pytest.raises(Permanent, match="cannot be read"):
        happened_in({"data": {"attributes": {"data": [{"dimensions": ["F"], "measurements": {"count": [1]}}]}}})
