"""What a stop does to what waits, to what is in flight, and to what is there. (Together: test_rules_together.)"""

from random import Random
from uuid import UUID

import pytest

from services.profile_writer.rows import Held, Lane, NotSent, Pending, Verdict
from services.profile_writer.stops import Stop, Stops, end, sweep, take_away
from services.profile_writer.turns.rules import Sent, settle, take
from shared.errors import Failure
from shared.klaviyo.errors import MaybeApplied
from tests.unit.profile_writer.given import MARGIN_S, NOW, ORG, TURN, endings, held, pending, ref, seconds, taken

OTHER_ORG = UUID(int=2)
STOPPED = Stops.of([Stop(ORG, "welcome", NOW)])
OURS, OTHERS = "welcome.FLOW01.1", "launch.FLOW02.2"
LEASE_UNTIL = NOW + seconds(30)


def in_flight(before: Held | None = None) -> tuple[Sent, Held]:
    """Generation 2 of the stopped template on its way, and what the profile counts as."""
    verdict = take(pending(2, written_for=OURS), before, TURN, LEASE_UNTIL)
    assert verdict.pending is not None
    assert verdict.held is not None
    return Sent(verdict.pending, before), verdict.held


def landed(sent: Sent, result: Failure | None, row: Pending, known: Held) -> Verdict:
    return settle(sent, result, row, known, NOW + seconds(5), MARGIN_S, Random(1))


def test_a_stop_covers_its_template_in_its_org_and_nothing_else() -> None:
    assert STOPPED.cover(ORG, OURS)
    assert STOPPED.cover(ORG, "welcome")  # the marker of a webhook without a place
    assert not STOPPED.cover(ORG, "welcome2.FLOW01.1")
    assert not STOPPED.cover(OTHER_ORG, OURS)


def test_a_stop_of_the_org_covers_all_its_templates() -> None:
    whole = Stops.of([Stop(ORG, None, NOW)])

    assert whole.cover(ORG, OURS)
    assert whole.cover(ORG, OTHERS)
    assert not whole.cover(OTHER_ORG, OURS)


def test_a_waiting_write_ends_and_a_clean_profile_stays_clean() -> None:
    verdict = sweep(STOPPED, pending(2, written_for=OURS), None, NOW)

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.dirty) == (ref(2), False)
    assert endings(verdict) == [(2, "stopped", None)]


def test_another_templates_write_and_copy_are_left_alone() -> None:
    row, known = pending(2, written_for=OTHERS), held(1, written_for=OTHERS)

    assert sweep(STOPPED, row, known, NOW) == Verdict(row, known)


def test_what_a_profile_holds_is_taken_away_in_the_first_lane_in_the_order_of_its_email() -> None:
    verdict = sweep(STOPPED, None, held(1, written_for=OURS), NOW, NOW + seconds(40))

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert (verdict.pending.deadline_at, verdict.pending.next_attempt_at) == (NOW + seconds(40), NOW)
    assert verdict.held is not None
    assert verdict.held.clean_queued
    assert verdict.outcomes == ()


def test_copy_whose_email_has_probably_left_gives_way_to_copy_whose_email_is_due() -> None:
    def due(email_s: float) -> float:
        row = take_away(held(1, written_for=OURS), None, NOW + seconds(email_s), NOW).pending
        assert row is not None
        return (row.deadline_at - NOW).total_seconds()

    assert sorted([-600, -5, 8, 90], key=due) == [-5, 8, 90, -600]


def test_a_clean_up_at_leisure_becomes_one_of_the_first_lane() -> None:
    leisurely = pending(1, action="clean_up", lane=Lane.CLEAN_UP, written_for=OURS)

    verdict = sweep(STOPPED, leisurely, held(1, written_for=OURS), NOW)

    assert verdict.pending is not None
    assert (verdict.pending.lane, verdict.pending.deadline_at) == (Lane.DIRTY, NOW)


def test_another_templates_write_takes_the_stopped_copys_place_first_of_all() -> None:
    other = pending(2, written_for=OTHERS)

    verdict = sweep(STOPPED, other, held(1, written_for=OURS), NOW)

    assert verdict.pending == pending(2, written_for=OTHERS, lane=Lane.DIRTY)
    assert verdict.outcomes == ()


def test_a_stopped_copy_beneath_an_unconfirmed_write_counts_as_there() -> None:
    unconfirmed = held(2, state="unknown", written_for=OTHERS, older_for=(OURS,))

    verdict = sweep(STOPPED, pending(2, written_for=OTHERS, lane=Lane.RETRY), unconfirmed, NOW)

    assert verdict.pending is not None
    assert verdict.pending.lane == Lane.DIRTY


def test_a_retry_whose_first_try_may_have_arrived_becomes_a_clean_up() -> None:
    retry = pending(2, written_for=OURS, lane=Lane.RETRY, attempt=1)

    verdict = sweep(STOPPED, retry, held(2, state="unknown", written_for=OURS), NOW)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert endings(verdict) == [(2, "stopped", None)]
    assert verdict.outcomes[0].attempts == 1


@pytest.mark.parametrize("answer", [None, MaybeApplied("reset")])
def test_what_is_in_flight_is_taken_away_again_when_it_has_or_may_have_landed(answer: Failure | None) -> None:
    sent, known = in_flight()

    thrown = sweep(STOPPED, sent.row, known, NOW)
    assert thrown.pending is not None
    assert thrown.held is not None
    verdict = landed(sent, answer, thrown.pending, thrown.held)

    assert (thrown.pending.action, thrown.pending.taken_by) == ("clean_up", TURN)  # one write at a time
    assert endings(thrown) == [(2, "stopped", "in_flight")]
    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane) == ("clean_up", Lane.DIRTY)
    assert verdict.pending.next_attempt_at == NOW + seconds(5)
    assert verdict.held is not None
    assert verdict.held.dirty


def test_what_was_in_flight_and_did_not_arrive_is_only_remembered() -> None:
    sent, known = in_flight()

    thrown = sweep(STOPPED, sent.row, known, NOW)
    assert thrown.pending is not None
    assert thrown.held is not None
    verdict = landed(sent, NotSent("late"), thrown.pending, thrown.held)

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.dirty) == (ref(2), False)  # an older one that comes late must not return


def test_a_write_that_waits_behind_one_in_flight_ends_and_the_row_stays_taken() -> None:
    row = pending(3, written_for=OURS, taken_by=TURN, sent=ref(2), next_attempt_at=LEASE_UNTIL)

    verdict = sweep(STOPPED, row, held(2, state="unknown", written_for=OURS), NOW)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.taken_by, verdict.pending.sent) == ("clean_up", TURN, ref(2))
    assert endings(verdict) == [(3, "stopped", None)]


def test_sweeping_again_changes_nothing() -> None:
    for row, known in (
        (pending(2, written_for=OURS), held(1, written_for=OURS)),
        (taken(2, written_for=OURS), held(2, state="unknown", written_for=OURS)),
        (None, held(1, written_for=OURS)),
    ):
        once = sweep(STOPPED, row, known, NOW, NOW + seconds(10))
        again = sweep(STOPPED, once.pending, once.held, NOW + seconds(1), NOW + seconds(10))

        assert (again.pending, again.held, again.outcomes) == (once.pending, once.held, ())


def test_an_ended_write_counts_the_tries_it_had() -> None:
    assert end(pending(2, attempt=3), None, NOW).outcomes[0].attempts == 3
