"""What a request that lands after its turn had lost the row does to what is in flight by then. (Together:
test_rules_together.)"""

from random import Random

import pytest

from services.profile_writer.rows import Action, Held, Lane, Verdict
from services.profile_writer.turns.late_rules import hidden, uncovered
from services.profile_writer.turns.rules import Sent, settle, take
from shared.errors import Failure, Throttled
from shared.klaviyo.errors import Unreachable
from tests.unit.profile_writer.given import MARGIN_S, NOW, OTHER_TURN, held, pending, seconds, taken

LEASE_UNTIL = NOW + seconds(30)


def settled_over(late: Sent, in_flight: Verdict, before: Held | None, result: Failure | None) -> Verdict:
    """The verdict on what is in flight, told meanwhile that another request has landed late."""
    row = in_flight.pending
    assert row is not None
    assert hidden(late, row, in_flight.held)
    told = uncovered(late, row, in_flight.held, None, NOW)
    assert told.pending == row
    return settle(Sent(row, before), result, row, told.held, NOW, MARGIN_S, Random(1))


@pytest.mark.parametrize(
    ("action", "result"),
    [("write", None), ("write", Unreachable("refused")), ("write", Throttled("429", wait_s=1)), ("clear", None)],
)
@pytest.mark.parametrize("before", [None, held(1, state="unknown")])
def test_what_landed_while_a_write_was_in_flight_has_it_written_once_more(
    action: Action, result: Failure | None, before: Held | None
) -> None:
    """Before it or after it: nobody knows which of the two lies on top. That an older copy of this very message was
    known to be there says nothing of when."""
    frozen = Sent(taken(1, action=action, accepted_at=NOW - seconds(60)), None)
    in_flight = take(pending(2), before, OTHER_TURN, LEASE_UNTIL)
    settled = settled_over(frozen, in_flight, before, result)

    assert settled.pending is not None
    assert (settled.pending.action, settled.pending.lane, settled.pending.taken_by) == ("write", Lane.DIRTY, None)
    assert settled.held is not None
    assert settled.held.state != "holding"


def test_copy_that_landed_while_it_was_taken_off_is_taken_off_once_more() -> None:
    frozen, before = Sent(taken(1), None), held(1, state="unknown")
    in_flight = take(pending(2, action="clear"), before, OTHER_TURN, LEASE_UNTIL)
    once = settled_over(frozen, in_flight, before, None)
    assert once.pending is not None
    assert (once.pending.action, once.pending.lane) == ("clear", Lane.DIRTY)

    again = take(once.pending, once.held, OTHER_TURN, LEASE_UNTIL)
    assert again.pending is not None
    end = settle(Sent(again.pending, once.held), None, again.pending, again.held, NOW, MARGIN_S, Random(1))
    assert end.pending is None
    assert end.held is not None
    assert not end.held.dirty
