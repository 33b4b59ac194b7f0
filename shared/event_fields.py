"""The fields of an event that a column of a file may be: what a source's mapping may name. Ingest finds them
(`services/ingest/reading/mapping.py`), people set them by hand where it cannot."""

from collections.abc import Mapping
from typing import Final

REQUIRED_FIELDS: Final = ("event_id", "metric", "profile_id", "event_at")
"""A file in which one of these is not found is held."""

EVENT_FIELDS: Final[Mapping[str, str]] = {
    "event_id": "The event's own id, by which it counts once",
    "metric": "What happened, like Opened Email",
    "profile_id": "The Klaviyo profile",
    "event_at": "When it happened",
    "properties": "The event's properties as JSON",
    "message_id": "The email ($message)",
    "flow_id": "The flow ($flow)",
    "transmission_id": "The one email that was sent (Transmission ID)",
    "handoff_at": "When it was handed over (Handoff Time)",
    "cohort": "The send cohort, which holds that time too",
    "machine_open": "Opened by a machine",
    "bot_click": "Clicked by a bot",
    "url": "The link",
    "value": "The order's value",
    "currency": "Its currency",
    "order_id": "The order's id",
    "own_id": "The shop's id of the event ($event_id)",
    "internal": "$internal as JSON",
}
"""Each with what it is."""


HASH: Final = "(hash)"
"""In place of a column of `event_id`, for files that have none: the id is a hash of what the row says
(docs/formats.md), so two rows that say the same are one event."""


def unknown_fields(mapping: Mapping[str, str]) -> list[str]:
    """Names in a mapping that are no fields."""
    return sorted(set(mapping) - set(EVENT_FIELDS))
