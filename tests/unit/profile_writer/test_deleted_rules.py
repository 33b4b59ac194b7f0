"""What becomes of a write that is in flight while its person is deleted: the window of its row, and of what the profile
counts as, is over then."""

from dataclasses import replace
from random import Random

import pytest

from services.profile_writer.rows import Pending, Verdict
from services.profile_writer.turns.rules import Sent, settle, take
from shared.errors import Failure
from shared.klaviyo.errors import Unsendable
from tests.unit.profile_writer.given import MARGIN_S, NOW, TURN, held, pending, ref, seconds, taken


def answered_after_deletion(result: Failure | None, row: Pending) -> Verdict:
    """Of generation 2's write over copy of generation 1; `row` as it is by now."""
    known = take(pending(2), held(1), TURN, NOW + seconds(30)).held
    assert known is not None
    hastened = replace(known, clean_at=NOW, decided_until=NOW)
    return settle(Sent(taken(2), held(1)), result, replace(row, clean_at=NOW), hastened, NOW, MARGIN_S, Random(1))


@pytest.mark.parametrize("row", [taken(2), replace(taken(2), ref=ref(3))], ids=["alone", "a newer one waits"])
def test_copy_that_lands_is_taken_off_at_once(row: Pending) -> None:
    verdict = answered_after_deletion(None, row)

    assert verdict.held is not None
    assert (verdict.held.state, verdict.held.ref, verdict.held.clean_at) == ("holding", ref(2), NOW)


def test_older_copy_is_taken_off_at_once_when_the_write_is_not_applied() -> None:
    verdict = answered_after_deletion(Unsendable("gone", reason="no_stored_copy"), taken(2))

    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.clean_at) == (ref(1), NOW)
