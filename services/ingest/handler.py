"""Loads one file: fetch it whole, prove that it did not change, stage its rows, switch.

| what happened | the ledger says | the message |
| loaded, or its bytes were loaded before | done | acked |
| unknown layout, too many bad rows, a bomb, … | held, with what is wrong | acked: a person decides |
| still being written, replaced, gone | listed, from now on anew | acked: the poller will bring it again |
| its server cannot be reached | listed | acked: same; the source's row says why |
| trouble while reading it, or it takes too long | queued, failed after the last attempt | later |
"""

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Protocol
from uuid import UUID

from services.ingest.reading.mapping import check_mapping
from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.reading.text import Limits
from services.ingest.records import (
    Changed,
    Claimed,
    Got,
    Listed,
    Loaded,
    Piece,
    Source,
    SourceRefused,
    SourceUnreachable,
    Unreadable,
)
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Conflict, Failure, Outage, Transient, as_outage
from shared.messaging.in_time import in_time, limit_of
from shared.messaging.topology import INGEST_FILE
from shared.schemas.jobs import IngestFileJob

log = logs.get(__name__)

_GIVE_BACK_TIMEOUT_S = 5.0
_TELL_S = 1.0  # real seconds between two words of how far a file is: people watch
_CLAIM_LOOK_S = 1.0
_TOO_LONG = "give it in smaller pieces, or from a faster server"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folder(Protocol):
    """A source's folder, opened."""

    async def look(self, path: str) -> Listed: ...
    def read(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]: ...


class Servers(Protocol):
    def open(self, source: Source) -> AbstractAsyncContextManager[Folder]: ...


class Staged(Protocol):
    """A place for the rows of one file until they all count, or none."""

    async def add(self, piece: Piece) -> None: ...
    async def prepare(self) -> None: ...
    async def switch(self, loaded: Loaded, sha256: str, now: datetime) -> Loaded: ...
    async def hold(self, loaded: Loaded, sha256: str, error: str, now: datetime) -> None: ...


class Stagings(Protocol):
    def open(self, file: Claimed) -> AbstractAsyncContextManager[Staged]: ...


class Ledger(Protocol):
    async def claim(self, org_id: UUID, file_id: UUID, claim_id: UUID, now: datetime) -> Claimed | None: ...
    async def extend(self, file: Claimed, got: Got, now: datetime) -> bool: ...
    async def same_bytes(self, file: Claimed, sha256: str) -> UUID | None: ...
    async def settle_as_same(self, file: Claimed, sha256: str, same_as: UUID, now: datetime) -> bool: ...
    async def give_back(self, file: Claimed, error: str, *, attempts: int) -> None: ...
    async def list_again(self, file: Claimed, error: str, now: datetime, *, changed: bool) -> None: ...


class Sources(Protocol):
    async def poll_failed(self, source: Source, error: str, now: datetime, *, refused: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Deps:
    """`lease_s`: after a third of it, the claim is extended. `new_id` makes claim ids. `queue_some` queues more files
    of a source, as many as may be. `most_s`: real seconds of one attempt at a file."""

    ledger: Ledger
    sources: Sources
    servers: Servers
    stagings: Stagings
    clock: Clock
    new_id: Callable[[], UUID]
    lease_s: float
    limits: Limits
    max_file_bytes: int
    spool_dir: Path | None
    queue_some: Callable[[Source, datetime], Awaitable[int]]
    most_s: float = limit_of(INGEST_FILE)


async def ingest_files(jobs: Sequence[IngestFileJob], deps: Deps) -> list[BaseException | None]:
    """One outcome per job. Raises Outage; also on a conflict in the database, which is no fault of a file: after five
    attempts a file counts as failed."""
    outcomes: list[BaseException | None] = []
    for job in jobs:
        try:
            with as_outage(Conflict):
                await _ingest(job, deps)
            outcomes.append(None)
        except Outage:
            raise
        except Failure as failure:
            outcomes.append(failure)
    return outcomes


async def _ingest(job: IngestFileJob, deps: Deps) -> None:
    now = deps.clock.now()
    file = await deps.ledger.claim(job.org_id, job.file_id, deps.new_id(), now)
    if file is None:
        return  # done already: a repeated message
    with logs.bound(org_id=job.org_id, source_id=job.source_id, file_id=job.file_id):
        try:
            await in_time(_Loading(file, deps).run(), deps.most_s, "loaded", hint=_TOO_LONG)
            await _queue_next(file.source, deps)
        except Changed as changed:
            log.info("file.changed", reason=changed.reason)
            await deps.ledger.list_again(file, str(changed), deps.clock.now(), changed=True)
        except (SourceUnreachable, SourceRefused) as trouble:
            log.warning("source.failed", reason=trouble.reason)
            refused = isinstance(trouble, SourceRefused)
            await deps.sources.poll_failed(file.source, str(trouble), deps.clock.now(), refused=refused)
            await deps.ledger.list_again(file, str(trouble), deps.clock.now(), changed=False)
        except (Outage, Conflict, asyncio.CancelledError) as stopped:
            await _give_back(file, f"interrupted: {type(stopped).__name__}", deps, attempts=0)
            raise
        except Failure as failure:
            await _give_back(file, f"{failure.reason}: {failure}", deps, attempts=1)
            raise
        except Exception as error:
            await _give_back(file, f"unexpected: {type(error).__name__}", deps, attempts=1)
            raise


async def _queue_next(source: Source, deps: Deps) -> None:
    """As good as may be: the next listing does the same, and nothing of the file that is settled hangs on it."""
    try:
        await deps.queue_some(source, deps.clock.now())
    except Failure as failure:
        log.warning("source.not_queued", reason=failure.reason)


async def _give_back(file: Claimed, error: str, deps: Deps, *, attempts: int) -> None:
    """As good as may be: where the database is away, the lease ends by itself."""
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
            await deps.ledger.give_back(file, error, attempts=attempts)


class _Loading:
    """One attempt at one file."""

    def __init__(self, file: Claimed, deps: Deps) -> None:
        self._file, self._deps = file, deps
        self._got = Got(0, 0, deps.clock.now())
        self._extend_at = deps.clock.monotonic() + deps.lease_s / 3
        self._tell_at = monotonic() + _TELL_S

    async def run(self) -> None:
        if self._file.listed.size > self._deps.max_file_bytes:
            async with self._deps.stagings.open(self._file) as staged:
                await self._hold(staged, Loaded(0, 0), "", _too_large(self._deps.max_file_bytes))
            return
        try:
            with tempfile.TemporaryFile(dir=self._deps.spool_dir) as spool:  # has no name: a kill leaves nothing
                await self._fetch_and_load(spool)
        except OSError as error:  # what is buffered is written with the next seek, or when the file is closed
            if error.errno not in _FULL:
                raise
            raise _spool_full(error) from None

    async def _fetch_and_load(self, spool: BinaryIO) -> None:
        sha256 = await self._fetch(spool)
        if self._got.bytes > self._deps.max_file_bytes:  # its size was not known before
            async with self._deps.stagings.open(self._file) as staged:
                await self._hold(staged, Loaded(0, 0), "", _too_large(self._deps.max_file_bytes))
            return
        if await self._is_known(sha256):
            self._report("done", Loaded(0, 0), same=True)
        else:
            await self._load(spool, sha256)

    async def _is_known(self, sha256: str) -> bool:
        ledger, now = self._deps.ledger, self._deps.clock.now()
        same_as = await ledger.same_bytes(self._file, sha256)
        return same_as is not None and await ledger.settle_as_same(self._file, sha256, same_as, now)

    async def _fetch(self, spool: BinaryIO) -> str:
        """The whole file, and its digest. Raises Changed unless it is what was listed, before and after."""
        listed = self._file.listed
        digest = hashlib.sha256()
        fetched = 0
        async with self._deps.servers.open(self._file.source) as folder:
            self._demand_unchanged(await folder.look(listed.path))
            # One byte more than was listed, to see a file that grows without following it.
            most = (listed.size if self._file.source.sized else self._deps.max_file_bytes) + 1
            async with aclosing(folder.read(listed.path, most)) as blocks:
                async for block in blocks:
                    fetched += len(block)
                    _write(spool, block)
                    digest.update(block)
                    self._got = replace(self._got, bytes=fetched)
                    await self._stay_claimed()
            self._demand_unchanged(await folder.look(listed.path))
        if fetched != listed.size and self._file.source.sized:
            raise Changed(f"{fetched} bytes came of a file of {listed.size}", reason="file_changed")
        spool.seek(0)
        return digest.hexdigest()

    def _demand_unchanged(self, seen: Listed) -> None:
        if seen != self._file.listed:
            raise Changed("size or time are not what was listed", reason="file_changed")

    async def _load(self, spool: BinaryIO, sha256: str) -> None:
        rows = rejects = 0
        self._got = replace(self._got, since=self._deps.clock.now())
        async with self._deps.stagings.open(self._file) as staged:
            try:
                saved = check_mapping(self._file.source.mapping)
                reading = Reading(saved, self._deps.clock.now(), self._deps.limits, self._file.accepted)
                async with aclosing(_in_thread(spool, self._got.bytes, reading)) as pieces:
                    async for piece in pieces:
                        rows += piece.rows
                        rejects += len(piece.rejects)
                        await staged.add(piece)
                        self._got = replace(self._got, rows=rows)
                        await self._stay_claimed()
                if not reading.forgives(rejects, rows):
                    raise Unreadable(
                        f"{rejects} of the {rows} rows that were read are no events; see its rejects, and mend it or "
                        "accept it as it is",
                        reason="too_many_rejects",
                    )
            except Unreadable as problem:
                await self._hold(staged, Loaded(rows, rejects), sha256, problem)
            else:
                await self._claimed_during(staged.prepare())
                loaded = await staged.switch(Loaded(rows, rejects), sha256, self._deps.clock.now())
                self._report("done", loaded)

    async def _hold(self, staged: Staged, loaded: Loaded, sha256: str, problem: Unreadable) -> None:
        await staged.hold(loaded, sha256, f"{problem.reason}: {problem}", self._deps.clock.now())
        self._report("held", loaded, reason=problem.reason)

    async def _claimed_during(self, work: Coroutine[None, None, None]) -> None:
        """Stay claimed during work that takes long and says nothing."""
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=_CLAIM_LOOK_S)
                await self._stay_claimed()
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _stay_claimed(self) -> None:
        if self._deps.clock.monotonic() < self._extend_at and monotonic() < self._tell_at:
            return
        if not await self._deps.ledger.extend(self._file, self._got, self._deps.clock.now()):
            raise Transient("another worker took the file over", reason="lease_lost")
        self._extend_at = self._deps.clock.monotonic() + self._deps.lease_s / 3
        self._tell_at = monotonic() + _TELL_S

    def _report(self, state: str, loaded: Loaded, **fields: object) -> None:
        metrics.count("ingest_files_total", state=state)
        metrics.count("ingest_rows_total", loaded.fresh, outcome="fresh")
        metrics.count("ingest_rows_total", loaded.rejects, outcome="rejected")
        if state == "done":
            metrics.count("ingest_rows_total", loaded.rows - loaded.rejects - loaded.fresh, outcome="known")
        metrics.count("ingest_rows_total", loaded.corrected, outcome="corrected")
        metrics.count("ingest_rows_total", loaded.gone, outcome="retracted")
        log.info("file.settled", state=state, **asdict(loaded), **fields)


def _too_large(most_bytes: int) -> Unreadable:
    return Unreadable(f"larger than the {most_bytes} bytes that are read", reason="too_large")


def _write(spool: BinaryIO, block: bytes) -> None:
    try:
        spool.write(block)
    except OSError as error:
        raise _spool_full(error) from None


def _spool_full(error: OSError) -> Transient:
    return Transient(
        f"the spool folder does not take the file: {error.strerror}; make room in JUSTAI_INGEST_SPOOL_DIR",
        reason="spool_full",
    )


async def _in_thread(spool: BinaryIO, size_bytes: int, reading: Reading) -> AsyncGenerator[Piece, None]:
    """The file's pieces, read in a thread, one ahead of who takes them."""
    pieces = read_pieces(spool, size_bytes, reading)
    ahead = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
    try:
        while (piece := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
            yield piece
    finally:
        # The thread must have left the file before the file is closed; a piece takes a fraction of a second.
        await asyncio.wait({ahead})
        _ = ahead.cancelled() or ahead.exception()  # seen: whoever left early does not need it
