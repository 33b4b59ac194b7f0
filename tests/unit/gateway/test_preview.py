"""Who may ask for a preview, and where in a body it counts: pasted text can neither make one nor cost a send."""

import json
from typing import Any
from uuid import UUID

import pytest

from services.gateway.api_key import ApiKey
from services.gateway.errors import Refused
from services.gateway.preview import preview_of
from services.gateway.query import body_of
from services.gateway.reader import Webhook, read_webhook
from services.gateway.waiting import preferred_wait_s
from shared.schemas.jobs import Preview
from tests.unit.gateway.test_reader import IDS

COPY_ID = UUID("7a0c3f5e-2f7d-4b7e-9a52-0d7a3c1f9b10")


def key(*scopes: str) -> ApiKey:
    return ApiKey(UUID(int=1), UUID(int=2), "acme", frozenset(("generate", *scopes)), None, None)


def read(*members: tuple[str, Any]) -> Webhook:
    return read_webhook(json.dumps(dict(members)).encode())


def asked(webhook: Webhook, *scopes: str) -> Preview | None:
    return None if webhook.asked is None else preview_of(webhook.asked, key(*scopes))


HEAD = tuple(IDS.items())
TEXTS = (("attrs", {"plan": "pro"}), ("fields", {"first_name": "Ann"}))


@pytest.mark.parametrize(
    ("members", "preview"),
    [
        ({"preview": True}, Preview()),
        ({"preview": "true"}, Preview()),
        ({"preview": True, "write": True}, Preview(write=True)),
        ({"copy_id": str(COPY_ID)}, Preview(copy_id=COPY_ID)),
        ({"copy_id": str(COPY_ID), "preview": False}, Preview(copy_id=COPY_ID)),
        ({"copy_id": None, "preview": True}, Preview()),
        ({"preview": False}, None),
        ({"copy_id": "", "write": False}, None),
    ],
)
def test_what_stands_before_the_texts_is_what_a_key_with_the_scope_gets(
    members: dict[str, Any], preview: Preview | None
) -> None:
    after_ids, before_ids = read(*HEAD, *members.items(), *TEXTS), read(*members.items(), *HEAD, *TEXTS)

    assert asked(after_ids, "preview") == asked(before_ids, "preview") == preview
    assert "unknown_key" not in after_ids.repairs
    assert (after_ids.attrs, after_ids.fields) == ({"plan": "pro"}, {"first_name": "Ann"})


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"copy_id": "B"}, "invalid_copy_id", "copy_id"),
        ({"copy_id": 7}, "invalid_copy_id", "copy_id"),
        ({"copy_id": [str(COPY_ID)]}, "invalid_copy_id", "copy_id"),
        ({"preview": "maybe"}, "invalid_preview", "preview"),
        ({"preview": {}}, "invalid_preview", "preview"),
        ({"preview": True, "write": 2}, "invalid_preview", "write"),
        ({"write": True}, "invalid_preview", "write"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(members: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(Refused) as refused:
        asked(read(*HEAD, *members.items(), *TEXTS), "preview")

    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.meaning.status == 422


@pytest.mark.parametrize("member", [("preview", True), ("copy_id", str(COPY_ID)), ("write", "true")])
def test_a_key_without_the_scope_is_refused_where_nobody_could_have_pasted_it(member: tuple[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        asked(read(*HEAD, member, *TEXTS))

    assert (refused.value.code, refused.value.param) == ("missing_scope", member[0])
    assert refused.value.meaning.status == 403


PASTED = 'Ann"}, "preview": true, "copy_id": "x", "write": true, "more": {"a": "'
BODY = '{"template_id": "%s", "user_id": "%s", "tracking_id": "%s", "fields": {"first_name": "%s"}%s'


@pytest.mark.parametrize("end", ["}", ",}", ""], ids=["JSON", "almost JSON", "cut short"])
def test_pasted_text_makes_no_preview_and_costs_no_send(end: str) -> None:
    webhook = read_webhook((BODY % (*IDS.values(), PASTED, end)).encode())

    assert webhook.asked is not None
    assert asked(webhook) is None
    assert "unknown_key" in webhook.repairs
    with pytest.raises(Refused, match="before attrs"):
        asked(webhook, "preview")


def test_a_member_that_is_given_twice_is_not_believed() -> None:
    webhook = read_webhook(b'{"preview": true, "preview": false, ' + json.dumps(IDS).encode()[1:])

    assert webhook.asked is not None
    assert not webhook.asked.trusted


def test_a_preview_in_the_attrs_is_an_attr() -> None:
    webhook = read(*HEAD, ("attrs", {"preview": "true", "copy_id": "x"}))

    assert (webhook.asked, webhook.attrs) == (None, {"preview": "true", "copy_id": "x"})


def test_a_query_is_read_as_the_body_that_says_the_same() -> None:
    query = [
        ("field.first_name", "Ann"), ("attr.tag", "a"), ("tracking_id", IDS["tracking_id"]), ("attr.tag", "b"),
        ("attr.tag", "c"), ("user_id", IDS["user_id"]), ("preview", "true"), ("template_id", "welcome"),
    ]  # fmt: skip
    webhook = read_webhook(body_of(query))

    assert webhook.attrs == {"tag": ["a", "b", "c"]}
    assert webhook.fields == {"first_name": "Ann"}
    assert (webhook.template_id, webhook.user_id, webhook.tracking_id) == tuple(IDS.values())
    assert webhook.repairs == ()
    assert asked(webhook, "preview") == Preview()


def test_what_a_query_has_besides_is_counted_as_unknown() -> None:
    webhook = read_webhook(body_of([*HEAD, ("attrs.plan", "pro"), ("attr.", "x"), ("utm", "y"), ("attrs", "z")]))

    assert (webhook.attrs, webhook.fields, webhook.repairs) == ({}, {}, ("unknown_key",))


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        (["wait=2"], 2), (["wait=100"], 3), (["wait"], 3), (["wait=0"], 0), (["respond-async, wait=1"], 1),
        (["respond-async", 'WAIT = "2" ; x=y'], 2), (["wait=1, wait=2"], 1), (["wait=soon"], None), (["wait=-1"], None),
        (["wait=1.5"], None), (["await=1"], None), ([""], None), (["wait=" + "9" * 50_000], None), ([], None),
    ],
)  # fmt: skip
def test_the_seconds_of_a_preference(headers: list[str], wait_s: float | None) -> None:
    assert preferred_wait_s(headers, 3) == wait_s
