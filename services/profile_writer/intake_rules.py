"""What becomes of a write job that arrives. Pure.

The promise behind every rule: no email ever shows an older generation's copy. An email shows what its message's marker
(`written_for`) names, so an older copy is a danger only for a generation of the same message.
"""

from dataclasses import replace
from datetime import datetime

from services.profile_writer.losses import suspected
from services.profile_writer.rows import Action, Ending, Held, Lane, Outcome, Pending, Ref, Verdict, Wanted
from shared.db.losses import Loss


def place(
    wanted: Wanted, pending: Pending | None, held: Held | None, now: datetime, margin_s: float, loss: Loss | None = None
) -> Verdict:
    """The newest accepted generation wins; the order of arrival does not matter; a repetition changes nothing.
    `loss`: a span of which nothing is known, so an older copy from then could show.

    | the job | becomes |
    | known already (waiting, in flight, sent) | nothing |
    | known already, but accepted again later | the copy stays, or returns, until the later send window ends |
    | older than what was decided | superseded; an older copy that could show is cleared |
    | write of something stopped | stopped; an older copy that could show is cleared |
    | write, its email may have left | waits as if put off (`rules.put_off`), unless an older copy could show |
    | write, its email has left | expired; an older copy that could show is cleared |
    | write | pending: lane 0 where an older copy could show, else 1 |
    | clear, an older copy could show or is just being written | pending in lane 0 |
    | clear of the very copy that is there: it was withdrawn since | the same |
    | clear otherwise | nothing_to_clear, and remembered |
    """
    same = [known for known in (pending, held) if known and known.ref.generation_id == wanted.ref.generation_id]
    if same and wanted.accepted_at <= max(known.accepted_at for known in same):
        return Verdict(pending, held)
    held = noted(wanted, suspected(wanted, held, loss))
    if pending is not None and pending.accepted_at > wanted.accepted_at:
        return _overtaken(wanted, pending, held)
    if held is not None and held.decided_at > wanted.accepted_at:
        if (pending or held).ref.generation_id == wanted.ref.generation_id and wanted.action == "write":
            return Verdict(pending, held)
        return _place_ended(wanted, "superseded", None, pending, held, now)
    if wanted.action == "clear":
        return _place_clear(wanted, pending, held, now)
    if wanted.stopped:
        return _place_ended(wanted, "stopped", None, pending, held, now)
    if (renewed := _renewed(wanted, pending, held)) is not None:
        return renewed
    stale = held is not None and held.stale
    if _over(wanted.deadline_at, now, margin_s):
        if stale or wanted.latest_at is None or _over(wanted.latest_at, now, margin_s):
            return _place_ended(wanted, "expired", "arrived_late", pending, held, now)
        wanted = replace(wanted, deadline_at=wanted.latest_at)
    lane = Lane.DIRTY if stale else Lane.RETRY if wanted.put_off else Lane.FRESH
    return Verdict(_waiting(wanted, "write", lane, pending, now), held, _displaced(pending, wanted))


def _over(deadline_at: datetime, now: datetime, margin_s: float) -> bool:
    return (deadline_at - now).total_seconds() <= margin_s


def _overtaken(wanted: Wanted, pending: Pending, held: Held | None) -> Verdict:
    """Something newer waits. If what it replaces is out of date for this job's message, it is in a hurry now."""
    if held is not None and held.stale and pending.taken_by is None:
        pending = replace(pending, lane=Lane.DIRTY)
    return Verdict(pending, held, (_ended(wanted.ref, "superseded"),))


def _renewed(wanted: Wanted, pending: Pending | None, held: Held | None) -> Verdict | None:
    """The same webhook accepted once more (a retry of Klaviyo's, or a person who came back with the same body): what
    waits or is there already is right for the later email too, if it stays until that one's window ends, and is worth
    writing until that one is rendered. Where an older copy could show, it is due for the earlier email all the same:
    that one may leave, with the older copy in it. None where nothing of it waits or is there any more: then it is
    written like a new one."""
    if pending is not None and pending.ref.generation_id == wanted.ref.generation_id and pending.action == "write":
        at, until = wanted.accepted_at, wanted.deadline_at
        if pending.lane == Lane.DIRTY:
            until = pending.deadline_at
        lane = Lane.FRESH if pending.put_off and pending.lane != Lane.DIRTY else pending.lane
        renewed = replace(
            pending, lane=lane, accepted_at=at, deadline_at=until, clean_at=wanted.clean_at, latest_at=wanted.latest_at
        )
        return Verdict(renewed, held)
    if held is None or held.ref.generation_id != wanted.ref.generation_id or held.state != "holding":
        return None
    if pending is not None:
        return None  # it is on its way to be taken off
    stale_for = tuple(message for message in held.stale_for if message != held.written_for)
    known = remembered(wanted, held)
    return Verdict(None, replace(known, accepted_at=wanted.accepted_at, clean_at=wanted.clean_at, stale_for=stale_for))


def _place_clear(wanted: Wanted, pending: Pending | None, held: Held | None, now: datetime) -> Verdict:
    in_flight = pending is not None and pending.taken_by is not None
    if in_flight or _older_shows(held, wanted):
        return Verdict(_waiting(wanted, "clear", Lane.DIRTY, pending, now), held, _displaced(pending, wanted))
    outcomes: tuple[Outcome, ...] = (_ended(wanted.ref, "nothing_to_clear"),)
    if pending is not None and pending.action == "write" and pending.written_for == wanted.written_for:
        # The older generation of the same message must not be written any more.
        left = leave(replace(pending, ref=wanted.ref, accepted_at=wanted.accepted_at), held, now)
        pending, held, outcomes = left.pending, left.held, (*_displaced(pending, wanted), *outcomes)
    return Verdict(pending, remembered(wanted, held), outcomes)


def _place_ended(
    wanted: Wanted, ending: Ending, reason: str | None, pending: Pending | None, held: Held | None, now: datetime
) -> Verdict:
    """As if it had been decided for control, but that its end is known now."""
    control = _without_end(wanted, pending, held, now)
    return replace(control, outcomes=(*control.outcomes, _ended(wanted.ref, ending, reason)))


def _without_end(wanted: Wanted, pending: Pending | None, held: Held | None, now: datetime) -> Verdict:
    """As if it had been decided for control, which has its end elsewhere: what it has cleared is a clean-up."""
    control = _place_clear(wanted, pending, held, now)
    row = control.pending
    if row is not None and row.ref == wanted.ref and row.action == "clear":
        row = replace(row, action="clean_up", deadline_at=max(row.deadline_at, now))
    others = tuple(outcome for outcome in control.outcomes if outcome.ref != wanted.ref)
    return Verdict(row, control.held, others)


def place_beside(wanted: Wanted, pending: Pending | None, held: Held | None, now: datetime) -> Verdict:
    """What a decision for a message means for another prefix of its profile, where that message's copy lay before its
    template got a new one. Until the new snippet is pasted, the email shows what lies there.

    | there is, or may be | becomes |
    | copy for this message, or a write of it | taken off in the first lane, ended |
    | the same beneath another message's write that waits | that one goes before all others |
    | anything else, or something newer | nothing |
    """
    held = noted(wanted, held)
    stale = held is not None and wanted.written_for in held.stale_for
    if pending is not None and pending.action == "write":
        if pending.accepted_at > wanted.accepted_at:
            return Verdict(pending, held)
        if pending.written_for != wanted.written_for:
            hurries = stale and pending.taken_by is None
            return Verdict(replace(pending, lane=Lane.DIRTY) if hurries else pending, held)
    elif not stale:
        return Verdict(pending, held)
    return _without_end(wanted, pending, held, now)


def noted(decided: Wanted | Pending, held: Held | None) -> Held | None:
    """That what may be on the profile is out of date for this one's message. It stays noted until it is off, whatever
    becomes of this one: a third generation may take its place in the queue, for another message."""
    if held is None or not _older_shows(held, decided):
        return held
    return replace(held, stale_for=tuple(sorted({*held.stale_for, decided.written_for})))


def _older_shows(held: Held | None, decided: Wanted | Pending) -> bool:
    """Whether an email of this generation could show an older one's copy, or its own that was withdrawn since: a clear
    of what it wrote itself."""
    if held is None or not held.dirty:
        return False
    if held.written_for == decided.written_for and held.accepted_at > decided.accepted_at:
        return False  # what is, or may be, on the profile is newer: nothing was decided anew
    out_of_date = held.ref.generation_id != decided.ref.generation_id or decided.action == "clear"
    return (out_of_date and held.written_for == decided.written_for) or decided.written_for in held.older_for


def leave(row: Pending, held: Held | None, now: datetime) -> Verdict:
    """A row that will not be written: does something have to be taken away in its place?

    No dirty profile is ever forgotten: where the clean-up relied on this row, the row becomes the clean-up.
    """
    held = noted(row, held)
    if held is None or not held.dirty:
        return Verdict(None, held)
    if held.stale:
        return Verdict(as_clean_up(row, Lane.DIRTY, now), replace(held, clean_queued=True))
    if held.clean_queued or held.clean_at <= now:
        return Verdict(as_clean_up(row, Lane.CLEAN_UP, now), replace(held, clean_queued=True))
    return Verdict(None, held)


def as_clean_up(row: Pending, lane: Lane, now: datetime) -> Pending:
    """The same key, to be cleared on our own account; nobody holds it. Giving up is counted from now, not from when it
    should have been: after a long outage everything is tried first."""
    return replace(
        row, action="clean_up", lane=lane, deadline_at=max(row.deadline_at, now), next_attempt_at=now, attempt=0,
        last_reason=None, taken_by=None, sent=None,
    )  # fmt: skip


def wanted_as_pending(wanted: Wanted, now: datetime) -> Pending:
    """A row of its own for this job, in the lane of fresh writes."""
    return Pending(
        wanted.key, wanted.ref, wanted.action, Lane.FRESH, wanted.written_for,
        wanted.accepted_at, wanted.deadline_at, wanted.clean_at, next_attempt_at=now, latest_at=wanted.latest_at,
    )  # fmt: skip


def _waiting(wanted: Wanted, action: Action, lane: Lane, before: Pending | None, now: datetime) -> Pending:
    """The job's row. While an older generation is in flight, the row stays taken: one write at a time per profile."""
    row = replace(wanted_as_pending(wanted, now), action=action, lane=lane)
    if before is None or before.taken_by is None:
        return row
    return replace(row, next_attempt_at=before.next_attempt_at, taken_by=before.taken_by, sent=before.sent)


def _displaced(pending: Pending | None, by: Wanted) -> tuple[Outcome, ...]:
    """What a newer generation ends. One in flight ends when its answer is known; a clean-up has no end of its own, and
    of the same generation there is one end."""
    if pending is None or pending.action == "clean_up" or pending.ref.generation_id == by.ref.generation_id:
        return ()
    if pending.sent is not None and pending.sent.generation_id == pending.ref.generation_id:
        return ()
    return (_ended(pending.ref, "superseded", attempts=pending.attempt),)


def remembered(decided: Wanted | Pending, held: Held | None) -> Held:
    """That this generation was decided, until its send window is over: an older one that arrives later must not be
    written. What was decided later than this one, and for longer, stays remembered."""
    if held is None:
        return Held(
            decided.key, decided.ref, "clean", decided.written_for, (), decided.accepted_at, decided.clean_at,
            decided.accepted_at, decided.clean_at,
        )  # fmt: skip
    at = max(held.decided_at, decided.accepted_at)
    until = max(held.decided_until, decided.clean_at)
    if held.dirty:
        return replace(held, decided_at=at, decided_until=until)
    ref, written_for = (decided.ref, decided.written_for) if at == decided.accepted_at else (held.ref, held.written_for)
    return Held(held.key, ref, "clean", written_for, (), at, until, at, until, unanswered=held.unanswered)


def _ended(ref: Ref, ending: Ending, reason: str | None = None, attempts: int = 0) -> Outcome:
    return Outcome(ref, ending, reason, attempts)
