"""Fits a template again whenever its feedback, policy or variants have changed, and now and then without a change.

Any number of replicas may run it; each template is fitted by one at a time. A claim raises the template's epoch and
holds a lease, and a snapshot is stored only together with the proof that no newer claim was made: a ranker that was
paused beyond its lease fits in vain, and can never put an older snapshot over a newer one. A lock held on a session
would say who is alive, but not, to a paused holder, that it is no longer the holder.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.ranker.fit import Snapshot, Task, next_snapshot
from services.ranker.records import Claim, Paused
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Conflict, Transient
from shared.stepper import AT_ONCE, Stepper

log = logs.get(__name__)

_REST_OF_FAILED = 10
"""How many times as long as it took, a fit that failed is left alone: others have nine tenths of the time."""


class Templates(Protocol):
    """What the fitter asks of the database. Every method raises Transient when it is away."""

    async def claim(self, now: datetime, lease_until: datetime) -> Claim | None:
        """A template that is due and that nobody else has in hand."""

    async def guard(self, claim: Claim, now: datetime) -> list[Paused]:
        """Pause the variants that drive people away, never the last one; those that were."""

    async def task(self, claim: Claim, until: datetime) -> Task:
        """All that its snapshot follows from. Raises ValueError when its stored policy cannot be read."""

    async def settle(
        self, claim: Claim, task: Task, made: Snapshot, now: datetime, next_fit_at: datetime
    ) -> bool | None:
        """Store what is new. True: a snapshot; False: what is served says the same; None: the claim was lost."""

    async def failed(self, claim: Claim, error: str, retry_at: datetime) -> None:
        """Nobody tries again before `retry_at`."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Virtual seconds."""

    tick_s: float
    refit_s: float
    lease_s: float
    retry_s: float


class Fitter(Stepper):
    """A runner."""

    failed = "policy.look_failed"

    def __init__(self, templates: Templates, clock: Clock, pace: Pace) -> None:
        super().__init__(clock, timedelta(seconds=pace.tick_s))
        self._templates, self._pace = templates, pace

    async def step(self) -> timedelta | None:
        """See Stepper: a template."""
        return AT_ONCE if await self.fit_one() else None

    async def fit_one(self) -> bool:
        """Fit one template that is due. False when none is."""
        now, began_s = self._clock.now(), self._clock.monotonic()
        claim = await self._templates.claim(now, now + timedelta(seconds=self._pace.lease_s))
        if claim is None:
            return False
        with logs.bound(org_id=claim.org_id, template_id=claim.template_id):
            try:
                for paused in await self._templates.guard(claim, now):
                    metrics.count("guardrail_pauses_total")
                    log.warning("variant.paused", copy_id=paused.copy_id, why=paused.why)
                task = await self._templates.task(claim, now)
                with metrics.timed("policy_fit_seconds"):
                    made = await asyncio.to_thread(next_snapshot, task)
            except Exception as error:  # of this template; the others go on
                if _is_of_the_database(error):
                    raise
                log.error("policy.not_fitted", exc_info=error)
                metrics.count("policy_fits_total", outcome="failed")
                rest_s = max(self._pace.retry_s, _REST_OF_FAILED * (self._clock.monotonic() - began_s))
                await self._templates.failed(claim, _why(error), self._clock.now() + timedelta(seconds=rest_s))
                return True
            now = self._clock.now()
            stored = await self._templates.settle(claim, task, made, now, now + timedelta(seconds=self._pace.refit_s))
            outcome = {True: "stored", False: "same", None: "lost"}[stored]
            metrics.count("policy_fits_total", outcome=outcome)
            log.info(
                "policy.fitted", outcome=outcome, snapshot_id=made.snapshot_id, model=made.model,
                facts=len(task.facts), cells=len(made.cells),
            )  # fmt: skip
        return True


def _is_of_the_database(error: Exception) -> bool:
    """Of all templates alike. One whose statements took too long is told so, or it would be begun again each time."""
    return isinstance(error, Conflict) or (isinstance(error, Transient) and error.reason == "database_unreachable")


def _why(error: Exception) -> str:
    """The text too where it is ours, or arithmetic's; another one may quote what it stumbled over."""
    ours = isinstance(error, ValueError | ArithmeticError | MemoryError | Transient)
    return f"{type(error).__name__}: {error}" if ours else type(error).__name__
