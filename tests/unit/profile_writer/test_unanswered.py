"""What may land yet of requests that were given up. (Together: test_rules_together.)"""

from dataclasses import replace
from random import Random

import pytest

from services.profile_writer.rows import Held, Lane, Pending, Unanswered, Verdict
from services.profile_writer.turns.rules import Sent, settle, take
from services.profile_writer.turns.unanswered import MAY_LAND_FOR
from shared.errors import Failure
from shared.klaviyo.errors import MaybeApplied, NoAnswer, Unreachable
from tests.unit.profile_writer.given import MARGIN_S, NOW, TURN, endings, held, pending, ref, seconds

UNTIL = NOW + MAY_LAND_FOR
NO_ANSWER = NoAnswer("timeout")
FIRST = str(ref(1).generation_id)


def answered(row: Pending, before: Held | None, result: Failure | None) -> Verdict:
    taken = take(row, before, TURN, NOW + seconds(30))
    assert taken.pending is not None
    return settle(Sent(taken.pending, before), result, taken.pending, taken.held, NOW, MARGIN_S, Random(1))


def unanswered(what: str | None = FIRST, **changes: object) -> Held:
    """Generation 1 may land yet, and nobody knows if it has."""
    return held(1, state="unknown", unanswered=Unanswered(UNTIL, what), **changes)


@pytest.mark.parametrize(
    ("result", "known"),
    [(NO_ANSWER, Unanswered(UNTIL, FIRST)), (MaybeApplied("500"), None), (Unreachable("refused"), None)],
)
def test_only_what_is_not_over_may_land_yet(result: Failure, known: Unanswered | None) -> None:
    verdict = answered(pending(1), held(1, state="unknown"), result)

    assert verdict.held is not None
    assert verdict.held.unanswered == known
    assert verdict.pending is not None
    assert verdict.pending.next_attempt_at <= NOW + seconds(1)  # it is not waited for


def test_the_same_again_is_believed_and_what_may_land_stays_known() -> None:
    verdict = answered(pending(1), unanswered(), None)

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.state, verdict.held.unanswered) == ("holding", Unanswered(UNTIL, FIRST))


@pytest.mark.parametrize("state", ["unknown", "holding"])
@pytest.mark.parametrize(("action", "ending"), [("write", "written"), ("clear", "cleared")])
def test_something_else_is_told_at_once_and_sent_once_more_when_nothing_can_land_any_more(
    state: str, action: str, ending: str
) -> None:
    before = held(1, state=state, unanswered=Unanswered(UNTIL, FIRST))

    verdict = answered(pending(2, action=action), before, None)

    assert endings(verdict) == [(2, ending, None)]
    again = verdict.pending
    assert again is not None
    assert (again.ref, again.action, again.lane) == (ref(2), action, Lane.DIRTY)
    assert (again.next_attempt_at, again.taken_by) == (UNTIL, None)
    assert verdict.held is not None
    assert verdict.held.state == "unknown"


def test_what_took_copy_off_may_take_newer_copy_off() -> None:
    lost = answered(pending(1, action="clean_up"), held(1), NO_ANSWER).held
    assert lost is not None
    gone = answered(pending(1, action="clean_up", clean_at=NOW), lost, None).held
    assert gone is not None
    assert (gone.state, gone.clean_at >= UNTIL) == ("clean", True)  # known, so that it is not forgotten meanwhile

    verdict = answered(pending(2), gone, None)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.next_attempt_at) == ("write", UNTIL)


def test_a_decision_that_needs_nothing_ends_and_what_it_followed_is_sent_once_more_all_the_same() -> None:
    """Control for another message came while generation 2 was in flight, and what took copy off may land yet."""
    taken = take(pending(2), held(1, state="clean", unanswered=Unanswered(UNTIL, "nothing")), TURN, NOW + seconds(30))
    assert taken.pending is not None
    control = replace(taken.pending, ref=ref(3), action="clear", written_for="B", accepted_at=NOW)

    verdict = settle(Sent(taken.pending, None), None, control, taken.held, NOW, MARGIN_S, Random(1))

    assert endings(verdict) == [(2, "written", None), (3, "nothing_to_clear", None)]
    assert verdict.pending is not None
    assert (verdict.pending.ref, verdict.pending.action, verdict.pending.next_attempt_at) == (ref(2), "write", UNTIL)


def test_after_that_moment_everything_is_believed() -> None:
    verdict = answered(pending(2), held(1, unanswered=Unanswered(NOW, FIRST)), None)

    assert verdict.pending is None
    assert verdict.held is not None
    assert verdict.held.state == "holding"


def test_of_several_that_differ_any_may_land_over_any() -> None:
    both = answered(pending(2), unanswered(), NO_ANSWER).held
    assert both is not None
    assert both.unanswered == Unanswered(UNTIL, None)

    assert answered(pending(2), both, None).pending is not None


def test_an_email_that_leaves_before_that_moment_has_its_copy_sent_again_right_before_it() -> None:
    soon = pending(2, deadline_at=NOW + seconds(20))

    first = answered(soon, unanswered(), None).pending
    assert first is not None
    assert (first.action, first.next_attempt_at) == ("write", soon.deadline_at - seconds(MARGIN_S + 1))


@pytest.mark.parametrize(("action", "then"), [("write", "clean_up"), ("clear", "clear")])
def test_once_its_email_has_left_what_may_have_landed_is_taken_off(action: str, then: str) -> None:
    verdict = answered(pending(2, action=action, deadline_at=NOW + seconds(1)), unanswered(), None)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.next_attempt_at) == (then, UNTIL)
    assert verdict.pending.lane == Lane.DIRTY
    assert verdict.held is not None
    assert verdict.held.dirty
