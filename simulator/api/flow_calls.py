"""Reading flows, their actions and messages."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from simulator.api import resources
from simulator.api.admission import forbidden
from simulator.api.call import Answer, Call, one, page
from simulator.api.jsonapi import Json, invalid, not_found
from simulator.flow.definitions import Flow, FlowAction, FlowMessage

HIDDEN = "********"


def reading(respond: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
    """With the values of headers hidden where the box is told so."""

    @wraps(respond)
    def answered(call: Call) -> Answer:
        answer = respond(call)
        return answer if call.world.settings.header_values == "shown" else replace(answer, body=_hidden(answer.body))

    return answered


def _hidden(node: Any) -> Any:
    if isinstance(node, list):
        return [_hidden(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: dict.fromkeys(value, HIDDEN) if name == "headers" and isinstance(value, dict) else _hidden(value)
        for name, value in node.items()
    }


@reading
def get_flows(call: Call) -> Answer:
    paths = call.fields("flow", resources.FLOW_FIELDS)
    shown, links = page(call, call.account.flows.values(), _flow_value)
    body: Json = {"data": [resources.flow(call.base, flow, paths) for flow in shown], "links": links}
    if wanted := call.includes():
        body["included"] = [action for flow in shown for action in _actions_of(call, flow, wanted)]
    return Answer(200, body)


@reading
def get_flow(call: Call) -> Answer:
    flow = _flow(call, call.params["id"])
    extra = call.listed("additional-fields[flow]")
    if any(name != "definition" for name in extra):
        raise invalid("Only 'definition' is an additional field of flows.", parameter="additional-fields[flow]")
    paths = call.fields("flow", resources.FLOW_FIELDS)
    wanted = call.includes()
    included = _actions_of(call, flow, wanted) if wanted else None
    return one(call, resources.flow(call.base, flow, paths, with_definition=bool(extra)), included)


@reading
def get_actions_for_flow(call: Call) -> Answer:
    flow = _flow(call, call.params["id"])
    paths = call.fields("flow-action", resources.ACTION_FIELDS)
    shown, links = page(call, flow.actions, _action_value)
    return Answer(200, {"data": [resources.flow_action(call.base, it, paths) for it in shown], "links": links})


@reading
def get_flow_action(call: Call) -> Answer:
    flow, action = _action(call, call.params["id"])
    included: list[Json] | None = None
    if wanted := call.includes():
        included = []
        if "flow" in wanted:
            included.append(resources.flow(call.base, flow, call.fields("flow", resources.FLOW_FIELDS)))
        if "flow-messages" in wanted and action.message is not None:
            included.append(_message_resource(call, action.message))
    paths = call.fields("flow-action", resources.ACTION_FIELDS)
    return one(call, resources.flow_action(call.base, action, paths), included)


@reading
def get_flow_action_messages(call: Call) -> Answer:
    _, action = _action(call, call.params["id"])
    messages = [action.message] if action.message is not None else []
    shown, links = page(call, messages, _message_value)
    return Answer(200, {"data": [_message_resource(call, message) for message in shown], "links": links})


@reading
def get_flow_message(call: Call) -> Answer:
    flow, message = _message(call, call.params["id"])
    included: list[Json] | None = None
    if wanted := call.includes():
        included = []
        action = flow.action(message.action_id)
        if "flow-action" in wanted and action is not None:
            paths = call.fields("flow-action", resources.ACTION_FIELDS)
            included.append(resources.flow_action(call.base, action, paths))
        if "template" in wanted and message.template_id:
            if "templates:read" not in call.scopes:
                raise forbidden(["templates:read"])
            included.append(_template_resource(call, message))
    return one(call, _message_resource(call, message), included)


def get_template_for_flow_message(call: Call) -> Answer:
    _, message = _message(call, call.params["id"])
    if not message.template_id:
        raise not_found("template", message.id)
    return one(call, _template_resource(call, message))


def _message_resource(call: Call, message: FlowMessage) -> Json:
    return resources.flow_message(call.base, message, call.fields("flow-message", resources.MESSAGE_FIELDS))


def _template_resource(call: Call, message: FlowMessage) -> Json:
    return resources.template(call.base, message, call.fields("template", resources.TEMPLATE_FIELDS))


def _actions_of(call: Call, flow: Flow, wanted: tuple[str, ...]) -> list[Json]:
    if "flow-actions" not in wanted:
        return []
    paths = call.fields("flow-action", resources.ACTION_FIELDS)
    return [resources.flow_action(call.base, action, paths) for action in flow.actions]


def _flow(call: Call, flow_id: str) -> Flow:
    if (flow := call.account.flows.get(flow_id)) is None:
        raise not_found("flow", flow_id)
    return flow


def _action(call: Call, action_id: str) -> tuple[Flow, FlowAction]:
    if (found := call.account.find_action(action_id)) is None:
        raise not_found("flow-action", action_id)
    return found


def _message(call: Call, message_id: str) -> tuple[Flow, FlowMessage]:
    if (found := call.account.find_message(message_id)) is None:
        raise not_found("flow-message", message_id)
    return found


ATTRIBUTE_OF = {"created": "created_at", "updated": "updated_at", "action_type": "type"}


def _flow_value(flow: Flow, name: str) -> Any:
    return getattr(flow, ATTRIBUTE_OF.get(name, name))


def _action_value(action: FlowAction, name: str) -> Any:
    return getattr(action, ATTRIBUTE_OF.get(name, name))


def _message_value(message: FlowMessage, name: str) -> Any:
    return getattr(message, ATTRIBUTE_OF.get(name, name))
