"""What a profile may hold that a restored database does not know of (`services/profile_writer/losses.py`)."""

from random import Random

import pytest

from services.profile_writer.intake_rules import leave, place
from services.profile_writer.rows import Held, Lane
from services.profile_writer.turns.rules import Sent, clean_up, settle, take
from shared.db.losses import Loss
from shared.klaviyo.errors import Unreachable
from tests.unit.profile_writer.given import (
    MARGIN_S,
    NOW,
    TURN,
    endings,
    held,
    ref,
    seconds,
    wanted,
)

LOSS = Loss(NOW - seconds(8 * 3600), NOW - seconds(60))
FORGOTTEN = [
    None,
    held(1, state="clean"),
    held(1, written_for="B"),
    held(1, accepted_at=LOSS.since - seconds(60)),
]


@pytest.mark.parametrize("known", FORGOTTEN)
def test_after_a_restore_older_copy_may_be_on_every_profile(known: Held | None) -> None:
    write = place(wanted(2), None, known, NOW, MARGIN_S, LOSS)
    clear = place(wanted(2, action="clear"), None, known, NOW, MARGIN_S, LOSS)

    for verdict, action in ((write, "write"), (clear, "clear")):
        assert verdict.pending is not None
        assert (verdict.pending.action, verdict.pending.lane) == (action, Lane.DIRTY)
        assert verdict.outcomes == ()
    assert write.pending is not None
    left = leave(write.pending, write.held, NOW).pending  # and should it not be written
    assert left is not None
    assert (left.action, left.lane) == ("clean_up", Lane.DIRTY)


@pytest.mark.parametrize("state", ["holding", "clean"])
def test_what_was_put_there_or_taken_off_since_the_restore_is_known(state: str) -> None:
    since = held(1, state=state, written_for="B", accepted_at=LOSS.until)

    verdict = place(wanted(2, action="clear"), None, since, NOW, MARGIN_S, LOSS)

    assert verdict.pending is None
    assert endings(verdict) == [(2, "nothing_to_clear", None)]


def test_the_clean_up_of_what_nobody_knows_ends_no_generation() -> None:
    """Its writer dies, and a newer generation has taken the row meanwhile."""
    suspect = place(wanted(1, action="clear"), None, None, NOW, MARGIN_S, LOSS).held
    assert suspect is not None
    row = clean_up(suspect, None, NOW).pending
    assert row is not None
    taking = take(row, suspect, TURN, NOW + seconds(30))
    then = place(wanted(2), taking.pending, taking.held, NOW, MARGIN_S, LOSS)
    assert then.pending is not None

    assert take(then.pending, then.held, TURN, NOW + seconds(60)).outcomes == ()


def test_a_danger_that_is_seen_while_something_else_is_in_flight_stays_where_that_is_not_applied() -> None:
    first = place(wanted(2, written_for="B"), None, None, NOW, MARGIN_S, LOSS)
    assert first.pending is not None
    taking = take(first.pending, first.held, TURN, NOW + seconds(30))
    then = place(wanted(3, action="clear", accepted_at=NOW), taking.pending, taking.held, NOW, MARGIN_S, LOSS)
    assert taking.pending is not None
    assert then.pending is not None

    sent = Sent(taking.pending, first.held)
    after = settle(sent, Unreachable("refused"), then.pending, then.held, NOW, MARGIN_S, Random(0))

    assert after.pending is not None
    assert (after.pending.ref, after.pending.action, after.pending.lane) == (ref(3), "clear", Lane.DIRTY)
