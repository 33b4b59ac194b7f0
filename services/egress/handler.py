"""One org-hour: claimed, read, encoded, put in the bucket, its manifest last, then recorded."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Sized
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from typing import IO, Any, Literal, Protocol
from uuid import UUID

from services.egress.layout import Place, manifest, place_of
from services.egress.model import Exported, Found, Lease, Superseded, Target
from services.egress.parquet import Form, HourFile, Summary
from services.egress.resting import Rest, Resting
from services.egress.spool import spooling
from services.egress.tables import form_of
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Conflict, Failure, Outage, Permanent, Throttled, Transient
from shared.exports import Record
from shared.messaging.topology import EXPORT_HOUR
from shared.messaging.verdict import describe
from shared.schemas.jobs import ExportHourJob

log = logs.get(__name__)

_GIVE_BACK_TIMEOUT_S = 5.0
_WAITED_IN_QUEUE_S = max(EXPORT_HOUR.policy.waits_s)


class Hours(Protocol):
    """What the handler asks of the ledger; see store.Store."""

    async def claim(self, job: ExportHourJob, now: datetime, lease_s: float) -> Lease | None: ...
    async def wait_for_inserters(self, lease: Lease) -> None: ...
    async def renew(self, lease: Lease, until: datetime) -> bool: ...
    async def finish(self, lease: Lease, exported: Exported, at: datetime) -> bool: ...
    async def fail(self, lease: Lease, state: Literal["pending", "blocked"], error: str) -> None: ...
    async def look_again(self, lease: Lease, at: datetime) -> None: ...
    async def put_off(self, job: ExportHourJob, error: str) -> None: ...
    async def target(self, org_id: UUID) -> Target: ...


class Rows(Protocol):
    """An open hour; see rows.Batches."""

    async def fetch(self) -> Sized: ...


class Reader(Protocol):
    """Where rows come from; see rows.Reader."""

    def hour(self, lease: Lease, record: Record) -> AbstractAsyncContextManager[Rows]: ...
    async def is_gone(self, lease: Lease) -> bool: ...


class Bucket(Protocol):
    """Where objects go; see s3.Bucket."""

    async def find(self, key: str) -> Found | None: ...
    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str: ...
    async def remove(self, key: str, over: Found) -> None: ...


class Buckets(Protocol):
    """See s3.S3."""

    async def bucket(self, target: Target) -> Bucket: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """What an export needs. `lease_s` is virtual; it is renewed while the export runs."""

    hours: Hours
    reader: Reader
    buckets: Buckets
    clock: Clock
    lease_s: float
    spool_dir: str | None = None
    resting: Resting = field(default_factory=Resting)


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
    try:
        async with _renewed(lease, deps):
            await _export(lease, deps)
    except Permanent as error:
        deps.resting.answered(lease.org_id)
        metrics.count("export_hours_total", outcome="blocked")
        log.warning("export.blocked", reason=error.reason, error=str(error))
        await deps.hours.fail(lease, "blocked", describe(error))
    except BaseException as error:
        metrics.count("export_hours_total", outcome="superseded" if isinstance(error, Superseded) else "failed")
        # Best effort: a lease that is not given back runs out.
        with suppress(Failure, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
                await deps.hours.fail(lease, "pending", describe(error))
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


async def _export(lease: Lease, deps: Deps) -> None:
    started = asyncio.get_running_loop().time()
    target = await deps.hours.target(lease.org_id)
    bucket = await deps.buckets.bucket(target)
    await deps.hours.wait_for_inserters(lease)
    form = form_of(lease.table, target.record)
    with spooling(deps.spool_dir) as spool:
        summary = await _encode(lease, deps, spool, form, target.record)
        writing = Writing(lease, deps, bucket, place_of(lease, target), form, summary)
        outcome, exported = await _publish(writing, spool)
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


@dataclass(frozen=True, slots=True)
class Writing:
    """One encoded hour on its way into the bucket."""

    lease: Lease
    deps: Deps
    bucket: Bucket
    place: Place
    form: Form[Any]
    summary: Summary

    def says(self, found: Found | None) -> bool:
        return found is not None and found.metadata.get("sha256") == self.summary.sha256

    def exported(self, etag: str | None, revision: int) -> Exported:
        summary, version = self.summary, self.form.version
        if summary.rows == 0:
            return Exported(0, 0, None, None, revision, version)
        return Exported(summary.rows, summary.bytes, summary.sha256, etag, revision, version)


@dataclass(frozen=True, slots=True)
class There:
    """What lies in the bucket before the export."""

    object: Found | None
    manifest: Found | None
    strays: Mapping[str, Found]
    lacks_success: bool


async def _publish(writing: Writing, spool: IO[bytes]) -> tuple[str, Exported]:
    """What was done (`written`, `empty`, `unchanged`), and what the ledger keeps of it."""
    lease, place, summary = writing.lease, writing.place, writing.summary
    there = await _look(writing)
    right = there.object is None if summary.rows == 0 else writing.says(there.object)
    etag = there.object.etag if there.object else None
    whole = right and not there.strays and not there.lacks_success
    if whole and there.manifest and writing.says(there.manifest) and _layout(there.manifest) == place.layout:
        return "unchanged", writing.exported(etag, _revision(there.manifest))
    # Above every earlier one, also where the ledger was restored from a backup and counts again.
    revision = max(lease.epoch, 1 + max(map(_revision, (there.object, there.manifest, *there.strays.values()))))
    metadata = {"sha256": summary.sha256, "revision": str(revision)}
    if not right:
        await _hold(lease, writing.deps)
        if summary.rows and there.object is None:
            etag = await _put_first(writing, spool, metadata)
        elif summary.rows:
            etag = await _put(writing, spool, metadata, there.object)
        elif there.object:
            await writing.bucket.remove(place.key, there.object)
            etag = None
    await _tidy(writing, there)
    await _vouch(writing, metadata, revision, there.manifest)
    return ("written" if summary.rows else "empty"), writing.exported(etag, revision)


async def _look(writing: Writing) -> There:
    place = writing.place
    keys = [place.key, place.manifest, *place.strays, *([place.success] if place.success else [])]
    found = dict(zip(keys, await asyncio.gather(*map(writing.bucket.find, keys)), strict=True))
    strays = {key: one for key in place.strays if (one := found[key]) is not None}
    lacks_success = place.success is not None and found[place.success] is None
    return There(found[place.key], found[place.manifest], strays, lacks_success)


async def _put_first(writing: Writing, spool: IO[bytes], metadata: Mapping[str, str]) -> str:
    """A write that replaces nothing is refused only where something is, and of an hour that became empty meanwhile
    nothing is: rows that were deleted would lie there again. Whoever has the hour by then is to look once more."""
    try:
        etag = await _put(writing, spool, metadata, None)
    except Superseded:
        raise
    except BaseException:
        await _look_again(writing)
        raise
    try:
        await _hold(writing.lease, writing.deps)  # who claims the hour after this finds the object
    except BaseException:
        await _look_again(writing)
        raise
    return etag


async def _look_again(writing: Writing) -> None:
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
            await writing.deps.hours.look_again(writing.lease, writing.deps.clock.now())


async def _put(writing: Writing, spool: IO[bytes], metadata: Mapping[str, str], over: Found | None) -> str:
    """The object, and a look whether it is what was sent: its manifest must not vouch for anything else."""
    kind, key, length = "application/vnd.apache.parquet", writing.place.key, writing.summary.bytes
    etag = await writing.bucket.replace(key, spool, length, metadata=metadata, kind=kind, over=over)
    found = await writing.bucket.find(key)
    if found is None or found.etag != etag or not writing.says(found) or found.size not in (None, length):
        raise Transient("the server took the object and holds something else", reason="s3_not_as_written")
    metrics.count("export_bytes_total", length)
    return etag


async def _tidy(writing: Writing, there: There) -> None:
    """Take away what another layout left, before the manifest says that all is done, and put the marker there."""
    for key, stray in there.strays.items():
        await _hold(writing.lease, writing.deps)
        await writing.bucket.remove(key, stray)
    if there.lacks_success and writing.place.success is not None:
        await _hold(writing.lease, writing.deps)
        await writing.bucket.replace(
            writing.place.success, BytesIO(), 0, metadata={}, kind="application/octet-stream", over=None
        )


async def _vouch(writing: Writing, metadata: Mapping[str, str], revision: int, over: Found | None) -> None:
    lease, deps, place = writing.lease, writing.deps, writing.place
    content = manifest(
        lease, place.key, writing.form, writing.summary, revision=revision, exported_at=deps.clock.now()
    )  # fmt: skip
    said = metadata if place.layout == "plain" else {**metadata, "layout": place.layout}
    await _hold(lease, deps)
    await writing.bucket.replace(
        place.manifest, BytesIO(content), len(content), metadata=said, kind="application/json", over=over
    )


def _layout(found: Found) -> str:
    return found.metadata.get("layout", "plain")


def _revision(found: Found | None) -> int:
    text = "0" if found is None else found.metadata.get("revision", "0")
    return int(text) if text.isdecimal() else 0


async def _hold(lease: Lease, deps: Deps) -> None:
    """Raise Superseded unless the hour is still ours; asked right before every write. The moment between the answer
    and the write is covered by the write naming what it replaces."""
    if not await deps.hours.renew(lease, deps.clock.now() + timedelta(seconds=deps.lease_s)):
        raise Superseded("the hour was claimed again while it was being exported")


@asynccontextmanager
async def _renewed(lease: Lease, deps: Deps) -> AsyncIterator[None]:
    """The lease is prolonged while the block runs. A renewal that fails is left to `_hold` to notice."""

    async def renew() -> None:
        while True:
            await deps.clock.sleep(deps.lease_s / 3)
            with suppress(Failure):
                await deps.hours.renew(lease, deps.clock.now() + timedelta(seconds=deps.lease_s))

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
