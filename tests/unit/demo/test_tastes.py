"""What the account in a box is told of people's tastes, and what the demo shows as the truth, are the same thing."""

import random
from typing import Any

import pytest
import yaml

from demo.shop import FOLDER, newcomers
from demo.shop.tastes import CONTROL, PERSONAS, TASTES, favourite, reactions
from simulator.people.behaviour import LINK, Behaviour

TASTING: dict[str, Any] = yaml.safe_load((FOLDER / "tasting.yaml").read_text())


@pytest.mark.parametrize("persona", PERSONAS)
def test_the_box_lets_a_persona_act_on_each_email_as_the_truth_says(persona: str) -> None:
    behaviour = Behaviour.model_validate({"reactions": reactions()})

    acted = {
        one["name"]: behaviour.rates((one["subject"], one["body"]), {"persona": persona})[:2]
        for one in TASTING["variants"]
    }

    assert acted == TASTES[persona]
    assert max(acted, key=lambda name: acted[name][0] * acted[name][1]) == favourite(persona)
    control = TASTING["control"]
    assert behaviour.rates((control["subject"], control["body"]), {"persona": persona})[:2] == CONTROL


def test_every_persona_likes_another_variant_and_one_variant_is_nobodys_favourite() -> None:
    favourites = {favourite(persona) for persona in PERSONAS}

    assert len(favourites) == len(PERSONAS)
    assert len(favourites) < len(TASTING["variants"])


def test_three_links_of_an_email_are_content_beside_the_one_in_its_footer() -> None:
    bodies = [one["body"] for one in (*TASTING["variants"], TASTING["control"])]

    assert [len(LINK.findall(body)) for body in bodies] == [3] * len(bodies)


def test_newcomers_are_of_every_persona_alike_and_the_template_knows_them_all() -> None:
    people = newcomers(300, 300, random.Random(1))

    counted = [sum(one["properties"]["persona"] == persona for one in people) for persona in PERSONAS]
    assert counted == [100] * len(PERSONAS)
    assert [*TASTING["attributes"]["persona"]["options"]] == [*PERSONAS]
    assert len({one["email"] for one in (*people, *newcomers(0, 300, random.Random(1)))}) == 600
