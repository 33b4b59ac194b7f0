"""A prompt is made of names, themes and rules. That no person gets in is a matter of types first."""

from dataclasses import fields, is_dataclass
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, ValidationError

from shared.content.rules import OrgRules
from shared.drafting.brief import Brief
from shared.drafting.prompt import Asked, make_prompt

LEAVES = {str, int, float, bool, date, NoneType}
NAMES = {
    "brief", "theme", "voice", "banned_words", "banned_claims", "promo_codes", "until", "taken", "learnings",
    "goal", "audience", "tone", "must_say", "must_not_say", "themes", "fields", "links", "examples",
    "subject", "preheader", "body", "delivered", "clicked",
}  # fmt: skip


def leaves(kind: object) -> tuple[set[object], set[str]]:
    """The plain types that a type is made of, and the names of all its parts."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        parts = {name: field.annotation for name, field in kind.model_fields.items()}
        assert kind.model_config.get("extra") == "forbid"
    elif isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = {one.name: hints[one.name] for one in fields(kind)}
    else:
        origin = get_origin(kind)
        if origin is Annotated:
            return leaves(get_args(kind)[0])
        if origin in (list, tuple, Union, UnionType):
            inner = [leaves(one) for one in get_args(kind) if one is not Ellipsis]
            return set().union(*(one for one, _ in inner)), set().union(*(names for _, names in inner))
        if origin is Literal:
            return {str}, set()
        return {kind}, set()
    found, names = set(), set(parts)
    for part in parts.values():
        more, others = leaves(part)
        found |= more
        names |= others
    return found, names


def test_nothing_that_a_prompt_is_made_of_can_hold_a_mapping_or_an_object_of_unknown_shape() -> None:
    found, names = leaves(Asked)

    assert found <= LEAVES
    assert names == NAMES, "a new part of a prompt: can it hold a person's data?"


def test_a_prompt_is_made_of_nothing_else() -> None:
    hints = get_type_hints(make_prompt)

    assert [kind for name, kind in hints.items() if name != "return"] == [Asked]


@pytest.mark.parametrize(
    "given",
    [
        {"goal": "Write to ann@shop.example about her order"},
        {"goal": "Sell", "audience": "like bob.b+x@mail.example"},
        {"goal": "Sell", "must_say": ["for ann@shop.example"]},
        {"goal": "Sell", "examples": [{"subject": "Hi", "body": "<p>Dear ann@shop.example</p>"}]},
    ],
)
def test_a_brief_that_names_an_email_address_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="holds an email address"):
        Brief.model_validate(given)


def test_the_orgs_voice_names_no_email_address_either() -> None:
    with pytest.raises(ValidationError, match="holds an email address"):
        OrgRules(voice="As ann@shop.example writes")


@pytest.mark.parametrize("name", ["first_name: Ann", "{{ first_name }}", "first name", ""])
def test_a_field_of_a_brief_is_a_name_and_has_no_place_for_a_value(name: str) -> None:
    with pytest.raises(ValidationError):
        Brief.model_validate({"goal": "Sell", "fields": [name]})


def test_a_brief_with_a_value_for_a_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        Brief.model_validate({"goal": "Sell", "fields": {"first_name": "Ann"}})
