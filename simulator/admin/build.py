"""Building and changing flows from the bodies of `/_sim`."""

from collections.abc import Sequence
from itertools import pairwise

from simulator.account import Account
from simulator.admin.bodies import ActionBody, ActionPatch, DelayBody, EmailBody, FlowBody, SplitBody, WebhookBody
from simulator.flow.definitions import Flow, FlowAction, FlowMessage
from simulator.world import World

# What each type of action may have changed.
CHANGEABLE = {
    "send-webhook": {"status", "url", "headers", "body", "name"},
    "time-delay": {"unit", "value", "until_time", "until_weekdays"},
    "conditional-split": set[str](),
    "send-email": {"status", "name", "subject", "preview_text", "html", "text", "amp", "prefix"},
}


def build_flow(world: World, account: Account, wanted: FlowBody) -> Flow:
    """A new flow, its actions chained in the order given. Raises ValueError for an id that is taken."""
    ids, now = world.ids, world.clock.now()
    _refuse_taken(account, wanted)
    flow = Flow(wanted.id or ids.short(), wanted.name, wanted.status, wanted.trigger_type, ids.short(), now, now)
    flow.actions = _chain(world, flow.id, wanted.actions)
    for body, action in zip(wanted.actions, list(flow.actions), strict=True):
        if isinstance(body, SplitBody) and body.otherwise:
            branch = _chain(world, flow.id, body.otherwise)
            action.otherwise_id = branch[0].id
            flow.actions += branch
    treatment = next((action.id for action in flow.actions if action.type == "send-email"), "")
    for message in flow.messages():
        message.body = message.body.replace("<flow_id>", flow.id).replace("<treatment_action_id>", treatment)
    account.flows[flow.id] = flow
    return flow


def _chain(world: World, flow_id: str, bodies: Sequence[ActionBody]) -> list[FlowAction]:
    actions = [_action(world, flow_id, body) for body in bodies]
    for action, follower in pairwise(actions):
        action.next_id = follower.id
    return actions


def _action(world: World, flow_id: str, wanted: ActionBody) -> FlowAction:
    ids, now = world.ids, world.clock.now()
    action_id = wanted.id or ids.number()
    if isinstance(wanted, DelayBody):
        return FlowAction(
            action_id, flow_id, "time-delay", "live", now, now, delay_unit=wanted.unit, delay_value=wanted.value,
            until_time=wanted.until_time, until_weekdays=wanted.until_weekdays,
        )  # fmt: skip
    if isinstance(wanted, SplitBody):
        return FlowAction(action_id, flow_id, "conditional-split", "live", now, now, share=wanted.share)
    if isinstance(wanted, WebhookBody):
        message = FlowMessage(
            ids.short(), action_id, "webhook", wanted.name, now, now, url=wanted.url, headers=wanted.headers,
            body=wanted.body,
        )  # fmt: skip
    else:
        message = FlowMessage(
            wanted.message_id or ids.short(), action_id, "email", wanted.name, now, now, template_id=ids.short(),
            subject=wanted.subject,
            preview_text=wanted.preview_text, html=wanted.html, text=wanted.text, amp=wanted.amp,
            from_email=wanted.from_email, from_label=wanted.from_label, prefix=wanted.prefix,
        )  # fmt: skip
    return FlowAction(action_id, flow_id, wanted.type, wanted.status, now, now, message=message)


def _refuse_taken(account: Account, wanted: FlowBody) -> None:
    bodies: list[ActionBody] = [*wanted.actions]
    for body in wanted.actions:
        bodies += body.otherwise if isinstance(body, SplitBody) else []
    actions = [body.id for body in bodies if body.id]
    messages = [body.message_id for body in bodies if isinstance(body, EmailBody) and body.message_id]
    for kind, taken in (
        ("flow", [wanted.id] if wanted.id in account.flows else []),
        ("action", [it for it in actions if account.find_action(it) or actions.count(it) > 1]),
        ("message", [it for it in messages if account.find_message(it) or messages.count(it) > 1]),
    ):
        if taken:
            raise ValueError(f"{kind} {taken[0]} exists")


def change_action(world: World, action: FlowAction, patch: ActionPatch) -> None:
    """Raises ValueError naming members that this type of action does not have; then nothing is changed."""
    given = {name: value for name, value in patch.model_dump().items() if value is not None}
    if wrong := sorted(set(given) - CHANGEABLE[action.type]):
        raise ValueError(f"a {action.type} action has no {', '.join(wrong)}")
    now = world.clock.now()
    action.updated_at = now
    for name, value in given.items():
        match name:
            case "status":
                action.status = value
            case "unit":
                action.delay_unit = value
            case "value":
                action.delay_value = value
            case "until_time":
                action.until_time = value
            case "until_weekdays":
                action.until_weekdays = value
            case _ if action.message is not None:
                setattr(action.message, name, value)
                action.message.updated_at = now


def described(flow: Flow) -> dict[str, object]:
    """A flow's ids, for the caller that has just built it."""
    actions = [
        {
            "id": action.id,
            "type": action.type,
            "message_id": action.message.id if action.message else None,
            "template_id": action.message.template_id if action.message else None,
        }
        for action in flow.actions
    ]
    return {"id": flow.id, "name": flow.name, "status": flow.status, "actions": actions}
