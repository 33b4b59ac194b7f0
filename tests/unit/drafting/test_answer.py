"""What a model answered: a draft, or all that is wrong with it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.drafting.answer import Unreadable, free_name, keeps_the_brief, read_draft
from shared.drafting.brief import Brief
from shared.schemas.template_file import VariantCopy

GOOD = {"name": "Warm", "subject": "Hello", "preheader": "Come in", "body": "<p>Hi</p>"}


def draft(**texts: str) -> VariantCopy:
    return VariantCopy.model_validate({"name": "Warm", "theme": "welcome", **GOOD, **texts})


def broken(brief: Brief, **texts: str) -> list[tuple[str, str]]:
    return [(one.check, one.place) for one in keeps_the_brief(draft(**texts), brief)]


def test_a_good_answer_is_a_draft_that_nobody_approved() -> None:
    made = read_draft(json.dumps({**GOOD, "subject": " Hello\nthere "}), theme="welcome")

    assert (made.name, made.theme, made.subject, made.approved) == ("Warm", "welcome", "Hello there", False)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["the answer is no JSON"]),
        ('{"name": "W', ["the answer is no JSON"]),
        ('{"name": "\\ud800"}', ["the answer is no JSON"]),
        ("[1]", ["the answer is no JSON object"]),
        (json.dumps({"name": "W", "subject": "S", "preheader": "P"}), ["body: is missing"]),
        (json.dumps({**GOOD, "subject": 3, "body": " "}), ["subject: must be a text", "body: is empty"]),
        (json.dumps({**GOOD, "approved": True}), ["'approved': was not asked for"]),
        (json.dumps({**GOOD, "subject": "a\x07b"}), ["subject: holds the control character U+0007"]),
        (json.dumps({**GOOD, "subject": "s" * 1_001}), ["subject: String should have at most 1000"]),
    ],
)
def test_an_answer_that_is_no_draft_says_all_that_is_wrong(text: str, faults: list[str]) -> None:
    with pytest.raises(Unreadable) as caught:
        read_draft(text, theme="welcome")

    assert len(caught.value.faults) == len(faults)
    for told, fault in zip(caught.value.faults, faults, strict=True):
        assert told.startswith(fault)


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_whatever_else_a_model_answers_is_told_as_a_fault(text: str) -> None:
    faults: tuple[str, ...] = ()
    try:
        read_draft(text, theme="welcome")
    except Unreadable as error:
        faults = error.faults

    assert faults, "no such text is a draft"


def test_a_name_that_is_taken_gets_a_number_and_stays_short_enough() -> None:
    assert free_name("Warm", []) == "Warm"
    assert free_name("Warm", ["warm", "Warm 2"]) == "Warm 3"
    assert free_name("n" * 100, ["n" * 100]) == "n" * 98 + " 2"


def test_a_draft_that_does_as_the_brief_says_has_no_finding() -> None:
    brief = Brief(
        goal="Sell", must_say=["free shipping"], must_not_say=["exclusive"], fields=["first_name"],
        links=["https://shop.example/a?b=1&c=2"],
    )  # fmt: skip

    body = "<p>Free  <b>shipping</b>, {{ first_name | default: 'you' }}: <a href='https://shop.example/a?b=1&amp;c=2'>x</a></p>"

    assert broken(brief, body=body) == []


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"body": "<p>Hi</p>"}, ("brief_must_say", "body")),
        ({"subject": "An EXCLUSIVE hello"}, ("brief_must_not_say", "subject")),
        ({"preheader": "Come in</p><p><a href="}, ("brief_plain_text", "preheader")),
        ({"preheader": "{{ email | default: 'you' }}"}, ("brief_field", "preheader")),
        ({"body": "<p>free shipping {% if vip %}now{% endif %}</p>"}, ("brief_field", "body")),
        ({"body": "<p>free shipping <a href='https://evil.example'>x</a></p>"}, ("brief_link", "body")),
        ({"body": "<p>free shipping <img src='https://evil.example/p.png'></p>"}, ("brief_link", "body")),
        ({"body": "<p>free shipping at https://evil.example/x.</p>"}, ("brief_link", "body")),
        ({"body": "<mjml><mj-body><mj-button href='https://evil.example'>free shipping</mj-button></mj-body></mjml>"},
         ("brief_link", "body")),
    ],
)  # fmt: skip
def test_what_a_draft_does_against_the_brief_keeps_it_from_review(
    texts: dict[str, str], found: tuple[str, str]
) -> None:
    brief = Brief(goal="Sell", must_say=["free shipping"], must_not_say=["exclusive"], fields=["first_name"])

    findings = keeps_the_brief(draft(**{"body": "<p>free shipping</p>", **texts}), brief)

    assert [(one.check, one.place) for one in findings] == [found]
    assert all(one.approval and not one.warning for one in findings)
