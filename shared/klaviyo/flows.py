"""From Klaviyo's flows to the map that we keep: which email belongs to which step, and how long after our webhook.

Events carry message ids, tracking ids carry action ids; the delay gives each write its deadline.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.klaviyo.client import Flow, FlowAction, Message

_WEBHOOK_PATH = "/api/generate/"  # of the gateway; other webhooks in a flow are not ours
_UNIT_S = {"minutes": 60, "hours": 3600, "days": 86_400}
_EMAIL_TYPES = {"send-email", "ab-test", "content-experiment"}


@dataclass(frozen=True, slots=True)
class FlowMessage:
    """One email of one flow. `delay_s`: the least time from our webhook to it; None when no webhook of ours comes
    before it."""

    flow_id: str
    flow_name: str
    flow_status: str
    action_id: str
    message_id: str
    message_name: str
    delay_s: int | None


class FlowReader(Protocol):
    """What is asked of the client."""

    async def flows(self) -> list[Flow]: ...
    async def flow_actions(self, flow_id: str) -> list[FlowAction]: ...
    async def flow_messages(self, action_id: str) -> list[Message]: ...


async def read_flow_messages(client: FlowReader) -> list[FlowMessage]:
    """All emails of all flows that are not archived, each once: a flow that changes while pages are turned is listed on
    two of them."""
    found: dict[tuple[str, str], FlowMessage] = {}
    for flow in {flow.flow_id: flow for flow in await client.flows()}.values():
        if flow.archived:
            continue
        actions = await client.flow_actions(flow.flow_id)
        delays = delays_after_webhook(actions)
        for action in actions:
            if action.definition.get("type", "send-email") not in _EMAIL_TYPES:
                continue
            messages = await client.flow_messages(action.action_id)
            delay_s = delays.get(action.action_id)
            found |= {
                (action.action_id, message.message_id): FlowMessage(
                    flow.flow_id, flow.name, flow.status, action.action_id, message.message_id, message.name, delay_s
                )
                for message in messages
                if message.channel in ("email", "")
            }
    return [*found.values()]


def delays_after_webhook(actions: Sequence[FlowAction]) -> dict[str, int]:
    """For each step that one of our webhooks comes before: the least seconds from the nearest such webhook to it.

    A delay until a time of day or a date counts with the part of it that is certain: too early a deadline costs an
    earlier place in the queue, too late a one the email.
    """
    by_id = {action.action_id: action.definition for action in actions}
    least: dict[str, int] = {}
    heap = [(0, action_id) for action_id, definition in by_id.items() if is_ours(definition)]
    while heap:
        delay_s, action_id = heapq.heappop(heap)
        if action_id in least:
            continue
        least[action_id] = delay_s
        definition = by_id[action_id]
        for following in _next_ids(definition):
            if following in by_id and following not in least:
                heapq.heappush(heap, (delay_s + _lasts_s(definition), following))
    return {action_id: delay_s for action_id, delay_s in least.items() if not is_ours(by_id[action_id])}


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


def _lasts_s(definition: Mapping[str, Any]) -> int:
    if definition.get("type") != "time-delay":
        return 0
    data = definition.get("data") or {}
    unit_s = _UNIT_S.get(data.get("unit") or "", 0)
    value, secondary = data.get("value") or 0, data.get("secondary_value") or 0
    # The second value belongs to the next smaller unit: 1 day and 6 hours, 2 hours and 30 minutes.
    smaller_s = {86_400: 3600, 3600: 60}.get(unit_s, 0)
    return int(value) * unit_s + int(secondary) * smaller_s


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
