"""The rules of the bulk road: what is packed, what a job's end says of its rows, when to look again. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Literal
from uuid import UUID

from services.profile_writer.rows import Held, Key, Lane, NotSent, Pending, Ref, Stored
from services.profile_writer.turns.rules import Sent
from shared.errors import Failure
from shared.klaviyo.bulk import CREATE_S, JOB_MAX_BYTES, ImportJob, RowError, job_body
from shared.klaviyo.errors import MaybeApplied

JOBS_AT_ONCE = 4
CREATE_EVERY_S = 0.45
"""133 jobs a minute of Klaviyo's 150, whatever the phase of its minute."""

ROWS_MIN = 50
"""Klaviyo asks not to import a handful; a job that is made anyway relieves the single writes of some more."""

LEASE = timedelta(hours=24)
"""How long a job's rows stay taken at most. It ends much sooner, when the job does."""

ROWS_OF_JOB = 1_000
"""Most rows of a job: taking and settling them holds the account's row. At 10 KB each fewer fit anyway."""

ROW_REFUSED = "import_row_refused"
TRIES_MAX = 3
STALE_AFTER = timedelta(seconds=30)
"""A job that was taken longer ago is not sent any more: others may have given it up."""

ERRORS_FOR = timedelta(minutes=10)
"""How long after its end a job's errors are asked for; then none of its rows is believed."""

NOT_MADE, GIVEN_UP = "not_made", "given_up"
"""The endings of a job that no list shows, and of one that has not come to an end. They are looked out for a while
longer: should they land late all the same, their rows lie over what was written since."""

_LOOKED_OUT_FOR = timedelta(hours=1)

_LATENCIES = 20
_LATENCY_UNKNOWN_S = 10.0  # what cannot be carried otherwise is worth a try even when nothing is known
_POLL_MIN_S, _POLL_MAX_S, _POLL_OLD_S = 3.0, 15.0, 60.0
_OLD_S = 600.0
_LOST_FOR_S = 60.0  # a gateway may time out while Klaviyo works on, and lists may lag
_SENDING_FOR_S = CREATE_S + 120.0  # its worker may be alive, and slow
_CLOCKS_APART = timedelta(seconds=60)
_FRAME_BYTES = len(job_body([]))
_ROUND = 50

State = Literal["sending", "lost", "running", "ended"]


class ImportEnded(MaybeApplied):
    """An import ended without saying that it took this row: it is written on its own now."""


class NotImported(NotSent):
    """An import was certainly not made: the row is as it was before."""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `bulk_jobs`, without what its rows are."""

    job_id: UUID
    account_key: str
    org_id: UUID
    state: State
    klaviyo_job_id: str | None
    rows: int
    sent_at: datetime
    lost_at: datetime | None
    ended_at: datetime | None = None  # nobody believes in it any more, and it is looked out for

    @property
    def guessed(self) -> bool:
        """Whether only its size and time say which of Klaviyo's jobs it is: its answer was lost."""
        return self.klaviyo_job_id is None or self.lost_at is not None


@dataclass(frozen=True, slots=True)
class JobRows:
    """What a job carries, in the order of sending; nothing once it has ended."""

    keys: Sequence[Key]
    refs: Sequence[Ref]
    deadlines: Sequence[datetime]


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
        if size > JOB_MAX_BYTES or len(jobs[-1]) >= ROWS_OF_JOB:
            if len(jobs) == most_jobs:
                break
            jobs.append([])
            size = _FRAME_BYTES + len(one.body)
        jobs[-1].append(one)
    # A handful that is left over goes with what waits next, or one by one.
    handful = len(jobs) > 1 and len(jobs[-1]) < ROWS_MIN and sum(len(one.body) for one in jobs[-1]) < JOB_MAX_BYTES / 2
    return jobs[:-1] if handful else jobs


def told_apart(jobs: Sequence[list[Encoded]], sizes: Collection[int]) -> list[list[Encoded]]:
    """The same jobs, shortened so that no two, and none of those `sizes`, have as many rows, nor a round number, as
    other apps' batches have: by that number a job is found again whose answer was lost."""
    used = set(sizes)
    for rows in jobs:
        while len(rows) > 1 and (len(rows) in used or len(rows) % _ROUND == 0):
            rows.pop()
        used.add(len(rows))
    return list(jobs)


def reach_s(latencies_s: Sequence[float]) -> float:
    """How far ahead a deadline must be for an import to be worth it: half of the last jobs were faster."""
    return median(latencies_s[:_LATENCIES]) if latencies_s else _LATENCY_UNKNOWN_S


def poll_after_s(youngest_s: float, latencies_s: Sequence[float]) -> float:
    """How long to wait before jobs are listed again, the youngest of which runs for so long."""
    if youngest_s > _OLD_S:
        return _POLL_OLD_S
    return min(_POLL_MAX_S, max(_POLL_MIN_S, reach_s(latencies_s) / 4))


def found(job: Job, listed: Sequence[ImportJob], ours: frozenset[str]) -> ImportJob | None:
    """Klaviyo's view of a job of ours. One whose answer was lost is known by the number of its rows and its time, if it
    is none of `ours` already, nor was mistaken for it. It cannot have been made after its answer was lost."""
    sending = max(timedelta(seconds=CREATE_S), (job.lost_at or job.sent_at) - job.sent_at)
    if job.klaviyo_job_id is not None:
        return next((one for one in listed if one.job_id == job.klaviyo_job_id), None)
    fitting = [
        one
        for one in listed
        if one.job_id not in ours
        and one.rows == job.rows
        and -_CLOCKS_APART <= one.created_at - job.sent_at <= _CLOCKS_APART + sending
    ]
    return min(fitting, key=lambda one: abs(one.created_at - job.sent_at), default=None)


def looked_back_far_enough(sent_at: datetime, oldest_listed: datetime | None) -> bool:
    """Whether a list whose oldest job is this old (None: it is complete) would show a job that was sent then."""
    return oldest_listed is None or oldest_listed < sent_at - _CLOCKS_APART


def not_made(job: Job, now: datetime) -> bool:
    """Whether a job that no list shows was never made, as far as anybody can know: what was lost may come to life a
    little later."""
    if job.klaviyo_job_id is not None or job.ended_at is not None:
        return False
    if job.lost_at is not None:
        return (now - job.lost_at).total_seconds() > _LOST_FOR_S
    return (now - job.sent_at).total_seconds() > _SENDING_FOR_S


def given_up(job: Job, now: datetime) -> bool:
    """Whether one that has ended for us is not looked out for any more. Klaviyo says of one whose name is known what
    becomes of it."""
    return job.ended_at is not None and now - job.ended_at > (LEASE if job.klaviyo_job_id else _LOOKED_OUT_FOR)


def results(rows: JobRows, ended: ImportJob, errors: Sequence[RowError]) -> list[Failure | None]:
    """One result for each row of a job that is over, in their order; None: it is on the profile.

    Where fewer errors can be told apart than rows have failed, or the counts do not add up, no row is believed: each is
    written again on its own, which changes nothing where it was there.
    """
    if ended.status != "complete":
        return doubted(rows, ended.status)
    refused = _refused(rows, errors)
    if len(refused) < ended.failed or ended.done + ended.failed < len(rows.keys):
        return doubted(rows, "unclear")
    return [
        ImportEnded(f"the import refused this row ({refused[number]})", reason=ROW_REFUSED)
        if number in refused
        else None
        for number in range(len(rows.keys))
    ]


def witnesses(each: Sequence[Failure | None]) -> list[int]:
    """Some of the rows that a job has written, as it says: its first, one in the middle, its last."""
    there = [number for number, result in enumerate(each) if result is None]
    return sorted({there[0], there[len(there) // 2], there[-1]}) if there else []


def doubted(rows: JobRows, why: str) -> list[Failure | None]:
    """No row of a job is believed."""
    return [ImportEnded(f"the import says nothing of its rows ({why})", reason=f"import_{why}")] * len(rows.keys)


def _refused(rows: JobRows, errors: Sequence[RowError]) -> dict[int, str]:
    """Codes by number of row. A profile that is named counts more than a number."""
    numbers = {key.profile_id: number for number, key in enumerate(rows.keys)}
    refused: dict[int, str] = {}
    for error in errors:
        number = numbers.get(error.profile_id) if error.profile_id is not None else error.number
        if number is not None and 0 <= number < len(rows.keys):
            refused[number] = error.code
    return refused


def as_sent(rows: JobRows, number: int, row: Pending, held: Held | None) -> Pending:
    """A row of a job as it was sent. Where a newer generation has taken it meanwhile, what the profile counts as tells:
    taking a write made it so."""
    if row.ref.generation_id == rows.refs[number].generation_id and row.action == "write":
        return row
    known = held or row
    return replace(
        row, ref=rows.refs[number], action="write", written_for=known.written_for, accepted_at=known.accepted_at,
        clean_at=known.clean_at, deadline_at=rows.deadlines[number],
    )  # fmt: skip


def as_landed(key: Key, ref: Ref, stored: Stored) -> Sent:
    """A row of a job that was another's by the time the job ended."""
    row = Pending(
        key, ref, "write", Lane.DIRTY, stored.written_for, stored.accepted_at, stored.deadline_at, stored.clean_at,
        next_attempt_at=stored.accepted_at,
    )  # fmt: skip
    return Sent(row, None)


def rest_s(failures: int) -> float:
    """How long no job is made after so many in a row without an answer."""
    return min(60.0, 5.0 * 2.0 ** min(failures - 1, 6))
