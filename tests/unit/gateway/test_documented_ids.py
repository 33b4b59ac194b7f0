"""What the OpenAPI document says of the three ids is what the reader takes."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.openapi import document
from services.gateway.openapi_answer import id_members
from services.gateway.reader import Unusable, read_webhook

SHAPES = id_members()
GOOD = {name: shape["examples"][0] for name, shape in SHAPES.items()}
NOTHING = ("None", "null")  # what Klaviyo puts where it has no value


@pytest.mark.parametrize("name", SHAPES)
@given(data=st.data())
def test_ids_as_the_document_allows_them_are_taken_as_they_are(name: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(SHAPES[name]["pattern"])).strip()  # `$` lets a newline follow
    if text.split(".")[0] in NOTHING:
        return

    webhook = read_webhook(json.dumps(GOOD | {name: text}).encode())

    assert getattr(webhook, name) == text


@pytest.mark.parametrize("name", SHAPES)
@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=70))
def test_ids_that_the_document_does_not_allow_are_refused(name: str, text: str) -> None:
    if re.fullmatch(SHAPES[name]["pattern"], text) or text.startswith("."):  # without a person: rebuilt
        return

    with pytest.raises(Unusable):
        read_webhook(json.dumps(GOOD | {name: text}).encode())


def test_query_and_body_say_the_same_of_them() -> None:
    written = document()
    [path] = [path for path in written["paths"] if path.startswith("/api/generate/")]
    asked = {one["name"]: one["schema"] for one in written["paths"][path]["get"]["parameters"] if "name" in one}
    members = written["components"]["schemas"]["Webhook"]["properties"]

    for name in SHAPES:
        assert asked[name] == {key: value for key, value in members[name].items() if key != "description"}
