"""What becomes of a row when it is taken, answered, over. (Together: test_rules_together.)"""

from dataclasses import replace
from random import Random
from uuid import UUID

import pytest

from services.profile_writer.intake_rules import noted, place
from services.profile_writer.rows import Held, Lane, NotSent, Pending, Stopped, Verdict
from services.profile_writer.turns.rules import (
    GIVE_UP_AFTER,
    Sent,
    accepted_keys,
    clean_up,
    expire,
    one_of_each,
    over,
    settle,
    take,
)
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer, Unreachable, Unsendable
from tests.unit.profile_writer.given import (
    MARGIN_S,
    NOW,
    ORG,
    OTHER_TURN,
    TURN,
    endings,
    held,
    pending,
    ref,
    seconds,
    taken,
    wanted,
)

LEASE_UNTIL = NOW + seconds(30)


def answered(
    result: Failure | None, *, before: Held | None = None, row: Pending | None = None, sent: Pending | None = None
) -> Verdict:
    """The verdict on generation 2's write; `before` is what the profile held, `row` the row as it is by now."""
    sent = sent or taken(2)
    known = take(pending(2, action=sent.action), before, TURN, LEASE_UNTIL).held
    return settle(Sent(sent, before), result, row or sent, known, NOW, MARGIN_S, Random(1))


def test_a_profile_counts_as_unknown_before_the_write_leaves() -> None:
    verdict = take(pending(2), held(1), TURN, LEASE_UNTIL)

    assert verdict.pending == taken(2)
    assert verdict.held is not None
    assert (verdict.held.state, verdict.held.ref, verdict.held.older_for) == ("unknown", ref(2), ("A",))


def test_taking_over_from_a_dead_turn_spends_an_attempt_and_ends_what_was_overtaken() -> None:
    left_behind = pending(2, taken_by=OTHER_TURN, sent=ref(1), next_attempt_at=NOW)

    verdict = take(left_behind, held(1, state="unknown"), TURN, LEASE_UNTIL)

    assert verdict.pending is not None
    assert verdict.pending.attempt == 1
    assert endings(verdict) == [(1, "superseded", "unconfirmed")]


def test_an_applied_write_is_held_until_its_window_ends() -> None:
    verdict = answered(None, before=held(1))

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.state, verdict.held.older_for, verdict.held.clean_at) == ("holding", (), pending(2).clean_at)
    assert endings(verdict) == [(2, "written", None)]
    assert verdict.outcomes[0].waited_s == 1


def test_what_was_decided_while_the_copy_was_there_is_remembered_when_it_is_taken_off() -> None:
    row = taken(1, action="clean_up", accepted_at=NOW - seconds(600), clean_at=NOW - seconds(1))
    known = held(1, clean_at=row.clean_at, decided_at=NOW - seconds(10), decided_until=NOW + seconds(900))

    after = settle(Sent(row, known), None, row, known, NOW, MARGIN_S, Random(1)).held

    assert after is not None
    assert not after.dirty
    assert (after.accepted_at, after.clean_at) == (known.decided_at, known.decided_until)


def test_a_copy_that_landed_out_of_date_is_known_to_be() -> None:
    """Generation 3 was decided for the same message while 2 was in flight, and 4 for another one after it."""
    waiting = taken(4, written_for="B", sent=ref(2))
    in_flight = take(pending(2), None, TURN, LEASE_UNTIL).held
    known = noted(pending(3), in_flight)

    landed = settle(Sent(taken(2), None), None, waiting, known, NOW, MARGIN_S, Random(1))

    assert landed.held is not None
    assert landed.held.stale
    assert landed.pending is not None
    assert landed.pending.lane == Lane.DIRTY


def test_an_answer_after_the_deadline_says_that_the_email_may_have_left_without_the_copy() -> None:
    in_time = answered(None, sent=taken(2, deadline_at=NOW))
    late = answered(None, sent=taken(2, deadline_at=NOW - seconds(0.1)))

    assert endings(in_time) == [(2, "written", None)]
    assert endings(late) == [(2, "written", "answered_late")]
    assert late.held == in_time.held  # on the profile it is the same copy, to be taken away like any other


@pytest.mark.parametrize(
    "failure", [Throttled("429", wait_s=5), KeyRefused("401", reason="key_refused"), NotSent("late")]
)
def test_waiting_for_others_spends_no_attempt_and_leaves_the_profile_as_it_was(failure: Failure) -> None:
    verdict = answered(failure, before=held(1))

    assert verdict.pending == pending(2, last_reason=failure.reason)
    sent = pending(2)
    assert verdict.held == held(1, decided_at=sent.accepted_at, decided_until=sent.clean_at)
    assert verdict.outcomes == ()


@pytest.mark.parametrize("failure", [Unreachable("refused"), Transient("edge page")])
def test_a_write_that_was_surely_not_applied_leaves_a_clean_profile_clean(failure: Failure) -> None:
    verdict = answered(failure)

    assert verdict.held is None
    assert verdict.pending is not None
    assert (verdict.pending.attempt, verdict.pending.lane, verdict.pending.taken_by) == (1, Lane.RETRY, None)
    assert NOW < verdict.pending.next_attempt_at <= NOW + seconds(1)


def test_a_lost_answer_leaves_the_profile_unknown_and_is_tried_again() -> None:
    verdict = answered(MaybeApplied("reset"))

    assert verdict.held is not None
    assert verdict.held.state == "unknown"
    assert verdict.pending is not None
    assert (verdict.pending.attempt, verdict.pending.lane) == (1, Lane.RETRY)


def test_a_retry_over_an_older_copy_stays_in_the_first_lane() -> None:
    verdict = answered(MaybeApplied("reset"), before=held(1))

    assert verdict.pending is not None
    assert verdict.pending.lane == Lane.DIRTY


def test_the_last_retry_comes_before_the_deadline() -> None:
    late = taken(2, attempt=9, deadline_at=NOW + seconds(20))

    verdict = answered(MaybeApplied("reset"), sent=late)

    assert verdict.pending is not None
    assert verdict.pending.next_attempt_at <= late.deadline_at - seconds(MARGIN_S)


def test_a_refused_write_parks_its_own_row_with_the_reason() -> None:
    verdict = answered(Permanent("400", reason="invalid"))

    assert verdict.pending is None
    assert endings(verdict) == [(2, "rejected", "invalid")]


def test_an_older_copy_is_taken_away_when_the_newer_one_is_refused() -> None:
    verdict = answered(Permanent("too large", reason="body_too_large"), before=held(1))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)


GONE = Permanent("404", reason="profile_not_found")


def test_a_profile_that_is_gone_holds_nothing() -> None:
    verdict = answered(GONE)

    assert verdict.pending is None
    assert verdict.held is not None
    assert not verdict.held.dirty
    assert endings(verdict) == [(2, "rejected", "profile_not_found")]


def test_copy_on_a_profile_that_is_not_found_counts_as_gone_a_day_later() -> None:
    """The key may be another account's, for as long as it takes somebody to notice."""
    row = taken(1, action="clean_up")
    first = settle(Sent(row, None), GONE, row, held(1, clean_queued=True), NOW, MARGIN_S, Random(1))
    assert first.held is not None
    again = settle(Sent(row, None), GONE, row, first.held, first.held.clean_at, MARGIN_S, Random(1))

    assert (first.pending, first.outcomes) == (None, ())
    assert first.held == replace(held(1), state="unknown", clean_at=NOW + GIVE_UP_AFTER)
    assert again == Verdict(None, None)


def test_older_copy_on_a_profile_that_is_not_found_for_the_newer_is_a_danger_still() -> None:
    verdict = answered(GONE, before=held(1))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.state) == (ref(1), "unknown")
    assert endings(verdict) == [(2, "rejected", "profile_not_found")]


def test_a_clean_up_without_an_answer_goes_first_once_older_copy_has_landed_beneath_it() -> None:
    row = taken(1, action="clean_up", lane=Lane.CLEAN_UP)
    landed = held(1, clean_queued=True, state="covered")
    landed = replace(landed, older_for=(landed.written_for,))

    verdict = settle(Sent(row, None), NoAnswer("nothing"), row, landed, NOW, MARGIN_S, Random(1))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)


def test_a_newer_generation_that_came_meanwhile_is_due_at_once_and_first() -> None:
    newer = pending(3, taken_by=TURN, sent=ref(2), next_attempt_at=LEASE_UNTIL)

    verdict = answered(None, row=newer)

    assert verdict.pending == pending(3, lane=Lane.DIRTY)
    assert endings(verdict) == [(2, "written", None)]


def test_what_was_in_flight_without_an_answer_is_superseded_when_a_newer_one_waits() -> None:
    newer = pending(3, taken_by=TURN, sent=ref(2), next_attempt_at=LEASE_UNTIL)

    verdict = answered(MaybeApplied("reset"), row=newer)

    assert verdict.pending == pending(3, lane=Lane.DIRTY)
    assert endings(verdict) == [(2, "superseded", "unconfirmed")]


def test_a_write_that_the_gate_stopped_ends_and_is_not_tried_again() -> None:
    verdict = answered(Stopped("stopped", reason="stopped"))

    assert verdict.pending is None
    assert verdict.held is not None
    assert not verdict.held.dirty
    assert endings(verdict) == [(2, "stopped", None)]


def test_the_older_copy_beneath_a_stopped_write_is_taken_away_first() -> None:
    verdict = answered(Stopped("stopped", reason="stopped"), before=held(1))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert verdict.pending.taken_by is None
    assert endings(verdict) == [(2, "stopped", None)]


def test_what_an_earlier_try_may_have_brought_is_taken_away_when_the_retry_is_stopped() -> None:
    verdict = answered(Stopped("stopped", reason="stopped"), before=held(2, state="unknown"))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)


def test_a_newer_write_goes_on_when_the_one_before_it_was_stopped() -> None:
    newer = pending(3, taken_by=TURN, sent=ref(2), next_attempt_at=LEASE_UNTIL)

    verdict = answered(Stopped("stopped", reason="stopped"), row=newer)

    assert verdict.pending == pending(3)
    assert endings(verdict) == [(2, "stopped", None)]


def test_a_window_that_was_prolonged_in_flight_counts() -> None:
    prolonged = taken(2, clean_at=NOW + seconds(9000))

    verdict = answered(None, row=prolonged)

    assert verdict.held is not None
    assert verdict.held.clean_at == prolonged.clean_at


def test_a_write_is_over_at_its_deadline_a_clear_only_a_day_later() -> None:
    assert over(pending(2, deadline_at=NOW + seconds(MARGIN_S)), NOW, MARGIN_S)
    assert not over(pending(2, deadline_at=NOW + seconds(MARGIN_S + 0.1)), NOW, MARGIN_S)
    assert not over(pending(2, action="clear", deadline_at=NOW - seconds(3600)), NOW, MARGIN_S)
    assert over(pending(2, action="clear", deadline_at=NOW - GIVE_UP_AFTER), NOW, MARGIN_S)


def test_of_a_write_that_was_put_off_nobody_knows_if_its_email_had_left() -> None:
    latest_at = NOW + seconds(3600)
    late = taken(2, deadline_at=latest_at, latest_at=latest_at)

    assert endings(answered(None, sent=late)) == [(2, "written", "answered_late")]


def test_an_expired_write_over_an_older_copy_becomes_its_clean_up() -> None:
    verdict = expire(pending(2), held(1), NOW, "quota")

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert endings(verdict) == [(2, "expired", "quota")]


def test_a_clear_that_nobody_could_make_is_found_again_a_day_later() -> None:
    verdict = expire(pending(2, action="clean_up"), held(1, clean_queued=True), NOW, "key_refused")

    assert verdict.pending is None
    assert verdict.held == replace(held(1), clean_at=NOW + GIVE_UP_AFTER)
    assert verdict.outcomes == ()


def test_clean_up_is_last_in_line_and_relies_on_a_row_that_waits_already() -> None:
    alone, beside = clean_up(held(1), None, NOW), clean_up(held(1), pending(2), NOW)

    assert alone.pending is not None
    assert (alone.pending.action, alone.pending.lane) == ("clean_up", Lane.CLEAN_UP)
    assert beside.pending == pending(2)
    assert alone.held == beside.held == held(1, clean_queued=True)


def test_what_was_only_remembered_is_forgotten() -> None:
    assert clean_up(held(1, state="clean"), None, NOW) == Verdict(None, None)


def test_one_write_is_enough_to_try_a_refused_key_and_others_lose_nothing() -> None:
    asked, other = UUID(int=5), UUID(int=6)
    rows = [pending(number, ref=ref(number)._replace(org_id=org)) for number, org in enumerate([asked, other] * 2)]

    assert [row.ref.generation_id.int for row in one_of_each(rows, {asked})] == [0, 1, 3]
    assert one_of_each(rows, ()) == rows


@pytest.mark.parametrize(
    ("result", "accepted"),
    [
        (None, True),
        (Permanent("404", reason="profile_not_found"), True),
        (KeyRefused("401", reason="key_refused"), False),
        (Unsendable("too large"), False),
        (Throttled("429", wait_s=1), False),
        (MaybeApplied("500"), False),
        (NotSent("late"), False),
    ],
)
def test_a_key_is_accepted_again_once_klaviyo_has_looked_at_a_write(result: Failure | None, accepted: bool) -> None:
    assert accepted_keys([Sent(taken(1), None)], [result]) == ({ORG} if accepted else set())


def test_an_older_copy_that_may_lie_beneath_stays_noted_when_another_messages_write_is_taken() -> None:
    """B's write is on its way; beneath it A's newest may be there, or the older copy that it was to replace."""
    unconfirmed = held(2, state="unknown", written_for="A", older_for=("A",))
    other = pending(3, written_for="B", lane=Lane.DIRTY)

    taken_over = take(other, unconfirmed, TURN, LEASE_UNTIL)
    assert taken_over.held is not None
    assert taken_over.held.stale_for == ("A",)
    assert taken_over.held.stale

    assert taken_over.pending is not None
    sent = Sent(taken_over.pending, unconfirmed)
    lost = settle(sent, MaybeApplied("reset"), taken_over.pending, taken_over.held, NOW, MARGIN_S, Random(1))
    assert lost.pending is not None
    assert lost.pending.lane == Lane.DIRTY


def test_a_job_that_comes_late_does_not_put_newer_copy_in_flight_out_of_date() -> None:
    """Else a write for another message that comes to nothing would have it taken off before its email."""
    in_flight = take(pending(2), held(1), TURN, LEASE_UNTIL)
    assert in_flight.pending is not None
    late = place(wanted(3, accepted_at=NOW - seconds(30)), in_flight.pending, in_flight.held, NOW, MARGIN_S)
    assert late.pending is not None
    landed = settle(Sent(late.pending, held(1)), None, late.pending, late.held, NOW, MARGIN_S, Random(1))
    assert landed.held is not None
    assert not landed.held.stale

    other = pending(4, written_for="B", deadline_at=NOW)
    assert expire(other, landed.held, NOW, "quota").pending is None


def test_an_import_that_is_answered_is_on_the_profile_whatever_it_was_written_over() -> None:
    """Nobody remembers by then what that was."""
    in_flight = take(pending(2), held(1), OTHER_TURN, LEASE_UNTIL)
    assert in_flight.pending is not None
    settled = settle(Sent(in_flight.pending, None), None, in_flight.pending, in_flight.held, NOW, MARGIN_S, Random(1))

    assert settled.pending is None
    assert settled.held is not None
    assert (settled.held.state, settled.held.older_for) == ("holding", ())
