"""What becomes of a pending write when its turn comes, when it was sent, and when its time is over. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from services.profile_writer.intake_rules import as_clean_up, leave, noted, remembered
from services.profile_writer.losses import NOT_KNOWN
from services.profile_writer.rows import Held, Lane, NotSent, Outcome, Pending, Road, Stopped, Verdict
from services.profile_writer.stops import end
from services.profile_writer.turns.unanswered import given_up, in_doubt_until, once_more, remembered_until
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer, Unsendable

GIVE_UP_AFTER = timedelta(hours=24)
"""How long a clear is tried; after that it counts as one to be found again a day later. Klaviyo itself retries a
webhook for as long."""

ANSWERED_LATE = "answered_late"
"""The reason of a `written` whose answer came after the deadline, or that was put off: nobody knows if the write was
there before the email was rendered. The copy is on the profile now, so it is held, and taken away, like any other."""

_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One write of a turn: the row as it was taken, what the profile held before, and by which operation it goes."""

    row: Pending
    before: Held | None
    road: Road = "patch"


def one_of_each(rows: Sequence[Pending], asked: Collection[UUID]) -> list[Pending]:
    """The rows without all but the first of each org that is `asked`: one is enough to try a refused key."""
    tried: set[UUID] = set()
    found = []
    for row in rows:
        if row.ref.org_id in asked:
            if row.ref.org_id in tried:
                continue
            tried.add(row.ref.org_id)
        found.append(row)
    return found


def accepted_keys(sends: Sequence[Sent], results: Sequence[Failure | None]) -> set[UUID]:
    """The orgs whose key was accepted, whatever Klaviyo said to the write."""
    return {
        sent.row.ref.org_id
        for sent, result in zip(sends, results, strict=True)
        if result is None or (isinstance(result, Permanent) and not isinstance(result, KeyRefused | Unsendable))
    }


def take(row: Pending, held: Held | None, turn_id: UUID, lease_until: datetime) -> Verdict:
    """The row in flight. The profile counts as `unknown` from now on: should we die, the write may have happened."""
    outcomes = _overtaken(row)
    attempt = row.attempt + (row.taken_by is not None)
    taken = replace(row, taken_by=turn_id, sent=row.ref, next_attempt_at=lease_until, attempt=attempt)
    if row.action != "write":
        # What landed late has landed before this one.
        uncovered = replace(held, state="unknown") if held is not None and held.state == "covered" else held
        return Verdict(taken, uncovered, outcomes)
    known = remembered(row, held)
    # That an older copy of this very message may lie beneath is in `older_for`; noted from here on is what is newer,
    # and that one may lie beneath what the profile was last believed to hold, for another message than this one's.
    before = {known.written_for} if known.dirty and known.written_for in known.older_for else set()
    stale_for = tuple(sorted({*known.stale_for, *before} - {row.written_for}))
    after = Held(
        row.key, row.ref, "unknown", row.written_for, _older_for(row, held), row.accepted_at, row.clean_at,
        known.decided_at, known.decided_until, stale_for=stale_for, unanswered=known.unanswered,
    )  # fmt: skip
    return Verdict(taken, after, outcomes)


def _older_for(row: Pending, held: Held | None) -> tuple[str, ...]:
    """The messages in which something older than this row could show, if the row's write is not applied."""
    if held is None or not held.dirty:
        return ()
    newest = () if held.ref.generation_id == row.ref.generation_id else (held.written_for,)
    return tuple(sorted({*held.older_for, *newest}))


def _overtaken(row: Pending) -> tuple[Outcome, ...]:
    """The end of what was in flight without being confirmed, when a newer generation has taken the row meanwhile. What
    a restored database does not know has no end here: its clean-up may be in flight."""
    if row.sent is None or row.sent.generation_id in (row.ref.generation_id, NOT_KNOWN):
        return ()
    return (Outcome(row.sent, "superseded", "unconfirmed", 1),)


def settle(
    sent: Sent, result: Failure | None, row: Pending, held: Held | None, now: datetime, margin_s: float, rng: Random
) -> Verdict:
    """What follows from one answer. `row` is the row as it is now, still taken by the turn that asks.

    | answer | the profile | the row |
    | applied | holds it, or is clean | gone; `written` says so when the answer came after the deadline |
    | applied, and something else may land yet | unknown | sent once more when that moment has passed |
    | throttled, key refused, not sent | as before | due again, no attempt spent |
    | stopped | as before | gone; copy that the stop or a newer generation forbids becomes a clean-up |
    | permanent | as before | gone, with its reason; a danger becomes a clean-up |
    | no such profile | asked for once more a day later, then gone with the profile | the same |
    | no connection, edge page | as before | later, one attempt spent |
    | no answer, 5xx | unknown; of no answer it is known until when it may land | later, one attempt spent |

    When a newer generation has taken the row meanwhile, the row is due at once, in the lane that fits what is now held.
    """
    newer = row.ref.generation_id != sent.row.ref.generation_id or row.action != sent.row.action
    if not isinstance(result, MaybeApplied) and result is not None and sent.row.action == "write":
        held = _restored(sent, held)
    if isinstance(result, NoAnswer):
        held = given_up(sent.row, held, now)
    match result:
        case None:
            after, outcomes = _applied(sent, row if not newer else _hastened(sent.row, held), held, now)
            if _covered(held):  # by what landed before it or after it, so once more
                again = replace(_released(row, now), lane=Lane.DIRTY)
                return _due_again(row, held, now, outcomes) if newer else Verdict(again, held, outcomes)
            if (until := in_doubt_until(sent.row, held, now)) is not None:
                return _in_doubt(sent, row, held, until, now, margin_s, outcomes, newer=newer)
            return _due_again(row, after, now, outcomes) if newer else Verdict(None, after, outcomes)
        case Stopped() if newer:
            return _due_again(row, held, now, (Outcome(sent.row.ref, "stopped", None, sent.row.attempt),))
        case Stopped():
            return end(_released(row, now), held, now)
        case Throttled() | KeyRefused() | NotSent() | Transient() if newer:
            return _due_again(row, held, now, _overtaken(row))
        case Throttled() | KeyRefused() | NotSent():
            lane = Lane.DIRTY if held is not None and held.stale else row.lane
            return Verdict(replace(_released(row, now, last_reason=result.reason), lane=lane), held)
        case Permanent():
            return _rejected(sent, result, row, held, now, newer=newer)
        case _:
            return Verdict(_backed_off(row, held, result, now, margin_s, rng), held)


def _applied(sent: Sent, row: Pending, held: Held | None, now: datetime) -> tuple[Held | None, tuple[Outcome, ...]]:
    """`row` says until when: the same generation may have been accepted again while it was in flight."""
    if row.action == "write":
        waited_s = (now - sent.row.accepted_at).total_seconds()
        known = remembered(row, held)
        stale_for = tuple(message for message in known.stale_for if message == row.written_for)
        holding = Held(
            row.key, row.ref, "holding", row.written_for, (), row.accepted_at, row.clean_at,
            known.decided_at, known.decided_until, stale_for=stale_for, unanswered=known.unanswered,
        )  # fmt: skip
        reason = ANSWERED_LATE if sent.row.put_off or now > sent.row.deadline_at else None
        return holding, (Outcome(row.ref, "written", reason, row.attempt + 1, waited_s),)
    # Until its send window is over we remember what was decided; afterwards nothing older can come.
    clean = remembered(row, replace(held, state="clean") if held else None)
    outcomes = (Outcome(row.ref, "cleared", None, row.attempt + 1),) if row.action == "clear" else ()
    clean = remembered_until(clean, now)
    return (clean if clean.clean_at > now else None), outcomes


def _hastened(row: Pending, held: Held | None) -> Pending:
    """The row as it was sent. Its window ends with that of what the profile counts as, which is the row's own, unless
    the person was deleted meanwhile."""
    if held is None or held.ref.generation_id != row.ref.generation_id:
        return row
    return replace(row, clean_at=min(row.clean_at, held.clean_at))


def _covered(held: Held | None) -> bool:
    """Whether a request of an earlier turn may have landed while this one was in flight (`late_rules.uncovered`)."""
    return held is not None and held.state == "covered"


def _in_doubt(
    sent: Sent, row: Pending, held: Held | None, until: datetime, now: datetime, margin_s: float,
    outcomes: tuple[Outcome, ...], *, newer: bool,
) -> Verdict:  # fmt: skip
    """Applied, for now. Where a newer one follows at once, that one is asked the same when it is answered."""
    if newer:
        following = _due_again(row, held, now, outcomes)
        if following.pending is not None:
            return following
        row, held, outcomes = sent.row, following.held, following.outcomes
    return replace(once_more(_released(row, now), held, until, now, margin_s), outcomes=outcomes)


def _restored(sent: Sent, held: Held | None) -> Held | None:
    """What the profile held before a write that was certainly not applied, but for what was decided, or `suspected`,
    meanwhile."""
    before = sent.before
    if _covered(held):
        return held
    if held is None:
        return before
    if before is None:
        return held if held.older_for else None
    suspected = {*held.older_for} - {*_older_for(sent.row, before)}
    older_for = {*before.older_for, *suspected} if before.dirty else set()
    may_show = {before.written_for, *older_for} if before.dirty else set()
    stale_for = {*before.stale_for, *may_show.intersection(held.stale_for)}
    at, until = max(before.decided_at, held.decided_at), max(before.decided_until, held.decided_until)
    hastened = _hastened(sent.row, held).clean_at < sent.row.clean_at
    return replace(
        before, older_for=tuple(sorted(older_for)), decided_at=at, decided_until=until,
        stale_for=tuple(sorted(stale_for)),
        clean_at=min(before.clean_at, held.clean_at) if hastened else before.clean_at,
    )  # fmt: skip


def _rejected(
    sent: Sent, failure: Permanent, row: Pending, held: Held | None, now: datetime, *, newer: bool
) -> Verdict:
    outcomes: tuple[Outcome, ...] = ()
    if sent.row.action != "clean_up":
        outcomes = (Outcome(sent.row.ref, "rejected", failure.reason, sent.row.attempt + 1),)
    if failure.reason == "profile_not_found":
        held = _not_found(held, now)
    if newer:
        return _due_again(row, held, now, outcomes)
    if sent.row.action == "write":
        left = leave(row, remembered(row, held), now)
        return replace(left, outcomes=outcomes)
    if sent.row.action == "clear":
        held = remembered(row, held)
    return Verdict(None, _tomorrow(held, now), outcomes)


def _due_again(row: Pending, held: Held | None, now: datetime, outcomes: tuple[Outcome, ...]) -> Verdict:
    """A row that waited for an older one to land, seen again with what is now held."""
    free = _released(row, now)
    held = noted(row, held)
    danger = held is not None and held.stale
    if row.action == "write":
        lane = Lane.DIRTY if danger else Lane.RETRY if row.put_off else Lane.FRESH
        return Verdict(replace(free, lane=lane), held, outcomes)
    stopped_meanwhile = held is not None and held.dirty and held.ref.generation_id == row.ref.generation_id
    if danger or stopped_meanwhile:
        return Verdict(replace(free, lane=Lane.DIRTY), held, outcomes)
    if row.action == "clear":
        outcomes = (*outcomes, Outcome(row.ref, "nothing_to_clear", None, 0))
    left = leave(free, remembered(row, held), now)
    return replace(left, outcomes=outcomes)


def _released(row: Pending, now: datetime, last_reason: str | None = None) -> Pending:
    return replace(row, taken_by=None, sent=None, next_attempt_at=now, last_reason=last_reason or row.last_reason)


def _backed_off(
    row: Pending, held: Held | None, failure: Failure, now: datetime, margin_s: float, rng: Random
) -> Pending:
    """Twice as long each time, with jitter, but a last try before the deadline if that is still ahead."""
    wait = timedelta(seconds=min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2.0 ** min(row.attempt, 10)) * rng.uniform(0.5, 1))
    at = now + wait
    lane = Lane.RETRY if row.action == "write" else row.lane
    if held is not None and held.stale:  # also where that landed while a clean-up was under way
        lane = Lane.DIRTY
    if row.action == "write":
        at = min(at, max(now + wait / 4, row.deadline_at - timedelta(seconds=margin_s + 1)))
    free = _released(row, now, last_reason=failure.reason)
    return replace(free, lane=lane, next_attempt_at=at, attempt=row.attempt + 1)


def over(row: Pending, now: datetime, margin_s: float) -> bool:
    """Whether this row is not to be sent any more."""
    if row.action == "write":
        return row.deadline_at <= now + timedelta(seconds=margin_s)
    return row.deadline_at <= now - GIVE_UP_AFTER


def put_off(row: Pending, held: Held | None, now: datetime, margin_s: float) -> Verdict | None:
    """The row as it waits on after the first moment of its email, where the flow may send it later: behind all that can
    still be there by theirs. None where no email leaves later, and where an older copy could show in one that does:
    that is taken off now, not when there is room."""
    known = noted(row, held)
    if row.action != "write" or row.latest_at is None or row.put_off or (known is not None and known.stale):
        return None
    lost = row.taken_by is not None  # whoever took it is gone
    waiting = replace(
        _released(row, now if lost else max(now, row.next_attempt_at)), lane=Lane.RETRY, deadline_at=row.latest_at,
        attempt=row.attempt + lost,
    )  # fmt: skip
    if over(waiting, now, margin_s):
        return None
    return Verdict(waiting, held, _overtaken(row))


def expire(row: Pending, held: Held | None, now: datetime, reason: str) -> Verdict:
    """The end of a row whose time is over; its danger, if any, stays a clean-up."""
    outcomes = _overtaken(row)
    if row.action != "clean_up":
        outcomes = (*outcomes, Outcome(row.ref, "expired", reason, row.attempt))
    if row.action == "write":
        left = leave(row, remembered(row, held), now)
        return replace(left, outcomes=outcomes)
    return Verdict(None, _tomorrow(held, now), outcomes)


def _not_found(held: Held | None, now: datetime) -> Held | None:
    """A profile that Klaviyo does not know was merged away or deleted, and everything on it; or the key is another
    account's, until somebody notices. So copy that was there counts as gone when it is not found a day later either."""
    if held is None or not held.dirty:
        return None
    if held.state == "holding":
        return _tomorrow(replace(held, state="unknown"), now)
    return held if held.clean_at > now else None


def _tomorrow(held: Held | None, now: datetime) -> Held | None:
    """A profile that could not be cleared is never forgotten, only looked at again a day later."""
    if held is None or not held.dirty:
        return held
    return replace(held, clean_queued=False, clean_at=now + GIVE_UP_AFTER)


def clean_up(held: Held, pending: Pending | None, now: datetime) -> Verdict:
    """The send window of what a profile holds is over: take it away, or rely on the row that is waiting already."""
    if not held.dirty:
        return Verdict(pending, None)
    queued = replace(held, clean_queued=True)
    if pending is not None:
        return Verdict(pending, queued)
    row = Pending(
        held.key, held.ref, "clean_up", Lane.CLEAN_UP, held.written_for,
        held.accepted_at, held.clean_at, held.clean_at, next_attempt_at=now,
    )  # fmt: skip
    return Verdict(as_clean_up(row, Lane.CLEAN_UP, now), queued)
