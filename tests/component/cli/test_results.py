"""What results say of facts that were put there by hand, every number counted again here: both arms."""

from datetime import timedelta
from uuid import UUID

import pytest

from shared.admin.results.store import SELECT_DRAWS, SELECT_FACTS
from tests.component.cli.facts import NOW, SHORT, TODAY, WARM, decide, found, told
from tests.component.cli.rig import Cli

# --- the funnel ------------------------------------------------------------------------------------------------------


def test_without_decisions_there_is_nothing_to_say_yet(shop: Cli) -> None:
    text, data = told(shop), found(shop)

    assert "Lift: not enough yet: nothing was delivered in either." in text
    assert "No variant has a delivered send with logged probabilities yet." in text
    assert data["lift"]["outcome"] == "not enough yet"
    assert data["variants"] == []


def test_each_stage_of_both_arms_is_counted_by_itself(shop: Cli) -> None:
    decide(shop, 100, copy_id=WARM, written=80, sent=70, delivered=60, opened=30, clicked=12, unsubscribed=2, spam=1)
    decide(shop, 40, copy_id=SHORT, written=40, sent=40, delivered=39, opened=10, clicked=4)
    decide(shop, 20, sent=18, delivered=17, opened=6, clicked=3, unsubscribed=1)

    funnel = found(shop)["funnel"]

    assert funnel["treatment"] == {
        "assigned": 140, "written": 120, "sent": 110, "delivered": 99, "opened": 40, "clicked": 16, "unsubscribed": 2,
        "spam": 1, "driven_away": 2,
    }  # fmt: skip
    assert funnel["control"] == {
        "assigned": 20, "written": 0, "sent": 18, "delivered": 17, "opened": 6, "clicked": 3, "unsubscribed": 1,
        "spam": 0, "driven_away": 1,
    }  # fmt: skip
    assert "treatment 140 120 110 99 40 16 16.16% 2 1" in told(shop)


def test_two_emails_of_one_decision_count_once_and_a_click_on_either_counts(shop: Cli) -> None:
    [one, *_] = decide(shop, 10, copy_id=WARM, clicked=0)
    shop.rows(
        "INSERT INTO sends SELECT org_id, 'again', profile_id, message_id, flow_id, sent_at + interval '1 day', "
        "day + 1, attribution, generation_id, generation_day, template_id, copy_id, cell, true, false, false, false, "
        "null, 0, 0, null, 1, 0 FROM sends WHERE generation_id = $1",
        one,
    )

    treatment = found(shop)["funnel"]["treatment"]

    assert (treatment["assigned"], treatment["sent"], treatment["delivered"], treatment["clicked"]) == (10, 10, 10, 1)


def test_whoever_was_meant_to_get_our_copy_is_treatment_whatever_they_saw(shop: Cli) -> None:
    decide(shop, 30, copy_id=WARM, written=10, clicked=3)
    decide(shop, 5, reason="field_missing", clicked=1)

    data = found(shop)

    assert (data["funnel"]["treatment"]["delivered"], data["funnel"]["treatment"]["clicked"]) == (35, 4)
    assert data["funnel"]["control"]["assigned"] == 0
    assert data["unlogged"] == 5


def test_what_was_decided_for_everyone_alike_is_in_no_arm(shop: Cli) -> None:
    for reason in ("stopped", "template_draft", "template_archived", "no_approved_variant", "unknown_template"):
        decide(shop, 3, reason=reason)
    decide(shop, 2, reason="control_holdout")

    funnel = found(shop)["funnel"]

    assert funnel["treatment"]["assigned"] == 0
    assert funnel["control"]["assigned"] == 2


def test_previews_are_in_no_arm_even_when_they_were_written_and_sent(shop: Cli) -> None:
    decide(shop, 3, copy_id=WARM)
    shop.rows("ALTER TABLE generations DROP CONSTRAINT IF EXISTS generations_decision_check")
    shop.rows("UPDATE generations SET decision = 'written_preview'")

    data = found(shop)

    assert data["funnel"]["treatment"]["assigned"] == 0
    assert data["variants"] == []


def test_a_control_branch_of_klaviyo_is_counted_by_the_sends_of_its_message(shop: Cli) -> None:
    shop.rows("UPDATE templates SET control_action_id = 'c1'")
    shop.rows(
        "INSERT INTO flow_messages SELECT org_id, 'F', 'Flow', 'live', a, m, m, null, $1 "
        "FROM orgs, (VALUES ('c1', 'CTRL'), ('t1', 'TREAT')) v (a, m)",
        NOW,
    )
    decide(shop, 100, copy_id=WARM, p=(1, 0), clicked=20)
    for message, sends in (("CTRL", 90), ("TREAT", 7)):
        shop.rows(
            "INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered, "
            "bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks) SELECT org_id, "
            "$1 || n, $1 || n, $1, $2, $2::timestamptz::date, 'no_generation', n > 10, n <= 10, n = 11, false, 1, 0, "
            "CASE WHEN n > 80 THEN 1 ELSE 0 END, 0 FROM orgs, generate_series(1, $3::int) n",
            message, NOW - timedelta(hours=3), sends,
        )  # fmt: skip

    data = found(shop, "--control-share", "0.5")

    control = data["funnel"]["control"]
    assert data["external_control"] is True
    assert (control["assigned"], control["sent"], control["delivered"], control["clicked"]) == (0, 90, 80, 10)
    assert control["unsubscribed"] == 1
    assert data["sample_ratio"]["assigned"]["found"] == pytest.approx(90 / 190)
    assert data["sample_ratio"]["delivered"]["found"] == pytest.approx(80 / 180)
    assert data["lift"]["so_far"]["lift"] == pytest.approx(0.2 / 0.125 - 1)
    assert "Control is Klaviyo's own branch" in told(shop)


def test_other_times_templates_and_orgs_are_left_out(shop: Cli) -> None:
    decide(shop, 4, copy_id=WARM, day=TODAY - timedelta(days=3))
    decide(shop, 5, copy_id=WARM, day=TODAY - timedelta(days=2))
    decide(shop, 6, copy_id=WARM, day=TODAY - timedelta(days=1))
    decide(shop, 7, copy_id=WARM, template_id="other", day=TODAY - timedelta(days=2))
    shop.ok("org", "create", "globex", "Globex")
    shop.rows(
        "UPDATE generations SET org_id = (SELECT org_id FROM orgs WHERE slug = 'globex') WHERE template_id = 'other'"
    )

    day = (TODAY - timedelta(days=2)).isoformat()
    only = found(shop, "--since", day, "--until", f"{TODAY - timedelta(days=1)}")

    assert only["funnel"]["treatment"]["assigned"] == 5
    assert found(shop)["funnel"]["treatment"]["assigned"] == 15


def test_only_the_days_asked_for_are_read(shop: Cli) -> None:
    for days in range(40):
        for table in ("generations", "write_outcomes"):
            shop.rows("SELECT ensure_partition($1, $2)", table, TODAY - timedelta(days=days))
    since = NOW - timedelta(days=7)
    arguments: tuple[object, ...] = (
        UUID(int=1), "welcome", since, NOW, TODAY - timedelta(days=8), TODAY + timedelta(days=1), ["control_split"], [],
    )  # fmt: skip

    facts = "\n".join(str(row) for row in shop.rows(f"EXPLAIN {SELECT_FACTS}", *arguments, [since], since.date()))
    draws = "\n".join(str(row) for row in shop.rows(f"EXPLAIN {SELECT_DRAWS}", *arguments))

    old = f"{TODAY - timedelta(days=12):%Y%m%d}"
    recent = f"{TODAY - timedelta(days=3):%Y%m%d}"
    assert f"generations_{recent}" in facts
    assert f"write_outcomes_{recent}" in facts
    assert f"generations_{recent}" in draws
    assert old not in facts
    assert old not in draws


# --- lift ------------------------------------------------------------------------------------------------------------


def test_a_clear_lift_is_said_with_its_interval_and_that_it_may_be_shipped(shop: Cli) -> None:
    decide(shop, 4000, copy_id=WARM, p=(1, 0), clicked=400)
    decide(shop, 4000, clicked=200)

    data, text = found(shop), told(shop)

    lift = data["lift"]
    assert lift["outcome"] == "above control"
    assert (lift["treatment"], lift["control"]) == (0.1, 0.05)
    assert lift["lift"] == pytest.approx(1.0)
    # At 8,000 sends r is 3,416.5, the interval 3.205 standard errors wide to each side, one of which is 0.00586.
    assert lift["difference_within"] == pytest.approx([0.0312, 0.0688], abs=1e-4)
    assert lift["lift_within"][0] > 0.5
    assert "Lift: +100.0%, within" in text
    assert "treatment is above control." in text
    assert "it may be shipped (`state: shipped`)" in text


def test_without_a_clear_lift_it_says_about_how_many_more_sends_it_needs(shop: Cli) -> None:
    decide(shop, 1000, copy_id=WARM, clicked=34)
    decide(shop, 1000, clicked=30)

    lift, text = found(shop)["lift"], told(shop)

    assert lift["outcome"] == "not enough yet"
    assert lift["so_far"]["lift"] == pytest.approx(4 / 30)
    assert 70_000 < lift["more_sends"] < 90_000
    assert f"to show a lift of 15% needs about {lift['more_sends']:,} more sends." in text
    assert "shipped" not in text
    assert found(shop, "--worth", "0.5")["lift"]["more_sends"] < 10_000


def test_a_split_that_is_not_the_planned_one_raises_an_alarm_and_stops_all_advice(shop: Cli) -> None:
    decide(shop, 4000, copy_id=WARM, clicked=400)
    decide(shop, 4000, clicked=200)

    ratio, text = (
        found(shop, "--control-share", "0.4")["sample_ratio"]["assigned"],
        told(shop, "--control-share", "0.4"),
    )

    assert ratio["alarm"] is True
    assert ratio["chi_square"] == pytest.approx((4000 - 3200) ** 2 / (8000 * 0.4 * 0.6))
    assert "ALARM: the split is not what it should be" in text
    assert "it may be shipped" not in text
    assert found(shop, "--control-share", "0.5")["sample_ratio"]["assigned"]["alarm"] is False
    assert "Sample ratio: not checked; say --control-share." in told(shop)


def test_people_who_come_back_count_once_in_the_split_and_widen_the_interval(shop: Cli) -> None:
    """100 people, each ten times: those who click, click every time."""
    decide(shop, 1000, copy_id=WARM, p=(1, 0), clicked=200)
    decide(shop, 1000, clicked=100)
    before = found(shop)
    alone, variant = before["lift"], before["variants"][0]["click_rate"]

    shop.rows(
        "UPDATE generations g SET user_id = g.decision || (r.n - 1) / 10 FROM (SELECT g.generation_id, row_number() "
        "OVER (PARTITION BY g.decision ORDER BY s.human_clicks DESC) AS n FROM generations g "
        "JOIN sends s USING (generation_id)) r WHERE r.generation_id = g.generation_id"
    )
    data = found(shop, "--control-share", "0.2")

    wider = data["lift"]["so_far"]
    narrow, wide = (one["difference_within"][1] - one["difference_within"][0] for one in (alone, wider))
    assert alone["outcome"] == "above control"
    assert wider["difference"] == alone["difference"]
    assert wide / narrow == pytest.approx(10**0.5, rel=1e-6)
    assert data["variants"][0]["click_rate"]["within"][0] < variant["within"][0]
    ratio = data["sample_ratio"]["assigned"]
    assert ratio["chi_square"] == pytest.approx((100 - 40) ** 2 / (200 * 0.2 * 0.8))


def test_control_emails_that_get_lost_more_often_raise_the_alarm_of_delivery(shop: Cli) -> None:
    decide(shop, 2000, copy_id=WARM)
    decide(shop, 2000, delivered=1500)

    ratio = found(shop)["sample_ratio"]["delivered"]

    assert ratio["planned"] == 0.5
    assert ratio["found"] == pytest.approx(1500 / 3500)
    assert ratio["alarm"] is True


def test_segments_are_told_apart_by_the_canonical_value_and_are_honest_about_small_ones(shop: Cli) -> None:
    decide(shop, 2000, copy_id=WARM, cell="city=oslo&tier=gold%2cplus", clicked=400)
    decide(shop, 2000, cell="tier=gold%2cplus", clicked=200)
    decide(shop, 30, copy_id=WARM, cell="tier=iron", clicked=9)
    decide(shop, 30, cell="tier=iron", clicked=0)
    decide(shop, 5, copy_id=WARM, cell="city=oslo")

    segments = found(shop, "--by", "Tier")["segments"]

    assert [(one["value"], one["treatment"], one["control"], one["lift"]["outcome"]) for one in segments] == [
        ("gold,plus", 2000, 2000, "above control"),
        ("iron", 30, 30, "not enough yet"),
        ("(none)", 5, 0, "not enough yet"),
    ]
    assert segments[0]["mostly"] == {"name": "Warm", "share": 1.0}
    assert "iron 30 30 Warm 100% not enough yet: fewer than 10 clicks are to be expected" in told(shop, "--by", "tier")


# --- what was asked wrongly ------------------------------------------------------------------------------------------


def test_an_unknown_template_and_an_empty_time_are_named(shop: Cli) -> None:
    assert shop.line("results", "acme", "nope") == "There is no template 'nope' in acme. Templates: welcome."
    assert "--since" in shop.error("results", "acme", "welcome", "--since", "2026-12-01")
