"""What Klaviyo says about its limits, and keeping below them. Pure but for the clock."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from shared.clock import Clock

_LEADING_INTEGER = re.compile(r"\s*(\d{1,9})")
_RETRY_AFTER_DEFAULT_S = 1.0  # a real 429 without Retry-After, and one with 0, are on record (klaviyo-api-python#15)
_RETRY_AFTER_MAX_S = 3600.0  # daily limits exist; whoever waits looks again after an hour
_MARGIN = 0.9  # a fixed window of unknown phase, and requests that bunch on their way


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The steady window (60 s), as an answer other than 429 tells it; None where a header is missing or unreadable."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: int | None = None


def rate_limit(headers: Mapping[str, str]) -> RateLimit:
    """Read `RateLimit-*`. The value's format is not documented beyond examples, so the leading integer counts; one
    name is typeset with an en dash in the guide, so that spelling is read too."""
    found = {name.lower().replace("–", "-"): value for name, value in headers.items()}
    return RateLimit(
        limit=_positive(_integer(found.get("ratelimit-limit"))),
        remaining=_integer(found.get("ratelimit-remaining")),
        reset_s=_integer(found.get("ratelimit-reset")),
    )


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds to wait after a 429, between 1 s and 1 h."""
    found = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    return min(float(_integer(found) or _RETRY_AFTER_DEFAULT_S), _RETRY_AFTER_MAX_S)


def _integer(text: str | None) -> int | None:
    match = _LEADING_INTEGER.match(text or "")
    return int(match.group(1)) if match else None


def _positive(value: int | None) -> int | None:
    return value or None


class Pacer:
    """Spaces one client's calls so that neither of two windows is exceeded, whatever the phase of Klaviyo's."""

    def __init__(self, clock: Clock, *, per_s: int, per_min: int) -> None:
        self._clock = clock
        self._windows = [(1.0, max(1, int(per_s * _MARGIN))), (60.0, max(1, int(per_min * _MARGIN)))]
        self._calls: deque[float] = deque(maxlen=max(most for _, most in self._windows))

    async def turn(self) -> None:
        """Return when one more call may be made; it counts as made now."""
        while (wait_s := self._wait_s(self._clock.monotonic())) > 0:
            await self._clock.sleep(wait_s)
        self._calls.append(self._clock.monotonic())

    def _wait_s(self, now: float) -> float:
        waits = [self._calls[-most] + length_s - now for length_s, most in self._windows if len(self._calls) >= most]
        return max(waits, default=0.0)
