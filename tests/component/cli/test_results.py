"""What results say of facts that were put there by hand, every number counted again here."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from cli.results_store import SELECT_DRAWS, SELECT_FACTS
from tests.component.cli.rig import Cli, settings

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
TODAY = NOW.date()
NAMES = ("Warm", "Short")
WARM, SHORT = (uuid5(UUID(int=1), name) for name in NAMES)


@pytest.fixture
def cli(database_url: str) -> Cli:
    clock = f"scaled:1:{datetime.now(UTC).timestamp()}:{NOW.isoformat()}"
    return Cli(settings(database_url, "amqp://127.0.0.1:1/") | {"JUSTAI_CLOCK": clock})


@pytest.fixture
def shop(acme: Cli) -> Cli:
    """An org with one template of two variants, active."""
    acme.rows(
        "INSERT INTO templates (org_id, template_id, name, state, created_at, updated_at) "
        "SELECT org_id, 'welcome', 'W', 'active', $1, $1 FROM orgs",
        NOW - timedelta(days=60),
    )
    for name, copy_id in zip(NAMES, (WARM, SHORT), strict=True):
        acme.rows(
            "INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at) "
            "SELECT org_id, $1, 'welcome', $2, 'approved', $3, $3 FROM orgs",
            copy_id, name, NOW,
        )  # fmt: skip
    return acme


def decide(
    cli: Cli, assigned: int, *, copy_id: UUID | None = None, reason: str | None = None, day: date = TODAY,
    cell: str = "", p: Sequence[float] = (0.5, 0.5), written: int | None = None, sent: int | None = None,
    delivered: int | None = None, opened: int = 0, clicked: int = 0, unsubscribed: int = 0, spam: int = 0,
    template_id: str = "welcome",
) -> list[UUID]:  # fmt: skip
    """So many generations; of these, in one order, so many are written, sent, … and clicked."""
    at = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    for table in ("generations", "write_outcomes"):
        cli.rows("SELECT ensure_partition($1, $2)", table, day)
    sent = assigned if sent is None else sent
    delivered = sent if delivered is None else delivered
    known = dict(zip((WARM, SHORT), p, strict=True))
    rows = cli.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, "
        "probabilities, propensity) SELECT $1, gen_random_uuid(), org_id, $2, gen_random_uuid()::text, 'u.f.a', $3, "
        "$3, $3, $4, $5, $6, 'jai', 'w.f.a', $7, $8, $9, $10 FROM orgs, generate_series(1, $11::int) n "
        "WHERE slug = 'acme' RETURNING generation_id",
        day, template_id, at, "treatment" if copy_id else "control",
        reason or ("ranked" if copy_id else "control_split"),
        copy_id, cell, [*known] if copy_id else [], [*p] if copy_id else [], known[copy_id] if copy_id else None,
        assigned,
    )  # fmt: skip
    ids = [row["generation_id"] for row in rows]
    cli.rows(
        "INSERT INTO write_outcomes SELECT $1, id, org_id, CASE WHEN n <= $3 THEN 'written' ELSE 'expired' END, NULL, "
        "$4, 1 FROM orgs, unnest($2::uuid[]) WITH ORDINALITY u (id, n) WHERE slug = 'acme'",
        day, ids, (assigned if copy_id else 0) if written is None else written, at,
    )  # fmt: skip
    cli.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, "
        "generation_day, template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, "
        "machine_opens, human_clicks, bot_clicks) SELECT org_id, 't' || id, 'p', $3, $1, 'message', id, $1, $4, $5, "
        "$6, n <= $7, n > $7, n <= $8, n <= $9, CASE WHEN n <= $10 THEN 3 ELSE 0 END, 5, "
        "CASE WHEN n <= $11 THEN 2 ELSE 0 END, 7 FROM orgs, unnest($2::uuid[]) WITH ORDINALITY u (id, n) "
        "WHERE slug = 'acme'",
        day, ids[:sent], at + timedelta(minutes=3), template_id, copy_id, cell, delivered, unsubscribed, spam, opened,
        clicked,
    )  # fmt: skip
    return ids


def found(cli: Cli, *options: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cli.ok("results", "acme", "welcome", "--json", *options))
    return said


def told(cli: Cli, *options: str) -> str:
    return " ".join(cli.ok("results", "acme", "welcome", *options).split())


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

    facts = "\n".join(str(row) for row in shop.rows(f"EXPLAIN {SELECT_FACTS}", *arguments))
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


# --- what was asked wrongly ------------------------------------------------------------------------------------------


def test_an_unknown_template_and_an_empty_time_are_named(shop: Cli) -> None:
    assert shop.line("results", "acme", "nope") == "There is no template 'nope' in acme. Templates: welcome."
    assert "--since" in shop.error("results", "acme", "welcome", "--since", "2026-12-01")


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
