"""When Klaviyo sends a flow webhook again: pure rules.

Any 2xx is success. 429 and 500, 502, 503 may heal and are tried again up to 17 times over 24 hours with exponential
backoff; everything else is skipped for ever. Source: Klaviyo's page on webhook status codes. It lists 503 twice, and
may mean 504 the second time; nobody can rely on that, so 504 is skipped here. The exact waits are not published: they
double here such that all of them together last the whole span.
"""

from enum import StrEnum

RETRYABLE = frozenset({429, 500, 502, 503})
GROWTH = 2.0


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    RETRY = "retry"
    SKIPPED = "skipped"
    FAILED = "failed"


def verdict(status: int | None, attempt: int, retries: int, *, retry_unanswered: bool) -> Verdict:
    """What follows from the answer to attempt number `attempt` (from 1); `status` None is no answer at all."""
    if status is not None and 200 <= status < 300:
        return Verdict.ACCEPTED
    may_heal = retry_unanswered if status is None else status in RETRYABLE
    if not may_heal:
        return Verdict.SKIPPED
    return Verdict.RETRY if attempt <= retries else Verdict.FAILED


def wait_s(attempt: int, retries: int, span_s: float) -> float:
    """Virtual seconds from the answer to `attempt` until the next one; the waits of all retries sum to `span_s`."""
    first_s = span_s * (GROWTH - 1) / (GROWTH**retries - 1)
    return float(first_s * GROWTH ** (attempt - 1))
