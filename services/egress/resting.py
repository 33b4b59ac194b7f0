"""Orgs whose place of exports fails again and again rest, so that it takes no other org's time. Pure.

A try of a server that is silent lasts a minute, and thousands of hours may wait for it, each to be tried five times and
again an hour later: one exporter would do nothing else. And jobs that are given up at last stop the consumer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

_TRIES: Final = 3  # in a row; the queue brings them within half a minute
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class _Trouble:
    failures: int
    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Rest:
    """How long it lasts still, and what the last try met."""

    wait_s: float
    why: str


class Resting:
    """What this exporter has seen of each org's place; another one sees for itself."""

    def __init__(self) -> None:
        self._troubles: dict[UUID, _Trouble] = {}

    def rest(self, org_id: UUID, now: datetime) -> Rest | None:
        """None: its hours are to be tried. After a rest one try tells, and the next rest lasts twice as long."""
        trouble = self._troubles.get(org_id)
        if trouble is None or trouble.until <= now:
            return None
        return Rest((trouble.until - now).total_seconds(), trouble.why)

    def failed(self, org_id: UUID, why: str, now: datetime) -> Rest | None:
        """A try met this; the rest that follows."""
        trouble = self._troubles.get(org_id)
        failures = 1 + (trouble.failures if trouble is not None else 0)
        pause = min(_LONGEST, _FIRST * 2 ** min(failures - _TRIES, 10)) if failures >= _TRIES else timedelta()
        self._troubles[org_id] = _Trouble(failures, now + pause, why)
        return self.rest(org_id, now)

    def answered(self, org_id: UUID) -> None:
        """It took an hour, or said plainly why not."""
        self._troubles.pop(org_id, None)
