"""What follows when a request of a turn, or an import, may have landed after it had lost its rows. Pure.

A writer that is frozen between its last look at the clock and the socket sends when it goes on, whatever happened
meanwhile; Klaviyo knows no conditional write. The turn's end is told: then what it may have written over is written
again, or taken off where that is too late.
"""

from dataclasses import replace
from datetime import datetime

from services.profile_writer.intake_rules import as_clean_up
from services.profile_writer.rows import Held, Lane, Pending, Verdict
from services.profile_writer.turns.rules import Sent
from shared.errors import Failure
from shared.klaviyo.errors import MaybeApplied


def may_have_landed(result: Failure | None) -> bool:
    """Whether Klaviyo has, or may have, applied what was sent."""
    return result is None or isinstance(result, MaybeApplied)


def hidden(sent: Sent, row: Pending | None, held: Held | None) -> bool:
    """Whether what landed late may lie over something else than it."""
    if row is not None and row.taken_by is not None:
        return True  # which of the two landed last, nobody knows, be it the same copy and a clean-up
    if sent.row.action == "write":
        return held is None or not held.dirty or held.ref.generation_id != sent.row.ref.generation_id
    return held is not None and held.state == "holding"


def uncovered(
    sent: Sent, row: Pending | None, held: Held | None, deadline_at: datetime | None, now: datetime
) -> Verdict:
    """What makes it right, where it is `hidden`. `deadline_at`: of the newer generation that `held` names, None where
    it has no copy or is not stored any more.

    | what the profile should hold | becomes |
    | a newer copy, its email still to come | written again, before all others |
    | a newer copy, its email has left | an older copy is taken off; what was only taken off stays off |
    | nothing | taken off |
    | a newer one waits | it goes before all others |
    | anything is in flight | whoever settles it is told (`covered`), and sends it once more |
    """
    if held is None or not held.dirty:
        return _taken_off(sent, row, held, now)
    in_flight = row is not None and row.taken_by is not None
    held = replace(held, state="covered" if in_flight else "unknown")
    if sent.row.action == "write" and held.ref.generation_id != sent.row.ref.generation_id:
        held = _above(sent.row, held)
    if in_flight:
        return Verdict(row, held)
    if row is not None:
        return Verdict(replace(row, lane=Lane.DIRTY) if held.stale else row, held)
    again = Pending(
        held.key, held.ref, "write", Lane.DIRTY, held.written_for, held.accepted_at, deadline_at or now, held.clean_at,
        next_attempt_at=now,
    )  # fmt: skip
    if deadline_at is not None and deadline_at > now:
        return Verdict(again, held)
    if sent.row.action != "write":
        return Verdict(None, held)
    return Verdict(as_clean_up(again, Lane.DIRTY, now), replace(held, clean_queued=True))


def _above(late: Pending, held: Held) -> Held:
    """That this lies on top: out of date for its message, as far as anybody knows."""
    others = {late.written_for} - {held.written_for}
    older_for, stale_for = {*held.older_for, late.written_for}, {*held.stale_for, *others}
    return replace(held, older_for=tuple(sorted(older_for)), stale_for=tuple(sorted(stale_for)))


def _taken_off(sent: Sent, row: Pending | None, held: Held | None, now: datetime) -> Verdict:
    """Nothing was to be there, or nobody remembers what: our copy is, perhaps."""
    late = sent.row
    known = held or Held(
        late.key, late.ref, "clean", late.written_for, (), late.accepted_at, late.clean_at, late.accepted_at,
        late.clean_at,
    )  # fmt: skip
    held = Held(
        late.key, late.ref, "unknown", late.written_for, (), late.accepted_at, max(late.clean_at, now),
        known.decided_at, known.decided_until, clean_queued=True, stale_for=(late.written_for,),
        unanswered=known.unanswered,
    )  # fmt: skip
    if row is not None:
        return Verdict(replace(row, lane=Lane.DIRTY), held)
    return Verdict(as_clean_up(late, Lane.DIRTY, now), held)
