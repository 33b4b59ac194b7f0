"""When the second act of the demo counts as passed, and what it shows."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from demo.days import Days, Look, shares_of
from demo.report_days import figures, passed, show
from demo.shop.tastes import LINKS, PERSONAS, favourite

EQUAL = {persona: dict.fromkeys(LINKS, 0.25) for persona in PERSONAS}
LEARNED = {
    persona: {name: 0.7 if name == favourite(persona) else 0.1 for name in LINKS} for persona in PERSONAS
}  # fmt: skip
ABOVE = {"outcome": "above control", "lift": 0.8, "lift_within": [0.1, 2.5]}
UNDECIDED = {"outcome": "not enough yet", "why": "…", "so_far": {"lift": 0.3, "lift_within": [-0.4, None]}}
UNKNOWN = {"outcome": "not enough yet", "why": "…", "so_far": None}


def look(day: int, lift: dict[str, Any], shares: Any = LEARNED) -> Look:
    funnel = {
        "treatment": {"delivered": 300 * day, "clicked": 60 * day}, "control": {"delivered": 100 * day, "clicked": 9}
    }  # fmt: skip
    return Look(day, {"lift": lift, "funnel": funnel}, shares)


def days(**changes: Any) -> Days:
    told: dict[str, Any] = {
        "before": EQUAL,
        "looks": [look(1, UNDECIDED), look(2, ABOVE)],
        "outcomes": {
            "messages": 800, "real": {"right": 600, "control_planned": 200}, "webhook_to_profile_s": {"p99": 2.0}
        },
        "event_files": 4,
        "snapshots": 3,
    }  # fmt: skip
    return Days(**told | changes)


def with_outcome(kind: str) -> dict[str, Any]:
    return {"messages": 800, "real": {"right": 799, kind: 1}, "webhook_to_profile_s": {"p99": 2.0}}


def test_days_in_which_all_was_right_and_everybody_was_learned_pass() -> None:
    assert passed(days())
    assert passed(days(looks=[look(1, UNDECIDED)]))


@pytest.mark.parametrize("kind", ["blank", "stale", "foreign", "broken", "control_missed"])
def test_one_wrong_email_fails_the_days(kind: str) -> None:
    assert not passed(days(outcomes=with_outcome(kind)))


@pytest.mark.parametrize("persona", PERSONAS)
def test_one_persona_that_gets_its_favourite_no_more_often_fails_the_days(persona: str) -> None:
    shares = {**LEARNED, persona: EQUAL[persona]}

    assert not passed(days(looks=[look(1, ABOVE, shares)]))


@pytest.mark.parametrize("lift", [UNKNOWN, {**ABOVE, "lift": -0.1}, {**ABOVE, "lift": 0.0}])
def test_a_lift_that_is_not_above_nothing_fails_the_days(lift: dict[str, Any]) -> None:
    assert not passed(days(looks=[look(1, lift)]))


def test_figures_are_of_the_last_look_and_of_the_persona_that_was_learned_least() -> None:
    shares = {**LEARNED, PERSONAS[0]: {**LEARNED[PERSONAS[0]], favourite(PERSONAS[0]): 0.4}}

    shown = figures(days(looks=[look(1, UNDECIDED), look(2, ABOVE, shares)]))

    assert (shown["lift"], shown["lift_low"], shown["lift_high"]) == (0.8, 0.1, 2.5)
    assert (shown["favourite_share_before"], shown["favourite_share_after"]) == (0.25, 0.4)
    assert figures(days(looks=[look(1, UNKNOWN)]))["lift"] is None


def test_the_tables_show_each_days_own_clicks_and_an_interval_without_an_end() -> None:
    out = io.StringIO()
    wide = {**ABOVE, "lift_within": [0.0, 257.9]}
    looks = [look(1, UNKNOWN), look(2, UNDECIDED), look(3, wide), look(4, ABOVE)]

    show(Console(file=out, width=140), replace(days(), looks=looks))

    shown = out.getvalue()
    assert shown.count("20.0% of 300") == len(looks)
    assert "+0% … more than +1000%" in shown
    assert "-40% … ∞" in shown
    assert "+10% … +250%" in shown
    assert shown.count("★") == len(PERSONAS)


def test_a_personas_shares_are_the_mean_of_its_cells() -> None:
    names = [{"copy_id": str(number), "name": name} for number, name in enumerate(LINKS)]
    policy = {
        "snapshot_id": "s",
        "variants": names,
        "otherwise": [0.4, 0.3, 0.2, 0.1],
        "cells": {
            f"persona={PERSONAS[0]}&plan=none": [1.0, 0.0, 0.0, 0.0],
            f"persona={PERSONAS[0]}&plan=weekly": [0.5, 0.5, 0.0, 0.0],
            f"persona={PERSONAS[1]}&plan=none": [0.0, 0.0, 0.0, 1.0],
        },
    }

    shares = shares_of(policy)

    assert [*shares[PERSONAS[0]].values()] == [0.75, 0.25, 0.0, 0.0]
    assert [*shares[PERSONAS[1]].values()] == [0.0, 0.0, 0.0, 1.0]
    assert [*shares[PERSONAS[2]].values()] == [0.4, 0.3, 0.2, 0.1]
    assert shares_of({"snapshot_id": None, "error": None}) == EQUAL
