"""Whether a batch of events is Klaviyo's, and what is read from it."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.hook_batches import BadBatch, demand_genuine, lines_of, moment_of, signed

NOW = datetime(2026, 4, 14, 3, 50, 12, tzinfo=UTC)
STAMP = "Tue, 14 Apr 2026 03:50:12 GMT"
BODY = b'{"data": []}'


def refused(secrets: list[str], body: bytes = BODY, stamp: str = STAMP, signature: str | None = None) -> str | None:
    try:
        demand_genuine(secrets, body, stamp, signed("right", BODY, STAMP) if signature is None else signature, NOW)
    except BadBatch as bad:
        return bad.code
    return None


def test_the_signature_is_that_of_body_and_timestamp_text_with_nothing_between() -> None:
    assert signed("right", BODY, STAMP) == hmac.new(b"right", BODY + STAMP.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("secrets", "changes"),
    [(["right"], {}), (["new", "right"], {}), (["right"], {"signature": signed("right", BODY, STAMP).upper()})],
)
def test_a_batch_that_one_of_the_secrets_signed_is_taken(secrets: list[str], changes: dict[str, Any]) -> None:
    assert refused(secrets, **changes) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b'{"data": [] }'},
        {"stamp": "Tue, 14 Apr 2026 03:50:13 GMT"},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "é" * 64},
        {"signature": signed("wrong", BODY, STAMP)},
    ],
)
def test_anything_else_is_not(changes: dict[str, Any]) -> None:
    assert refused(["right"], **changes) == "bad_signature"


@pytest.mark.parametrize(
    ("stamp", "code"),
    [
        ("Tue, 14 Apr 2026 03:45:12 GMT", None),
        ("Tue, 14 Apr 2026 03:45:11 GMT", "stale_timestamp"),
        ("Tue, 14 Apr 2026 03:55:13 GMT", "stale_timestamp"),
        ("2026-04-14T03:50:00+00:00", None),
        ("2026-04-14T05:50:00+02:00", None),
        ("2026-04-14 03:50:00", None),
        (str(int(NOW.timestamp())), None),
        ("yesterday", "stale_timestamp"),
        ("", "stale_timestamp"),
    ],
)
def test_the_timestamp_is_read_leniently_and_holds_for_five_minutes(stamp: str, code: str | None) -> None:
    assert refused(["right"], stamp=stamp, signature=signed("right", BODY, stamp)) == code


def test_both_ways_to_write_a_time_are_the_same_moment() -> None:
    assert moment_of(STAMP) == moment_of("2026-04-14T03:50:12Z") == NOW
    assert moment_of("9" * 40) is None
    assert NOW - timedelta(minutes=5) <= NOW


def item(**changes: Any) -> dict[str, Any]:
    event = {
        "id": "E1", "attributes": {"datetime": "2026-04-14 03:50:00+00:00", "event_properties": {"$message": "M1"}},
        "relationships": {"profile": {"data": {"type": "profile", "id": "P1"}}},
    }  # fmt: skip
    return {"topic": "event:klaviyo.opened_email", "external_id": "E1", "payload": event} | changes


def lines(*items: Any, **more: Any) -> list[dict[str, Any]]:
    body = json.dumps({"data": list(items), **more}).encode()
    return [json.loads(line) for line in lines_of(body, "W1").splitlines()]


def test_an_event_becomes_a_line_as_files_have_them() -> None:
    wrapped = item(payload={"data": item()["payload"]})

    assert lines(item(), wrapped) == [
        {
            "id": "E1", "metric": "Opened Email", "profile_id": "P1", "datetime": "2026-04-14 03:50:00+00:00",
            "event_properties": {"$message": "M1"},
        }
    ] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "metric"),
    [
        ("event:klaviyo.email_delivered", "Received Email"),
        ("event:klaviyo.unsubscribed_from_email_marketing", "Unsubscribed From Email Marketing"),
        ("event:shopify.placed_order", "Placed Order"),
        (None, None),
    ],
)
def test_a_topic_names_its_metric(topic: str | None, metric: str | None) -> None:
    assert lines(item(topic=topic))[0]["metric"] == metric


def test_what_is_no_event_is_a_line_all_the_same_and_does_not_keep_the_others_away() -> None:
    assert [line["id"] for line in lines(item(), None, {"payload": 7}, item(external_id="E2"))] == [
        "E1",
        None,
        None,
        "E2",
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": {}}', b'{"data": null}', b"\xff"])
def test_what_is_no_batch_is_said(body: bytes) -> None:
    with pytest.raises(BadBatch) as bad:
        lines_of(body, "W1")
    assert bad.value.code == "invalid_batch"


def test_header_and_body_must_name_the_same_webhook() -> None:
    assert lines(item(), meta={"klaviyo_webhook_id": "W1"})
    with pytest.raises(BadBatch):
        lines(item(), meta={"klaviyo_webhook_id": "W2"})
