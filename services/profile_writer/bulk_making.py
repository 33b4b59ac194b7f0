"""Makes import jobs out of the writes that single requests cannot carry in time."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol
from uuid import UUID

from services.profile_writer.bulk_rules import (
    CREATE_EVERY_S,
    JOBS_AT_ONCE,
    ROW_REFUSED,
    ROWS_MIN,
    Encoded,
    NotImported,
    packed,
    reach_s,
    rest_s,
    told_apart,
)
from services.profile_writer.bulk_store import BulkStore, Road
from services.profile_writer.capacity import excess
from services.profile_writer.content import Contents, Integration
from services.profile_writer.rows import Pending
from services.profile_writer.store import Store
from services.profile_writer.turn_rules import Sent, settle
from shared import logs
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.bulk import JOB_MAX_BYTES, ROWS_MAX, job_body
from shared.klaviyo.errors import KeyRefused, MaybeApplied
from shared.klaviyo.profile import check_size, profile_resource

log = logs.get(__name__)

_ENCODED_AT_ONCE = 100  # some 10 ms; then the loop may serve the single writes
_ROUNDS_MAX = 4  # of jobs, before it is seen again what waits
_BYTES_UNKNOWN = 10_000
_SIZES_KEPT = 64
_AGAIN_S = 2.0
"""While anything waits: other apps may take the quota that was counted on."""


class Creates(Protocol):
    """The part of the bulk client that is needed here."""

    async def create(self, body: bytes) -> str: ...


@dataclass(slots=True)
class _Pace:
    """When the next job may be made."""

    at: datetime
    failures: int


class Making:
    """Plans, packs, takes, sends."""

    def __init__(
        self,
        bulk: BulkStore,
        store: Store,
        contents: Contents,
        connect: Callable[[Integration], Creates],
        clock: Clock,
        rng: Random,
        new_id: Callable[[], UUID],
        *,
        margin_s: float,
    ) -> None:
        self._bulk, self._store, self._contents, self._connect = bulk, store, contents, connect
        self._clock, self._rng, self._new_id, self._margin_s = clock, rng, new_id, margin_s
        self._row_bytes: dict[str, float] = {}  # of each account, as last seen
        self._sizes: dict[str, deque[int]] = {}  # of its last jobs, in rows

    async def make(self, road: Road) -> datetime | None:
        """Make jobs if they are needed; when to see again whether they are, None when nothing waits."""
        now, account_key = self._clock.now(), road.standing.account_key
        due = await self._bulk.due(account_key, now + timedelta(seconds=self._margin_s))
        if not due:
            return None
        budget = road.standing.budget.at(now)
        over = excess(due, budget, now, road.standing.closed_until(now), self._margin_s)
        # While Klaviyo answers nothing an import would only put its rows beyond reach.
        if over is None or not road.standing.trusted or not road.orgs:
            return now + timedelta(seconds=_AGAIN_S)
        pace = _Pace(max(now, road.create_at or now), road.failures)
        if pace.at > now:
            return pace.at
        made = await self._make(road, max(over.rows, ROWS_MIN), over.until + timedelta(seconds=1), pace)
        await self._bulk.creating(account_key, pace.at, pace.failures)
        return pace.at if made else max(pace.at, self._clock.now() + timedelta(seconds=_AGAIN_S))

    async def _make(self, road: Road, rows: int, until: datetime, pace: _Pace) -> bool:
        """Jobs for so many rows with deadlines up to `until`, as far as they can be; whether there was any."""
        integrations = await self._contents.integrations(road.orgs)
        left = rows
        for integration in integrations.values():
            for _ in range(_ROUNDS_MAX):
                sent = await self._round(road, integration, until, left, pace)
                left -= sent
                if not sent or left <= 0:
                    break
        return left < rows

    async def _round(self, road: Road, integration: Integration, until: datetime, rows: int, pace: _Pace) -> int:
        """Up to `JOBS_AT_ONCE` jobs side by side; how many rows they carry."""
        now = self._clock.now()
        account_key = road.standing.account_key
        if integration.private_key is None or pace.at > now + timedelta(seconds=JOBS_AT_ONCE * CREATE_EVERY_S):
            return 0
        after = now + timedelta(seconds=max(self._margin_s, reach_s(road.latencies_s)))
        fit = int(JOB_MAX_BYTES / self._row_bytes.get(account_key, _BYTES_UNKNOWN))
        most = min(rows, max(1, min(fit, ROWS_MAX)) * JOBS_AT_ONCE)
        found = await self._bulk.candidates(account_key, integration.org_id, after, until, now, most)
        encoded = await self._encoded(found)
        if not encoded:
            return 0
        sizes = self._sizes.setdefault(account_key, deque(maxlen=_SIZES_KEPT))
        self._row_bytes[account_key] = sum(len(one.body) for one in encoded) / len(encoded)
        async with asyncio.TaskGroup() as jobs:
            sending = []
            for batch in told_apart(packed(encoded), sizes):
                sizes.append(len(batch))
                pace.at = max(pace.at, self._clock.now())
                sending.append(jobs.create_task(self._job(batch, integration, pace.at, pace)))
                pace.at += timedelta(seconds=CREATE_EVERY_S)
        return sum(task.result() for task in sending)

    async def _encoded(self, rows: Sequence[Pending]) -> list[Encoded]:
        """Those that can go; what cannot is left to the single road, which says why."""
        found: list[Encoded] = []
        for start in range(0, len(rows), _ENCODED_AT_ONCE):
            some = rows[start : start + _ENCODED_AT_ONCE]
            texts = await self._contents.texts(some)
            for row in some:
                if (text := texts.by_id.get(row.ref.generation_id)) is None:
                    continue
                try:
                    found.append(Encoded(row, check_size(profile_resource(row.key.profile_id, text))))
                except Permanent:
                    continue
            await asyncio.sleep(0)
        return found

    async def _job(self, batch: Sequence[Encoded], integration: Integration, at: datetime, pace: _Pace) -> int:
        """One job: take, send, remember its name. The number of rows that it carries. When our own database is away in
        between, the job is found again by those who follow it; its neighbours go on."""
        await self._clock.sleep((at - self._clock.now()).total_seconds())
        account_key = batch[0].row.key.account_key
        try:
            return await self._send(self._new_id(), batch, integration, pace)
        except Transient as error:
            log.warning("bulk.not_recorded", account_key=account_key, rows=len(batch), reason=error.reason)
            pace.at = max(pace.at, self._clock.now() + timedelta(seconds=_AGAIN_S))
            return 0

    async def _send(self, job_id: UUID, batch: Sequence[Encoded], integration: Integration, pace: _Pace) -> int:
        account_key = batch[0].row.key.account_key
        sends, bodies = await self._bulk.take(job_id, batch, self._clock.now())
        if not sends:
            return 0
        try:
            klaviyo_job_id = await self._connect(integration).create(job_body(bodies))
        except Failure as failure:
            return await self._failed(job_id, account_key, sends, failure, pace)
        await self._bulk.made(job_id, klaviyo_job_id)
        pace.failures = 0
        log.info("bulk.made", account_key=account_key, rows=len(sends), bytes=sum(map(len, bodies)))
        return len(sends)

    async def _failed(
        self, job_id: UUID, account_key: str, sends: Sequence[Sent], failure: Failure, pace: _Pace
    ) -> int:
        """No job, as far as we know; the number of rows that may be on their way all the same."""
        now = self._clock.now()
        log.warning("bulk.not_made", account_key=account_key, rows=len(sends), reason=failure.reason)
        if isinstance(failure, Throttled):
            pace.at = max(pace.at, now + timedelta(seconds=failure.wait_s))
        elif isinstance(failure, Transient):
            pace.failures += 1
            pace.at = max(pace.at, now + timedelta(seconds=rest_s(pace.failures)))
        if isinstance(failure, MaybeApplied):
            await self._bulk.made(job_id, None)
            return len(sends)
        reason = failure.reason
        if isinstance(failure, KeyRefused):
            await self._bulk.refused(account_key, now, failure.reason)
        elif isinstance(failure, Permanent):
            reason = ROW_REFUSED  # one of them spoils the whole: each goes alone, and says which
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
            await self._bulk.end(desk, job_id, account_key, "refused", now)
            await desk.wake({account_key}, now)
