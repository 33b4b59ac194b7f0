"""Domain objects as JSON:API resources, in the shapes of revision 2026-07-15."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from simulator.account import Account, Campaign, ImportJob, Metric
from simulator.api.jsonapi import Json, chosen
from simulator.flow.definitions import Flow, FlowAction, FlowMessage
from simulator.people.events import Event
from simulator.profile import IDENTITY_FIELDS, Profile

Paths = tuple[str, ...] | None

PROFILE_FIELDS = (
    *IDENTITY_FIELDS, "created", "updated", "last_event_date", "properties", "subscriptions", "predictive_analytics",
)  # fmt: skip
ACCOUNT_FIELDS = (
    "test_account", "contact_information", "industry", "timezone", "preferred_currency", "public_api_key", "locale",
)  # fmt: skip
FLOW_FIELDS = ("name", "status", "archived", "created", "updated", "trigger_type", "definition")
ACTION_FIELDS = ("created", "updated", "definition")
MESSAGE_FIELDS = ("channel", "created", "updated", "definition")
TEMPLATE_FIELDS = ("name", "editor_type", "html", "text", "amp", "created", "updated")
METRIC_FIELDS = ("name", "created", "updated", "integration")
EVENT_FIELDS = ("timestamp", "event_properties", "datetime", "uuid")
CAMPAIGN_FIELDS = (
    "name", "status", "archived", "audiences", "send_options", "tracking_options", "send_strategy", "created_at",
    "scheduled_at", "updated_at", "send_time",
)  # fmt: skip
CAMPAIGN_MESSAGE_FIELDS = ("definition", "send_times", "created_at", "updated_at")
JOB_FIELDS = (
    "status", "created_at", "total_count", "completed_count", "failed_count", "completed_at", "expires_at",
    "started_at",
)  # fmt: skip
IMPORT_ERROR_FIELDS = ("code", "title", "detail", "source", "original_payload")


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def resource(base: str, kind: str, resource_id: str, attributes: Mapping[str, Any], relationships: Json) -> Json:
    """`base` is the origin that the caller used, so that links lead back to this box."""
    body: Json = {"type": kind, "id": resource_id, "attributes": attributes}
    if relationships:
        body["relationships"] = relationships
    body["links"] = {"self": f"{base}/api/{kind}s/{resource_id}/"}
    return body


def related(base: str, kind: str, resource_id: str, name: str, data: Json | list[Json] | None = None) -> Json:
    own = f"{base}/api/{kind}s/{resource_id}"
    body: Json = {"links": {"self": f"{own}/relationships/{name}/", "related": f"{own}/{name}/"}}
    return body if data is None else {"data": data} | body


def profile(base: str, person: Profile, paths: Paths, additional: frozenset[str] = frozenset()) -> Json:
    if paths == ("updated",):
        # The writer's own fieldset, spared the full body because it is the hot path.
        attributes: Json = {"updated": person.updated_at.isoformat()}
    else:
        attributes = chosen(_profile_attributes(person, additional), paths)
    names = ("lists", "segments", "push-tokens")
    return resource(
        base, "profile", person.id, attributes, {name: related(base, "profile", person.id, name) for name in names}
    )


def _profile_attributes(person: Profile, additional: frozenset[str]) -> Json:
    state = person.state
    attributes: Json = {name: state.fields.get(name) for name in IDENTITY_FIELDS}
    attributes |= {"created": iso(person.created_at), "updated": iso(person.updated_at), "last_event_date": None}
    attributes["properties"] = state.properties
    if "subscriptions" in additional:
        marketing = {"can_receive_email_marketing": True, "consent": "SUBSCRIBED"}
        attributes["subscriptions"] = {"email": {"marketing": marketing}}
    if "predictive_analytics" in additional:
        attributes["predictive_analytics"] = {"historic_clv": 0.0, "churn_probability": None}
    return attributes


def account(base: str, it: Account, paths: Paths) -> Json:
    # The official SDK refuses an address without a city, though the document allows it.
    address = {"address1": "1 Main St", "address2": "", "city": "London", "region": "", "country": "GB", "zip": "E1"}
    contact = {
        "default_sender_name": it.name,
        "default_sender_email": f"hello@{it.id.lower()}.example",
        "website_url": None,
        "organization_name": it.name,
        "street_address": address,
    }
    attributes = {
        "test_account": False,
        "contact_information": contact,
        "industry": None,
        "timezone": it.timezone,
        "preferred_currency": "EUR",
        "public_api_key": it.id,
        "locale": "en-US",
    }
    return resource(base, "account", it.id, chosen(attributes, paths), {})


def flow(base: str, it: Flow, paths: Paths, *, with_definition: bool = False) -> Json:
    attributes: Json = {
        "name": it.name,
        "status": it.status,
        "archived": it.archived,
        "created": iso(it.created_at),
        "updated": iso(it.updated_at),
        "trigger_type": it.trigger_type,
    }
    if with_definition:
        attributes["definition"] = {
            "triggers": [{"type": "list", "id": it.trigger_id}],
            "profile_filter": None,
            "entry_action_id": it.actions[0].id if it.actions else None,
            "actions": [action.definition() for action in it.actions],
        }
    pointers = [{"type": "flow-action", "id": action.id} for action in it.actions]
    relationships = {
        "flow-actions": related(base, "flow", it.id, "flow-actions", pointers),
        "tags": related(base, "flow", it.id, "tags", []),
    }
    return resource(base, "flow", it.id, chosen(attributes, paths), relationships)


def flow_action(base: str, it: FlowAction, paths: Paths) -> Json:
    attributes = {"created": iso(it.created_at), "updated": iso(it.updated_at), "definition": it.definition()}
    messages = [{"type": "flow-message", "id": it.message.id}] if it.message else []
    relationships = {
        "flow": related(base, "flow-action", it.id, "flow", {"type": "flow", "id": it.flow_id}),
        "flow-messages": related(base, "flow-action", it.id, "flow-messages", messages),
    }
    return resource(base, "flow-action", it.id, chosen(attributes, paths), relationships)


def flow_message(base: str, it: FlowMessage, paths: Paths) -> Json:
    attributes = {
        "channel": it.channel,
        "created": iso(it.created_at),
        "updated": iso(it.updated_at),
        "definition": it.definition(),
    }
    action = {"type": "flow-action", "id": it.action_id}
    relationships = {"flow-action": related(base, "flow-message", it.id, "flow-action", action)}
    if it.template_id:
        template_pointer = {"type": "template", "id": it.template_id}
        relationships["template"] = related(base, "flow-message", it.id, "template", template_pointer)
    return resource(base, "flow-message", it.id, chosen(attributes, paths), relationships)


def template(base: str, it: FlowMessage, paths: Paths) -> Json:
    attributes = {
        "name": it.name,
        "editor_type": "CODE",
        "html": it.html,
        "text": it.text,
        "amp": it.amp,
        "created": iso(it.created_at),
        "updated": iso(it.updated_at),
    }
    return resource(base, "template", it.template_id or "", chosen(attributes, paths), {})


def metric(base: str, it: Metric, paths: Paths) -> Json:
    attributes = {
        "name": it.name,
        "created": iso(it.created_at),
        "updated": iso(it.created_at),
        "integration": {"object": "integration", "id": "0rG4eQ", "name": it.integration, "category": it.category},
    }
    flows = {"flow-triggers": related(base, "metric", it.id, "flow-triggers", [])}
    return resource(base, "metric", it.id, chosen(attributes, paths), flows)


def event(base: str, it: Event, paths: Paths) -> Json:
    attributes = {
        "timestamp": it.timestamp,
        "event_properties": it.properties,
        "datetime": iso(it.at),
        "uuid": it.uuid,
    }
    relationships = {
        "profile": related(base, "event", it.id, "profile", {"type": "profile", "id": it.profile_id}),
        "metric": related(base, "event", it.id, "metric", {"type": "metric", "id": it.metric_id}),
        "attributions": related(base, "event", it.id, "attributions", []),
    }
    return resource(base, "event", it.id, chosen(attributes, paths), relationships)


def campaign(base: str, it: Campaign, paths: Paths) -> Json:
    attributes = {
        "name": it.name,
        "status": it.status,
        "archived": False,
        "audiences": {"included": [it.list_id], "excluded": []},
        "send_options": {"use_smart_sending": True},
        "tracking_options": {"add_tracking_params": False, "is_tracking_clicks": True, "is_tracking_opens": True},
        "send_strategy": {"method": "immediate"},
        "created_at": iso(it.created_at),
        "scheduled_at": iso(it.sent_at),
        "updated_at": iso(it.sent_at or it.created_at),
        "send_time": iso(it.sent_at),
    }
    message = {"type": "campaign-message", "id": it.message_id}
    relationships = {
        "campaign-messages": related(base, "campaign", it.id, "campaign-messages", [message]),
        "tags": related(base, "campaign", it.id, "tags", []),
    }
    return resource(base, "campaign", it.id, chosen(attributes, paths), relationships)


def campaign_message(base: str, it: Campaign, paths: Paths) -> Json:
    """Its one message, named like it, as the editor does."""
    attributes = {
        "definition": {
            "channel": it.channel,
            "label": it.name,
            "content": {"subject": it.name, "preview_text": "", "from_email": "shop@example.com", "from_label": "Shop"},
        },
        "send_times": [{"datetime": iso(it.sent_at), "is_local": False}] if it.sent_at else [],
        "created_at": iso(it.created_at),
        "updated_at": iso(it.sent_at or it.created_at),
    }
    kind = "campaign-message"
    relationships = {"campaign": related(base, kind, it.message_id, "campaign", {"type": "campaign", "id": it.id})}
    return resource(base, kind, it.message_id, chosen(attributes, paths), relationships)


def import_job(base: str, it: ImportJob, now: datetime, paths: Paths) -> Json:
    attributes = {
        "status": it.status(now),
        "created_at": iso(it.created_at),
        "total_count": it.total,
        "completed_count": it.applied,
        "failed_count": len(it.errors),
        "completed_at": iso(it.ended_at),
        "expires_at": iso(it.expires_at),
        "started_at": iso(it.started_at) if it.started_at <= now else None,
    }
    kind = "profile-bulk-import-job"
    errors = {"links": {"related": f"{base}/api/{kind}s/{it.id}/import-errors/"}}
    lists = [{"type": "list", "id": list_id} for list_id in it.list_ids]
    relationships = {
        "lists": related(base, kind, it.id, "lists", lists),
        "profiles": related(base, kind, it.id, "profiles"),
        "import-errors": errors,
    }
    return resource(base, kind, it.id, chosen(attributes, paths), relationships)
