"""What becomes of one job, decided purely; `consumer` acts on it."""

from dataclasses import dataclass

from shared.errors import Failure, Permanent, Throttled
from shared.messaging.topology import RetryPolicy


@dataclass(frozen=True, slots=True)
class Ack:
    """Done."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """We are stopping: give it back untouched, no attempt spent."""


@dataclass(frozen=True, slots=True)
class Later:
    """Publish to the wait tier of `wait_s`, as attempt number `attempt`."""

    wait_s: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bury:
    """Publish to the dead queue with the reason."""

    reason: str


Verdict = Ack | Requeue | Later | Bury


def decide(error: BaseException | None, *, attempt: int, policy: RetryPolicy, stopping: bool = False) -> Verdict:
    """The verdict on one job whose handler ended with `error` (None: done) on its `attempt`-th try, from 1.

    | error | verdict | attempt spent |
    | None | Ack | - |
    | any, while stopping and not done | Requeue | no |
    | Throttled | Later, the shortest tier that covers the wait (else the longest) | no |
    | Permanent | Bury | - |
    | Transient, a time-out, anything unknown | Later, the tier of this attempt; after the last, Bury | yes |
    """
    match error:
        case None:
            return Ack()
        case _ if stopping:
            return Requeue()
        case Throttled(wait_s=wait_s):
            tier = next((tier for tier in policy.waits_s if tier >= wait_s), policy.waits_s[-1])
            return Later(tier, attempt, error.reason)
        case Permanent():
            return Bury(describe(error))
        case _ if attempt > len(policy.waits_s):
            return Bury(f"gave up after {attempt} attempts: {describe(error)}")
        case _:
            return Later(policy.waits_s[attempt - 1], attempt + 1, describe(error))


def describe(error: BaseException) -> str:
    """A reason for people and counters: the stable code, then at most 300 characters of the message.

    An unknown exception shows only its type: its text may hold a person's values.
    """
    if isinstance(error, Failure):
        return f"{error.reason}: {str(error)[:300]}"
    return f"unexpected: {type(error).__name__}"
