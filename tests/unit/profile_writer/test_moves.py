"""One profile under two quotas, after its org's key has changed."""

from dataclasses import replace

from services.profile_writer.rows import Held, Key, Lane, Pending, Verdict
from services.profile_writer.upkeep.moves import joined
from tests.unit.profile_writer.given import KEY, MARGIN_S, NOW, endings, held, pending, ref, seconds

NEW = KEY._replace(account_key="key:new")


def join(was: tuple[Pending | None, Held | None], since: tuple[Pending | None, Held | None]) -> Verdict:
    return joined(NEW, Verdict(*was), Verdict(*since), NOW, MARGIN_S)


def new(row: Pending) -> Pending:
    return replace(row, key=NEW)


def decided(number: int, **changes: object) -> Held:
    """That it was decided for control since, and nothing seemed to be there."""
    at, until = NOW - seconds(1), NOW + seconds(1020)
    plain = Held(NEW, ref(number), "clean", "A", (), at, until, at, until)
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields of Held


def test_copy_that_was_decided_for_control_since_is_taken_off_first() -> None:
    verdict = join((None, held(1)), (None, decided(2)))

    assert verdict.pending is not None
    assert verdict.held is not None
    assert (verdict.pending.action, verdict.pending.lane, verdict.pending.key) == ("clear", Lane.DIRTY, NEW)
    assert (verdict.held.key, verdict.held.dirty, verdict.held.stale) == (NEW, True, True)


def test_another_messages_decision_leaves_the_copy_and_is_remembered() -> None:
    verdict = join((None, held(1)), (None, decided(2, written_for="B")))

    assert verdict.pending is None
    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.state, verdict.held.stale) == (ref(1), "holding", False)
    assert verdict.held.decided_at == NOW - seconds(1)


def test_a_write_that_waits_over_copy_of_before_is_in_a_hurry() -> None:
    verdict = join((None, held(1)), (new(pending(2)), None))

    assert verdict.pending is not None
    assert (verdict.pending.ref, verdict.pending.lane, verdict.pending.key) == (ref(2), Lane.DIRTY, NEW)
    assert verdict.held is not None
    assert verdict.held.stale


def test_a_write_that_waited_before_is_not_written_over_a_newer_one() -> None:
    older = pending(1, accepted_at=NOW - seconds(60))
    landed = held(2, key=NEW, accepted_at=NOW - seconds(1), clean_at=NOW + seconds(1020))

    verdict = join((older, None), (None, landed))

    assert (verdict.pending, verdict.held) == (None, landed)
    assert endings(verdict) == [(1, "superseded", None)]


def test_copy_of_before_may_lie_beneath_a_write_that_nobody_answered() -> None:
    unsure = held(2, key=NEW, state="unknown", accepted_at=NOW - seconds(1), clean_at=NOW + seconds(1020))

    verdict = join((None, held(1)), (new(pending(2, lane=Lane.RETRY, attempt=1)), unsure))

    assert verdict.held is not None
    assert (verdict.held.ref, verdict.held.older_for, verdict.held.stale) == (ref(2), ("A",), True)
    assert verdict.pending is not None
    assert verdict.pending.attempt == 1


def test_a_decision_of_before_outlives_the_move() -> None:
    """An older webhook that comes late under the new quota is not written."""
    control = held(3, state="clean", accepted_at=NOW - seconds(0.5), clean_at=NOW + seconds(1020))

    verdict = join((None, control), (new(pending(2)), None))

    assert verdict.pending is None
    assert verdict.held is not None
    assert verdict.held.decided_at == NOW - seconds(0.5)
    assert endings(verdict) == [(2, "superseded", None)]


def test_a_retry_of_before_waits_on_as_it_was() -> None:
    retry = pending(1, lane=Lane.RETRY, attempt=2, accepted_at=NOW - seconds(60))
    unsure = held(1, state="unknown", accepted_at=NOW - seconds(60), clean_at=NOW + seconds(900))

    verdict = join((retry, unsure), (None, decided(2, written_for="B")))

    assert verdict.pending == new(retry)
    assert verdict.held is not None
    assert verdict.held.state == "unknown"


def test_a_queued_clean_up_goes_on_under_the_new_quota() -> None:
    row = pending(1, action="clean_up", lane=Lane.CLEAN_UP, accepted_at=NOW - seconds(600))

    verdict = join((row, held(1, clean_queued=True)), (None, decided(2, written_for="B")))

    assert verdict.pending == new(row)
    assert verdict.held is not None
    assert verdict.held.clean_queued


def test_the_key_of_the_earlier_quota_is_nowhere_afterwards() -> None:
    for since in ((None, decided(2)), (new(pending(2)), None), (None, held(2, key=NEW, accepted_at=NOW))):
        for was in ((pending(1), held(1)), (None, held(1)), (pending(1), None)):
            verdict = join(was, since)

            keys: set[Key] = {row.key for row in (verdict.pending, verdict.held) if row is not None}
            assert keys == {NEW}
