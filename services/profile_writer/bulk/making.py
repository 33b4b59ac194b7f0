"""Makes import jobs out of the writes that single requests cannot carry in time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol
from uuid import UUID

from services.profile_writer.bulk.job_store import JobStore
from services.profile_writer.bulk.rules import (
    CREATE_EVERY_S,
    JOBS_AT_ONCE,
    ROW_REFUSED,
    ROWS_MIN,
    ROWS_OF_JOB,
    STALE_AFTER,
    Encoded,
    NotImported,
    packed,
    reach_s,
    rest_s,
    told_apart,
)
from services.profile_writer.bulk.store import BulkStore, Road
from services.profile_writer.content import Contents, Integration
from services.profile_writer.quota.capacity import excess
from services.profile_writer.rows import Pending
from services.profile_writer.store import Store
from services.profile_writer.turns.rules import Sent, settle
from shared import logs
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.bulk import JOB_MAX_BYTES, job_body
from shared.klaviyo.errors import KeyRefused, MaybeApplied
from shared.klaviyo.profile import check_size, profile_resource

log = logs.get(__name__)

_ENCODED_AT_ONCE = 100  # some 10 ms; then the loop may serve the single writes
_ROUND_BYTES = JOBS_AT_ONCE * JOB_MAX_BYTES
_ROUNDS_MAX = 4  # of jobs, before it is seen again what waits
_BYTES_UNKNOWN = 10_000
_AGAIN_S = 2.0
"""While anything waits: other apps may take the quota that was counted on."""

_CLOSED_S, _REFUSED_S = 60.0, 60.0


class Creates(Protocol):
    """The part of the bulk client that is needed here."""

    async def create(self, body: bytes) -> str: ...


@dataclass(slots=True)
class _Pace:
    """When the next job may be made; `failed`: something went wrong in this round, so the rest of it is left."""

    at: datetime
    failures: int
    failed: bool = False

    def rest(self, until: datetime) -> None:
        self.at, self.failed = max(self.at, until), True


class Making:
    """Plans, packs, takes, sends."""

    def __init__(
        self,
        bulk: BulkStore,
        jobs: JobStore,
        store: Store,
        contents: Contents,
        connect: Callable[[Integration], Creates],
        clock: Clock,
        rng: Random,
        new_id: Callable[[], UUID],
        *,
        margin_s: float,
    ) -> None:
        self._bulk, self._jobs, self._store, self._contents, self._connect = bulk, jobs, store, contents, connect
        self._clock, self._rng, self._new_id, self._margin_s = clock, rng, new_id, margin_s
        self._row_bytes: dict[str, float] = {}  # of each account, as last seen

    async def make(self, road: Road, prove: Callable[[Road], Awaitable[bool]]) -> datetime | None:
        """Make jobs if they are needed; when to see again whether they are, None when nothing waits or nobody may.
        `prove`: whether jobs, once made, can be seen."""
        if not road.orgs:
            return self._in(_CLOSED_S) if road.closed else None
        now, account_key = self._clock.now(), road.standing.account_key
        due = await self._bulk.due(account_key, now + timedelta(seconds=self._margin_s), road.paused)
        if not due.writes:
            return None
        over = excess(
            due.writes, due.ahead, road.standing.budget.at(now), now, road.standing.closed_until(now), self._margin_s
        )
        # While Klaviyo answers nothing, or does not show its jobs, an import would only put its rows beyond reach.
        if over is None or not road.standing.trusted or not await prove(road):
            return self._in(_AGAIN_S)
        pace = _Pace(max(now, road.create_at or now), road.failures)
        if pace.at > now:
            return pace.at
        made = await self._make(road, max(over.rows, ROWS_MIN), over.until + timedelta(seconds=5), pace)
        await self._bulk.creating(account_key, pace.at, pace.failures)
        return pace.at if made else max(pace.at, self._in(_AGAIN_S))

    def _in(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)

    async def _make(self, road: Road, rows: int, until: datetime, pace: _Pace) -> bool:
        """Jobs for so many rows with deadlines up to `until`, as far as they can be; whether there was any."""
        integrations = await self._contents.integrations(road.orgs)
        left = rows
        for integration in integrations.values():
            for _ in range(_ROUNDS_MAX):
                sent = await self._round(road, integration, until, left, pace)
                left -= sent
                if not sent or left < ROWS_MIN or pace.failed:
                    break
            pace.failed = False
        return left < rows

    async def _round(self, road: Road, integration: Integration, until: datetime, rows: int, pace: _Pace) -> int:
        """Up to `JOBS_AT_ONCE` jobs side by side, one while Klaviyo has to be trusted again; how many rows they
        carry."""
        now, account_key = self._clock.now(), road.standing.account_key
        if integration.private_key is None or pace.at > self._in(JOBS_AT_ONCE * CREATE_EVERY_S):
            return 0
        after = now + timedelta(seconds=max(self._margin_s, reach_s(road.latencies_s)))
        most_jobs = 1 if pace.failures else JOBS_AT_ONCE
        fit = int(JOB_MAX_BYTES / self._row_bytes.get(account_key, _BYTES_UNKNOWN))
        most = min(rows, max(1, min(fit, ROWS_OF_JOB)) * most_jobs)
        found = await self._bulk.candidates(account_key, integration.org_id, after, until, now, most)
        encoded = await self._encoded(account_key, found)
        if not encoded:
            return 0
        sizes = await self._bulk.sizes(account_key)
        self._row_bytes[account_key] = sum(len(one.body) for one in encoded) / len(encoded)
        async with asyncio.TaskGroup() as jobs:
            sending = []
            for batch in told_apart(packed(encoded, most_jobs=most_jobs), sizes):
                pace.at = max(pace.at, self._clock.now())
                sending.append(jobs.create_task(self._job(batch, integration, pace.at, pace)))
                pace.at += timedelta(seconds=CREATE_EVERY_S)
        return sum(task.result() for task in sending)

    async def _encoded(self, account_key: str, rows: Sequence[Pending]) -> list[Encoded]:
        """Those that can go, as many as a round carries."""
        found: list[Encoded] = []
        unfit: list[Pending] = []
        size = 0
        for start in range(0, len(rows), _ENCODED_AT_ONCE):
            some = rows[start : start + _ENCODED_AT_ONCE]
            texts = await self._contents.texts(some)
            for row in some:
                try:
                    text = texts.by_id[row.ref.generation_id]
                    found.append(Encoded(row, check_size(profile_resource(row.key.profile_id, text))))
                    size += len(found[-1].body)
                except (Permanent, KeyError):
                    unfit += [row] if row.ref.generation_id not in texts.stopped else []
            await asyncio.sleep(0)
            if size >= _ROUND_BYTES:
                break
        if unfit:
            await self._bulk.unfit(account_key, unfit)
        return found

    async def _job(self, batch: Sequence[Encoded], integration: Integration, at: datetime, pace: _Pace) -> int:
        """One job: take, send, remember its name. The number of rows that it carries. Whatever goes wrong with it, its
        neighbours go on; when our own database is away in between, the job is found again by those who follow it."""
        await self._clock.sleep((at - self._clock.now()).total_seconds())
        if pace.failed:
            return 0
        account_key = batch[0].row.key.account_key
        try:
            return await self._send(self._new_id(), batch, integration, pace)
        except Transient as error:
            log.warning("bulk.not_recorded", account_key=account_key, rows=len(batch), reason=error.reason)
        except Exception as error:  # the same
            log.error("bulk.not_recorded", account_key=account_key, rows=len(batch), exc_info=error)
        pace.rest(self._in(_AGAIN_S))
        return 0

    async def _send(self, job_id: UUID, batch: Sequence[Encoded], integration: Integration, pace: _Pace) -> int:
        account_key, taken_at = batch[0].row.key.account_key, self._clock.now()
        sends, bodies = await self._jobs.take(job_id, batch, taken_at)
        if not sends:
            return 0
        body = job_body(bodies)
        if self._clock.now() - taken_at > STALE_AFTER:  # we were suspended: others may have given the job up
            await self._put_back(job_id, account_key, sends, NotImported("not sent in time", reason="import_stale"))
            return 0
        try:
            klaviyo_job_id = await self._connect(integration).create(body)
        except Failure as failure:
            return await self._failed(job_id, integration.org_id, sends, failure, pace)
        await self._jobs.made(job_id, klaviyo_job_id)
        pace.failures = 0
        log.info("bulk.made", account_key=account_key, rows=len(sends), bytes=len(body))
        return len(sends)

    async def _failed(self, job_id: UUID, org_id: UUID, sends: Sequence[Sent], failure: Failure, pace: _Pace) -> int:
        """No job, as far as we know; the number of rows that may be on their way all the same."""
        now, account_key = self._clock.now(), sends[0].row.key.account_key
        log.warning("bulk.not_made", account_key=account_key, rows=len(sends), reason=failure.reason)
        if isinstance(failure, Transient) and not pace.failed:
            pace.failures += 1
        asked_s = failure.wait_s if isinstance(failure, Throttled) else 0.0
        pace.rest(self._in(max(asked_s, rest_s(pace.failures) if isinstance(failure, Transient) else 0.0)))
        if isinstance(failure, MaybeApplied):
            await self._jobs.lost(job_id, now)
            return len(sends)
        reason = failure.reason
        if isinstance(failure, KeyRefused):
            await self._bulk.refused(org_id, now, failure.reason)
        elif isinstance(failure, Permanent):
            reason = ROW_REFUSED  # one of them spoils the whole: each goes alone, and says which
            pace.rest(self._in(_REFUSED_S))
        await self._put_back(job_id, account_key, sends, NotImported(str(failure), reason=reason))
        return 0

    async def _put_back(self, job_id: UUID, account_key: str, sends: Sequence[Sent], failure: Failure) -> None:
        """Nothing was imported: rows and profiles are as before."""
        now = self._clock.now()
        async with self._store.desk({account_key}) as desk:
            book = await desk.open_book({sent.row.key for sent in sends})
            for sent in sends:
                row = book.pending(sent.row.key)
                if row is not None and row.taken_by == job_id:
                    held = book.held(sent.row.key)
                    book.record(sent.row.key, settle(sent, failure, row, held, now, self._margin_s, self._rng))
            await desk.save(book, now)
            await self._jobs.end(desk, job_id, account_key, "refused", now)
            await desk.wake({account_key}, now)
