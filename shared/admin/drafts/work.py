"""Works runs of drafting off, one draft after the other. Any number of processes may; each run is in one's hands.

A claim raises the run's epoch and holds a lease, and a draft is stored only together with the proof that no newer claim
was made, under the key (run, number): a worker that is killed costs the answer that was on its way, and one that was
paused beyond its lease drafts in vain.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from shared import logs, metrics
from shared.admin.drafts.drafts import LEASE
from shared.admin.drafts.keeping import Known
from shared.admin.drafts.models import Outcome, Result
from shared.admin.drafts.steps import UNFORESEEN, Claim, Ended, Next, Tried, next_step
from shared.admin.drafts.store import ClaimLost, RunStore
from shared.clock import Clock, first_of
from shared.drafting.answer import Unreadable, read_draft
from shared.drafting.drafter import CutOff, Declined, Drafter
from shared.drafting.prompt import Prompt, asked_of, make_prompt
from shared.errors import Failure, Transient

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Real. `renew_s` is also how soon a run that was cancelled lets go of its model."""

    tick_s: float = 1.0
    renew_s: float = 2.0
    lease: timedelta = LEASE


def _nobody(_: Result) -> None:
    """Nobody is told."""


class DraftWorker:
    """`clock` is the system's time, in which copy is written; `wall` that of people, in which runs and leases live."""

    def __init__(
        self,
        store: RunStore,
        drafter: Drafter,
        *,
        clock: Clock,
        wall: Clock,
        new_id: Callable[[], UUID],
        pace: Pace | None = None,
    ) -> None:
        self._store, self._drafter = store, drafter
        self._clock, self._wall, self._new_id = clock, wall, new_id
        self._pace = pace or Pace()

    # --- whatever is queued

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a run in hand is then given back to whoever goes on."""
        while not stop.is_set():
            try:
                worked = await self._one(stop)
            except Transient as error:
                log.warning("drafts.look_failed", reason=error.reason)
                worked = False
            except Exception as error:  # a runner that ended would end its service
                log.error("drafts.look_failed", exc_info=error)
                worked = False
            if not worked:
                await first_of(stop.wait(), within_s=self._pace.tick_s)

    async def _one(self, stop: asyncio.Event) -> bool:
        now = self._wall.now()
        claim = await self._store.claim(now, now + self._pace.lease)
        if claim is None:
            return False
        working = asyncio.ensure_future(self.work(claim))
        try:
            await first_of(_through(working), stop.wait())
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))
        if not working.cancelled():
            working.result()
        return True

    # --- one run

    async def work(self, claim: Claim, told: Callable[[Result], None] = _nobody) -> None:
        """Draft until the run is over or ours no more; tells of each draft. Cancelled, it gives the run back.

        Raises Transient when the database is away: the lease then runs out, and somebody goes on.
        """
        with logs.bound(org_id=claim.org_id, template_id=claim.template_id, run_id=claim.run_id):
            drafting = asyncio.ensure_future(self._drafts(claim, told))
            keeping = asyncio.ensure_future(self._keep(claim))
            try:
                await asyncio.wait((drafting, keeping), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await _end(drafting, keeping)
                await asyncio.shield(self._store.release(claim))
                raise
            through = drafting.done()
            await _end(drafting, keeping)
            if through:
                drafting.result()
            else:
                log.info("drafts.run_left", why="cancelled or taken over")

    async def _keep(self, claim: Claim) -> None:
        """Hold the lease; returns once it is lost. A database that is away for a moment takes nothing from us yet."""
        held_until = self._wall.now() + self._pace.lease
        while self._wall.now() < held_until:
            await asyncio.sleep(self._pace.renew_s)
            until = self._wall.now() + self._pace.lease
            try:
                if not await self._store.renew(claim, until):
                    return
            except Transient as error:
                log.warning("drafts.not_renewed", reason=error.reason)
            else:
                held_until = until

    async def _drafts(self, claim: Claim, told: Callable[[Result], None]) -> None:
        try:
            while True:
                known, tried = await self._store.read(claim)
                step = next_step(claim, tried, known.state if known else None, self._wall.now())
                came = await self._draft(claim, step, known, tried) if isinstance(step, Next) and known else step
                if isinstance(came, Result):
                    metrics.count("drafts_total", outcome=came.outcome)
                    told(came)
                elif isinstance(came, Ended):
                    return await self._finish(claim, came)
        except ClaimLost:
            log.info("drafts.run_left", why="cancelled or taken over")
        except Failure:
            raise
        except Exception as error:  # a model's text must not end the process that serves people
            log.error("drafts.failed", exc_info=error)
            await self._finish(claim, UNFORESEEN)

    async def _finish(self, claim: Claim, end: Ended) -> None:
        if await self._store.finish(claim, end, self._wall.now()):
            metrics.count("draft_runs_total", outcome=end.code or end.state)
            log.info("drafts.run_ended", state=end.state, code=end.code)

    async def _draft(self, claim: Claim, step: Next, known: Known, tried: list[Tried]) -> Result | Ended:
        """One draft, stored as soon as it is there: what was paid for is not lost with what comes after. What would
        meet all that follow too ends the run."""
        prompt = self._prompt(claim, step, known, tried)
        try:
            answer = await self._drafter.draft(prompt)
        except (Declined, CutOff) as error:
            outcome: Outcome = "cut_off" if isinstance(error, CutOff) else "no_draft"
            return await self._store.note(claim, step, outcome, str(error), error.usage, self._wall.now())
        except Failure as error:
            return Ended("failed", error.reason, str(error))
        try:
            made = read_draft(answer.text, theme=step.theme)
        except Unreadable as error:
            return await self._store.note(claim, step, "no_draft", str(error), answer.usage, self._wall.now())
        label = self._drafter.model.label
        answered_by = f", answered by {answer.model}" if answer.model and answer.model not in label else ""
        return await self._store.keep(
            claim, step, made, answer.usage, copy_id=self._new_id(), at=self._clock.now(), wall=self._wall.now(),
            made_by=f"drafted by {label}{answered_by}, prompt {prompt.digest}",
        )  # fmt: skip

    def _prompt(self, claim: Claim, step: Next, known: Known, tried: list[Tried]) -> Prompt:
        drafted = [one.subject for one in tried if one.subject]
        asked = asked_of(
            claim.brief, known.rules, claim.template_id, self._clock.now().date(), theme=step.theme,
            taken=[*(one for one in known.subjects if one not in drafted), *drafted], learnings=known.learnings,
        )  # fmt: skip
        return make_prompt(asked)


async def _through(task: "asyncio.Future[None]") -> None:
    await asyncio.wait((task,))


async def _end(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
