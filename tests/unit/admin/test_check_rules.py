"""What the facts of an org are said to mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.admin.checks.facts import Ended, Facts, Place, Seen, WrongId
from shared.admin.checks.refused_store import RefusedWebhooks
from shared.admin.checks.rules import Item, judge

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
PAGE_SCOPES = frozenset({"profiles:write", "flows:read", "campaigns:read", "metrics:read"})
PLACE = Place("welcome", "active", "FLOW01", "Welcome", "live", 180)
HEALTHY = Facts(
    now=NOW, stopped_at=None, scopes=PAGE_SCOPES, verified_at=NOW, last4="fc8d", keys=1, key_used_at=NOW,
    synced_at=NOW, flows=1, campaigns_synced_at=NOW, campaigns=2, pause=None, places=(PLACE,),
    seen=(Seen("welcome", NOW, 90, 0),),
    ended=(Ended("treatment", "uniform", "written", None, 80), Ended("control", "control_split", None, None, 10)),
)  # fmt: skip


def item(facts: Facts, name: str) -> Item:
    return next(one for one in judge(facts) if one.name == name)


def told(facts: Facts, name: str) -> str:
    return " ".join(f"{one.says} {one.do}" for one in item(facts, name).findings)


def test_an_org_where_all_is_well_has_nothing_to_do() -> None:
    assert {one.name: one.tone for one in judge(HEALTHY)} == {
        "webhook_not_firing": "good", "properties_empty": "good", "wrong_profile_id": "good", "not_showing": "good",
    }  # fmt: skip
    assert [finding.do for one in judge(HEALTHY) for finding in one.findings if finding.do] == []


def test_an_org_without_anything_is_told_what_is_first() -> None:
    empty = replace(
        HEALTHY, scopes=None, last4=None, verified_at=None, keys=0, key_used_at=None, synced_at=None, flows=0,
        places=(), seen=(), ended=(),
    )  # fmt: skip

    assert "There is no API key" in told(empty, "webhook_not_firing")
    assert "Klaviyo is not connected." in told(empty, "properties_empty")
    assert item(empty, "wrong_profile_id").tone == "info"
    assert item(empty, "not_showing").tone == "bad"


@pytest.mark.parametrize(
    ("place", "tone", "says"),
    [
        (replace(PLACE, flow_status="draft"), "bad", "the flow is draft, not live. Set the flow live"),
        (replace(PLACE, delay_s=None), "bad", "holds no webhook of ours"),
        (replace(PLACE, flow_id=None, flow_status=None), "warn", "Template welcome has no flow yet."),
        (replace(PLACE, flow_status=None), "warn", "Refresh Klaviyo Data."),
        (replace(PLACE, template_id="spring"), "warn", "no webhook was seen in the last two days"),
        (replace(PLACE, template_id=None), "info", "no template in service is placed in it"),
    ],
)
def test_each_flow_says_why_its_webhook_does_not_fire(place: Place, tone: str, says: str) -> None:
    facts = replace(HEALTHY, places=(place,))

    assert item(facts, "webhook_not_firing").tone == tone
    assert says in told(facts, "webhook_not_firing")


def test_a_template_id_that_is_none_of_ours_is_quoted() -> None:
    facts = replace(HEALTHY, seen=(*HEALTHY.seen, Seen("welcom", NOW, 7, 7)))

    found = [one for one in item(facts, "webhook_not_firing").findings if one.examples]
    assert [(one.tone, one.examples) for one in found] == [("bad", ("welcom",))]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (replace(HEALTHY, scopes=PAGE_SCOPES - {"profiles:write"}), "lacks the scope Profiles: Write"),
        (replace(HEALTHY, pause="the key was revoked"), "Writing is paused: the key was revoked."),
        (replace(HEALTHY, stopped_at=NOW), "The org is stopped"),
        (
            replace(HEALTHY, ended=(Ended("treatment", "uniform", "expired", "quota", 30),)),
            "Missed their deadline: 30, most because Klaviyo's quota",
        ),
        (replace(HEALTHY, places=(replace(PLACE, delay_s=0),)), "no Time Delay between the webhook and the email"),
        (replace(HEALTHY, ended=(Ended("treatment", "uniform", "rejected", "body_too_large", 2),)), "shorter copy"),
    ],
)
def test_empty_properties_have_their_reason_and_its_remedy(facts: Facts, says: str) -> None:
    assert item(facts, "properties_empty").tone == "bad"
    assert says.lower() in told(facts, "properties_empty").lower()


def test_a_delay_shorter_than_the_set_up_page_asks_for_is_a_warning() -> None:
    facts = replace(HEALTHY, places=(replace(PLACE, delay_s=60),))

    assert item(facts, "properties_empty").tone == "warn"
    assert "Make the Time Delay 2–5 minutes" in told(facts, "properties_empty")


def test_control_by_plan_is_no_finding_and_control_for_want_of_a_field_is_one() -> None:
    facts = replace(HEALTHY, ended=(*HEALTHY.ended, Ended("control", "field_missing", "cleared", None, 4)))

    assert "control_split" not in told(HEALTHY, "properties_empty")
    assert "Got the control content: 4" in told(facts, "properties_empty")


def test_wrong_ids_are_shown_with_what_to_paste_instead() -> None:
    wrong = WrongId("{{ person.id }}", "welcome", NOW, "profile_id_invalid")
    facts = replace(HEALTHY, wrong_ids=(wrong, replace(wrong, user_id="01GONE", reason="profile_not_found")))

    [invalid, gone] = item(facts, "wrong_profile_id").findings
    assert (invalid.tone, invalid.examples) == ("bad", ("{{ person.id }} (template welcome)",))
    assert "{{ person.KlaviyoID }}" in invalid.do
    assert (gone.tone, gone.examples) == ("warn", ("01GONE (template welcome)",))


def test_a_wait_of_which_nobody_knows_the_end_asks_for_the_templates_own() -> None:
    [finding] = [
        one
        for one in item(replace(HEALTHY, places=(replace(PLACE, unsaid=True),)), "properties_empty").findings
        if one.see == "templates.set"
    ]

    assert finding.tone == "warn"
    assert "waits for a date or for goods" in finding.says
    assert "longest" in finding.do


def test_a_delay_that_was_changed_of_late_is_told_with_its_moment() -> None:
    def changes(ago: timedelta) -> list[datetime | None]:
        facts = replace(HEALTHY, places=(replace(PLACE, delay_changed_at=NOW - ago),))
        return [one.at for one in item(facts, "properties_empty").findings if "another Time Delay" in one.says]

    assert changes(timedelta(hours=3)) == [NOW - timedelta(hours=3)]
    assert changes(timedelta(days=3)) == []


def test_flows_that_could_not_be_read_are_told_with_the_reason() -> None:
    facts = replace(HEALTHY, flows_problem="the key is not accepted")

    assert "Flows could not be read when that was tried last: the key is not accepted." in told(facts, "not_showing")


def test_flows_that_were_read_long_ago_are_to_be_refreshed() -> None:
    facts = replace(HEALTHY, synced_at=NOW - timedelta(days=8))

    assert item(facts, "not_showing").tone == "warn"
    assert "lacks the scope Campaigns: Read" in told(replace(HEALTHY, scopes=frozenset({"flows:read"})), "not_showing")


def test_both_kinds_are_told_with_their_last_reading_and_count() -> None:
    both = told(HEALTHY, "not_showing")
    never = replace(HEALTHY, campaigns_synced_at=None, campaigns=0)
    refused = replace(HEALTHY, campaigns_problem="Klaviyo answered 500")
    none = replace(HEALTHY, campaigns=0)
    no_flow = replace(HEALTHY, flows=0)
    old = replace(HEALTHY, campaigns_synced_at=NOW - timedelta(days=8))

    assert "1 flow with an email known, read" in both
    assert "2 campaigns with an email known, read" in both
    assert "Campaigns were never read from the account. Refresh Klaviyo Data." in told(never, "not_showing")
    assert "Campaigns could not be read when that was tried last: Klaviyo answered 500." in told(refused, "not_showing")
    assert "0 campaigns with an email known" in told(none, "not_showing")
    assert "The account has no flow with an email" in told(no_flow, "not_showing")
    assert [item(one, "not_showing").tone for one in (never, refused, none, no_flow, old)] == [
        "warn", "warn", "good", "bad", "warn",
    ]  # fmt: skip


REFUSED = RefusedWebhooks("FLOW01", "Welcome", "unknown_api_key", 12, NOW - timedelta(minutes=5))


@pytest.mark.parametrize(
    ("refused", "let_in_at", "tone", "says"),
    [
        (REFUSED, NOW - timedelta(hours=1), "bad", "Flow 'Welcome': 12 webhooks refused, because their X-Api-Key"),
        (REFUSED, NOW, "warn", "others were let in since"),
        (replace(REFUSED, last_at=NOW - timedelta(hours=2)), NOW, "info", "others were let in since"),
        (replace(REFUSED, flow_id="", flow_name=None), NOW, "warn", "Requests that name no flow of this org: 12"),
        (replace(REFUSED, code="missing_user_id", webhooks=1), NOW, "warn", "1 webhook refused, because user_id is"),
    ],
)
def test_webhooks_that_were_refused_are_told_with_why_and_whether_that_is_over(
    refused: RefusedWebhooks, let_in_at: datetime, tone: str, says: str
) -> None:
    """Some minutes of a mistake that was put right an hour ago are no trouble any more."""
    facts = replace(HEALTHY, refused=(refused,), seen=(Seen("welcome", let_in_at, 90, 0),))

    found = item(facts, "webhook_not_firing")

    assert max((one.tone for one in found.findings), key=["good", "info", "warn", "bad"].index) == found.tone
    assert found.tone == tone
    assert says in told(facts, "webhook_not_firing")
    [finding] = [one for one in found.findings if "refused" in one.says]
    assert finding.at == refused.last_at
    assert finding.do


@pytest.mark.parametrize("code", ["missing_user_id", "invalid_user_id", "unrendered_tag"])
def test_an_id_that_the_gateway_refused_is_a_wrong_profile_id(code: str) -> None:
    before = (Seen("welcome", NOW - timedelta(hours=1), 90, 0),)
    facts = replace(HEALTHY, refused=(replace(REFUSED, code=code),), seen=before)

    assert item(facts, "wrong_profile_id").tone == "bad"
    assert "Flow 'Welcome': 12 webhooks refused" in told(facts, "wrong_profile_id")
    assert "None of the newest" not in told(facts, "wrong_profile_id")
    assert item(replace(facts, refused=(REFUSED,)), "wrong_profile_id").tone == "good"


def test_the_key_that_a_refusal_is_about_is_found_among_the_api_keys() -> None:
    facts = replace(HEALTHY, refused=(REFUSED, replace(REFUSED, code="not_json")))

    seen = [one.see for one in item(facts, "webhook_not_firing").findings if "refused" in one.says]

    assert seen == ["keys.list", "templates.webhook"]
