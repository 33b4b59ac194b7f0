"""How we stand with one Klaviyo account, and what a turn's answers change about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from services.profile_writer.budget import Budget, factor_after_calm, factor_after_throttling
from services.profile_writer.phase import Phase
from services.profile_writer.turn_rules import NotSent
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import Unsendable
from shared.klaviyo.limits import RateLimit

_BREAK_FIRST_S, _BREAK_MAX_S = 0.5, 30.0
_PROBE_AFTER = 2  # turns without a useful answer
_WAIT_JITTER = 0.1
_LIMIT_SANE = range(1, 100_001)
_NOTHING_TOLD = RateLimit()


@dataclass(frozen=True, slots=True)
class Standing:
    """One row of `klaviyo_accounts`."""

    account_key: str
    budget: Budget
    factor_at: datetime | None = None
    busy_until: datetime | None = None
    busy_by: UUID | None = None
    blocked_until: datetime | None = None
    blocked_reason: str | None = None
    failures: int = 0
    advertised: RateLimit = _NOTHING_TOLD
    advertised_at: datetime | None = None
    last_served_at: datetime | None = None
    runnable_at: datetime | None = None

    @property
    def probing(self) -> bool:
        """Whether one write at a time finds out if Klaviyo answers again: the rest of a turn would only fail with it,
        and each of its writes would have to be told from one that was applied."""
        return self.failures >= _PROBE_AFTER

    def closed_until(self, now: datetime) -> datetime:
        """The first moment at which a request may leave, as far as Klaviyo and other turns are concerned."""
        ends = [end for end in (self.busy_until, self.blocked_until) if end is not None]
        # No honest row says more than an hour (the cap of Retry-After); a clock that was wrong may have.
        return max([end for end in ends if end - now < timedelta(hours=2)], default=now)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back in one turn: the failures (None: applied), the limits as last told, and the phase that all its
    answers tell together."""

    results: Sequence[Failure | None]
    limit: RateLimit | None = None
    phase: Phase | None = None


def after(standing: Standing, answers: Answers, paid_at: datetime, now: datetime, rng: Random) -> Standing:
    """The account after some answers of a turn that paid for its tokens at `paid_at`.

    A 429 blocks the account, and the account alone, for as long as Klaviyo says plus up to a tenth. When nothing at
    all was answered usefully, it rests for a time that doubles from turn to turn.
    """
    unsent = sum(isinstance(result, NotSent | Unsendable) for result in answers.results)
    budget = standing.budget.refunded(int(paid_at.timestamp()), unsent)
    standing = _told(replace(standing, budget=budget), answers, paid_at, now)
    budget = standing.budget
    waits_s = [result.wait_s for result in answers.results if isinstance(result, Throttled)]
    if waits_s:
        wait = timedelta(seconds=max(waits_s) * (1 + _WAIT_JITTER * rng.random()))
        budget = replace(budget, factor=factor_after_throttling(budget.factor))
        return replace(
            standing, budget=budget, factor_at=now, blocked_until=now + wait, blocked_reason="klaviyo_throttled"
        )
    if any(_answered(result) for result in answers.results):
        return _calm(replace(standing, budget=budget, failures=0), now)
    lost = [result for result in answers.results if isinstance(result, Transient) and not isinstance(result, NotSent)]
    if not lost:
        return replace(standing, budget=budget)
    rest_s = min(_BREAK_MAX_S, _BREAK_FIRST_S * 2.0 ** min(standing.failures, 10)) * rng.uniform(0.5, 1)
    return replace(
        standing,
        budget=budget,
        failures=standing.failures + 1,
        blocked_until=now + timedelta(seconds=rest_s),
        blocked_reason=lost[-1].reason,
    )


def _answered(result: Failure | None) -> bool:
    """Whether Klaviyo has looked at this write and said yes or no."""
    return result is None or (isinstance(result, Permanent) and not isinstance(result, Unsendable))


def _told(standing: Standing, answers: Answers, paid_at: datetime, now: datetime) -> Standing:
    """What Klaviyo advertises replaces our assumption; the guide and the specification disagree about it."""
    budget, limit = standing.budget, answers.limit
    if (seen := answers.phase) is not None:
        known = budget.phase is not None and budget.phase.known(now)
        budget = replace(budget, phase=budget.phase.narrowed(seen) if budget.phase and known else seen)
    if limit is None or limit.limit is None or limit.limit not in _LIMIT_SANE:
        return replace(standing, budget=budget)
    budget = budget.told(limit.limit, limit.remaining, paid_at, now)
    return replace(standing, budget=budget, advertised=limit, advertised_at=now)


def _calm(standing: Standing, now: datetime) -> Standing:
    if standing.factor_at is None:
        return replace(standing, factor_at=now)
    calm_s = (now - standing.factor_at).total_seconds()
    if calm_s < 60:
        return standing
    factor = factor_after_calm(standing.budget.factor, calm_s)
    return replace(standing, budget=replace(standing.budget, factor=factor), factor_at=now)
