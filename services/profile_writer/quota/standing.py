"""How we stand with one Klaviyo account, and what a turn's answers change about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import TypeGuard
from uuid import UUID

from services.profile_writer.quota.breaker import Breaker
from services.profile_writer.quota.budget import Budget, factor_after_calm, factor_after_throttling
from services.profile_writer.quota.phase import Phase
from services.profile_writer.rows import NotSent
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import Unsendable
from shared.klaviyo.limits import RateLimit

_WAIT_JITTER = 0.1
_LIMIT_SANE = range(1, 100_001)
_NOTHING_TOLD = RateLimit()
_CLOSED = Breaker()


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
    breaker: Breaker = _CLOSED
    advertised: RateLimit = _NOTHING_TOLD
    advertised_at: datetime | None = None
    last_served_at: datetime | None = None
    runnable_at: datetime | None = None

    @property
    def trusted(self) -> bool:
        """Whether Klaviyo answers as a rule."""
        return self.breaker.writes is None and self.breaker.failures == 0

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

    A 429 blocks the account, and the account alone, for as long as Klaviyo says plus up to a tenth. Calls that fail let
    it rest, as the breaker says; neither a 429 nor a permanent answer is a failure of Klaviyo's.
    """
    unsent = sum(isinstance(result, NotSent | Unsendable) for result in answers.results)
    budget = standing.budget.refunded(int(paid_at.timestamp()), unsent)
    standing = _told(replace(standing, budget=budget), answers, paid_at, now)
    useful = sum(answered(result) for result in answers.results)
    lost = [result for result in answers.results if is_lost(result)]
    breaker, rest_s = standing.breaker.after(useful, len(lost), now, rng)
    standing = replace(standing, breaker=breaker)
    if waits_s := [result.wait_s for result in answers.results if isinstance(result, Throttled)]:
        wait_s = max(waits_s) * (1 + _WAIT_JITTER * rng.random())
        budget = replace(standing.budget, factor=factor_after_throttling(standing.budget.factor))
        until = now + timedelta(seconds=max(wait_s, rest_s))
        return replace(standing, budget=budget, factor_at=now, blocked_until=until, blocked_reason="klaviyo_throttled")
    if rest_s > 0:
        return replace(standing, blocked_until=now + timedelta(seconds=rest_s), blocked_reason=lost[-1].reason)
    return _calm(standing, now) if useful else standing


def answered(result: Failure | None) -> bool:
    """Whether Klaviyo has looked at this write and said yes or no."""
    return result is None or (isinstance(result, Permanent) and not isinstance(result, Unsendable))


def is_lost(result: Failure | None) -> TypeGuard[Transient]:
    """Whether the write left and Klaviyo did not do its part."""
    return isinstance(result, Transient) and not isinstance(result, NotSent)


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
