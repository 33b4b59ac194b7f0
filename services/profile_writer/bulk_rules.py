"""The rules of the bulk road: what is packed, what a job's end says of its rows, when to look again. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Literal
from uuid import UUID

from services.profile_writer.rows import Held, Key, Pending, Ref
from services.profile_writer.turn_rules import NotSent
from shared.errors import Failure
from shared.klaviyo.bulk import JOB_MAX_BYTES, ROWS_MAX, ImportJob, RowError, job_body
from shared.klaviyo.errors import MaybeApplied

JOBS_AT_ONCE = 4
CREATE_EVERY_S = 0.45
"""133 jobs a minute of Klaviyo's 150, whatever the phase of its minute."""

ROWS_MIN = 50
"""Klaviyo asks not to import a handful; a job that is made anyway relieves the single writes of some more."""

LEASE = timedelta(hours=24)
"""How long a job's rows stay taken at most. It ends much sooner, when the job does."""

ROW_REFUSED = "import_row_refused"
TRIES_MAX = 3

_LATENCIES = 20
_LATENCY_UNKNOWN_S = 10.0  # what cannot be carried otherwise is worth a try even when nothing is known
_POLL_MIN_S, _POLL_MAX_S, _POLL_OLD_S = 3.0, 15.0, 60.0
_OLD_S = 600.0
_LIST_LAG_S = 15.0
_CLOCKS_APART = timedelta(seconds=60)
_FRAME_BYTES = len(job_body([]))

State = Literal["sending", "lost", "running", "ended"]


class ImportEnded(MaybeApplied):
    """An import ended without saying that it took this row: it is written on its own now."""


class NotImported(NotSent):
    """An import was certainly not made: the row is as it was before."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `bulk_jobs`; `keys`, `refs` and `deadlines` in the order of sending."""

    job_id: UUID
    account_key: str
    org_id: UUID
    state: State
    klaviyo_job_id: str | None
    keys: Sequence[Key]
    refs: Sequence[Ref]
    deadlines: Sequence[datetime]
    bytes: int
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pending write and the bytes of its profile."""

    row: Pending
    body: bytes


def packed(rows: Sequence[Encoded], *, most_jobs: int = JOBS_AT_ONCE) -> list[list[Encoded]]:
    """The first rows in their order, in jobs that Klaviyo takes: by encoded bytes, commas and frame counted."""
    jobs: list[list[Encoded]] = []
    size = JOB_MAX_BYTES
    for one in rows:
        size += len(one.body) + 1
        if size > JOB_MAX_BYTES or len(jobs[-1]) >= ROWS_MAX:
            if len(jobs) == most_jobs:
                break
            jobs.append([])
            size = _FRAME_BYTES + len(one.body)
        jobs[-1].append(one)
    return jobs


def told_apart(jobs: Sequence[list[Encoded]], sizes: Collection[int]) -> list[list[Encoded]]:
    """The same jobs, shortened so that no two, and none of those `sizes`, have as many rows: by that number a job is
    found again whose answer was lost."""
    used = set(sizes)
    for rows in jobs:
        while len(rows) > 1 and len(rows) in used:
            rows.pop()
        used.add(len(rows))
    return list(jobs)


def reach_s(latencies_s: Sequence[float]) -> float:
    """How far ahead a deadline must be for an import to be worth it: half of the last jobs were faster."""
    return median(latencies_s[:_LATENCIES]) if latencies_s else _LATENCY_UNKNOWN_S


def poll_after_s(oldest_s: float, latencies_s: Sequence[float]) -> float:
    """How long to wait before jobs are listed again, the oldest of which runs for `oldest_s`."""
    if oldest_s > _OLD_S:
        return _POLL_OLD_S
    return min(_POLL_MAX_S, max(_POLL_MIN_S, reach_s(latencies_s) / 4))


def found(job: Job, listed: Sequence[ImportJob], ours: frozenset[str]) -> ImportJob | None:
    """Klaviyo's view of a job of ours. One whose answer was lost is known by the number of its rows and its time, if it
    is none of `ours` already."""
    if job.klaviyo_job_id is not None:
        return next((one for one in listed if one.job_id == job.klaviyo_job_id), None)
    fitting = [
        one
        for one in listed
        if one.job_id not in ours and one.rows == len(job.keys) and abs(one.created_at - job.sent_at) <= _CLOCKS_APART
    ]
    return min(fitting, key=lambda one: abs(one.created_at - job.sent_at), default=None)


def looked_back_far_enough(job: Job, oldest_listed: datetime | None) -> bool:
    """Whether a list whose oldest job is this old (None: it is complete) would show the job."""
    return oldest_listed is None or oldest_listed < job.sent_at - _CLOCKS_APART


def not_made(job: Job, now: datetime) -> bool:
    """Whether a job that no list shows was never made. Lists may lag; a worker that sends may be alive."""
    lag_s = _LIST_LAG_S if job.state == "lost" else _LIST_LAG_S + 120
    return job.klaviyo_job_id is None and (now - job.sent_at).total_seconds() > lag_s


def results(job: Job, ended: ImportJob, errors: Sequence[RowError]) -> list[Failure | None]:
    """One result for each row of a job that is over, in their order; None: it is on the profile.

    Where fewer errors can be told apart than rows have failed, no row is believed: each is written again on its own,
    which changes nothing where it was there.
    """
    doubt = ImportEnded(f"the import is {ended.status}", reason=f"import_{ended.status}")
    if ended.status != "complete":
        return [doubt] * len(job.keys)
    refused = _refused(job, errors)
    if len(refused) < ended.failed:
        return [ImportEnded("the import does not say which rows it refused", reason="import_unclear")] * len(job.keys)
    return [
        ImportEnded(f"the import refused this row ({refused[number]})", reason=ROW_REFUSED)
        if number in refused
        else None
        for number in range(len(job.keys))
    ]


def _refused(job: Job, errors: Sequence[RowError]) -> dict[int, str]:
    """Codes by number of row. A profile that is named counts more than a number."""
    numbers = {key.profile_id: number for number, key in enumerate(job.keys)}
    refused: dict[int, str] = {}
    for error in errors:
        number = numbers.get(error.profile_id) if error.profile_id is not None else error.number
        if number is not None and 0 <= number < len(job.keys):
            refused[number] = error.code
    return refused


def as_sent(job: Job, number: int, row: Pending, held: Held | None) -> Pending:
    """A row of a job as it was sent. Where a newer generation has taken it meanwhile, what the profile counts as tells:
    taking a write made it so."""
    if row.ref.generation_id == job.refs[number].generation_id and row.action == "write":
        return row
    known = held or row
    return replace(
        row, ref=job.refs[number], action="write", written_for=known.written_for, accepted_at=known.accepted_at,
        clean_at=known.clean_at, deadline_at=job.deadlines[number],
    )  # fmt: skip


def rest_s(failures: int) -> float:
    """How long no job is made after so many in a row without an answer."""
    return min(60.0, 5.0 * 2.0 ** min(failures - 1, 6))
