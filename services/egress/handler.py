"""One org-hour: claimed, read, encoded, put in the bucket, its manifest last, then recorded."""

import asyncio
from collections.abc import Sequence, Sized
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, Protocol
from uuid import UUID

from services.egress.holding import Hold, Leases
from services.egress.layout import place_of
from services.egress.model import Exported, Lease, Superseded, Target
from services.egress.parquet import Form, HourFile, Summary
from services.egress.resting import Rest, Resting
from services.egress.spool import spooling
from services.egress.tables import form_of
from services.egress.writing import Bucket, Writing, write_hour
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Conflict, Failure, Outage, Permanent, Throttled
from shared.exports import Record
from shared.messaging.in_time import in_time, limit_of
from shared.messaging.topology import EXPORT_HOUR
from shared.messaging.verdict import describe
from shared.schemas.jobs import ExportHourJob

log = logs.get(__name__)

_WAITED_IN_QUEUE_S = max(EXPORT_HOUR.policy.waits_s)
_TOO_LONG = "is the line to its bucket fast enough for so large an hour?"


class Hours(Leases, Protocol):
    """What the handler asks of the ledger; see store.Store."""

    async def claim(self, job: ExportHourJob, now: datetime, lease_s: float) -> Lease | None: ...
    async def wait_for_inserters(self, lease: Lease) -> None: ...
    async def finish(self, lease: Lease, exported: Exported, at: datetime) -> bool: ...
    async def put_off(self, job: ExportHourJob, error: str) -> None: ...
    async def target(self, org_id: UUID) -> Target: ...


class Rows(Protocol):
    """An open hour; see rows.Batches."""

    async def fetch(self) -> Sized: ...


class Reader(Protocol):
    """Where rows come from; see rows.Reader."""

    def hour(self, lease: Lease, record: Record) -> AbstractAsyncContextManager[Rows]: ...
    async def is_gone(self, lease: Lease) -> bool: ...


class Buckets(Protocol):
    """See s3.S3."""

    async def bucket(self, target: Target) -> Bucket: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """What an export needs. `lease_s` is virtual; it is renewed while the export runs. `most_s`: real seconds of one
    try."""

    hours: Hours
    reader: Reader
    buckets: Buckets
    clock: Clock
    lease_s: float
    spool_dir: str | None = None
    resting: Resting = field(default_factory=Resting)
    most_s: float = limit_of(EXPORT_HOUR)


async def export_hours(jobs: Sequence[ExportHourJob], deps: Deps) -> list[BaseException | None]:
    """One outcome per job. Raises Outage when the database is away: then the batch waits as it is."""
    return [await _outcome(job, deps) for job in jobs]


async def _outcome(job: ExportHourJob, deps: Deps) -> BaseException | None:
    with logs.bound(org_id=job.org_id, table=job.table, hour=job.hour):
        try:
            await export_hour(job, deps)
        except Outage:
            raise
        except Failure as error:
            return error
        return None


async def export_hour(job: ExportHourJob, deps: Deps) -> None:
    """Bring the hour's object and manifest to what PostgreSQL holds; nothing to do when they are.

    What only the bucket's owner can mend blocks the hour, visibly, and ends the job: buried jobs would stop the
    consumer for everybody, and the scheduler asks again later anyway. Raises Transient for the rest; Throttled, or ends
    the job, while the org rests.
    """
    if (rest := deps.resting.rest(job.org_id, deps.clock.now())) is not None:
        await deps.hours.put_off(job, rest.why)
        return _wait(rest)
    lease = await deps.hours.claim(job, deps.clock.now(), deps.lease_s)
    if lease is None:
        return None
    hold = Hold(lease, deps.hours, deps.clock, deps.lease_s)
    try:
        async with hold.renewed():
            await in_time(_export(hold, deps), deps.most_s, "exported", hint=_TOO_LONG)
    except Permanent as error:
        deps.resting.answered(lease.org_id)
        metrics.count("export_hours_total", outcome="blocked")
        log.warning("export.blocked", reason=error.reason, error=str(error))
        await deps.hours.fail(lease, "blocked", describe(error))
    except BaseException as error:
        metrics.count("export_hours_total", outcome="superseded" if isinstance(error, Superseded) else "failed")
        await hold.give_back(error)
        if (rest := _rest_after(error, lease, deps)) is None:
            raise
        log.warning("export.org_rests", rest_s=rest.wait_s, why=rest.why)
        return _wait(rest)
    else:
        deps.resting.answered(lease.org_id)
    return None


def _rest_after(error: BaseException, lease: Lease, deps: Deps) -> Rest | None:
    """What is no trouble of ours, nor another exporter's doing, may be the place's."""
    ours = (Outage, Conflict, Superseded, Throttled)
    if (
        not isinstance(error, Exception)
        or isinstance(error, ours)
        or getattr(error, "reason", "") == "database_conflict"
    ):
        return None
    return deps.resting.failed(lease.org_id, describe(error), deps.clock.now())


def _wait(rest: Rest) -> None:
    """A short rest is waited for in the queue, no attempt spent; after a long one the scheduler asks again."""
    metrics.count("export_hours_total", outcome="put_off")
    if rest.wait_s <= _WAITED_IN_QUEUE_S:
        raise Throttled(rest.why, wait_s=rest.wait_s, reason="org_rests")


async def _export(hold: Hold, deps: Deps) -> None:
    lease, started = hold.lease, asyncio.get_running_loop().time()
    target = await deps.hours.target(lease.org_id)
    bucket = await deps.buckets.bucket(target)
    await deps.hours.wait_for_inserters(lease)
    form = form_of(lease.table, target.record)
    with spooling(deps.spool_dir) as spool:
        summary = await _encode(lease, deps, spool, form, target.record)
        writing = Writing(hold, bucket, place_of(lease, target), form, summary)
        outcome, exported = await write_hour(writing, spool)
    if not await deps.hours.finish(lease, exported, deps.clock.now()):
        raise Superseded("the hour was claimed again before its export was recorded")
    metrics.count("export_hours_total", outcome=outcome)
    took_s = round(asyncio.get_running_loop().time() - started, 3)
    log.info("export.done", outcome=outcome, rows=summary.rows, bytes=exported.bytes, took_s=took_s)
    if summary.rows_without_vars:
        log.error("export.rows_without_vars", rows=summary.rows_without_vars)


async def _encode(lease: Lease, deps: Deps, spool: IO[bytes], form: Form[Any], record: Record) -> Summary:
    """Fetch and encode side by side, one batch ahead; only the file grows with the hour."""
    file = HourFile(spool, form)
    try:
        async with deps.reader.hour(lease, record) as rows:
            batch = await rows.fetch()
            while len(batch):
                adding = asyncio.create_task(asyncio.to_thread(file.add, batch))
                try:
                    batch = await rows.fetch()
                finally:
                    await adding
        summary = await asyncio.to_thread(file.close)
    finally:
        file.abandon()
    if await deps.reader.is_gone(lease):
        # Not an empty hour but a forgotten one: writing it anew would take from the customer what we no longer have.
        # Asked after the rows were read, for the day may go meanwhile.
        raise Permanent("the rows of this hour are no longer kept; its export was left alone", reason="rows_are_gone")
    return summary
