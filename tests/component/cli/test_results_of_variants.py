"""What results say of each variant, and of the weeks after shipping."""

from datetime import timedelta

import pytest

from tests.component.cli.facts import NOW, SHORT, TODAY, WARM, decide, found, told
from tests.component.cli.rig import Cli

# --- variants --------------------------------------------------------------------------------------------------------


def test_a_variants_rate_is_weighted_by_the_probabilities_it_was_drawn_with(shop: Cli) -> None:
    """Warm was sent to the people who click: its plain rate is 18.4 %, and for everyone it is 12 %."""
    decide(shop, 900, copy_id=WARM, cell="likes=warm", p=(0.9, 0.1), clicked=180)
    decide(shop, 100, copy_id=SHORT, cell="likes=warm", p=(0.9, 0.1), clicked=20)
    decide(shop, 100, copy_id=WARM, cell="likes=short", p=(0.1, 0.9), clicked=4)
    decide(shop, 900, copy_id=SHORT, cell="likes=short", p=(0.1, 0.9), clicked=36)

    warm = next(one for one in found(shop)["variants"] if one["name"] == "Warm")

    assert (warm["sends"], warm["clicks"], warm["share"]) == (1000, 184, 0.5)
    assert warm["click_rate"]["rate"] == pytest.approx((180 / 0.9 + 4 / 0.1) / (900 / 0.9 + 100 / 0.1))
    assert warm["click_rate"]["ess"] == pytest.approx(2000**2 / (900 / 0.81 + 100 / 0.01))
    low, high = warm["click_rate"]["within"]
    assert low < 0.12 < high
    assert warm["best"] == pytest.approx(0.5, abs=0.02)
    assert warm["drawn_as_logged"] is True


def test_a_clear_leader_may_be_locked_and_what_is_clearly_below_may_be_archived(shop: Cli) -> None:
    decide(shop, 4000, copy_id=WARM, clicked=800)
    decide(shop, 4000, copy_id=SHORT, clicked=200)
    decide(shop, 4000, clicked=200)

    text, data = told(shop), found(shop)

    assert [one["name"] for one in data["variants"]] == ["Warm", "Short"]
    assert data["variants"][0]["best"] > 0.999
    assert "Ship & Lock keeps 'Warm' alone" in text
    assert "To archive: 'Short', whose interval lies below that of the best." in text


@pytest.mark.parametrize("state", ["paused", "archived", "draft"])
def test_what_serves_no_more_is_neither_the_best_nor_to_be_archived(shop: Cli, state: str) -> None:
    """It stays in the table, and what serves is compared among itself: of one there is nothing to compare."""
    decide(shop, 4000, copy_id=WARM, clicked=800)
    decide(shop, 4000, copy_id=SHORT, clicked=200)
    decide(shop, 4000, clicked=200)
    for gone in ("Warm", "Short"):
        shop.rows("UPDATE variants SET state = CASE name WHEN $1 THEN $2 ELSE 'approved' END", gone, state)

        text = told(shop)

        assert [one["name"] for one in found(shop)["variants"]] == ["Warm", "Short"]
        assert "it may be shipped" in text
        assert "Ship & Lock" not in text
        assert "To archive" not in text


def test_only_a_variant_that_serves_is_to_be_paused(shop: Cli) -> None:
    for back in range(5):
        decide(shop, 400, copy_id=WARM, p=(1, 0), day=TODAY - timedelta(days=back), unsubscribed=14)
        decide(shop, 800, day=TODAY - timedelta(days=back), unsubscribed=2)
    assert "Pause 'Warm'" in told(shop)

    shop.rows("UPDATE variants SET state = 'archived' WHERE name = 'Warm'")

    assert "Pause 'Warm'" not in told(shop)


def test_a_variant_that_came_in_a_bad_month_is_not_held_against_a_good_one(shop: Cli) -> None:
    """Both are clicked alike where both could be drawn; before, Warm was alone and everybody clicked."""
    decide(shop, 8000, copy_id=WARM, p=(1, 0), day=TODAY - timedelta(days=40), clicked=1600)
    decide(shop, 4000, copy_id=WARM, clicked=200)
    decide(shop, 4000, copy_id=SHORT, clicked=200)
    decide(shop, 4000, clicked=100)

    rates = {one["name"]: one["click_rate"] for one in found(shop)["variants"]}

    assert rates["Warm"]["within"][0] > rates["Short"]["within"][1]
    text = told(shop)
    assert "it may be shipped" in text
    assert "Ship & Lock" not in text
    assert "To archive" not in text


def test_a_variant_with_few_sends_has_no_rate(shop: Cli) -> None:
    decide(shop, 1000, copy_id=WARM, p=(0.98, 0.02), clicked=50)
    decide(shop, 20, copy_id=SHORT, p=(0.98, 0.02), clicked=3)

    short = next(one for one in found(shop)["variants"] if one["name"] == "Short")

    assert short["click_rate"]["outcome"] == "not enough yet"
    assert short["click_rate"]["more_sends"] == 173  # 10 clicks at 53 in 1,020 are 193 sends
    assert short["best"] is None
    assert "Short 20 2.0% not enough yet fewer than 10 clicks are to be expected of its sends" in told(shop)


def test_draws_that_are_not_what_was_logged_raise_an_alarm(shop: Cli) -> None:
    decide(shop, 600, copy_id=WARM, p=(0.3, 0.7), clicked=60)
    decide(shop, 400, copy_id=SHORT, p=(0.3, 0.7), clicked=40)

    text = told(shop)

    assert "ALARM: 'Warm' was not drawn as often as its logged probabilities say" in text
    assert "Do not ship or archive by these numbers" in text


def test_a_variant_that_cannot_be_rendered_for_some_was_drawn_as_often_as_logged(shop: Cli) -> None:
    """Who could not be shown it belongs to its rate: they are no better or worse for having been drawn it."""
    decide(shop, 3500, copy_id=WARM, clicked=350)
    decide(shop, 1500, reason="field_missing", drawn=WARM, clicked=15)
    decide(shop, 5000, copy_id=SHORT, clicked=400)

    data, text = found(shop), told(shop)

    warm = next(one for one in data["variants"] if one["name"] == "Warm")
    assert (warm["sends"], warm["clicks"], warm["share"]) == (5000, 365, 0.5)
    assert warm["click_rate"]["rate"] == pytest.approx(0.073)
    assert warm["drawn_as_logged"] is True
    assert data["unlogged"] == 0
    assert "ALARM" not in text


def test_a_variant_that_drives_people_away_is_called_out_with_its_numbers(shop: Cli) -> None:
    for days in range(5):
        day = TODAY - timedelta(days=days)
        decide(shop, 400, copy_id=WARM, day=day, unsubscribed=6, spam=8)
        decide(shop, 400, copy_id=SHORT, day=day, unsubscribed=1)
        decide(shop, 400, day=day, unsubscribed=1)

    data, text = found(shop), told(shop)

    guards = {one["name"]: one["guardrail"] for one in data["variants"]}
    assert (guards["Warm"]["verdict"], guards["Warm"]["events"], guards["Warm"]["sends"]) == ("pause", 40, 2000)
    assert guards["Warm"]["other_rate"] == pytest.approx(5 / 2000)
    assert guards["Short"]["verdict"] == "fine"
    assert "Pause 'Warm': 40 unsubscribes and complaints in 2,000 sends (2.00%), against 0.25%" in text


def test_variants_of_one_theme_are_told_together(shop: Cli) -> None:
    shop.rows("UPDATE variants SET theme = 'Warmth' WHERE name = 'Warm'")
    decide(shop, 1000, copy_id=WARM, p=(0.98, 0.02), clicked=50)
    decide(shop, 20, copy_id=SHORT, p=(0.98, 0.02), clicked=3)

    data, text = found(shop)["themes"], told(shop, "--by", "theme")

    assert [(one["theme"], one["delivered"], one["clicks"]) for one in data] == [("Warmth", 1000, 50), (None, 20, 3)]
    assert data[0]["click_rate"]["outcome"] == "estimated"
    assert "Warmth 1 1000 1000 50 98.0% 5.00%" in text
    assert "(none) 1 20 20 3 2.0% not enough yet" in text
    assert "By theme" not in told(shop)
    assert "By theme, 1 comparisons" in told(shop, "--by", "attrs.theme")


# --- after shipping --------------------------------------------------------------------------------------------------


def test_shipping_is_noted_by_itself_and_the_weeks_after_it_show_whether_the_win_lasts(shop: Cli) -> None:
    shipped = NOW - timedelta(days=13)
    shop.rows("UPDATE templates SET state = 'shipped', updated_at = $1", shipped)
    shop.rows("UPDATE templates SET name = 'Other', state = 'shipped', updated_at = $1", NOW)
    decide(shop, 4000, copy_id=WARM, p=(1, 0), day=shipped.date() - timedelta(days=2), clicked=400)
    decide(shop, 4000, day=shipped.date() - timedelta(days=2), clicked=200)
    decide(shop, 4000, copy_id=WARM, p=(1, 0), day=shipped.date(), clicked=390)
    decide(shop, 4000, day=shipped.date(), clicked=200)
    decide(shop, 9000, copy_id=WARM, p=(1, 0), day=shipped.date() + timedelta(days=7), clicked=450)
    decide(shop, 9000, day=shipped.date() + timedelta(days=7), clicked=450)

    data, text = found(shop), told(shop)

    assert data["shipped_at"] == "2026-11-10T14:30:00+00:00"
    assert [(one["week"], one["sends"], one["lift"]["outcome"]) for one in data["weeks"]] == [
        (0, 8000, "above control"),
        (1, 18000, "not enough yet"),
    ]
    assert data["worn_off"] is True
    assert "it is time for other copy" in text
