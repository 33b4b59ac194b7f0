"""From Klaviyo's flows to the map that we keep: which email belongs to which step, and how long after our webhook.

Events carry message ids, tracking ids carry action ids. The least wait gives each write its deadline, the most that it
may be says until when copy has to stay.
"""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.klaviyo.client import Flow, FlowAction, Message

_WEBHOOK_PATH = "/api/generate/"  # of the gateway; other webhooks in a flow are not ours
_UNIT_S = {"minutes": 60, "hours": 3600, "days": 86_400}
_DAY_S = 86_400
_EMAIL_TYPES = {"send-email", "ab-test", "content-experiment"}
_OPEN_TYPES = {"target-date", "countdown-delay", "back-in-stock-delay"}  # they wait for a person's date, or for goods
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Wait:
    """How long from our webhook to an email: at least, and at most; `most_s` None: nobody knows."""

    least_s: int
    most_s: int | None


@dataclass(frozen=True, slots=True)
class FlowMessage:
    """One email of one flow. `wait`: from our webhook to it; None when no webhook of ours comes before it."""

    flow_id: str
    flow_name: str
    flow_status: str
    action_id: str
    message_id: str
    message_name: str
    wait: Wait | None


class FlowReader(Protocol):
    """What is asked of the client."""

    async def flows(self) -> list[Flow]: ...
    async def flow_actions(self, flow_id: str) -> list[FlowAction]: ...
    async def flow_messages(self, action_id: str) -> list[Message]: ...


async def read_flow_messages(client: FlowReader) -> list[FlowMessage]:
    """All emails of all flows that are not archived, each once."""
    found: dict[tuple[str, str], FlowMessage] = {}
    for flow in (await living_flows(client)).values():
        found |= {(one.action_id, one.message_id): one for one in await read_flow(client, flow)}
    return [*found.values()]


async def living_flows(client: FlowReader) -> dict[str, Flow]:
    """By id, those that are not archived. Each once: a flow that changes while pages are turned is listed on two."""
    newest = {flow.flow_id: flow for flow in await client.flows()}
    return {flow_id: flow for flow_id, flow in newest.items() if not flow.archived}


async def read_flow(client: FlowReader, flow: Flow) -> list[FlowMessage]:
    """All emails of one flow, each once."""
    found: dict[tuple[str, str], FlowMessage] = {}
    actions = await client.flow_actions(flow.flow_id)
    waits = waits_after_webhook(actions)
    for action in actions:
        if action.definition.get("type", "send-email") not in _EMAIL_TYPES:
            continue
        messages = await client.flow_messages(action.action_id)
        wait = waits.get(action.action_id)
        found |= {
            (action.action_id, message.message_id): FlowMessage(
                flow.flow_id, flow.name, flow.status, action.action_id, message.message_id, message.name, wait
            )
            for message in messages
            if message.channel in ("email", "")
        }
    return [*found.values()]


def waits_after_webhook(actions: Sequence[FlowAction]) -> dict[str, Wait]:
    """For each step that one of our webhooks comes before: how long from the last such webhook to it, by the shortest
    way and by the longest.

    A delay until a time of day or a weekday is certain only in its first part, and of days but in all before the last.
    Too early a deadline costs an earlier
    place in the queue, too late a one the email; copy that is taken off too early costs the email too.
    """
    by_id = {action.action_id: action.definition for action in actions}
    most = _most(by_id)
    return {
        action_id: Wait(least_s, None if math.isinf(most[action_id]) else int(most[action_id]))
        for action_id, least_s in _least(by_id).items()
        if not is_ours(by_id[action_id])
    }


def _least(by_id: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    least: dict[str, int] = {}
    heap = [(0, action_id) for action_id, definition in by_id.items() if is_ours(definition)]
    while heap:
        wait_s, action_id = heapq.heappop(heap)
        if action_id in least:
            continue
        least[action_id] = wait_s
        definition = by_id[action_id]
        for following in _next_ids(definition):
            if following in by_id and following not in least:
                heapq.heappush(heap, (wait_s + _lasts_s(definition)[0], following))
    return least


def _most(by_id: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The longest way has no more steps than there are: what still grows after so many rounds goes in a circle, and
    nobody knows for how long."""
    most = {action_id: 0.0 for action_id, definition in by_id.items() if is_ours(definition)}
    for passed in range(2 * len(by_id)):
        before = dict(most)
        for action_id, wait_s in before.items():
            definition = by_id[action_id]
            then_s = wait_s + _lasts_s(definition)[1]
            for following in _next_ids(definition):
                if following in by_id and not is_ours(by_id[following]) and then_s > most.get(following, -1.0):
                    most[following] = then_s if passed < len(by_id) else math.inf
        if most == before:
            break
    return most


def steps_before(actions: Sequence[FlowAction], action_id: str) -> list[str]:
    """The steps from which this one is reached, the nearest first."""
    before: dict[str, list[str]] = {}
    for action in actions:
        for following in _next_ids(action.definition):
            before.setdefault(following, []).append(action.action_id)
    found, waiting = dict.fromkeys([action_id]), [action_id]
    for step in waiting:
        for one in before.get(step, ()):
            if one not in found:
                found[one] = None
                waiting.append(one)
    return waiting[1:]


def is_ours(definition: Mapping[str, Any]) -> bool:
    """Whether a step is a webhook that calls a gateway of ours."""
    if definition.get("type") != "send-webhook":
        return False
    message = (definition.get("data") or {}).get("message") or {}
    return _WEBHOOK_PATH in (message.get("url") or "")


def _lasts_s(definition: Mapping[str, Any]) -> tuple[int, float]:
    """How long a step holds a person at least and at most."""
    if definition.get("type") in _OPEN_TYPES:
        return 0, math.inf
    if definition.get("type") != "time-delay":
        return 0, 0
    data = definition.get("data") or {}
    unit_s = _UNIT_S.get(data.get("unit") or "", 0)
    value, secondary = data.get("value") or 0, data.get("secondary_value") or 0
    # The second value belongs to the next smaller unit: 1 day and 6 hours, 2 hours and 30 minutes.
    smaller_s = {86_400: 3600, 3600: 60}.get(unit_s, 0)
    said_s = int(value) * unit_s + int(secondary) * smaller_s
    # Until a time of day, days are the calendar's: "1 day, until 09:00" is over in the morning for who came at night.
    early_s = _DAY_S if unit_s == _DAY_S and int(value) > 0 and data.get("delay_until_time") else 0
    return said_s - early_s, said_s + _until_s(data)


def _until_s(data: Mapping[str, Any]) -> int:
    """What may come on top of a delay that lasts until a time of day, or one of some weekdays: who has just missed it
    waits for the next."""
    named = {str(day).lower() for day in data.get("delay_until_weekdays") or ()}
    days = sorted(number for number, day in enumerate(_WEEK) if day in named)
    if len(days) in (0, len(_WEEK)):
        return 7 * _DAY_S if named and not days else _DAY_S if data.get("delay_until_time") else 0
    following = [*days[1:], days[0] + len(_WEEK)]
    return _DAY_S * max(later - day for day, later in zip(days, following, strict=True))


def _next_ids(node: Any) -> Iterator[str]:
    """The steps that follow, however the links are nested: splits keep theirs inside `data` or as several links."""
    if isinstance(node, list):
        for item in node:
            yield from _next_ids(item)
    elif isinstance(node, Mapping):
        for name, value in node.items():
            if isinstance(value, str) and name.startswith("next"):
                yield value
            elif isinstance(value, list | Mapping):
                yield from _next_ids(value)
