"""What results say where arms had other shares on other days, and where a span begins long after shipping."""

from datetime import date, timedelta

import pytest

from tests.component.cli.facts import NOW, TODAY, WARM, control_branch, decide, found, sent_by_klaviyo, told
from tests.component.cli.rig import Cli


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_the_control_message_counts_on_days_with_decisions_alone(shop: Cli) -> None:
    """Pooled, what it had been sent for before at 3 % would make treatment a fifth better than it is."""
    control_branch(shop)
    for back in (40, 41):
        sent_by_klaviyo(shop, 3_000, day=days_ago(back), clicked=90)
    for back in (1, 2):
        decide(shop, 1_000, copy_id=WARM, p=(1, 0), day=days_ago(back), clicked=40)
        sent_by_klaviyo(shop, 1_000, day=days_ago(back), clicked=40)

    data, text = found(shop, "--control-share", "0.5"), told(shop)

    control = data["funnel"]["control"]
    assert (control["sent"], control["delivered"], control["clicked"]) == (2_000, 2_000, 80)
    assert data["lift"]["so_far"]["lift"] == pytest.approx(0, abs=1e-9)
    assert (data["uncompared"], data["sample_ratio"]["assigned"]["found"]) == (0, 0.5)
    assert "shipped" not in text


def test_a_worse_season_after_shipping_is_no_loss(shop: Cli) -> None:
    """Of all days together treatment has 2.67 % and control 3.97 %."""
    shop.rows("UPDATE templates SET state = 'shipped', updated_at = $1", NOW - timedelta(days=20))
    decide(shop, 3_000, copy_id=WARM, p=(1, 0), day=days_ago(40), clicked=120)
    decide(shop, 3_000, day=days_ago(40), clicked=120)
    decide(shop, 5_880, copy_id=WARM, p=(1, 0), day=days_ago(5), clicked=117)
    decide(shop, 120, day=days_ago(5), clicked=2)

    data, text = found(shop), told(shop)

    assert data["lift"]["outcome"] == "not enough yet"
    assert data["lift"]["so_far"]["lift"] == pytest.approx(0, abs=0.01)
    assert "archive the template" not in text
    assert "The lift compares day by day; the rates of the table are of all days together." in text


def test_who_is_not_delivered_to_yet_after_shipping_raises_no_alarm(shop: Cli) -> None:
    """Of all assigned 48.6 % are control, of all delivered to a half: too many, if days were not told apart."""
    shop.rows("UPDATE templates SET state = 'shipped', updated_at = $1", NOW - timedelta(hours=20))
    decide(shop, 15_000, copy_id=WARM, p=(1, 0), day=days_ago(2), clicked=1_500)
    decide(shop, 15_000, day=days_ago(2), clicked=1_500)
    decide(shop, 950, copy_id=WARM, p=(1, 0), sent=0)
    decide(shop, 50, sent=0)

    ratios, text = found(shop)["sample_ratio"], told(shop)

    assert ratios["assigned"] is None
    assert (ratios["delivered"]["planned"], ratios["delivered"]["found"]) == (0.5, 0.5)
    assert "ALARM" not in text


def test_days_on_which_one_arm_had_nothing_are_in_the_table_and_not_in_the_lift(shop: Cli) -> None:
    decide(shop, 500, copy_id=WARM, p=(1, 0), day=days_ago(9), clicked=5)
    decide(shop, 1_000, copy_id=WARM, p=(1, 0), day=days_ago(2), clicked=40)
    decide(shop, 1_000, day=days_ago(2), clicked=40)

    data, text = found(shop), told(shop)

    assert data["funnel"]["treatment"]["delivered"] == 1_500
    assert data["uncompared"] == 500
    assert data["lift"]["so_far"]["treatment"] == pytest.approx(0.04)
    assert "500 delivered sends of days on which the other arm had none count in the table, not for the lift." in text


def test_klaviyos_own_branch_is_in_no_segment(shop: Cli) -> None:
    control_branch(shop)
    decide(shop, 300, copy_id=WARM, cell="tier=gold", clicked=30)
    decide(shop, 40, copy_id=WARM, clicked=9)
    sent_by_klaviyo(shop, 900, clicked=20)

    assert shop.line("results", "acme", "welcome", "--by", "tier") == (
        "--by: Klaviyo's own branch does not tell us attrs; they are known of control that we split off "
        "(justai template set --split random)."
    )

    decide(shop, 300, cell="tier=gold", clicked=20)

    segments = found(shop, "--by", "tier")["segments"]
    assert [(one["value"], one["treatment"], one["control"]) for one in segments] == [
        ("gold", 300, 300), ("(none)", 40, 0),
    ]  # fmt: skip


def test_long_after_shipping_the_newest_week_is_still_held_against_the_lift_that_was_shipped(shop: Cli) -> None:
    """What was decided then is not among the last 90 days; what was counted of it is kept."""
    shop.rows("UPDATE templates SET state = 'shipped', updated_at = $1", NOW - timedelta(days=120))
    for control, clicked in ((False, 400), (True, 200)):
        shop.rows(
            "INSERT INTO result_counts (org_id, template_id, attr, day, value, control, external, assigned, written, "
            "sent, delivered, opened, machine_opened, clicked, bot_clicked, unsubscribed, spam, driven_away) "
            "SELECT org_id, 'welcome', '', $1, '', $2, false, 4000, 0, 4000, 4000, 0, 0, $3, 0, 0, 0, 0 FROM orgs",
            days_ago(130), control, clicked,
        )  # fmt: skip
    for back in (86, 3):
        decide(shop, 9_000, copy_id=WARM, p=(1, 0), day=days_ago(back), clicked=450)
        decide(shop, 9_000, day=days_ago(back), clicked=450)

    data, text = found(shop), told(shop)

    # The span begins 90 days back, within week 4 since shipping; week 5 begins 85 days back.
    assert [one["week"] for one in data["weeks"]][:2] == [5, 6]
    assert data["weeks"][-1]["sends"] == 18_000
    assert data["worn_off"] is True
    assert "it is time for other copy" in text
