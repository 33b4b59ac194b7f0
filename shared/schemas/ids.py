"""`generation_id` is one logical request of one person; `copy_id`, which is the variant, is never computed."""

from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from struct import Struct
from typing import NewType
from uuid import UUID

GenerationId = NewType("GenerationId", UUID)

WINDOW_S = 3600
"""Two equal webhooks within one window are one generation. Klaviyo's first retries fall well inside an hour, and
a person who enters the flow again within the hour with the very same body gets the very same copy. It divides a
day, so a window lies within one day and the day belongs to the id."""


_LENGTH = Struct(">I").pack


def window_start(accepted_at: datetime) -> datetime:
    """The start of the window that this moment lies in, UTC."""
    at = accepted_at.astimezone(UTC)
    return at - timedelta(seconds=at.timestamp() % WINDOW_S)


def generation_day(accepted_at: datetime) -> date:
    """The partition of `generations` that a webhook accepted at this moment belongs to."""
    return window_start(accepted_at).date()


def generation_id(
    org_id: UUID, template_id: str, user_id: str, tracking_id: str, body: bytes, window_at: datetime
) -> GenerationId:
    """The same request in the same window always has the same id, whichever gateway computes it.

    `body` is the body as received: Klaviyo renders it anew for a new entry, but repeats it for a retry.
    """
    return _in_window(_digest(org_id, template_id, user_id, tracking_id, body), int(window_at.timestamp()))


def generation_ids(
    org_id: UUID, template_id: str, user_id: str, tracking_id: str, body: bytes, window_at: datetime
) -> tuple[GenerationId, GenerationId]:
    """The id of a request in the window that starts at `window_at`, and its id in the window before that."""
    digest = _digest(org_id, template_id, user_id, tracking_id, body)
    start_s = int(window_at.timestamp())
    return _in_window(digest.copy(), start_s), _in_window(digest, start_s - WINDOW_S)


def _digest(org_id: UUID, template_id: str, user_id: str, tracking_id: str, body: bytes) -> "blake2b":
    parts = (org_id.bytes, template_id.encode(), user_id.encode(), tracking_id.encode())
    told_apart = b"".join([_LENGTH(len(part)) + part for part in parts])
    return blake2b(told_apart + blake2b(body, digest_size=16).digest(), digest_size=16, person=b"generation")


def _in_window(digest: "blake2b", start_s: int) -> GenerationId:
    digest.update(start_s.to_bytes(8, "big"))
    return GenerationId(_uuid8(digest.digest()))


def _uuid8(raw: bytes) -> UUID:
    """RFC 9562 version 8 (custom) around 122 bits of hash; Python 3.11's `UUID(version=8)` refuses to set it."""
    value = int.from_bytes(raw, "big")
    value = value & ~(0xF << 76) | (0x8 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)
