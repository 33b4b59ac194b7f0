"""What becomes of a write that is put off: its email may leave later. (Together: test_rules_together.)"""

from dataclasses import replace
from random import Random

import pytest

from services.profile_writer.intake_rules import place
from services.profile_writer.rows import Held, Lane, Pending, Verdict
from services.profile_writer.turns.rules import Sent, over, put_off, settle
from shared.errors import Throttled
from tests.unit.profile_writer.given import (
    MARGIN_S,
    NOW,
    OTHER_TURN,
    endings,
    held,
    pending,
    ref,
    seconds,
    taken,
    wanted,
)

LATEST_AT = NOW + seconds(3600)


def test_a_write_whose_email_may_leave_later_waits_on_behind_the_others_until_then() -> None:
    row = pending(2, deadline_at=NOW, latest_at=LATEST_AT)

    verdict = put_off(row, held(1, written_for="B"), NOW, MARGIN_S)

    assert verdict == Verdict(replace(row, lane=Lane.RETRY, deadline_at=LATEST_AT), held(1, written_for="B"))
    assert verdict.pending is not None
    assert not over(verdict.pending, NOW, MARGIN_S)
    assert put_off(verdict.pending, None, LATEST_AT, MARGIN_S) is None


@pytest.mark.parametrize(
    ("row", "before"),
    [
        pytest.param(pending(2, deadline_at=NOW), None, id="no email leaves later"),
        pytest.param(pending(2, deadline_at=NOW, latest_at=NOW + seconds(MARGIN_S)), None, id="nor any more"),
        pytest.param(pending(2, deadline_at=NOW, latest_at=LATEST_AT), held(1), id="older copy could show"),
        pytest.param(pending(2, action="clear", latest_at=LATEST_AT), held(1), id="a clear"),
    ],
)
def test_a_write_is_not_put_off(row: Pending, before: Held | None) -> None:
    assert put_off(row, before, NOW, MARGIN_S) is None


def test_a_write_that_is_put_off_keeps_its_next_try_and_ends_what_it_had_overtaken() -> None:
    later = pending(2, deadline_at=NOW, latest_at=LATEST_AT, next_attempt_at=NOW + seconds(20), attempt=3)
    dead = replace(later, taken_by=OTHER_TURN, sent=ref(1), next_attempt_at=NOW - seconds(1))

    waits, lost = put_off(later, None, NOW, MARGIN_S), put_off(dead, None, NOW, MARGIN_S)

    assert waits is not None
    assert waits.pending is not None
    assert (waits.pending.next_attempt_at, waits.pending.attempt) == (NOW + seconds(20), 3)
    assert lost is not None
    assert lost.pending is not None
    assert (lost.pending.taken_by, lost.pending.next_attempt_at, lost.pending.attempt) == (None, NOW, 4)
    assert endings(lost) == [(1, "superseded", "unconfirmed")]


def test_a_write_that_was_put_off_is_due_anew_when_its_webhook_comes_again() -> None:
    latest_at = NOW + seconds(3600)
    waits = pending(2, lane=Lane.RETRY, deadline_at=latest_at, latest_at=latest_at, accepted_at=NOW - seconds(600))
    again = wanted(2, latest_at=latest_at + seconds(600))

    renewed = place(again, waits, None, NOW, MARGIN_S).pending

    assert renewed == pending(2, lane=Lane.FRESH, latest_at=again.latest_at)


def test_the_hurry_of_a_write_that_was_put_off_stays_when_its_webhook_comes_again() -> None:
    """Something older could show beneath it since."""
    hurries = pending(2, lane=Lane.DIRTY, deadline_at=LATEST_AT, latest_at=LATEST_AT, accepted_at=NOW - seconds(600))

    renewed = place(wanted(2), hurries, None, NOW, MARGIN_S).pending

    assert renewed is not None
    assert renewed.lane == Lane.DIRTY


def test_a_write_that_is_put_off_stays_behind_the_others_when_its_org_gets_another_key() -> None:
    moved = wanted(2, deadline_at=LATEST_AT, latest_at=LATEST_AT)

    assert place(moved, None, None, NOW, MARGIN_S).pending == pending(
        2, lane=Lane.RETRY, deadline_at=LATEST_AT, latest_at=LATEST_AT
    )


def test_a_write_that_is_put_off_stays_behind_the_others_when_an_older_one_was_in_flight() -> None:
    newer = taken(3, deadline_at=LATEST_AT, latest_at=LATEST_AT, sent=ref(2))

    verdict = settle(
        Sent(taken(2, written_for="B"), None), Throttled("429", wait_s=1), newer, None, NOW, MARGIN_S, Random(1)
    )

    assert verdict.pending is not None
    assert (verdict.pending.ref, verdict.pending.lane) == (ref(3), Lane.RETRY)
