from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Outage, Permanent, Throttled, Transient
from shared.messaging.topology import RetryPolicy
from shared.messaging.verdict import Ack, Bury, Later, Requeue, decide

POLICY = RetryPolicy(waits_s=(5, 30, 120))
errors = st.sampled_from(
    [
        Transient("down"),
        Outage("away"),
        Permanent("no"),
        Throttled("wait", wait_s=7),
        ValueError("secret"),
        TimeoutError(),
    ]
)


def test_a_job_without_an_error_is_done() -> None:
    assert decide(None, attempt=1, policy=POLICY) == Ack()


def test_a_permanent_failure_is_buried_at_once_with_its_reason() -> None:
    assert decide(Permanent("no such file", reason="gone"), attempt=1, policy=POLICY) == Bury("gone: no such file")


@given(attempt=st.integers(1, 100), wait_s=st.floats(0, 1e6))
def test_throttling_never_spends_an_attempt(attempt: int, wait_s: float) -> None:
    verdict = decide(Throttled("full", wait_s=wait_s), attempt=attempt, policy=POLICY)

    assert isinstance(verdict, Later)
    assert verdict.attempt == attempt
    assert verdict.wait_s >= min(wait_s, POLICY.waits_s[-1])


@given(error=errors.filter(lambda error: not isinstance(error, Throttled)))
def test_every_other_failure_ends_after_a_bounded_number_of_attempts(error: Exception) -> None:
    attempt, verdicts = 1, 0
    while isinstance(verdict := decide(error, attempt=attempt, policy=POLICY), Later):
        assert verdict.attempt == attempt + 1
        attempt, verdicts = verdict.attempt, verdicts + 1

    assert isinstance(verdict, Bury)
    assert verdicts <= len(POLICY.waits_s)


@given(error=errors, attempt=st.integers(1, 9))
def test_stopping_gives_unfinished_work_back_untouched(error: Exception, attempt: int) -> None:
    assert decide(error, attempt=attempt, policy=POLICY, stopping=True) == Requeue()


def test_the_text_of_an_unforeseen_error_is_not_repeated() -> None:
    verdict = decide(ValueError("ann@example.com"), attempt=9, policy=POLICY)

    assert isinstance(verdict, Bury)
    assert "ann@example.com" not in verdict.reason
    assert "ValueError" in verdict.reason
