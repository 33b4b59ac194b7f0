"""Two shapes of campaigns, one answer."""

from typing import Any

import pytest

from shared.klaviyo.campaigns import QUERIES, CampaignMessage, messages_of
from shared.klaviyo.wire import REVISION


def linked(campaign_id: str, attributes: dict[str, Any], *message_ids: str) -> dict[str, Any]:
    related = {"data": [{"type": "campaign-message", "id": message_id} for message_id in message_ids]}
    links = {"campaign-messages": related}
    return {"type": "campaign", "id": campaign_id, "attributes": attributes, "relationships": links}


def message(message_id: str, **definition: str) -> dict[str, Any]:
    return {"type": "campaign-message", "id": message_id, "attributes": {"definition": definition}}


@pytest.mark.parametrize(
    ("campaign", "included", "status"),
    [
        ({"name": "May sale", "status": "Sent"}, message("M1", label="First", channel="email"), "Sent"),
        ({"definition": {"name": "May sale"}}, message("M1", name="First", status="sent"), "sent"),
    ],
    ids=["2026-07-15", "2026-10-15"],
)
def test_both_shapes_say_the_same(campaign: dict[str, Any], included: dict[str, Any], status: str) -> None:
    audience = {"type": "campaign-audience", "id": "M1", "attributes": {"definition": {"name": "All"}}}
    page = {"data": [linked("C1", campaign, "M1")], "included": [audience, included]}

    assert list(messages_of(page)) == [CampaignMessage("C1", "May sale", status, "M1", "First")]


def test_an_email_without_a_name_has_its_campaigns_and_a_text_message_is_none() -> None:
    page = {
        "data": [linked("C1", {"name": "May sale", "status": "Draft"}, "M1", "M2", "M3"), linked("C2", {"name": "x"})],
        "included": [message("M1", channel="email"), message("M2", channel="sms")],
    }

    found = list(messages_of(page))

    assert [(one.message_id, one.message_name) for one in found] == [("M1", "May sale"), ("M3", "May sale")]
    assert list(messages_of({"data": []})) == []


def test_the_revision_that_is_sent_has_a_query() -> None:
    assert REVISION in QUERIES
