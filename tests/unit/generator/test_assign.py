"""The split: planned shares, the same for every delivery, the same person always, and independent of the draw."""

import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

import pytest

from services.generator.assign import HOLDOUT, SPLIT, Split
from services.generator.select import choose, uniform
from shared.schemas.decisions import PLANNED_CONTROL
from shared.schemas.jobs import GenerateJob
from tests.unit.generator.given import COPIES, ORG, TEN, job

PEOPLE = 4_000
Method = Literal["random", "persistent"]


def visits() -> list[GenerateJob]:
    """One visit of each of many people."""
    return [job(user_id=f"P{number:05}") for number in range(PEOPLE)]


def control(split: Split, jobs: list[GenerateJob], state: str = "active") -> list[bool]:
    return [split.planned_control(one, state) is not None for one in jobs]


def near(share: float, expected: float, number: int) -> bool:
    return abs(share - expected) <= 4.5 * math.sqrt(expected * (1 - expected) / number)


@pytest.mark.parametrize("method", ["random", "persistent"])
@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_as_many_are_control_as_the_ratio_says(method: Method, ratio: float) -> None:
    assert near(sum(control(Split(method, ratio), visits())) / PEOPLE, ratio, PEOPLE)


def test_an_external_split_is_klaviyos_and_none_of_ours_is_control() -> None:
    assert not any(control(Split(), visits()))


def test_a_person_stays_in_a_persistent_group_and_is_drawn_anew_by_a_random_one() -> None:
    again = [job(TEN + timedelta(days=5), user_id=one.user_id, body=b"other") for one in visits()]

    assert control(Split("persistent", 0.3), visits()) == control(Split("persistent", 0.3), again)
    assert control(Split("random", 0.3), visits()) != control(Split("random", 0.3), again)


def test_another_salt_or_template_draws_persistent_groups_anew() -> None:
    one = control(Split("persistent", 0.5), visits())
    salted = control(Split("persistent", 0.5, salt="2"), visits())
    elsewhere = control(Split("persistent", 0.5), [replace_template(one) for one in visits()])

    for other in (salted, elsewhere):
        assert near(sum(a == b for a, b in zip(one, other, strict=True)) / PEOPLE, 0.5, PEOPLE)


def replace_template(one: GenerateJob) -> GenerateJob:
    return one.model_copy(update={"template_id": "another"})


@pytest.mark.parametrize("method", ["random", "persistent"])
def test_the_holdout_is_of_persons_and_independent_of_the_split_and_stays_when_shipped(method: Method) -> None:
    split = Split(method, 0.3, control_share=0.2)

    active = Counter(split.planned_control(one, "active") for one in visits())
    shipped = Counter(split.planned_control(one, "shipped") for one in visits())

    assert near(active[HOLDOUT] / PEOPLE, 0.2, PEOPLE)
    assert near(active[SPLIT] / (PEOPLE - active[HOLDOUT]), 0.3, PEOPLE - active[HOLDOUT])
    assert shipped == {HOLDOUT: active[HOLDOUT], None: PEOPLE - active[HOLDOUT]}


@pytest.mark.parametrize("method", ["random", "persistent"])
def test_every_delivery_of_a_request_is_split_alike(method: Method) -> None:
    split = Split(method, 0.5, 0.1)
    later = [one.model_copy(update={"accepted_at": one.accepted_at + timedelta(minutes=5)}) for one in visits()]

    assert control(split, visits()) == control(split, later)


@pytest.mark.parametrize("split", [Split("random", 0.5), Split("persistent", 0.5), Split(control_share=0.5)])
def test_the_draw_of_the_variant_is_independent_of_the_split(split: Split) -> None:
    """Chi-square of group by variant, 3 degrees of freedom: above 16.3 once in a thousand times, and it is fixed."""
    snapshot = uniform(ORG, "welcome", COPIES)
    seen: Counter[tuple[bool, UUID]] = Counter(
        (split.planned_control(one, "active") is not None, choose(snapshot, "", one.generation_id).copy_id)
        for one in visits()
    )

    statistic = 0.0
    for group in (False, True):
        for copy_id in COPIES:
            row = sum(seen[group, other] for other in COPIES)
            expected = row * (seen[False, copy_id] + seen[True, copy_id]) / PEOPLE
            statistic += (seen[group, copy_id] - expected) ** 2 / expected

    assert statistic < 16.3


def test_the_reasons_are_those_that_results_compare_with() -> None:
    assert {HOLDOUT, SPLIT} == PLANNED_CONTROL


def test_a_split_knows_a_person_by_all_three_ids() -> None:
    half = Split("persistent", 0.5)
    others = [one.model_copy(update={"org_id": UUID(int=7)}) for one in visits()]

    assert control(half, visits()) != control(half, others)
    assert control(replace(half, control_ratio=0.6), visits()) != control(half, visits())
