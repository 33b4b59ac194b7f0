"""What an answer means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer, failure_of

HTML = b"<!DOCTYPE html><title>Just a moment...</title>"


def error(status: int, code: str, detail: str = "x") -> bytes:
    return json.dumps(
        {"errors": [{"id": "1", "status": status, "code": code, "title": "t", "detail": detail}]}
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (400, error(400, "invalid"), Permanent, "invalid"),
        (400, error(400, "authentication_failed"), KeyRefused, "key_refused"),
        (401, error(401, "not_authenticated"), KeyRefused, "key_refused"),
        (401, HTML, KeyRefused, "key_refused"),
        (403, error(403, "permission_denied"), KeyRefused, "scope_missing"),
        (403, HTML, Transient, "klaviyo_edge_blocked"),
        (403, b"", Transient, "klaviyo_edge_blocked"),
        (403, b'{"errors": "no"}', Transient, "klaviyo_edge_blocked"),
        (400, HTML, Transient, "klaviyo_edge_answered"),
        (404, error(404, "not_found"), Permanent, "profile_not_found"),
        (404, HTML, Transient, "klaviyo_edge_answered"),
        (404, b"", Transient, "klaviyo_edge_answered"),
        (405, HTML, Transient, "klaviyo_edge_answered"),
        (409, error(409, "duplicate_profile"), Permanent, "conflict"),
        (410, error(410, "gone"), Permanent, "klaviyo_410"),
        (410, HTML, Transient, "klaviyo_edge_answered"),
        (413, error(413, "payload_too_large"), Permanent, "body_too_large"),
        (413, HTML, Permanent, "body_too_large"),
        (415, b"", Permanent, "klaviyo_415"),
        (422, error(422, "whatever"), Permanent, "unprocessable"),
        (402, HTML, Transient, "klaviyo_edge_answered"),
        (421, b"", Transient, "klaviyo_edge_answered"),
        (451, HTML, Transient, "klaviyo_edge_answered"),
        (302, b"", Transient, "klaviyo_302"),
        (408, b"", Transient, "klaviyo_408"),
        (429, error(429, "throttled"), Throttled, "klaviyo_throttled"),
        (500, b"", MaybeApplied, "klaviyo_500"),
        (503, HTML, MaybeApplied, "klaviyo_503"),
        (524, HTML, NoAnswer, "klaviyo_524"),
    ],
)
def test_each_answer_has_its_failure(status: int, body: bytes, kind: type[Failure], reason: str) -> None:
    failure = failure_of(status, {}, body, resource="profile")

    assert type(failure) is kind
    assert failure.reason == reason


def test_success_is_no_failure() -> None:
    assert failure_of(200, {}, b"") is None
    assert failure_of(202, {}, b"anything") is None


def test_throttling_says_how_long() -> None:
    failure = failure_of(429, {"Retry-After": "58"}, b"")

    assert isinstance(failure, Throttled)
    assert failure.wait_s == 58


def test_no_person_is_quoted() -> None:
    failure = failure_of(400, {}, error(400, "invalid", detail="ann@people.example is wrong"))

    assert "people.example" not in str(failure)


@given(st.integers(300, 599), st.binary(max_size=200))
def test_any_answer_has_a_stable_reason(status: int, body: bytes) -> None:
    failure = failure_of(status, {}, body)

    assert failure is not None
    assert failure.reason.replace("_", "").replace(".", "").replace("-", "").isalnum()
