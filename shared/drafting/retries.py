"""Whether and when a model is asked again. Pure: what the server said and chance in, seconds out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

LONGEST_WAIT_S = 60.0
"""A server that asks for more is believed, and not asked again: whoever waits at a terminal is told."""

_FIRST_WAIT_S, _LAST_WAIT_S = 0.5, 8.0
_AGAIN = frozenset({408, 409, 425, 429})
_SPENT = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "enforced_spend_limit_reached",
    "billing_hard_limit_reached",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Real seconds. `try_s`: one try; `total_s`: all tries and waits; `max_tokens`: of one answer."""

    try_s: float = 120.0
    total_s: float = 300.0
    tries: int = 3
    max_tokens: int = 4_096


def may_heal(status: int, headers: Mapping[str, str], codes: frozenset[str]) -> bool:
    """Whether the same request may succeed later. `codes`: all that the error's body calls itself."""
    if codes & {*_SPENT}:  # no waiting brings money
        return False
    told = headers.get("x-should-retry", "").lower()
    if told in ("true", "false"):
        return told == "true"
    return status in _AGAIN or status >= 500


def wait_s(tried: int, headers: Mapping[str, str], chance: Random, now: datetime) -> float | None:
    """Seconds before the next try, after so many; None: longer than anybody should wait.

    Doubles from half a second to eight, with jitter of a quarter; never shorter than what the server asks for.
    """
    backoff = min(_FIRST_WAIT_S * (1 << min(tried - 1, 10)), _LAST_WAIT_S) * chance.uniform(0.75, 1.0)
    told = _told_s(headers, now)
    if told is None:
        return backoff
    return None if told > LONGEST_WAIT_S else max(told, backoff)


def _told_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """What `Retry-After` says, in seconds; None where it says nothing that can be read."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return max(seconds, 0.0) if seconds == seconds else None  # NaN is no number of seconds
