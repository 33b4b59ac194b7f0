"""Klaviyo's rules for sending a webhook again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.flow.retry import Verdict, verdict, wait_s
from simulator.flow.runner import url_allowed

RETRIES, DAY_S = 17, 86_400.0


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert verdict(status, 1, RETRIES, retry_unanswered=False) is Verdict.ACCEPTED


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_heal_is_tried_17_times_more_and_then_failed(status: int) -> None:
    verdicts = [verdict(status, attempt, RETRIES, retry_unanswered=False) for attempt in range(1, 19)]

    assert verdicts == [Verdict.RETRY] * 17 + [Verdict.FAILED]


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 408, 409, 413, 422, 501, 504, 524])
def test_everything_else_is_skipped_at_once(status: int) -> None:
    assert verdict(status, 1, RETRIES, retry_unanswered=False) is Verdict.SKIPPED


def test_no_answer_is_skipped_unless_told_otherwise() -> None:
    assert verdict(None, 1, RETRIES, retry_unanswered=False) is Verdict.SKIPPED
    assert verdict(None, 1, RETRIES, retry_unanswered=True) is Verdict.RETRY


@given(retries=st.integers(1, 17), span_s=st.floats(1, DAY_S))
def test_all_waits_together_last_the_whole_span_and_each_doubles(retries: int, span_s: float) -> None:
    waits = [wait_s(attempt, retries, span_s) for attempt in range(1, retries + 1)]

    assert sum(waits) == pytest.approx(span_s)
    assert all(later == pytest.approx(2 * earlier) for earlier, later in pairwise(waits))


@pytest.mark.parametrize(
    ("url", "allow_http", "allowed"),
    [
        ("https://gateway.example/api", False, True),
        ("http://127.0.0.1:8080/api", True, True),
        ("http://[::1]:8080/api", True, True),
        ("http://localhost/api", True, True),
        ("http://127.0.0.1/api", False, False),
        ("http://gateway.example/api", True, False),
        ("ftp://127.0.0.1/", True, False),
        ("https://", True, False),
        ("no url", True, False),
    ],
)
def test_webhooks_go_to_https_or_to_this_machine(url: str, allow_http: bool, allowed: bool) -> None:
    assert url_allowed(url, allow_http=allow_http) is allowed
