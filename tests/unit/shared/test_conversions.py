"""What a template file may say of conversions, and which reward goes with it."""

import pytest
from pydantic import ValidationError

from shared.schemas.conversions import Conversions, stored
from shared.schemas.policy import Policy
from shared.schemas.template_file import TemplateFile

FILE = {"template_id": "welcome", "name": "Welcome", "control": {"subject": "S", "body": "<p>B</p>"}}


def read(**more: object) -> TemplateFile:
    return TemplateFile.model_validate(FILE | more)


def test_an_empty_definition_is_placed_order_within_three_days() -> None:
    assert stored(read(conversions={}).counted_conversions) == {
        "metrics": ["Placed Order"], "refunds": ["Refunded Order", "Cancelled Order"], "window_h": 72, "currency": None,
    }  # fmt: skip
    assert read(conversions={"currency": "eur"}).counted_conversions == Conversions(currency="EUR")


def test_nothing_is_counted_unless_the_file_or_the_reward_asks_for_it() -> None:
    assert read().counted_conversions is None
    assert read(policy={"reward": "conversion"}).counted_conversions == Conversions()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"policy": {"reward": "revenue"}}, "revenue_cap: reward revenue needs one"),
        ({"policy": {"reward": "revenue", "revenue_cap": 0}}, "greater than 0"),
        ({"policy": {"reward": "conversion", "window_h": 24}}, "policy.window_h: is of clicks"),
        ({"conversions": {"metrics": []}}, "at least 1"),
        ({"conversions": {"metrics": ["Opened Email"]}}, "'Opened Email' is about the email itself"),
        ({"conversions": {"refunds": ["placed order"]}}, "refunds: 'placed order' is one of `metrics`"),
        ({"conversions": {"window_h": 721}}, "less than or equal to 720"),
        ({"conversions": {"currency": "€"}}, "pattern"),
    ],
)
def test_what_cannot_be_meant_is_named(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=r".") as caught:
        read(**more)
    assert said in str(caught.value)


def test_a_cap_may_stand_beside_any_reward_for_the_results() -> None:
    assert Policy(revenue_cap=200).reward == "click"
