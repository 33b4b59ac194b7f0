"""The checks at approval: each finds its fault, says where and what to do, and lets honest copy through."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.content.checks import CHECKS, MOST_OF_A_KIND, Asked, check_copy, table
from shared.content.faults import Finding
from shared.content.rules import OrgRules
from shared.schemas.template_file import VariantCopy

TODAY = date(2026, 11, 25)
PREHEADER = "A preheader that is as long as it should be"
BODY = "<p>Hello {{ first_name | default: 'there' }}, here is what is roasting this week in the valley.</p>"
RULES = OrgRules.model_validate(
    {
        "banned_words": ["cheap", "best in town"],
        "banned_claims": ["clinically proven"],
        "promo_codes": ["WELCOME10", {"code": "XMAS25", "ends": "2026-12-24"}, {"code": "MAY20", "ends": "2026-05-31"}],
        "end_dates": {"sale": "2026-11-30", "old": "2026-11-24"},
    }
)


def variant(**texts: Any) -> VariantCopy:
    body = {} if "mjml" in texts else {"body": BODY}
    return VariantCopy.model_validate(
        {"name": "Warm", "subject": "Roasted this morning", "preheader": PREHEADER, **body, **texts}
    )


def check(template_id: str = "welcome", *, rules: OrgRules = RULES, **texts: Any) -> list[Finding]:
    return check_copy(variant(**texts), Asked(template_id, TODAY, rules)).findings


def test_honest_copy_has_no_finding() -> None:
    body = (
        f'{BODY}<p>Use code WELCOME10 or xmas25.</p><a href="https://shop.example/a#b">Go</a><a href="#end">Down</a>'
        '<a href="mailto:a@shop.example">Mail</a><img src="https://shop.example/a.png" alt=""><p id="end">Bye</p>'
    )

    assert check(body=body) == []


@pytest.mark.parametrize(
    ("name", "place", "line", "said", "texts"),
    [
        ("subject_length", "subject", 1, "at most 150", {"subject": "long " * 31}),
        ("preheader_length", "preheader", 1, "below 150", {"preheader": "long " * 31}),
        ("body_size", "body", None, "shorten", {"body": "<p>" + "ä" * 40_001 + "</p>"}),
        ("klaviyo_tag", "body", 2, "keep it in the email template", {"body": "<p>\n{% unsubscribe %}</p>"}),
        ("language", "body", 1, "Copy is Liquid", {"body": "{% shout %}"}),
        ("missing_default", "body", 1, "default: 'words'", {"body": "<p>{{ city }}</p>"}),
        ("field_part", "body", 1, "send it as one of its own", {"body": "{{ a.b | default: 'x' }}"}),
        ("cleaning", "body", 2, "stands in an element's tag", {"body": "<p>x</p>\n<b {% if a %}id='x'{% endif %}>"}),
        ("cleaning", "body", None, "no MJML", {"mjml": "<mjml><mj-body></mjml>"}),
        ("unsafe_place", "body", None, "put it into", {"body": "<p style=\"color:{{ a | default: 'red' }}\">x"}),
        ("can_be_served", "body", None, "neither words nor", {"body": "<p>&nbsp;</p>"}),
        ("link", "body", None, "mail programs block it", {"body": "<p>x</p><a href='javascript:x'>x</a>"}),
        ("link", "body", None, "with https://", {"body": "<p>x</p><a href=''>x</a>"}),
        ("link", "body", 2, "bare IP", {"body": "<p>x</p>\n<a href='http://203.0.113.9/x'>x</a>"}),
        ("link", "body", 1, "bare IP", {"body": "<p>x</p><a href='http://2130706433/x'>x</a>"}),
        ("image", "body", 2, "use https://", {"body": "<p>x</p>\n<img src='http://shop.example/a.png' alt=''>"}),
        ("image", "body", 1, "use https://", {"mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>x</mj-text>"
            "<mj-image alt='' src='http://shop.example/a.png' /></mj-column></mj-section></mj-body></mjml>"}),
        ("banned_word", "subject", 1, '"CHEAP", a word', {"subject": "So CHEAP today"}),
        ("banned_word", "body", 3, '"best in town", a word', {"body": "<p>\n\nThe best in\n town</p>"}),
        ("banned_word", "body", None, "a claim", {"body": "<p>It is <b>clinically</b> proven</p>"}),
        ("banned_word", "body", 1, '"cheap"', {"body": "<p>{{ a | default: 'cheap' }}</p>"}),
        ("promo_code", "body", 1, "none of the org's", {"body": "<p>Your code: FREE50</p>"}),
        ("promo_code", "subject", 1, "none of the org's", {"subject": "SAVE20 on your bag"}),
        ("promo_code", "body", 1, "ended on 2026-05-31", {"body": "<p>Use coupon MAY20</p>"}),
        ("urgency", "subject", 1, "no end date makes it true", {"subject": "Our sale ends tonight"}),
        ("urgency", "body", 1, "end_dates.welcome", {"body": "<p>Last chance, friend</p>"}),
        ("urgency", "body", 1, "2026-11-24 has passed", {"body": "<p>Only 3 days left</p>", "template_id": "old"}),
    ],
)  # fmt: skip
def test_what_must_not_be_approved_blocks_and_says_where_and_what_to_do(
    name: str, place: str, line: int | None, said: str, texts: dict[str, Any]
) -> None:
    findings = check(**texts)

    blocking = [one for one in findings if not one.warning and one.check == name]
    assert len(blocking) == 1, findings
    assert (blocking[0].place, blocking[0].line) == (place, line)
    assert said in blocking[0].what


@pytest.mark.parametrize(
    ("name", "place", "said", "texts"),
    [
        ("subject_length", "subject", "phones cut", {"subject": "Roasted this morning and on its way to you by noon!"}),
        ("preheader_length", "preheader", "40 to 110", {"preheader": ""}),
        ("preheader_length", "preheader", "40 to 110", {"preheader": "word " * 25}),
        ("subject_is_preheader", "preheader", "use the place", {
            "subject": "A preheader that is as long as it should be", "preheader": PREHEADER + "!"}),
        ("body_size", "body", "Gmail", {"body": "<p>" + "x" * 61_000 + "</p>"}),
        ("gmail_clip", "body", "102 KB", {"body": "<p>x</p>" + '<a href="https://shop.example">Go</a>' * 400}),
        ("link_shortener", "body", "hides where", {"body": "<p>x</p><a href='https://bit.ly/x'>x</a>"}),
        ("link_anchor", "body", 'put id="down"', {"body": "<p>x</p><a href='#down'>x</a>"}),
        ("image_alt", "body", "say what it shows", {"body": "<p>x</p><img src='https://shop.example/a.png'>"}),
        ("removed_markup", "body", "onclick of <p>", {"body": "<p onclick='x'>x</p>"}),
        ("entity", "subject", "&amp;", {"subject": "Fish &amp; chips"}),
        ("shouting", "subject", "READ THIS NOW", {"subject": "READ THIS NOW"}),
        ("shouting", "subject", "!!!", {"subject": "Coffee!!!"}),
        ("spam_phrase", "body", "risk free", {"body": "<p>Try it risk free</p>"}),
    ],
)  # fmt: skip
def test_what_hardly_was_meant_is_a_warning(name: str, place: str, said: str, texts: dict[str, Any]) -> None:
    found = [one for one in check(**texts) if one.check == name]

    assert [(one.place, one.warning) for one in found] == [(place, True)]
    assert said in found[0].what


def test_urgency_with_an_end_date_to_come_is_fine() -> None:
    assert check(template_id="sale", subject="Our sale ends tonight") == []


def test_a_missing_fallback_is_a_warning_where_the_org_says_so_and_the_rest_is_still_checked() -> None:
    lenient = OrgRules.model_validate({"missing_default": "warning", "banned_words": ["cheap"]})

    found = check(rules=lenient, body="<p>{{ city }} is cheap</p>")

    assert [(one.check, one.warning) for one in found] == [("missing_default", True), ("banned_word", False)]


def test_variants_that_say_nearly_the_same_are_told_and_different_ones_are_not() -> None:
    long = "<p>" + " ".join(f"word{number}" for number in range(60)) + "</p>"
    near, far = variant(name="Near", body=long.replace("word30", "other")), variant(name="Far")

    found = check_copy(variant(body=long), Asked("welcome", TODAY, others={"Near": near, "Far": far})).findings

    assert [one.check for one in found] == ["near_duplicate"]
    assert '"Near"' in found[0].what


LOUD: dict[str, Any] = {
    "subject": "CHEAP CHEAP!!! SAVE20 ends tonight",
    "preheader": "",
    "body": "<p onclick='x'>last chance</p>",
}


def test_the_same_copy_gives_the_same_findings_in_the_same_order() -> None:

    assert check("welcome", **LOUD) == check("welcome", **LOUD)


def test_every_finding_is_of_a_check_in_the_table_and_the_docs_show_the_table() -> None:
    names = {check.name for check in CHECKS}

    assert {one.check for one in check("welcome", **LOUD)} <= names
    assert table() in (Path(__file__).parents[3] / "docs" / "content.md").read_text()


def test_a_bad_code_is_found_behind_as_many_good_ones_as_are_told() -> None:
    good = [f"CODE{n}" for n in range(100, 101 + MOST_OF_A_KIND)]
    rules = OrgRules.model_validate({"promo_codes": good})

    found = check(rules=rules, body=f"{BODY}<p>{' '.join(good)} CODE7</p>")

    assert [(one.check, "CODE7," in one.what) for one in found] == [("promo_code", True)]
