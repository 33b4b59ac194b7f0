"""What a dashboard shows of the writer: backlog, quota, time to drain. Pure; one worker's view of all accounts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.profile_writer.quota.phase import MINUTE_S


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows of one lane (its place in `LANES`) of one account, and the first deadline of a write among them."""

    account_key: str
    lane: int
    rows: int
    first_deadline_at: datetime | None


@dataclass(frozen=True, slots=True)
class Quota:
    """Requests of one account: spent in the last minute, of how many; and how many a minute it can be sent."""

    account_key: str
    spent: int
    limit: int
    carried_per_min: float


@dataclass(frozen=True, slots=True)
class LiveView:
    """`used_ratio` and `drain_s` are those of the fullest and of the slowest account: with a label for each, a thousand
    accounts would be a thousand series."""

    waiting: Mapping[int, int]  # by lane
    first_deadline_at: datetime | None
    used_ratio: float
    drain_s: float

    def overdue_s(self, now: datetime) -> float:
        """How far the first deadline has passed."""
        return max(0.0, (now - self.first_deadline_at).total_seconds()) if self.first_deadline_at else 0.0


def live_view(waiting: Sequence[Waiting], quotas: Sequence[Quota]) -> LiveView:
    """All accounts together."""
    lanes, accounts = Counter[int](), Counter[str]()
    for one in waiting:
        lanes[one.lane] += one.rows
        accounts[one.account_key] += one.rows
    deadlines = [one.first_deadline_at for one in waiting if one.first_deadline_at is not None]
    drains = [MINUTE_S * accounts[one.account_key] / max(1.0, one.carried_per_min) for one in quotas]
    return LiveView(
        waiting=lanes,
        first_deadline_at=min(deadlines, default=None),
        used_ratio=max((one.spent / one.limit for one in quotas), default=0.0),
        drain_s=max(drains, default=0.0),
    )
