"""The set-up linter's rules on what the treatment step sends."""

from dataclasses import replace
from typing import Any

import pytest

from shared.klaviyo.client import FlowAction, Message
from shared.klaviyo.lint import Read, Wanted, lint
from shared.klaviyo.lint_answer import Outcome
from shared.snippet import Control, snippet
from tests.unit.klaviyo.given import EARLIER, EMAIL, PLACE, SNIPPET, WANTED, flow, read_of, said, step


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (
            flow(email={"subject_line": EARLIER.subject, "preview_text": EARLIER.preheader}, body=EARLIER.body),
            "Subject Line, Preview Text, Body: of an earlier release",
        ),
        (flow(body=f"<div>{EARLIER.body}</div>"), "Body: of an earlier release"),
        (flow(email={"subject_line": EARLIER.subject}, body=None), "Subject Line: of"),
    ],
)
def test_a_snippet_of_an_earlier_release_is_guarded_and_a_newer_one_is_said_once(read: Read, says: str) -> None:
    answers = lint(WANTED, read)

    [newer] = [one for one in answers if one.outcome == "warning"]
    assert (newer.rule, newer.outcome) == ("snippet_person", "warning")
    assert newer.found.startswith(says)
    assert "merges two profiles" in newer.found
    assert "all three" in newer.fix
    assert {one.outcome for one in answers if one.rule != newer.rule} <= {"good", "unknown"}


def ab_test(*emails: dict[str, Any]) -> list[FlowAction]:
    """A flow whose email is a test of Klaviyo's between these; the first is the one that is shown."""
    main, *_ = variations = [{"type": "send-email", "data": {"message": one, "status": "live"}} for one in emails]
    test = step("3", "ab-test", None, status="live", main_action=main, current_experiment={"variations": variations})
    return [*flow().actions[:2], test]


def test_every_email_of_an_ab_test_must_hold_the_snippet() -> None:
    """Whichever Klaviyo draws, its clicks count for the variant."""
    ours, fixed = {**EMAIL, "id": "M1", "name": "A"}, {"id": "M2", "name": "B", "subject_line": "Sale"}

    answers = said(read_of(ab_test(ours, fixed), bodies={"M1": SNIPPET.body, "M2": "<p>Sale</p>"}))

    for part in ("subject", "preheader", "body"):
        assert answers[f"snippet_{part}"].outcome == "wrong"
        assert answers[f"snippet_{part}"].found.startswith("In “B”: ")
    assert answers["treatment_message"].outcome == "good"


def test_an_ab_test_is_warned_of_even_where_each_email_holds_the_snippet() -> None:
    ours = [{**EMAIL, "id": f"M{n}", "name": f"{n}"} for n in range(2)]

    answers = said(read_of(ab_test(*ours), bodies={"M0": SNIPPET.body, "M1": SNIPPET.body}))

    assert {rule for rule, one in answers.items() if one.outcome != "good"} == {"one_message"}
    assert answers["one_message"].outcome == "warning"
    assert "2 emails" in answers["one_message"].found


def test_an_email_that_klaviyo_lists_beside_the_steps_definition_is_read_too() -> None:
    listed = [Message("M1", "A", "email", {}), Message("M2", "B", "email", {"name": "B"}), Message("M3", "C", "sms")]

    answers = said(read_of(flow().actions, listed=listed, bodies={"M1": SNIPPET.body, "M2": None}))

    assert answers["snippet_subject"].found == "In “B”: The Subject Line does not hold the snippet."
    assert answers["snippet_body"].outcome == "unknown"
    assert answers["one_message"].outcome == "warning"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (SNIPPET.body, "wrong"),
        (EARLIER.body.replace("'", "&#39;"), "wrong"),
        ("{{ person.jai_body|safe }}", "wrong"),
        (SNIPPET.body.replace("{{ person|lookup:'jai_body'|safe }}", "Hello"), "good"),
        ("Hello {{ person.first_name }}. {% unsubscribe %}", "good"),
        ("{{ person|lookup:'jai2_body' }}", "good"),
    ],
)
def test_a_plain_text_version_that_prints_the_body_is_found(text: str, outcome: Outcome) -> None:
    """There it is the source of HTML."""
    read = flow()

    answer = said(replace(read, sent=[replace(one, text=text) for one in read.sent]))["plain_text"]

    assert answer.outcome == outcome
    assert ("edit the plain-text version" in answer.fix) == (outcome == "wrong")


def test_an_amp_version_is_warned_of_and_what_is_not_there_is_not_spoken_of() -> None:
    read = flow()

    answers = said(replace(read, sent=[replace(one, amp="<html amp4email>") for one in read.sent]))

    assert answers["amp"].outcome == "warning"
    assert not {"amp", "plain_text"} & set(said(read))


def test_of_several_emails_the_one_at_fault_is_named_where_nothing_is_said_of_the_others() -> None:
    ours = [{**EMAIL, "id": f"M{n}", "name": f"{n}"} for n in range(2)]
    read = read_of(ab_test(*ours), bodies={"M0": SNIPPET.body, "M1": SNIPPET.body})
    first, second = read.sent

    answers = said(replace(read, sent=[first, replace(second, text=SNIPPET.body, amp="<html amp4email>")]))

    for rule in ("plain_text", "amp"):
        assert answers[rule].found.startswith("In “1”: The email")


BYE = "{% unsubscribe 'Bye' %}"
LEAVING = snippet(*PLACE[:2], Control("Hello", "", f"<p>Hello</p>{{% if person.vip %}}x{{% endif %}}{BYE}"))
WITH_LINK = replace(WANTED, snippet=LEAVING)
FOOTER = "<footer>{% unsubscribe %}</footer>"


@pytest.mark.parametrize(
    ("body", "wanted", "outcome", "says"),
    [
        (LEAVING.body, WITH_LINK, "wrong", "only unsubscribe tag stands in the snippet's control content"),
        (f"<html>{LEAVING.body}</html>".replace("'", "&#39;"), WITH_LINK, "wrong", "only unsubscribe tag"),
        (LEAVING.body.replace("Hello", "Hello, by hand"), WANTED, "wrong", "only unsubscribe tag"),
        (LEAVING.body.replace(BYE, "<a href='{% unsubscribe_link %}'>x</a>"), WANTED, "wrong", ""),
        (LEAVING.body.replace(BYE, "{%manage_preferences%}"), WANTED, "wrong", ""),
        (LEAVING.body.replace(BYE, "{{ organization.unsubscribe_url }}"), WANTED, "wrong", ""),
        (LEAVING.body + FOOTER, WITH_LINK, "good", "outside the snippet"),
        (f"{FOOTER}<br>{SNIPPET.body}", WANTED, "good", "outside the snippet"),
        ("{% if person.vip %}" + SNIPPET.body + FOOTER + "{% endif %}", WANTED, "good", "outside the snippet"),
        (f"{SNIPPET.body}<a href='{{{{ organization.unsubscribe_url }}}}'>x</a>", WANTED, "good", "outside"),
        (SNIPPET.body, WITH_LINK, "good", "Klaviyo adds a link"),
        (None, WITH_LINK, "warning", "The key may not read"),
    ],
)  # fmt: skip
def test_an_unsubscribe_tag_that_no_variant_would_have_is_found(
    body: str | None, wanted: Wanted, outcome: Outcome, says: str
) -> None:
    answer = said(flow(body=body), wanted)["unsubscribe"]

    assert answer.outcome == outcome
    assert says in answer.found
    assert ("footer" in answer.fix) == (outcome != "good")


def test_where_nobody_can_look_and_control_has_no_unsubscribe_tag_nothing_is_said_of_it() -> None:
    assert "unsubscribe" not in said(flow(body=None))
