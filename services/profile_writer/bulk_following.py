"""Follows import jobs to their end and settles their rows.

One list shows all jobs of an account, so it is asked for rather than each job: listing has no more quota than making.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from yarl import URL

from services.profile_writer.bulk_rules import (
    LEASE,
    ImportEnded,
    Job,
    as_sent,
    found,
    looked_back_far_enough,
    not_made,
    poll_after_s,
    results,
)
from services.profile_writer.bulk_store import BulkStore, Road
from services.profile_writer.content import Contents, Integration
from services.profile_writer.store import Store
from services.profile_writer.turn_rules import Sent, settle
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.bulk import ImportJob, Page, RowError

log = logs.get(__name__)

_SETTLED_AT_ONCE = 500  # rows: the bound on how long the account is held
_PAGES_MAX = 20
_REFUSED_S = 30.0  # a key that may not list: another one may come


@dataclass(frozen=True, slots=True)
class _End:
    """What became of a job: a word for it, one result for each row, when those without a failure arrived."""

    word: str
    each: Sequence[Failure | None]
    landed_at: datetime
    latency_s: float | None

    @property
    def refused(self) -> int:
        return sum(result is not None for result in self.each)


class Follows(Protocol):
    """The part of the bulk client that is needed here."""

    async def newest(self, older: URL | None = None) -> Page: ...
    async def errors(self, job_id: str) -> list[RowError]: ...


class Following:
    """Lists, compares, settles."""

    def __init__(
        self,
        bulk: BulkStore,
        store: Store,
        contents: Contents,
        connect: Callable[[Integration], Follows],
        clock: Clock,
        rng: Random,
        *,
        margin_s: float,
    ) -> None:
        self._bulk, self._store, self._contents, self._connect = bulk, store, contents, connect
        self._clock, self._rng, self._margin_s = clock, rng, margin_s

    async def follow(self, road: Road, now: datetime) -> datetime:
        """See to the account's jobs; when they are to be seen to again."""
        if road.poll_at is not None and road.poll_at > now:
            return road.poll_at
        wait_s = poll_after_s((now - road.jobs[0].sent_at).total_seconds(), road.latencies_s)
        for org_id in sorted({job.org_id for job in road.jobs}):
            jobs = [job for job in road.jobs if job.org_id == org_id]
            try:
                await self._follow_org(jobs, road.named)
            except Throttled as throttled:
                wait_s = max(wait_s, throttled.wait_s)
            except Permanent as refused:  # KeyRefused is one
                wait_s = max(wait_s, _REFUSED_S)
                log.warning("bulk.not_listed", account_key=road.standing.account_key, reason=refused.reason)
        poll_at = self._clock.now() + timedelta(seconds=wait_s)
        await self._bulk.polling(road.standing.account_key, poll_at)
        return poll_at

    async def _follow_org(self, jobs: Sequence[Job], named: frozenset[str]) -> None:
        """Jobs of one org, the oldest first, with its key."""
        integration = (await self._contents.integrations({jobs[0].org_id})).get(jobs[0].org_id)
        if integration is None or integration.private_key is None:
            await self._give_up_old(jobs)
            return
        client = self._connect(integration)
        listed, oldest = await self._listed(client, jobs[0])
        for job in jobs:
            known = found(job, listed, named)
            if known is not None and job.klaviyo_job_id is None:
                named |= {known.job_id}
                await self._bulk.adopted(job.job_id, known.job_id)
            if known is not None and known.over:
                errors = await client.errors(known.job_id) if known.failed and known.status == "complete" else []
                await self._settle(job, known, errors)
            elif known is None and looked_back_far_enough(job, oldest) and not_made(job, self._clock.now()):
                await self._release(job, "not_made")
        await self._give_up_old(jobs)

    async def _listed(self, client: Follows, oldest: Job) -> tuple[list[ImportJob], datetime | None]:
        """The account's newest jobs, back to before `oldest` was sent; the age of the last one, None when it was
        the last of all."""
        listed: list[ImportJob] = []
        older: URL | None = None
        for _ in range(_PAGES_MAX):
            page = await client.newest(older)
            listed += page.jobs
            older = page.older
            if older is None:
                return listed, None
            if page.jobs and looked_back_far_enough(oldest, page.jobs[-1].created_at):
                break
        return listed, listed[-1].created_at if listed else None

    async def _settle(self, job: Job, ended: ImportJob, errors: Sequence[RowError]) -> None:
        now, latency_s = self._clock.now(), None
        if ended.status == "complete" and ended.completed_at is not None:
            latency_s = max(0.0, (ended.completed_at - ended.created_at).total_seconds())
            metrics.observe("bulk_job_seconds", latency_s)
        landed_at = min(now, ended.completed_at or now)
        await self._end(job, _End(ended.status, results(job, ended, errors), landed_at, latency_s))

    async def _give_up_old(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._clock.now() - job.sent_at > LEASE:
                await self._release(job, "given_up")

    async def _release(self, job: Job, ending: str) -> None:
        """Nobody knows of it: its rows are written on their own."""
        doubt = ImportEnded("nothing is known of the import", reason=f"import_{ending}")
        await self._end(job, _End(ending, [doubt] * len(job.keys), self._clock.now(), None))

    async def _end(self, job: Job, end: _End) -> None:
        """Settle all rows, some at a time. Repeating it after a crash in between changes nothing."""
        for start in range(0, len(job.keys), _SETTLED_AT_ONCE):
            await self._settle_some(job, end, range(start, min(start + _SETTLED_AT_ONCE, len(job.keys))))
        metrics.count("bulk_jobs_total", ending=end.word)
        log.info("bulk.ended", account_key=job.account_key, ending=end.word, rows=len(end.each), not_taken=end.refused)

    async def _settle_some(self, job: Job, end: _End, numbers: range) -> None:
        now = self._clock.now()
        async with self._store.desk({job.account_key}) as desk:
            book = await desk.open_book({job.keys[number] for number in numbers})
            for number in numbers:
                key, result = job.keys[number], end.each[number]
                row, held = book.pending(key), book.held(key)
                if row is None or row.taken_by != job.job_id:
                    continue
                sent, at = Sent(as_sent(job, number, row, held), None), end.landed_at if result is None else now
                book.record(key, settle(sent, result, row, held, at, self._margin_s, self._rng))
            await desk.save(book, now)
            if numbers.stop == len(job.keys):
                await self._bulk.end(
                    desk, job.job_id, job.account_key, end.word, now, refused_rows=end.refused, latency_s=end.latency_s
                )
            await desk.wake({job.account_key}, now)
