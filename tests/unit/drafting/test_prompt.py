"""What a model is told, and what it is not."""

from datetime import date, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from shared.content.rules import OrgRules, PromoCode
from shared.drafting.brief import Brief
from shared.drafting.prompt import MOST_PHRASES, Asked, Learning, asked_of, make_prompt

TODAY = date(2026, 11, 25)
BRIEF = Brief.model_validate(
    {
        "goal": "Bring them to the first order",
        "audience": "New subscribers",
        "tone": "Warm",
        "must_say": ["free shipping"],
        "must_not_say": ["exclusive"],
        "themes": ["welcome"],
        "fields": ["first_name", "city"],
        "links": ["https://shop.example/first"],
        "examples": [{"subject": "Come in", "preheader": "The door is open", "body": "<p>Coffee is on.</p>"}],
    }
)
RULES = OrgRules(
    voice="Plain and kind",
    banned_words=["cheap"],
    banned_claims=["clinically proven"],
    promo_codes=[PromoCode(code="TEN"), PromoCode(code="OLD", ends=TODAY - timedelta(days=1))],
    end_dates={"welcome": TODAY + timedelta(days=3), "other": TODAY},
)


def asked(rules: OrgRules = RULES, brief: Brief = BRIEF, template_id: str = "welcome", **more: object) -> Asked:
    known = {"theme": "welcome", "taken": (), "learnings": ()} | more
    return asked_of(brief, rules, template_id, TODAY, **known)  # type: ignore[arg-type]  # of the names above


def whole(given: Asked) -> str:
    prompt = make_prompt(given)
    return f"{prompt.system}\n{prompt.user}"


def test_the_brief_and_the_orgs_rules_are_all_in_the_prompt() -> None:
    text = whole(asked())

    for words in (
        "Bring them to the first order", "New subscribers", "Tone: Warm", '"free shipping"', "cheap; exclusive",
        "clinically proven", "Plain and kind", "first_name, city", "https://shop.example/first", "Come in",
        "The door is open", "<p>Coffee is on.</p>", "TEN", "2026-11-28", "{{ first_name | default: 'there' }}",
    ):  # fmt: skip
        assert words in text


def test_what_has_ended_is_not_offered() -> None:
    ended = asked(RULES.model_copy(update={"end_dates": {"welcome": TODAY - timedelta(days=1)}}))

    assert "OLD" not in whole(asked())
    assert "Do not press for time" in whole(ended)


def test_without_fields_and_links_a_model_is_told_to_use_none() -> None:
    text = whole(asked(OrgRules(), Brief(goal="Sell")))

    assert "Use no links" in text
    assert "You know nothing about the reader" in text
    assert "There are no promo codes" in text


def test_only_themes_that_many_got_are_learned_from_and_only_as_rates() -> None:
    text = whole(asked(learnings=[Learning("offer", 1_000, 52), Learning("proof", 199, 100)]))

    assert "- offer: 5.2% of 1000" in text
    assert "proof" not in text


def test_subjects_that_are_there_are_named_once_and_the_newest_are_kept() -> None:
    text = whole(asked(taken=["Same", "Same", *(f"Subject {number}" for number in range(60))]))

    assert "Subject 59" in text
    assert "Subject 10" not in text
    assert "Same" not in text


def test_a_long_list_of_words_is_cut_so_that_the_prompt_stays_short() -> None:
    many = asked(OrgRules(banned_words=[f"word{number}" for number in range(1_000)]))

    assert len(many.banned_words) == MOST_PHRASES + len(BRIEF.must_not_say)


def test_the_digest_stands_for_exactly_this_prompt() -> None:
    same, other = make_prompt(asked()).digest, make_prompt(asked(theme="offer")).digest

    assert make_prompt(asked()).digest == same
    assert same != other
    assert len(same) == 12


def test_the_schema_is_one_that_strict_servers_take() -> None:
    schema = make_prompt(asked()).schema

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert schema["required"] == [*properties]
    assert {key for one in properties.values() for key in one} == {"type", "description"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, "goal"),
        ({"goal": " "}, "goal"),
        ({"goal": "Sell", "goals": "x"}, "goals"),
        ({"goal": "Sell", "links": ["http://shop.example"]}, "links"),
        ({"goal": "Sell", "links": ["https://"]}, "links"),
        ({"goal": "Sell", "links": ["javascript:alert(1)"]}, "links"),
        ({"goal": "Sell", "themes": ["a\nb"]}, "themes"),
        ({"goal": "Sell\x00"}, "goal"),
        ({"goal": "x" * 2_001}, "goal"),
        ({"goal": "Sell", "examples": [{"subject": "s", "body": "b"}] * 6}, "examples"),
    ],
)
def test_a_brief_that_is_none_names_the_field(given: dict[str, object], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Brief.model_validate(given)

    assert {fault["loc"][0] for fault in caught.value.errors()} == {place}


def test_the_brief_of_the_demo_is_one() -> None:
    text = (Path(__file__).parents[3] / "demo" / "brief.yaml").read_text("utf-8")

    assert Brief.model_validate(yaml.safe_load(text)).themes
