"""`generation_id` is one logical request of one person; `copy_id`, which is the variant, is never computed."""

from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from struct import Struct
from uuid import UUID

WINDOW_S = 3600
"""Two equal webhooks within one window are one generation. Klaviyo's first retries fall well inside an hour, and
a person who enters the flow again within the hour with the very same body gets the very same copy. It divides a
day, so a window lies within one day and the day belongs to the id."""

_LENGTHS = Struct(">III").pack
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}  # the two bits that RFC 9562 fixes


def window_start(accepted_at: datetime) -> datetime:
    """The start of the window that this moment lies in, UTC."""
    at = accepted_at.astimezone(UTC)
    return at - timedelta(seconds=at.timestamp() % WINDOW_S)


def generation_day(accepted_at: datetime) -> date:
    """The partition of `generations` that a webhook accepted at this moment belongs to."""
    return window_start(accepted_at).date()


def generation_ids(
    org_id: UUID, template_id: str, user_id: str, tracking_id: str, body: bytes, window_s: int
) -> tuple[str, str]:
    """The id of a request in the window that starts at `window_s` (Unix time), and its id in the window before that.

    The same request in the same window always has the same id, whichever gateway computes it. `body` is the body as
    received: Klaviyo renders it anew for a new entry, but repeats it for a retry. Ids are text here, because a webhook
    needs both in its job and one in its answer, and none of them as an object.
    """
    template, user, tracking = template_id.encode(), user_id.encode(), tracking_id.encode()
    told_apart = _LENGTHS(len(template), len(user), len(tracking)) + org_id.bytes + template + user + tracking
    body_digest = blake2b(body, digest_size=16).digest()
    digest = blake2b(told_apart + body_digest, digest_size=16, person=b"generation")
    earlier = digest.copy()
    digest.update(window_s.to_bytes(8, "big"))
    earlier.update((window_s - WINDOW_S).to_bytes(8, "big"))
    return _uuid8(digest.hexdigest()), _uuid8(earlier.hexdigest())


def _uuid8(raw: str) -> str:
    """RFC 9562 version 8 (custom) around 122 bits of hash, given and returned as hexadecimal text."""
    return f"{raw[:8]}-{raw[8:12]}-8{raw[13:16]}-{_VARIANT[raw[16]]}{raw[17:20]}-{raw[20:]}"
