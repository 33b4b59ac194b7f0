"""What becomes of a job that arrives. (That the rules hold together is shown in test_rules_together.)"""

import pytest

from services.profile_writer.intake_rules import leave, noted, place
from services.profile_writer.rows import Lane, Verdict
from services.profile_writer.turns.rules import over
from tests.unit.profile_writer.given import (
    MARGIN_S,
    NOW,
    TURN,
    endings,
    held,
    pending,
    ref,
    seconds,
    taken,
    wanted,
)


def test_a_write_for_a_clean_profile_waits_among_the_fresh() -> None:
    verdict = place(wanted(2), None, None, NOW, MARGIN_S)

    assert verdict.pending == pending(2, lane=Lane.FRESH)
    assert verdict.held is None
    assert verdict.outcomes == ()


def test_a_person_who_comes_back_before_clean_up_is_served_first() -> None:
    assert place(wanted(2), None, held(1), NOW, MARGIN_S).pending == pending(2, lane=Lane.DIRTY)


def test_another_messages_copy_on_the_profile_is_no_danger() -> None:
    verdict = place(wanted(2), None, held(1, written_for="B"), NOW, MARGIN_S)

    assert verdict.pending == pending(2, lane=Lane.FRESH)


@pytest.mark.parametrize("older_for", [("A",), ("A", "B")])
def test_an_older_copy_beneath_an_unconfirmed_write_is_a_danger(older_for: tuple[str, ...]) -> None:
    unconfirmed = held(1, state="unknown", written_for="C", older_for=older_for)

    for message, stale in (("A", True), ("D", False)):
        known = noted(wanted(2, written_for=message), unconfirmed)
        assert known is not None
        assert known.stale is stale


def test_the_hurry_of_a_replaced_write_is_the_hurry_of_what_replaces_it() -> None:
    """The profile shows 1; 2 was decided for the same message, and then 3, for another one, takes 2's place."""
    second = place(wanted(2, accepted_at=NOW - seconds(60)), None, held(1), NOW, MARGIN_S)

    third = place(wanted(3, written_for="B"), second.pending, second.held, NOW, MARGIN_S)

    assert third.pending is not None
    assert (third.pending.ref, third.pending.lane) == (ref(3), Lane.DIRTY)
    left = leave(third.pending, third.held, NOW).pending  # and should 3 not be written
    assert left is not None
    assert (left.action, left.lane) == ("clean_up", Lane.DIRTY)


def test_the_newer_generation_replaces_the_waiting_one_which_says_so() -> None:
    older = pending(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2), older, None, NOW, MARGIN_S)

    assert verdict.pending == pending(2)
    assert endings(verdict) == [(1, "superseded", None)]


def test_a_newer_generation_waits_until_the_one_in_flight_has_landed() -> None:
    in_flight = taken(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2), in_flight, held(1, state="unknown"), NOW, MARGIN_S)

    assert verdict.pending is not None
    assert verdict.pending.ref == ref(2)
    assert (verdict.pending.taken_by, verdict.pending.sent) == (TURN, ref(1))
    assert verdict.pending.next_attempt_at == in_flight.next_attempt_at
    assert verdict.outcomes == ()  # the answer will say how it ended


def test_an_older_generation_that_arrives_later_is_superseded() -> None:
    waiting = pending(2)

    verdict = place(wanted(1, accepted_at=NOW - seconds(60)), waiting, None, NOW, MARGIN_S)

    assert verdict.pending == waiting
    assert endings(verdict) == [(1, "superseded", None)]


def test_copy_of_a_generation_that_was_withdrawn_is_taken_off_when_its_webhook_comes_again() -> None:
    verdict = place(wanted(1, action="clear"), None, held(1, accepted_at=NOW - seconds(60)), NOW, MARGIN_S)

    assert verdict.pending == pending(1, action="clear", lane=Lane.DIRTY)
    assert verdict.held is not None
    assert verdict.held.stale


def test_a_withdrawn_write_that_waits_ends_once_and_nothing_is_to_be_taken_off() -> None:
    waiting = pending(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(1, action="clear"), waiting, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert endings(verdict) == [(1, "nothing_to_clear", None)]


def test_a_decision_for_another_message_is_remembered_beside_the_copy_that_stays() -> None:
    control = wanted(3, action="clear", written_for="B", accepted_at=NOW - seconds(1))

    known = place(control, None, held(1), NOW, MARGIN_S).held
    late = place(wanted(2, written_for="B", accepted_at=NOW - seconds(2)), None, known, NOW, MARGIN_S)

    assert known == held(1, decided_at=control.accepted_at, decided_until=control.clean_at)
    assert late.pending is None
    assert endings(late) == [(2, "superseded", None)]


def test_copy_that_is_out_of_date_is_taken_off_though_its_successor_comes_too_late_to_be_written() -> None:
    """The profile shows 1; 3 was decided for control of another message before 2 arrives, which is newer than 1."""
    known = held(1, decided_at=NOW - seconds(10), decided_until=NOW + seconds(900))

    verdict = place(wanted(2, accepted_at=NOW - seconds(20)), None, known, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert endings(verdict) == [(2, "superseded", None)]


def test_what_waits_hurries_when_a_late_job_shows_that_the_copy_beneath_is_out_of_date() -> None:
    newest = pending(3, written_for="B")

    verdict = place(wanted(2, accepted_at=NOW - seconds(20)), newest, held(1), NOW, MARGIN_S)

    assert verdict.pending == pending(3, written_for="B", lane=Lane.DIRTY)
    assert endings(verdict) == [(2, "superseded", None)]


def test_a_late_repetition_of_the_first_webhook_ends_the_second_ones_waiting_write() -> None:
    """The profile shows 1, 2 waits; 1 was accepted again, and then something else was decided before that arrives."""
    known = held(1, decided_at=NOW - seconds(10), decided_until=NOW + seconds(900), stale_for=("A",))
    waiting = pending(2, accepted_at=NOW - seconds(60), lane=Lane.DIRTY)

    verdict = place(wanted(1, accepted_at=NOW - seconds(20)), waiting, known, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert endings(verdict)[0] == (2, "superseded", None)


@pytest.mark.parametrize(("lane", "due_s"), [(Lane.DIRTY, 120), (Lane.FRESH, 180)])
def test_a_write_accepted_again_is_due_for_the_earlier_email_where_that_could_show_an_older_copy(
    lane: Lane, due_s: float
) -> None:
    known = held(1, stale_for=("A",)) if lane == Lane.DIRTY else None
    waiting = pending(2, lane=lane, accepted_at=NOW - seconds(61), deadline_at=NOW + seconds(120))
    again = wanted(2, deadline_at=NOW + seconds(180), clean_at=NOW + seconds(1080))

    verdict = place(again, waiting, known, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.lane, verdict.pending.deadline_at) == (lane, NOW + seconds(due_s))
    assert (verdict.pending.accepted_at, verdict.pending.clean_at) == (again.accepted_at, again.clean_at)
    assert verdict.outcomes == ()


def test_copy_that_is_newer_than_a_late_job_stays() -> None:
    newer = held(3, accepted_at=NOW - seconds(10), clean_at=NOW + seconds(2000))

    verdict = place(wanted(2, accepted_at=NOW - seconds(20)), None, newer, NOW, MARGIN_S)

    assert (verdict.pending, verdict.held) == (None, newer)
    assert endings(verdict) == [(2, "superseded", None)]


def test_a_write_that_arrives_when_its_first_email_may_have_left_is_there_for_a_later_one() -> None:
    latest_at = NOW + seconds(3600)
    late = wanted(2, deadline_at=NOW, latest_at=latest_at)

    assert place(late, None, None, NOW, MARGIN_S) == Verdict(
        pending(2, lane=Lane.RETRY, deadline_at=latest_at, latest_at=latest_at), None
    )
    assert endings(place(late, None, held(1), NOW, MARGIN_S)) == [(2, "expired", "arrived_late")]
    assert endings(place(late, None, None, latest_at, MARGIN_S)) == [(2, "expired", "arrived_late")]


def test_a_write_that_arrives_late_leaves_another_messages_waiting_write_alone() -> None:
    other = pending(1, accepted_at=NOW - seconds(60), written_for="B")

    verdict = place(wanted(2, deadline_at=NOW), other, None, NOW, MARGIN_S)

    assert verdict.pending == other
    assert endings(verdict) == [(2, "expired", "arrived_late")]


def test_a_repetition_changes_nothing() -> None:
    for row, known in ((pending(2), None), (taken(2), held(2, state="unknown")), (None, held(2))):
        verdict = place(wanted(2, accepted_at=NOW - seconds(601)), row, known, NOW, MARGIN_S)

        assert (verdict.pending, verdict.held, verdict.outcomes) == (row, known, ())


def test_copy_that_is_there_stays_for_the_later_email_of_a_repeated_webhook() -> None:
    again = wanted(2, clean_at=NOW + seconds(5000))

    verdict = place(again, None, held(2), NOW, MARGIN_S)

    assert verdict.pending is None
    assert verdict.held == held(2, accepted_at=again.accepted_at, clean_at=again.clean_at)


def test_what_waits_is_worth_writing_until_the_later_email_of_a_repeated_webhook() -> None:
    waiting = pending(2, accepted_at=NOW - seconds(60), deadline_at=NOW + seconds(5))

    verdict = place(wanted(2), waiting, None, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert not over(verdict.pending, NOW + seconds(60), MARGIN_S)
    assert (verdict.pending.lane, verdict.pending.clean_at) == (waiting.lane, wanted(2).clean_at)


def test_a_write_that_arrives_late_is_not_sent_and_is_remembered() -> None:
    verdict = place(wanted(2, deadline_at=NOW + seconds(MARGIN_S)), None, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert verdict.held is not None
    assert not verdict.held.dirty
    assert endings(verdict) == [(2, "expired", "arrived_late")]


def test_an_older_copy_is_taken_away_when_the_newer_one_comes_too_late() -> None:
    verdict = place(wanted(2, deadline_at=NOW - seconds(60)), None, held(1), NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert verdict.pending.deadline_at >= NOW  # giving up is counted from here


def test_a_control_decision_takes_an_older_copy_of_its_message_away_first() -> None:
    verdict = place(wanted(2, action="clear"), None, held(1), NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clear", Lane.DIRTY)


def test_a_control_decision_leaves_another_messages_copy_alone() -> None:
    other = held(1, written_for="B")

    verdict = place(wanted(2, action="clear"), None, other, NOW, MARGIN_S)

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.state) == (other.ref, "holding")
    assert endings(verdict) == [(2, "nothing_to_clear", None)]


def test_a_control_decision_leaves_another_messages_waiting_write_alone() -> None:
    other = pending(1, accepted_at=NOW - seconds(60), written_for="B")

    assert place(wanted(2, action="clear"), other, None, NOW, MARGIN_S).pending == other


def test_a_control_decision_ends_the_waiting_write_of_its_own_message() -> None:
    older = pending(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2, action="clear"), older, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert endings(verdict) == [(1, "superseded", None), (2, "nothing_to_clear", None)]


def test_a_write_of_something_stopped_ends_at_once_and_is_remembered() -> None:
    verdict = place(wanted(2, stopped=True), None, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.dirty) == (ref(2), False)
    assert endings(verdict) == [(2, "stopped", None)]


def test_an_older_copy_is_taken_away_first_when_the_newer_one_is_stopped() -> None:
    verdict = place(wanted(2, stopped=True), None, held(1), NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert endings(verdict) == [(2, "stopped", None)]


def test_a_stopped_write_leaves_another_messages_waiting_write_alone() -> None:
    other = pending(1, accepted_at=NOW - seconds(60), written_for="B")

    verdict = place(wanted(2, stopped=True), other, None, NOW, MARGIN_S)

    assert verdict.pending == other
    assert endings(verdict) == [(2, "stopped", None)]


def test_a_stopped_write_ends_the_older_one_of_its_message() -> None:
    older = pending(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2, stopped=True), older, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert endings(verdict) == [(1, "superseded", None), (2, "stopped", None)]


def test_a_stopped_write_waits_as_a_clean_up_for_what_is_in_flight() -> None:
    in_flight = taken(1, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2, stopped=True), in_flight, held(1, state="unknown"), NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert (verdict.pending.taken_by, verdict.pending.sent) == (TURN, ref(1))
    assert endings(verdict) == [(2, "stopped", None)]


def test_a_webhook_that_is_repeated_while_its_template_is_stopped_ends_its_waiting_write() -> None:
    waiting = pending(2, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2, stopped=True), waiting, None, NOW, MARGIN_S)

    assert verdict.pending is None
    assert endings(verdict) == [(2, "stopped", None)]


def test_a_control_decision_waits_for_what_is_in_flight() -> None:
    verdict = place(wanted(2, action="clear"), taken(1, accepted_at=NOW - seconds(60)), None, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.taken_by) == ("clear", TURN)


def test_copy_that_was_withdrawn_is_taken_off_though_something_else_was_decided_before_that_is_known() -> None:
    decided_since = held(2, decided_at=NOW, accepted_at=NOW - seconds(60))

    verdict = place(wanted(2, action="clear"), None, decided_since, NOW, MARGIN_S)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
