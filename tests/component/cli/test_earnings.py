"""Conversions and revenue in results, and other policies valued by them; every number counted again here."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.schemas.conversions import Conversions, stored
from tests.component.cli.facts import NOW, SHORT, TODAY, WARM, control_branch, decide, found, sent_by_klaviyo, told
from tests.component.cli.rig import Cli


@pytest.fixture
def shop(shop: Cli) -> Cli:
    """Its template counts conversions; a send counts as 100 at most."""
    counts(shop, {"revenue_cap": 100})
    return shop


def counts(cli: Cli, policy: dict[str, Any], **defined: Any) -> None:
    cli.rows(
        "UPDATE templates SET conversions = $1::text::jsonb, policy = $2::text::jsonb",
        json.dumps(stored(Conversions(**defined))), json.dumps(policy),
    )  # fmt: skip
    cli.rows("UPDATE templates SET conversions_stale = false")


def order(
    cli: Cli, ids: Sequence[UUID], value: float | None, *, currency: str | None = None, name: str = "o"
) -> None:  # fmt: skip
    """Each of these decisions' emails is followed by an order of this value."""
    cli.rows(
        "INSERT INTO conversions SELECT org_id, 'welcome', $4 || id, $4 || id, 't' || id, $5, $2::float8::numeric, $3 "
        "FROM orgs, unnest($1::uuid[]) id",
        list(ids), value, currency, name, NOW - timedelta(hours=1),
    )  # fmt: skip


def test_where_nothing_is_counted_nothing_is_shown(shop: Cli) -> None:
    shop.rows("UPDATE templates SET conversions = NULL")
    decide(shop, 10, copy_id=WARM)

    assert found(shop)["conversions"] is None
    assert "onversion" not in told(shop)


def test_both_arms_count_converted_decisions_and_what_they_earned_up_to_the_cap(shop: Cli) -> None:
    warm = decide(shop, 1000, copy_id=WARM, delivered=990)
    control = decide(shop, 1000)
    order(shop, warm[:40], 50)
    order(shop, warm[:10], 80, name="second")  # 130, counted as 100
    order(shop, warm[990:], 50, name="bounced")
    order(shop, control[:20], 50)

    said = found(shop)["conversions"]

    assert said["treatment"] == {"delivered": 990, "conversions": 40, "revenue": 10 * 100 + 30 * 50}
    assert said["control"] == {"delivered": 1000, "conversions": 20, "revenue": 1000}
    assert (said["metrics"], said["window_h"], said["revenue_cap"]) == (["Placed Order"], 72, 100)
    assert said["lift"]["so_far"]["lift"] == pytest.approx((40 / 990) / (20 / 1000) - 1)
    assert said["revenue_lift"]["outcome"] == "not enough yet"
    assert said["revenue_lift"]["so_far"]["treatment"] == pytest.approx(2500 / 990)
    assert said["revenue_lift"]["more_sends"] > 0
    text = told(shop)
    assert "Conversions: Placed Order, within 72 h of the newest delivered send." in text
    assert "treatment 990 40 4.04% 2,500.00 2.5253" in text
    assert "Lift of revenue, a send counted as 100 at most: not enough yet: +152.5%" in text


def test_a_clear_difference_in_money_is_said_although_as_many_buy(shop: Cli) -> None:
    warm, control = decide(shop, 6000, copy_id=WARM), decide(shop, 6000)
    order(shop, warm[:300], 90, currency="EUR")
    order(shop, control[:300], 30, currency="EUR")

    said = found(shop)["conversions"]

    assert said["lift"]["outcome"] == "not enough yet"
    assert said["revenue_lift"]["outcome"] == "above control"
    low, high = said["revenue_lift"]["lift_within"]
    assert low < 2 < high
    assert said["revenue_lift"]["treatment"] == pytest.approx(4.5)
    assert "(4.5000 EUR against 1.5000 EUR): treatment is above control." in told(shop)


def test_people_who_come_back_widen_the_interval(shop: Cli) -> None:
    warm, control = decide(shop, 6000, copy_id=WARM), decide(shop, 6000)
    order(shop, warm[:300], 50)
    order(shop, control[:200], 50)
    apart = found(shop)["conversions"]
    shop.rows(
        "UPDATE generations g SET user_id = 'p' || n / 5 || g.decision FROM (SELECT id, n FROM unnest($1::uuid[]) "
        "WITH ORDINALITY u (id, n)) u WHERE u.id = g.generation_id",
        [*warm, *control],
    )

    together = found(shop)["conversions"]

    for name in ("lift", "revenue_lift"):
        narrow, wide = (one[name].get("so_far") or one[name] for one in (apart, together))
        assert wide["difference_within"][0] < narrow["difference_within"][0] - 0.001


def test_money_that_cannot_be_added_up_is_not_shown_and_says_why(shop: Cli) -> None:
    warm = decide(shop, 100, copy_id=WARM)
    order(shop, warm[:5], 50, currency="EUR")
    order(shop, warm[5:10], 50, currency="USD")
    mixed = found(shop)["conversions"]
    counts(shop, {})

    assert mixed["revenue_lift"] == {
        "outcome": "not shown",
        "why": "orders are in EUR, USD: say `conversions.currency` in the template's file",
    }
    assert mixed["treatment"] == {"delivered": 100, "conversions": 10, "revenue": None}
    assert "Lift of revenue: not shown; say `policy.revenue_cap` in the template's file" in told(shop)


def test_a_refunded_order_is_none(shop: Cli) -> None:
    warm = decide(shop, 100, copy_id=WARM)
    order(shop, warm[:5], 50)
    shop.rows(
        "INSERT INTO conversions SELECT org_id, template_id, 'r' || event_id, event_id, transmission_id, at, -50 "
        "FROM conversions ORDER BY event_id LIMIT 2"
    )

    assert found(shop)["conversions"]["treatment"] == {"delivered": 100, "conversions": 3, "revenue": 150}


def test_orders_after_klaviyos_own_control_emails_are_controls(shop: Cli) -> None:
    control_branch(shop)
    decide(shop, 10, copy_id=WARM)
    sent_by_klaviyo(shop, 20, day=TODAY - timedelta(days=30))  # before the template decided anything
    shop.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered, "
        "bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks) SELECT org_id, 'c' || n, "
        "'c' || n, 'CTRL', $1, $1::timestamptz::date, 'no_generation', n > 10, n <= 10, false, false, 0, 0, 0, 0 "
        "FROM orgs, generate_series(1, 90) n",
        NOW - timedelta(hours=3),
    )
    shop.rows(
        "INSERT INTO conversions SELECT org_id, 'welcome', 'o' || n, 'o' || n, 'c' || n, $1, 20, null "
        "FROM orgs, generate_series(11, 17) n", NOW,
    )  # fmt: skip

    assert found(shop)["conversions"]["control"] == {"delivered": 80, "conversions": 7, "revenue": 140}


def test_money_of_a_worse_season_after_shipping_is_no_loss(shop: Cli) -> None:
    for back, treated, controls, orders in ((40, 1000, 1000, (100, 100)), (5, 1960, 40, (98, 2))):
        day = TODAY - timedelta(days=back)
        order(shop, decide(shop, treated, copy_id=WARM, p=(1, 0), day=day)[: orders[0]], 50)
        order(shop, decide(shop, controls, day=day)[: orders[1]], 50)

    said = found(shop)["conversions"]

    assert (said["treatment"]["conversions"], said["control"]["conversions"]) == (198, 102)
    for name in ("lift", "revenue_lift"):
        assert said[name]["outcome"] == "not enough yet"
        assert said[name]["so_far"]["lift"] == pytest.approx(0, abs=1e-9)


def test_a_variants_conversions_are_weighted_like_its_clicks(shop: Cli) -> None:
    order(shop, decide(shop, 900, copy_id=WARM, cell="likes=warm", p=(0.9, 0.1))[:180], 50)
    order(shop, decide(shop, 100, copy_id=WARM, cell="likes=short", p=(0.1, 0.9))[:4], 50)
    decide(shop, 100, copy_id=SHORT, cell="likes=warm", p=(0.9, 0.1))
    decide(shop, 900, copy_id=SHORT, cell="likes=short", p=(0.1, 0.9))

    warm = next(one for one in found(shop)["conversions"]["variants"] if one["name"] == "Warm")

    assert warm["conversions"] == 184
    assert warm["conversion_rate"]["rate"] == pytest.approx((180 / 0.9 + 4 / 0.1) / (900 / 0.9 + 100 / 0.1))


def test_what_people_bought_who_could_not_be_shown_the_variant_they_were_drawn_is_its_own(shop: Cli) -> None:
    order(shop, decide(shop, 700, copy_id=WARM)[:140], 50)
    order(shop, decide(shop, 300, reason="field_missing", drawn=WARM)[:10], 50)
    order(shop, decide(shop, 1000, copy_id=SHORT)[:100], 50)

    warm = next(one for one in found(shop)["conversions"]["variants"] if one["name"] == "Warm")

    assert (warm["conversions"], warm["conversion_rate"]["rate"]) == (150, pytest.approx(0.15))


def test_a_definition_that_is_not_counted_yet_is_said(shop: Cli) -> None:
    counts(shop, {})
    shop.rows("UPDATE templates SET conversions = conversions || '{\"window_h\": 24}'")

    assert found(shop)["conversions"]["counted_anew"] is True
    assert "They are being counted anew" in told(shop)


def test_advice_goes_by_what_the_ranker_is_paid_by(shop: Cli) -> None:
    """Warm is clicked, Short is bought from, and control is clicked most and bought from least."""
    warm, short = decide(shop, 3000, copy_id=WARM, clicked=900), decide(shop, 3000, copy_id=SHORT, clicked=60)
    order(shop, warm[:120], 20)
    order(shop, short[:150], 90)
    order(shop, decide(shop, 6000, clicked=1_500)[:100], 20)
    by_clicks = told(shop)
    counts(shop, {"reward": "revenue", "revenue_cap": 100})
    by_revenue = told(shop)

    assert "Treatment does worse than control: archive the template" in by_clicks
    assert "To archive: 'Short', whose interval lies below that of the best." in by_clicks
    assert "Treatment does better than control in revenue: it may be shipped" in by_revenue
    assert "Ship & Lock keeps 'Short' alone, whose revenue a send is above all others'." in by_revenue
    assert "To archive: 'Warm', whose interval in revenue lies below that of the best." in by_revenue


# --- what if


def what_if(cli: Cli) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cli.ok("what-if", "acme", "welcome", "--policy", "uniform", "--json"))
    return said


def logged(cli: Cli) -> None:
    """Warm is clicked, Short is bought from."""
    order(cli, decide(cli, 1600, copy_id=WARM, p=(0.8, 0.2), clicked=320)[:80], 50)
    order(cli, decide(cli, 400, copy_id=SHORT, p=(0.8, 0.2), clicked=8)[:40], 250)
    order(cli, decide(cli, 50)[:5], 20)


def test_another_policy_is_valued_in_what_the_ranker_is_paid_by(shop: Cli) -> None:
    logged(shop)
    clicks = what_if(shop)
    counts(shop, {"reward": "conversion"})
    orders = what_if(shop)
    counts(shop, {"reward": "revenue", "revenue_cap": 100}, currency="EUR")
    money = what_if(shop)
    text = " ".join(shop.ok("what-if", "acme", "welcome", "--policy", "uniform").split())

    assert (clicks["reward"], clicks["snipw"]) == ("click", pytest.approx((0.2 + 0.02) / 2))
    assert (orders["reward"], orders["snipw"]) == ("conversion", pytest.approx((0.05 + 0.1) / 2))
    assert (orders["logged"], orders["control"]) == (pytest.approx(120 / 2000), pytest.approx(0.1))
    assert money["snipw"] == pytest.approx((80 * 50 / 1600 + 40 * 100 / 400) / 2)
    assert money["logged"] == pytest.approx(8000 / 2000)
    assert money["within"][0] < money["snipw"] < money["within"][1]
    assert "would have earned, a send, 6.2500 EUR, within" in text
    assert "control had 2.0000 EUR, over 50 sends" in text


def test_money_in_several_currencies_is_not_valued(shop: Cli) -> None:
    counts(shop, {"reward": "revenue", "revenue_cap": 100})
    warm = decide(shop, 400, copy_id=WARM)
    order(shop, warm[:5], 50, currency="EUR")
    order(shop, warm[5:10], 50, currency="USD")

    assert "orders are in EUR, USD" in shop.line("what-if", "acme", "welcome", "--policy", "uniform")


# --- the planned share of control


@pytest.mark.parametrize(
    ("split", "planned"),
    [
        ("state = 'active', split = 'persistent', control_ratio = 0.1, control_share = 0.05", 0.05 + 0.95 * 0.1),
        ("state = 'active', split = 'random', control_ratio = 0.5", 0.5),
        ("state = 'active', split = 'external', control_share = 0.05", None),
        ("state = 'shipped', split = 'random', control_ratio = 0.5", None),
    ],
)
def test_the_share_of_control_is_planned_by_the_templates_own_split(
    shop: Cli, split: str, planned: float | None
) -> None:
    shop.rows(f"UPDATE templates SET {split}")
    decide(shop, 100, copy_id=WARM)
    decide(shop, 15)

    assigned, asked = found(shop)["sample_ratio"]["assigned"], found(shop, "--control-share", "0.3")

    assert (assigned and assigned["planned"]) == (planned and pytest.approx(planned))
    assert asked["sample_ratio"]["assigned"]["planned"] == 0.3
