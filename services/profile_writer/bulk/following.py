"""Follows import jobs to their end and settles their rows.

One list shows all jobs of an account, so it is asked for rather than each job: listing has no more quota than making.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol
from uuid import UUID

from yarl import URL

from services.profile_writer.book import Book
from services.profile_writer.bulk.job_store import JobStore
from services.profile_writer.bulk.rules import (
    CREATE_EVERY_S,
    ERRORS_FOR,
    GIVEN_UP,
    LEASE,
    NOT_MADE,
    Job,
    JobRows,
    as_landed,
    as_sent,
    doubted,
    found,
    given_up,
    looked_back_far_enough,
    not_made,
    poll_after_s,
    results,
    witnesses,
)
from services.profile_writer.bulk.store import BulkStore, Road
from services.profile_writer.content import Contents, Integration
from services.profile_writer.store import Desk, Store
from services.profile_writer.turns.late import uncover
from services.profile_writer.turns.late_rules import hidden, may_have_landed
from services.profile_writer.turns.rules import Sent, settle
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.bulk import ErrorPage, ImportJob, Page, RowError
from shared.klaviyo.errors import KeyRefused
from shared.snippet import properties

log = logs.get(__name__)

_SETTLED_AT_ONCE = 500  # rows: the bound on how long the account is held
_REST_MAX_S = 0.5
_PAGES_MAX = 20
_PROOF_LASTS = timedelta(minutes=10)
_ERROR_PAGES_MAX = 11  # of 100 rows: more than a job has
_STRANGERS_KEPT = 1_000  # jobs that were mistaken for one of ours; what is forgotten is looked at once more


class Follows(Protocol):
    """The part of the bulk client that is needed here."""

    async def newest(self, older: URL | None = None) -> Page: ...
    async def job(self, job_id: str) -> ImportJob: ...
    async def errors(self, job_id: str, more: URL | None = None) -> ErrorPage: ...
    async def properties(self, profile_id: str) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class _Listed:
    """Klaviyo's jobs, and the age of the oldest one; None when there are no others."""

    jobs: Sequence[ImportJob]
    oldest: datetime | None


class Following:
    """Lists, compares, settles."""

    def __init__(
        self,
        bulk: BulkStore,
        jobs: JobStore,
        store: Store,
        contents: Contents,
        connect: Callable[[Integration], Follows],
        clock: Clock,
        rng: Random,
        *,
        margin_s: float,
    ) -> None:
        self._bulk, self._jobs, self._store, self._contents, self._connect = bulk, jobs, store, contents, connect
        self._clock, self._rng, self._margin_s = clock, rng, margin_s
        self._strangers: deque[tuple[UUID, str]] = deque(maxlen=_STRANGERS_KEPT)

    async def follow(self, road: Road, now: datetime) -> datetime:
        """See to the account's jobs; when they are to be seen to again."""
        if road.poll_at is not None and road.poll_at > now:
            return road.poll_at
        open_jobs = [job for job in road.jobs if now - job.sent_at <= LEASE]
        for job in road.jobs:
            if job not in open_jobs:
                await self._doubt(job, GIVEN_UP)
        for job in road.doubted:
            if given_up(job, now):
                await self._jobs.forget(job.job_id)
        poll_at, _ = await self._listing(road, open_jobs)
        return poll_at

    async def prove(self, road: Road) -> bool:
        """Whether jobs can be seen, before any is made: rows of one that cannot would be out of reach."""
        if road.listed_at is not None and self._clock.now() - road.listed_at < _PROOF_LASTS:
            return True
        if road.poll_at is not None and road.poll_at > self._clock.now():
            return False
        await self._listing(road, road.jobs)
        return (
            await self._bulk.road(road.standing.account_key, road.held_until, self._clock.now())
        ).listed_at is not None

    async def _listing(self, road: Road, jobs: Sequence[Job]) -> tuple[datetime, bool]:
        """List, and see to these; when to do so again, and whether it worked."""
        now = self._clock.now()
        youngest = max((job.sent_at for job in (*jobs, *road.doubted)), default=now)
        youngest_s = (now - youngest).total_seconds()
        wait_s, listed_at = poll_after_s(youngest_s, road.latencies_s), None
        try:
            await self._follow(road, jobs)
            listed_at = now
        except Failure as failure:  # their rows stay taken until somebody can see them
            asked_s = failure.wait_s if isinstance(failure, Throttled) else 0.0
            wait_s = max(wait_s, asked_s)
            log.warning("bulk.not_seen", account_key=road.standing.account_key, reason=failure.reason)
        poll_at = self._clock.now() + timedelta(seconds=wait_s)
        await self._bulk.polling(road.standing.account_key, poll_at, listed_at)
        return poll_at, listed_at is not None

    async def _follow(self, road: Road, jobs: Sequence[Job]) -> None:
        """List with the first key that may, and see to each job. Raises what kept the last key from listing."""
        refused: Failure | None = None
        org_ids = {*road.orgs, *(job.org_id for job in (*jobs, *road.doubted))}
        for integration in (await self._contents.integrations(org_ids)).values():
            if integration.private_key is None:
                continue
            client = self._connect(integration)
            try:
                listed = await self._list(client, jobs[0].sent_at if jobs else self._clock.now())
            except KeyRefused as refusal:
                await self._bulk.refused(integration.org_id, self._clock.now(), refusal.reason)
                refused = refusal
                continue
            named = set(road.named)
            for job in (*jobs, *road.doubted):  # the latter wherever the list happens to show them: late is new
                await self._see_to(job, listed, named, client)
            return
        raise refused or Permanent("no key shows the account's imports", reason="no_integration")

    async def _list(self, client: Follows, since: datetime) -> _Listed:
        """The account's newest jobs, back to before any that was sent at `since`."""
        listed: list[ImportJob] = []
        older: URL | None = None
        for number in range(_PAGES_MAX):
            if number:
                await self._clock.sleep(CREATE_EVERY_S)
            page = await client.newest(older)
            listed += page.jobs
            older = page.older
            if older is None:
                return _Listed(listed, None)
            if page.jobs and looked_back_far_enough(since, page.jobs[-1].created_at):
                break
        return _Listed(listed, listed[-1].created_at if listed else None)

    async def _see_to(self, job: Job, listed: _Listed, named: set[str], client: Follows) -> None:
        """One job. What cannot be read of it now is read with the next list."""
        strangers = {klaviyo_job_id for job_id, klaviyo_job_id in self._strangers if job_id == job.job_id}
        known = found(job, listed.jobs, frozenset(named | strangers))
        if known is None and job.klaviyo_job_id is not None:
            known = await self._asked(job, job.klaviyo_job_id, client)
        if known is not None and job.klaviyo_job_id is None:
            named.add(known.job_id)
            await self._jobs.adopted(job.job_id, known.job_id)
        if known is not None and known.over:
            await self._over(job, known, client)
        elif known is None and looked_back_far_enough(job.sent_at, listed.oldest) and not_made(job, self._clock.now()):
            await self._doubt(job, NOT_MADE)

    async def _asked(self, job: Job, klaviyo_job_id: str, client: Follows) -> ImportJob | None:
        """A job that others' jobs have pushed off the list."""
        await self._clock.sleep(CREATE_EVERY_S)
        try:
            return await client.job(klaviyo_job_id)
        except Permanent as gone:
            if gone.reason == "resource_not_found":
                await self._doubt(job, GIVEN_UP)
            return None

    async def _over(self, job: Job, ended: ImportJob, client: Follows) -> None:
        now, latency_s = self._clock.now(), None
        ended_at, complete = ended.completed_at or now, ended.status == "complete"
        rows = await self._jobs.rows_of(job.job_id)
        try:
            each = results(rows, ended, await self._errors(ended.job_id, client) if ended.failed and complete else [])
            if job.guessed and job.ended_at is None and not await self._is_ours(rows, each, client):
                self._strangers.append((job.job_id, ended.job_id))
                await self._jobs.mistaken(job.job_id, ended.job_id)
                log.warning("bulk.mistaken", account_key=job.account_key, rows=len(rows.keys))
                return
        except Failure as failure:
            log.warning("bulk.end_not_read", account_key=job.account_key, reason=failure.reason)
            if not isinstance(failure, Permanent) and now - ended_at < ERRORS_FOR:
                return
            each = doubted(rows, "unclear")
        if complete:
            latency_s = max(0.0, (ended_at - ended.created_at).total_seconds())
            metrics.observe("bulk_job_seconds", latency_s)
        await self._settle(job, rows, _End(ended.status, each, min(now, ended_at), latency_s))

    async def _is_ours(self, rows: JobRows, each: Sequence[Failure | None], client: Follows) -> bool:
        """Whether profiles hold what a job that was found by its size was to bring them: another app's, or another one
        of ours, may be as large. While its rows are taken nothing else of ours is written there. One that says of no
        row that it is there need not be asked."""
        asked = witnesses(each)
        held = [await client.properties(rows.keys[number].profile_id) for number in asked]
        said = [
            str(rows.refs[number].generation_id) in map(one.get, properties(rows.keys[number].prefix))
            for number, one in zip(asked, held, strict=True)
            if one is not None  # else merged away or deleted since
        ]
        return not asked or (bool(said) and all(said))

    async def _errors(self, klaviyo_job_id: str, client: Follows) -> list[RowError]:
        errors: list[RowError] = []
        more: URL | None = None
        for _ in range(_ERROR_PAGES_MAX):
            await self._clock.sleep(CREATE_EVERY_S)
            page = await client.errors(klaviyo_job_id, more)
            errors += page.errors
            more = page.more
            if more is None:
                return errors
        raise Permanent("a job has more errors than rows", reason="endless_pages")

    async def _doubt(self, job: Job, why: str) -> None:
        """Nobody knows of it: its rows are written on their own."""
        rows = await self._jobs.rows_of(job.job_id)
        await self._settle(job, rows, _End(why, doubted(rows, why), self._clock.now(), None))

    async def _settle(self, job: Job, rows: JobRows, end: "_End") -> None:
        """Settle all rows, some at a time, with rests in which turns of the account get through. Repeating it after a
        crash in between changes nothing."""
        loop = asyncio.get_running_loop()
        for start in range(0, max(1, len(rows.keys)), _SETTLED_AT_ONCE):
            began_s = loop.time()
            await self._settle_some(job, rows, end, range(start, min(start + _SETTLED_AT_ONCE, len(rows.keys))))
            await asyncio.sleep(min(_REST_MAX_S, loop.time() - began_s))
        metrics.count("bulk_jobs_total", ending=end.word)
        log.info("bulk.ended", account_key=job.account_key, ending=end.word, rows=len(end.each), not_taken=end.refused)

    async def _settle_some(self, job: Job, rows: JobRows, end: "_End", numbers: range) -> None:
        now = self._clock.now()
        async with self._store.desk({job.account_key}) as desk:
            book = await desk.open_book({rows.keys[number] for number in numbers})
            others: list[int] = []
            for number in numbers:
                key, result = rows.keys[number], end.each[number]
                row, held = book.pending(key), book.held(key)
                if row is None or row.taken_by != job.job_id:
                    others += [number] if may_have_landed(result) else []
                    continue
                sent, at = Sent(as_sent(rows, number, row, held), None), end.landed_at if result is None else now
                book.record(key, settle(sent, result, row, held, at, self._margin_s, self._rng))
            await self._uncover(desk, book, rows, others, now)
            await desk.save(book, now)
            if numbers.stop == len(rows.keys):
                await self._jobs.end(
                    desk, job.job_id, job.account_key, end.word, now, refused_rows=end.refused, latency_s=end.latency_s,
                    looked_out_for=end.word in (NOT_MADE, GIVEN_UP) and job.ended_at is None,
                )  # fmt: skip
            await desk.wake({job.account_key}, now)

    async def _uncover(self, desk: Desk, book: Book, rows: JobRows, numbers: Sequence[int], now: datetime) -> None:
        """These were another's by the time the job ended, and may lie over what that one wrote."""
        stored = await desk.stored([rows.refs[number] for number in numbers]) if numbers else {}
        landed = [
            as_landed(rows.keys[number], rows.refs[number], stored[rows.refs[number].generation_id])
            for number in numbers
            if rows.refs[number].generation_id in stored  # else its person was deleted meanwhile
        ]
        late = [sent for sent in landed if hidden(sent, book.pending(sent.row.key), book.held(sent.row.key))]
        await uncover(desk, book, late, now)
        if late:
            log.warning("bulk.landed_late", account_key=late[0].row.key.account_key, rows=len(late))


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
