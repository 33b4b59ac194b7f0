"""What a job does to a row under another prefix. (Together: test_rules_together.)"""

import pytest

from services.profile_writer.intake_rules import place_beside
from services.profile_writer.rows import Action, Lane
from tests.unit.profile_writer.given import KEY, NOW, TURN, endings, held, pending, seconds, taken, wanted


@pytest.mark.parametrize("action", ["write", "clear"])
def test_the_same_messages_copy_under_an_earlier_prefix_is_taken_off_first(action: Action) -> None:
    decided = wanted(2, action=action)

    verdict = place_beside(decided, None, held(1), NOW)

    assert verdict.pending is not None
    assert (verdict.pending.key, verdict.pending.action, verdict.pending.lane) == (KEY, "clean_up", Lane.DIRTY)
    assert verdict.pending.deadline_at == decided.deadline_at
    assert verdict.held is not None
    assert verdict.held.stale_for == ("A",)
    assert verdict.outcomes == ()  # how the decision ends is told under its own prefix


def test_a_write_under_an_earlier_prefix_that_waits_is_not_made_any_more() -> None:
    verdict = place_beside(wanted(2), pending(1, accepted_at=NOW - seconds(60)), None, NOW)

    assert verdict.pending is None
    assert endings(verdict) == [(1, "superseded", None)]


def test_a_write_under_an_earlier_prefix_that_is_in_flight_is_followed_by_a_clean_up() -> None:
    in_flight = taken(1, accepted_at=NOW - seconds(60))

    verdict = place_beside(wanted(2), in_flight, held(1, state="unknown"), NOW)

    assert verdict.pending is not None
    assert (verdict.pending.action, verdict.pending.lane, verdict.pending.taken_by) == ("clean_up", Lane.DIRTY, TURN)
    assert verdict.outcomes == ()


@pytest.mark.parametrize("lane", [Lane.FRESH, Lane.DIRTY])
def test_what_lies_under_another_prefix_for_another_message_stays(lane: Lane) -> None:
    other = pending(3, written_for="B", lane=lane)

    assert place_beside(wanted(2), None, held(1, written_for="B"), NOW).pending is None
    assert place_beside(wanted(2), other, held(1, written_for="B"), NOW).pending == other
    assert place_beside(wanted(2), None, None, NOW).pending is None


def test_another_messages_write_over_the_same_messages_copy_under_an_earlier_prefix_hurries() -> None:
    other = pending(3, written_for="B", accepted_at=NOW - seconds(60))

    verdict = place_beside(wanted(2), other, held(1), NOW)

    assert verdict.pending == pending(3, written_for="B", accepted_at=NOW - seconds(60), lane=Lane.DIRTY)
    assert verdict.outcomes == ()


def test_what_is_newer_under_another_prefix_stays() -> None:
    newer = held(3, accepted_at=NOW, clean_at=NOW + seconds(2000))

    assert place_beside(wanted(2), None, newer, NOW).pending is None
    assert place_beside(wanted(2), pending(3, accepted_at=NOW), None, NOW).pending == pending(3, accepted_at=NOW)
