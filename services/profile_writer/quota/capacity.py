"""How many writes single requests can carry until a moment, and how many more than that wait. Arithmetic; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor

from services.profile_writer.quota.budget import SLACK_S, STEADY_S, Budget
from services.profile_writer.quota.phase import MINUTE_S, Window

_EFFICIENCY = 0.85
"""Of what could be sent at best: other apps take more than usual, a busy machine begins a turn late, and what is found
missing in the last seconds is too late for an import. What this leaves to imports costs nobody anything."""

_LAG_S = 1.0  # from a token to the profile


MARKS = (0, *(25 * 2**n for n in range(11)))
"""Places in a queue, up to 25,600, whose deadlines tell enough of it: a group is taken for as large as it may be, and
its first deadline for that of all."""


@dataclass(frozen=True, slots=True)
class Excess:
    """`rows` more than can be carried have their deadline by `until`."""

    rows: int
    until: datetime


def carried(budget: Budget, now: datetime, at: datetime) -> int:
    """How many single writes arrive until `at`, if everything is spent on them as soon as it is there."""
    left_s = (at - now).total_seconds() - _LAG_S
    if left_s <= 0:
        return 0
    per_s = 1 / budget.spacing_s
    window = budget.window(now)
    if window is None:
        slow = budget.blind_ceiling * left_s / (STEADY_S + SLACK_S)
        return floor(_EFFICIENCY * min(per_s * left_s, budget.room(now) + slow))
    return floor(_EFFICIENCY * _in_minutes(budget, window, now.timestamp(), left_s, per_s))


def _in_minutes(budget: Budget, window: Window, now_s: float, left_s: float, per_s: float) -> float:
    """What is left of this minute of Klaviyo's, and each later one, as far as it can be spent in the time it has."""
    ends_s = now_s + left_s
    sent = min(budget.room(datetime.fromtimestamp(now_s, UTC)), per_s * (min(ends_s, window.over_s) - now_s))
    theirs = (budget.others.per_s or 0.0) * MINUTE_S + budget.others.burst
    each = min(max(0.0, budget.ceiling - theirs), per_s * MINUTE_S)
    whole, rest_s = divmod(max(0.0, ends_s - window.over_s), MINUTE_S)
    return sent + each * whole + min(each, per_s * rest_s)


def excess(
    due: Sequence[tuple[datetime, int]], ahead: int, budget: Budget, now: datetime, open_at: datetime, margin_s: float
) -> Excess | None:
    """What single writes cannot carry of `due`, (deadline, how many) in their order; None: they can carry all.

    `ahead`: requests that are made first, whatever their moment. Nothing is carried before `open_at`: the account is
    blocked until then. Serving the earliest deadline first is the best that one server can do, so what does not fit its
    order fits none.
    """
    waiting, most, until = ahead, 0, now
    starts = max(now, open_at)
    for deadline, rows in due:
        waiting += rows
        over = waiting - carried(budget, starts, deadline - timedelta(seconds=margin_s))
        if over > 0:
            most, until = max(most, over), deadline
    return Excess(most, until) if most else None


def can_wait(
    deadlines: Sequence[datetime | None], budget: Budget, now: datetime, open_at: datetime, margin_s: float
) -> bool:
    """Whether a queue would be served in time with half of all requests. `deadlines`: of who waits at each of `MARKS`,
    None where nobody does."""
    groups = [
        (deadline, 2 * (behind - mark))
        for mark, behind, deadline in zip(MARKS, MARKS[1:], deadlines, strict=False)
        if deadline is not None
    ]
    return deadlines[-1] is None and excess(groups, 0, budget, now, open_at, margin_s) is None
