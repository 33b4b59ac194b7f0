"""The webhook's body as it is handed out: what Klaviyo makes of it, and what the gateway takes of that."""

import json
from typing import Any

import pytest

from services.gateway.reader import Webhook, read_webhook
from shared.admin.templates.webhook_attrs import fields_to_paste
from simulator.flow.templating import person_variables, render
from simulator.profile import ProfileState

PRINTED = ("first_name", "points", "vip")


def taken(properties: dict[str, Any], *, autoescape: bool) -> Webhook:
    """Of a person who has these properties."""
    fields, unreadable = fields_to_paste(PRINTED)
    assert unreadable == []
    body = {
        "template_id": "welcome", "user_id": "{{ person.KlaviyoID }}",
        "tracking_id": "{{ person.KlaviyoID }}.WFzxH9.1", "attrs": {}, "fields": fields,
    }  # fmt: skip
    person = person_variables("AbCd12", ProfileState({"first_name": "Ada"}, properties), None)
    return read_webhook(render(json.dumps(body, indent=2), {"person": person}, autoescape=autoescape).encode())


@pytest.mark.parametrize("autoescape", [True, False])
@pytest.mark.parametrize(
    ("properties", "fields"),
    [
        ({"points": 0, "vip": True}, {"points": "0", "vip": "True"}),
        ({"points": 0.0, "vip": False}, {"points": "0.0"}),
        ({"points": 7}, {"points": "7"}),
        ({"points": None, "vip": ""}, {}),
        ({"points": [], "vip": {}}, {}),
        ({}, {}),
    ],
)
def test_a_field_that_is_zero_is_sent_and_one_that_is_not_there_is_missing(
    properties: dict[str, Any], fields: dict[str, str], autoescape: bool
) -> None:
    webhook = taken(properties, autoescape=autoescape)

    assert webhook.fields == {"first_name": "Ada", **fields}


def test_a_quote_in_a_field_costs_no_other_one() -> None:
    webhook = taken({"points": 'half "a" dozen', "vip": "yes"}, autoescape=False)

    assert webhook.fields == {"first_name": "Ada", "points": 'half "a" dozen', "vip": "yes"}
