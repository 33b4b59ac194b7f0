"""From a flow's graph to the delay before each email."""

from typing import Any

import pytest

from shared.klaviyo.client import Flow, FlowAction, Message
from shared.klaviyo.flows import FlowMessage, Wait, read_flow_messages, waits_after_webhook

OURS = {"message": {"url": "https://copy.example/api/generate/acme"}}


def step(action_id: str, kind: str, following: str | None = None, **data: Any) -> FlowAction:
    return FlowAction(action_id, {"id": action_id, "type": kind, "links": {"next": following}, "data": data})


def webhook(action_id: str, following: str | None) -> FlowAction:
    return step(action_id, "send-webhook", following, **OURS)


def delay(action_id: str, following: str | None, value: int, unit: str = "minutes", **more: Any) -> FlowAction:
    return step(action_id, "time-delay", following, value=value, unit=unit, **more)


def test_the_delays_between_webhook_and_email_add_up() -> None:
    graph = [webhook("1", "2"), delay("2", "3", 2), delay("3", "4", 1, "hours"), step("4", "send-email")]

    assert waits_after_webhook(graph)["4"] == Wait(120 + 3600, 120 + 3600)


@pytest.mark.parametrize(
    ("unit", "value", "secondary", "expected_s"),
    [("days", 1, 6, 86_400 + 6 * 3600), ("hours", 2, 30, 9000), ("minutes", 5, None, 300), ("minutes", 5, 3, 300)],
)
def test_a_second_value_belongs_to_the_smaller_unit(
    unit: str, value: int, secondary: int | None, expected_s: int
) -> None:
    graph = [webhook("1", "2"), delay("2", "3", value, unit, secondary_value=secondary), step("3", "send-email")]

    assert waits_after_webhook(graph)["3"] == Wait(expected_s, expected_s)


def test_the_nearest_webhook_counts_by_the_shortest_way_and_by_the_longest() -> None:
    split = FlowAction(
        "2", {"type": "conditional-split", "links": {"next_if_true": "3", "next_if_false": "4"}, "data": {}}
    )
    graph = [
        webhook("1", "2"), split, delay("3", "5", 60), delay("4", "5", 3), step("5", "send-email", "6"),
        delay("6", "7", 1440), webhook("7", "8"), delay("8", "9", 4), step("9", "send-email"),
    ]  # fmt: skip

    waits = waits_after_webhook(graph)

    assert (waits["5"], waits["9"]) == (Wait(180, 3600), Wait(240, 240))


MINUTE, HOUR, DAY = 60, 3600, 86_400
WORKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (delay("2", "3", 1, "days", delay_until_time="09:00:00"), Wait(0, 2 * DAY)),
        (
            delay("2", "3", 2, "days", delay_until_time="09:00:00", secondary_value=6),
            Wait(DAY + 6 * HOUR, 3 * DAY + 6 * HOUR),
        ),
        (delay("2", "3", 3, "hours", delay_until_time="09:00:00"), Wait(3 * HOUR, 3 * HOUR + DAY)),
        (delay("2", "3", 0, "days", delay_until_time="09:00:00"), Wait(0, DAY)),
        (delay("2", "3", 2, "hours", delay_until_weekdays=["tuesday"]), Wait(2 * HOUR, 2 * HOUR + 7 * DAY)),
        (delay("2", "3", 1, "days", delay_until_time="09:00:00", delay_until_weekdays=WORKDAYS), Wait(0, 4 * DAY)),
        (delay("2", "3", 1, "days", delay_until_weekdays=["sunday", "wednesday"]), Wait(DAY, 5 * DAY)),
        (delay("2", "3", 1, "days", delay_until_weekdays=[*WORKDAYS, "saturday", "sunday"]), Wait(DAY, DAY)),
        (delay("2", "3", 1, "days", delay_until_weekdays=["someday"]), Wait(DAY, 8 * DAY)),
        (step("2", "target-date", "3", target_time="09:00:00"), Wait(0, None)),
        (step("2", "countdown-delay", "3", unit="weeks", value=1), Wait(0, None)),
        (step("2", "back-in-stock-delay", "3"), Wait(0, None)),
    ],
)
def test_a_delay_until_something_may_last_longer_than_it_says(waiting: FlowAction, expected: Wait) -> None:
    assert waits_after_webhook([webhook("1", "2"), waiting, step("3", "send-email")])["3"] == expected


def test_what_is_certain_before_and_after_a_wait_for_a_date_counts() -> None:
    graph = [
        webhook("1", "2"), delay("2", "3", 3), step("3", "target-date", "4"), delay("4", "5", 2),
        step("5", "send-email"),
    ]  # fmt: skip

    assert waits_after_webhook(graph)["5"] == Wait(5 * MINUTE, None)


def test_an_email_without_our_webhook_has_no_delay() -> None:
    graph = [
        step("1", "send-webhook", "2", message={"url": "https://elsewhere.example/hook"}),
        delay("2", "3", 2),
        step("3", "send-email"),
    ]

    assert waits_after_webhook(graph) == {}


def test_a_circle_or_a_broken_definition_ends() -> None:
    graph = [webhook("1", "2"), delay("2", "1", 1), FlowAction("3", {}), FlowAction("4", {"type": "send-webhook"})]

    assert waits_after_webhook(graph) == {"2": Wait(0, 0)}


def test_nobody_knows_how_long_people_go_in_a_circle() -> None:
    split = FlowAction("2", {"type": "conditional-split", "links": {"next_if_true": "3"}, "data": {}})
    back = FlowAction("4", {"type": "trigger-split", "links": {"next_if_true": "2", "next_if_false": "5"}})
    graph = [webhook("1", "2"), split, delay("3", "4", 3), back, step("5", "send-email")]

    assert waits_after_webhook(graph)["5"] == Wait(180, None)


class Account:
    async def flows(self) -> list[Flow]:
        return [Flow("F1", "Welcome", "live", archived=False), Flow("F2", "Old", "manual", archived=True)]

    async def flow_actions(self, flow_id: str) -> list[FlowAction]:
        assert flow_id == "F1"
        return [webhook("1", "2"), delay("2", "3", 2), step("3", "send-email", "4"), step("4", "send-sms")]

    async def flow_messages(self, action_id: str) -> list[Message]:
        assert action_id == "3"
        return [Message("M1", "Hello", "email"), Message("M2", "Hello by text", "sms")]


async def test_emails_of_living_flows_are_mapped() -> None:
    assert await read_flow_messages(Account()) == [
        FlowMessage("F1", "Welcome", "live", "3", "M1", "Hello", Wait(120, 120))
    ]


class Moving(Account):
    """Changes while its pages are turned: some things stand on two of them."""

    async def flows(self) -> list[Flow]:
        return [*await super().flows(), Flow("F1", "Welcome back", "live", archived=False)]

    async def flow_messages(self, action_id: str) -> list[Message]:
        return 2 * await super().flow_messages(action_id)


async def test_what_is_listed_twice_is_one_email_under_its_newest_name() -> None:
    assert await read_flow_messages(Moving()) == [
        FlowMessage("F1", "Welcome back", "live", "3", "M1", "Hello", Wait(120, 120))
    ]
