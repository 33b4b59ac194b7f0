"""Other policies, valued by the log; and how long a test takes."""

import json
from typing import Any

import pytest

from tests.component.cli.facts import SHORT, WARM, decide
from tests.component.cli.rig import Cli

# --- what if ---------------------------------------------------------------------------------------------------------


def logged(cli: Cli) -> None:
    decide(cli, 1600, copy_id=WARM, p=(0.8, 0.2), clicked=160)
    decide(cli, 400, copy_id=SHORT, p=(0.8, 0.2), clicked=80)


def what_if(cli: Cli, policy: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cli.ok("what-if", "acme", "welcome", "--policy", policy, "--json"))
    return said


def test_another_policy_is_valued_from_the_log(shop: Cli) -> None:
    logged(shop)

    said = what_if(shop, "uniform")

    assert said["outcome"] == "estimated"
    assert said["logged"] == pytest.approx(240 / 2000)
    assert said["snipw"] == pytest.approx((160 * 0.5 / 0.8 + 80 * 0.5 / 0.2) / 2000)
    assert said["ipw"] == pytest.approx(0.15)
    assert said["dr"] == pytest.approx(0.15, abs=0.01)
    assert said["ess"] == pytest.approx(2000**2 / (1600 * 0.625**2 + 400 * 2.5**2))
    assert said["within"][0] < 0.15 < said["within"][1]


def test_fixed_shares_and_the_best_variant_are_valued_too(shop: Cli) -> None:
    logged(shop)
    decide(shop, 50, clicked=5)

    short = what_if(shop, "fixed:Short=1")
    best = what_if(shop, "best")
    text = " ".join(shop.ok("what-if", "acme", "welcome", "--policy", "best").split())

    assert short["snipw"] == pytest.approx(0.2)
    assert short["ess"] == pytest.approx(400)
    assert best["shares"] == {"Short": 1.0}
    assert best["snipw"] == pytest.approx(0.2)
    assert "would have had a click rate of 20.00%" in text
    assert "control had 10.00%, over 50 sends" in text


def test_too_few_effective_sends_and_what_could_not_have_been_sent_are_refused_with_the_reason(shop: Cli) -> None:
    decide(shop, 1000, copy_id=WARM, p=(0.9, 0.1), clicked=50)
    decide(shop, 100, copy_id=SHORT, p=(0.9, 0.1), clicked=9)

    few = what_if(shop, "fixed:Short=1.0")
    decide(shop, 4000, copy_id=WARM, p=(1.0, 0.0), clicked=50)
    never = what_if(shop, "fixed:Short=1.0")  # 4,000 of 5,100

    assert few["outcome"] == "not enough yet"
    assert few["why"] == "only 100 effective sends of 1,100 speak of this policy; 300 are needed"
    assert few["more_sends"] == 2200
    assert never["why"].startswith("at 78.4% of the sends none of this policy's variants could have been sent")
    assert "snipw" not in few


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("greedy", "'greedy' is none of uniform, best"),
        ("fixed:", "is none of uniform, best"),
        ("fixed:Cold=1", "there is no variant 'Cold'; variants: Short, Warm"),
        ("fixed:Warm=0.5,Short=0.6", "the shares sum to 1.1, not to 1"),
        ("fixed:Warm=x", "the share of 'Warm' is 'x', not a number from 0 to 1"),
        ("fixed:Warm=0.5,Warm=0.5", "'Warm' is named twice"),
    ],
)
def test_a_policy_that_is_none_is_named(shop: Cli, policy: str, message: str) -> None:
    said = " ".join(shop.error("what-if", "acme", "welcome", "--policy", policy).split())

    assert "--policy" in said
    assert message in said


# --- power -----------------------------------------------------------------------------------------------------------


def test_power_says_how_long_a_test_takes_without_a_database(cli: Cli) -> None:
    said = cli.with_settings(database_url="postgres://nowhere").ok("power", "--rate", "0.03", "--per-day", "1000")
    data = json.loads(cli.ok("power", "--rate", "0.03", "--per-day", "1000", "--json"))

    assert "228,608 sends, 229 days, looked at as often as you like" in said
    assert data["sends_one_look"] == 127_137
    assert "--rate" in cli.error("power", "--rate", "3", "--per-day", "1000")
