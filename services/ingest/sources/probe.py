"""Tries a source of event files when somebody asks: from its name to the columns of its newest file, each step told
with what to do where it fails. Nothing is stored.

Best effort, like every answer over a reply queue: nothing is retried.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from uuid import UUID

from services.ingest.reading.beginning import BEGINNING_BYTES, MOST_TABLE_BYTES, end_bytes, look
from services.ingest.reading.mapping import check_mapping
from services.ingest.reading.reading import Reading
from services.ingest.reading.text import Limits
from services.ingest.records import Listed, Source, Unreadable
from services.ingest.sources.folders import Folder, Folders
from shared import logs
from shared.clock import Clock
from shared.errors import Failure, Permanent
from shared.event_fields import REQUIRED_FIELDS
from shared.schemas.jobs import ProbeSourceJob
from shared.schemas.probes import FilePreview, ProbeStep, SourceProbed
from shared.sentences import ended

log = logs.get(__name__)

TRIES_S = 20.0
"""Real seconds for all steps together: whoever asked still waits then."""

_NEWEST = 50
_ALWAYS = ("List the folder", "Read the newest file", "Know its format", "Find the columns")


@dataclass(frozen=True, slots=True)
class ProbeDeps:
    """`find`: an org's stored source."""

    find: Callable[[UUID, UUID], Awaitable[Source | None]]
    folders: Folders
    clock: Clock
    limits: Limits


async def probe(job: ProbeSourceJob, deps: ProbeDeps) -> SourceProbed:
    """What was tried, up to the first thing that did not work."""
    trying = _Trying(job, deps)
    try:
        async with asyncio.timeout(TRIES_S):
            await trying.run()
    except Failure as error:
        trying.failed(ended(str(error)))
    except TimeoutError:
        trying.failed(f"No answer within {TRIES_S:g} seconds. Is a firewall between us and the server?")
    except Exception as error:  # whatever one customer's server answers, who asked is told, and the others' are tried
        log.error("probe.failed", exc_info=error)
        trying.failed(f"Something happened that nobody foresaw: {type(error).__name__}. The log of ingest says more.")
    return SourceProbed(
        steps=trying.steps, files=trying.files, newest=trying.newest, preview=trying.preview if job.preview else None
    )


@dataclass(slots=True)
class _Trying:
    """One question on its way."""

    job: ProbeSourceJob
    deps: ProbeDeps
    steps: list[ProbeStep] = field(default_factory=list)
    files: int | None = None
    newest: list[str] = field(default_factory=list)
    preview: FilePreview | None = None
    names: tuple[str, ...] = ("Find the source", *_ALWAYS)

    def done(self, says: str) -> None:
        self.steps.append(ProbeStep(name=self.names[len(self.steps)], ok=True, says=says))

    def failed(self, says: str) -> None:
        name = self.names[len(self.steps)] if len(self.steps) < len(self.names) else "Go on"
        self.steps.append(ProbeStep(name=name, ok=False, says=f"{says[:1].upper()}{says[1:]}"))

    async def run(self) -> None:
        """Raises Failure where a step fails."""
        source = await _source(self.job, self.deps)
        opener = self.deps.folders.opener(source)
        self.names = (*opener.steps, *_ALWAYS)
        async with opener.reach(source, self.done) as folder:
            await self._read(source, folder)

    async def _read(self, source: Source, folder: Folder) -> None:
        listing = await folder.list()
        files = sorted(listing.files, key=lambda file: (file.mtime, file.path), reverse=True)
        self.files, self.newest = len(files), [file.path for file in files[:_NEWEST]]
        if not files:
            self.done(_nothing(source, listing.ignored))
            return
        self.done(f"{len(files)} fit {source.pattern!r}, {listing.ignored} do not.")
        file = _chosen(files, self.job.file)
        most = min(file.size, BEGINNING_BYTES) if source.sized else BEGINNING_BYTES
        beginning, end = await _part(folder, file, most), b""
        if not source.sized:
            file = file._replace(size=len(beginning) + (len(beginning) >= BEGINNING_BYTES))
        elif missing := end_bytes(beginning, file.size):
            end = await _part(folder, file, missing, file.size - missing)
        read = len(beginning) + len(end)
        self.done(f"{file.path}, {file.size:,} bytes of {file.mtime:%Y-%m-%d %H:%M} UTC: {read:,} were read.")
        saved: dict[str, str] = {}
        wrong = None
        try:
            saved = check_mapping(source.mapping if self.job.mapping is None else self.job.mapping)
        except Unreadable as problem:
            wrong = str(problem)
        reading = Reading(saved, self.deps.clock.now(), self.deps.limits)
        seen = await asyncio.to_thread(look, beginning, file, reading, end)
        self.preview = seen.model_copy(update={"problem": wrong}) if wrong else seen
        self._judge(self.preview)

    def _judge(self, seen: FilePreview) -> None:
        if not seen.format:
            self.failed(ended(seen.problem or "it cannot be read"))
            return
        if seen.format == "empty":
            self.done("There is nothing in it, so its columns are not known yet.")
            return
        self.done(f"{seen.format}.")
        if seen.problem:
            self.failed(f"{seen.problem.rstrip('.')}.")
            return
        columns = {one.field: one.column for one in seen.fields}
        told = ", ".join(f"{name} from {columns[name]!r}" for name in REQUIRED_FIELDS if columns.get(name))
        if not seen.whole and not seen.events + seen.rejected:
            self.done(f"{told}. Rows of Parquet are shown of files of up to {MOST_TABLE_BYTES >> 20} MB.")
            return
        self.done(f"{told}. {seen.events} of the first {seen.events + seen.rejected} rows are events.")


async def _source(job: ProbeSourceJob, deps: ProbeDeps) -> Source:
    """What is to be tried. Raises Permanent."""
    stored = await deps.find(job.org_id, job.source_id) if job.source_id is not None else None
    if job.source_id is not None and stored is None:
        raise Permanent("there is no such source any more", reason="no_source")
    if job.typed is None:
        if stored is None:
            raise Permanent("neither a source nor its address was given", reason="no_source")
        return stored
    given = job.typed.model_dump(exclude_none=True)
    if "sealed_key" in given:
        given["source_id"] = job.probe_id  # what the key was sealed for
    if stored is not None:
        return replace(stored, **given)
    nothing = {"org_id": job.org_id, "source_id": job.probe_id, "sealed_key": "", "mapping": None}
    empty = {"host": "", "port": 22, "username": "", "host_key": "", "path": ".", "pattern": "*"}
    return Source(**{**empty, **nothing, **given})


def _nothing(source: Source, ignored: int) -> str:
    if ignored:
        return (
            f"No file fits {source.pattern!r}, though {ignored} other things lie there. Does the pattern fit the names "
            "of your files? Folders, links, hidden and unfinished files are never read."
        )
    return f"There is nothing in {source.path!r} yet. Have the files put there, or is it another folder?"


def _chosen(files: Sequence[Listed], wanted: str | None) -> Listed:
    if wanted is None:
        return files[0]
    for file in files:
        if wanted in (file.path, file.path.rpartition("/")[2]):
            return file
    raise Permanent(f"no file {wanted!r} that fits is in the folder; the newest is {files[0].path}", reason="no_file")


async def _part(folder: Folder, file: Listed, size: int, start: int = 0) -> bytes:
    async with aclosing(folder.read(file.path, size, start)) as blocks:
        return b"".join([block async for block in blocks])
