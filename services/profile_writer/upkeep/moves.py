"""What becomes of a profile that is known under two quotas, when its org's key has changed. Pure.

Where a key may not read its account, the quota is named by the key, so each new key is another one. What came in under
the new quota before the rows of the earlier one followed was placed as if nothing of ours were on the profile.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from services.profile_writer.intake_rules import place
from services.profile_writer.rows import Held, Key, Lane, Outcome, Pending, Verdict, Wanted
from services.profile_writer.turns.rules import Sent


def joined(key: Key, was: Verdict, since: Verdict, now: datetime, margin_s: float) -> Verdict:
    """One key under the new quota. `was`: what the earlier one knows of it, with nothing in flight; `since`: what came
    in under the new one.

    | since then | what follows |
    | a write has arrived | what waits from before is older, and is placed beside it (and see `over_each_other`) |
    | a write may have arrived | the same; and the earlier copy may lie beneath |
    | something waits, or was decided | it is placed anew, with what was there before |
    """
    pending = None if was.pending is None else replace(was.pending, key=key)
    held = None if was.held is None else replace(was.held, key=key)
    if since.held is not None and since.held.dirty:
        newer, older = since.held, held
        if held is not None and held.dirty and held.accepted_at > since.held.accepted_at:  # a job that came late
            newer, older = held, since.held
        return _placed([_wanted(pending)], since.pending, _over(newer, older), now, margin_s)
    jobs = sorted(filter(None, [_decided(since.held), _wanted(since.pending)]), key=lambda job: job.accepted_at)
    return _placed(jobs, pending, held, now, margin_s)


def over_each_other(was: Held | None, since: Held | None) -> Sent | None:
    """Where something was written under each quota: the older of both, as a request that may have landed late. Nobody
    knows which lies on top, because what was in flight stayed behind, an import for hours."""
    if was is None or since is None or not (was.dirty and since.dirty):
        return None
    if was.ref.generation_id == since.ref.generation_id:
        return None
    older = min(was, since, key=lambda held: held.accepted_at)
    row = Pending(
        since.key, older.ref, "write", Lane.DIRTY, older.written_for, older.accepted_at, older.clean_at, older.clean_at,
        next_attempt_at=older.accepted_at,
    )  # fmt: skip
    return Sent(row, None)


def _placed(
    jobs: Iterable[Wanted | None], pending: Pending | None, held: Held | None, now: datetime, margin_s: float
) -> Verdict:
    outcomes: tuple[Outcome, ...] = ()
    for job in filter(None, jobs):
        placed = place(job, pending, held, now, margin_s)
        pending, held, outcomes = placed.pending, placed.held, (*outcomes, *placed.outcomes)
    return Verdict(pending, held, outcomes)


def _over(held: Held, was: Held | None) -> Held:
    """What a write has left, or may have left, over what was there before."""
    if was is None:
        return held
    at, until = max(held.decided_at, was.decided_at), max(held.decided_until, was.decided_until)
    held = replace(held, decided_at=at, decided_until=until)
    if held.state == "holding" or not was.dirty:
        return held
    older_for = tuple(sorted({*held.older_for, was.written_for, *was.older_for}))
    return replace(held, older_for=older_for, stale_for=tuple(sorted({*held.stale_for, *was.stale_for})))


def _wanted(row: Pending | None) -> Wanted | None:
    """A row as the job that it was; clean-ups were none."""
    if row is None or row.action == "clean_up":
        return None
    return Wanted(
        row.key, row.ref, row.action, row.written_for, row.accepted_at, row.deadline_at, row.clean_at,
        latest_at=row.latest_at,
    )  # fmt: skip


def _decided(held: Held | None) -> Wanted | None:
    """What was decided while nothing seemed to be there, to be decided again. How it ended is known, and stays so."""
    if held is None:
        return None
    return Wanted(held.key, held.ref, "clear", held.written_for, held.accepted_at, held.clean_at, held.clean_at)
