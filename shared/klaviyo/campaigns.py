"""From Klaviyo's campaigns to the emails in them, in both shapes: until 2026-07-15 a campaign has its name and status
itself; from 2026-10-15 its name stands in its definition and the status at each of its messages."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

QUERIES: Final[Mapping[str, Mapping[str, str]]] = {
    "2026-07-15": {
        "filter": "equals(messages.channel,'email')",  # without it the answer is 400
        "fields[campaign]": "name,status",
        "fields[campaign-message]": "definition.label,definition.channel",
        "include": "campaign-messages",
        "page[size]": "100",
    },
    "2026-10-15": {
        "fields[campaign]": "definition.name",
        "fields[campaign-message]": "definition.name,definition.status",
        "include": "campaign-messages",
        "page[size]": "100",
    },
}
"""By revision, how campaigns are asked for."""


@dataclass(frozen=True, slots=True)
class CampaignMessage:
    """One email of one campaign. `campaign_status` as Klaviyo spells it: `Sent` or `sent`."""

    campaign_id: str
    campaign_name: str
    campaign_status: str
    message_id: str
    message_name: str


class CampaignReader(Protocol):
    """What is asked of the client."""

    def campaign_pages(self) -> AsyncIterator[Mapping[str, Any]]: ...


async def read_campaign_messages(client: CampaignReader) -> list[CampaignMessage]:
    """The emails of all campaigns; events of archived ones still come, so they are among them."""
    return [message async for page in client.campaign_pages() for message in messages_of(page)]


def messages_of(page: Mapping[str, Any]) -> Iterator[CampaignMessage]:
    """The emails of one page of campaigns, whatever revision it is of."""
    included = {
        str(item.get("id")): (item.get("attributes") or {}).get("definition") or {}
        for item in page.get("included") or []
        if item.get("type") == "campaign-message"
    }
    for campaign in page.get("data") or []:
        attributes = campaign.get("attributes") or {}
        name = attributes.get("name") or (attributes.get("definition") or {}).get("name") or ""
        for message_id in _message_ids(campaign):
            definition = included.get(message_id, {})
            if definition.get("channel", "email") != "email":
                continue
            yield CampaignMessage(
                str(campaign["id"]),
                name,
                attributes.get("status") or definition.get("status") or "",
                message_id,
                definition.get("label") or definition.get("name") or name,
            )


def _message_ids(campaign: Mapping[str, Any]) -> list[str]:
    related = (campaign.get("relationships") or {}).get("campaign-messages") or {}
    return [str(one["id"]) for one in related.get("data") or []]
