"""The set-up linter's rules, on flows as Klaviyo describes them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.api_keys import mint
from shared.klaviyo.client import FlowAction
from shared.klaviyo.lint import Prefix, Read, lint
from shared.klaviyo.lint_access import Access, OrgKey
from shared.klaviyo.lint_answer import Outcome
from tests.unit.klaviyo.given import (
    ACCESS,
    API_KEY,
    EMAIL,
    NOW,
    ORG_KEY,
    SNIPPET,
    WANTED,
    WEBHOOK,
    changed,
    flow,
    said,
    step,
)


def test_a_flow_that_was_set_up_as_told_has_nothing_wrong() -> None:
    answers = lint(WANTED, flow())

    assert {one.outcome for one in answers} == {"good"}
    assert len(answers) == 15
    assert [one.fix for one in answers if one.fix] == []


@pytest.mark.parametrize(
    ("read", "rule", "outcome"),
    [
        (flow(status="draft"), "flow_live", "wrong"),
        (flow(step_status="draft"), "webhook_live", "wrong"),
        (flow(step_status="manual"), "webhook_live", "warning"),
        (flow({"url": "https://copy.example/api/generate/other"}), "webhook_url", "wrong"),
        (flow({"url": "http://copy.example/api/generate/acme"}), "webhook_url", "warning"),
        (flow({"headers": {"Content-Type": "application/json"}}), "webhook_headers", "wrong"),
        (flow({"headers": {**WEBHOOK["headers"], "X-Api-Key": "<JUSTAI_API_KEY>"}}), "webhook_headers", "wrong"),
        (flow({"headers": {"x-api-key": "k", "content-type": "application/json"}}), "webhook_headers", "good"),
        (flow({"body": "{"}), "webhook_body", "wrong"),
        (flow({"body": "[]"}), "webhook_body", "wrong"),
        (flow(changed(template_id="other")), "webhook_body", "wrong"),
        (flow(changed(user_id="{{ person.id }}")), "profile_id", "wrong"),
        (flow(changed(tracking_id="{{ person.KlaviyoID }}.FLOW01.4")), "webhook_body", "wrong"),
        (flow(changed(fields={}, attrs={"first_name": "x"})), "attrs_and_fields", "wrong"),
        (flow(changed(fields={})), "attrs_and_fields", "warning"),
        (flow(changed(attrs={}, fields={"first_name": "x", "plan": "y"})), "attrs_and_fields", "warning"),
        (flow(changed(attrs={"email": "x"})), "attrs_and_fields", "warning"),
        (flow(minutes=0), "delay", "wrong"),
        (flow(body=None), "snippet_body", "unknown"),
        (flow(body="<p>Other</p>"), "snippet_body", "wrong"),
        (flow(body="{{ person|lookup:'jai_body'|safe }}"), "snippet_body", "warning"),
        (flow(body="<div>" + SNIPPET.body.replace("'", "&#39;") + "\n</div>"), "snippet_body", "good"),
        (flow(email={"subject_line": "Hello"}), "snippet_subject", "wrong"),
        (flow(email={"preview_text": ""}), "snippet_preheader", "wrong"),
    ],
)  # fmt: skip
def test_each_mistake_is_found_with_its_fix(read: Read, rule: str, outcome: Outcome) -> None:
    answer = said(read)[rule]

    assert answer.outcome == outcome
    assert bool(answer.fix) == (outcome != "good")


@pytest.mark.parametrize(
    ("trigger", "first_name", "warned"),
    [
        ("Metric", "{{ event.first_name|escapejs }}", True),
        ("Metric", "{% if event.first_name %}x{% endif %}", True),
        ("Metric", "{{ person.first_name }}", False),
        ("Metric", "{{ person|lookup:'last_events' }}", False),
        ("Added to List", "{{ event.first_name }}", False),
        ("", "{{ event.first_name }}", False),
    ],
)
def test_copy_that_prints_an_event_is_warned_of_who_enters_twice(trigger: str, first_name: str, warned: bool) -> None:
    read = flow(changed(fields={"first_name": first_name, "unused": "{{ event.value }}"}))
    assert read.flow is not None

    answers = said(replace(read, flow=replace(read.flow, trigger=trigger)))

    assert ("entered_twice" in answers) == warned
    if warned:
        assert answers["entered_twice"].outcome == "warning"
        assert "prints first_name of it" in answers["entered_twice"].found


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        (Prefix("jai", ["Sale"]), "“Sale” has jai_… too"),
        (Prefix("jai", ["Sale", "Cart"]), "“Sale”, “Cart” have jai_… too"),
        (Prefix("jai", ["Sale"], elsewhere=True), "Another org writes to jai_…"),
    ],
)
def test_a_prefix_that_others_have_is_warned_of(prefix: Prefix, says: str) -> None:
    answer = said(flow(), replace(WANTED, prefix=prefix))["prefix"]

    assert answer.outcome == "warning"
    assert answer.found.startswith(says)
    assert answer.fix


def test_a_webhook_after_the_email_or_none_is_told_apart() -> None:
    read = flow()
    email, hook = (
        step("3", "send-email", "1", message=EMAIL, status="live"),
        step("1", "send-webhook", None, message=WEBHOOK),
    )

    after = said(replace(read, actions=[email, hook]))["webhook_before_email"]
    none = said(replace(read, actions=[email]))["webhook_before_email"]

    assert (after.outcome, none.outcome) == ("wrong", "wrong")
    assert "Move" in after.fix
    assert "Add a Webhook step" in none.fix


@pytest.mark.parametrize(
    ("waiting", "own_s", "outcome", "says"),
    [
        (step("2", "time-delay", "3", unit="days", value=2, delay_until_time="09:00"), None, "good", "1 day to 3 days"),
        (step("2", "time-delay", "3", unit="days", value=1, delay_until_time="09:00"), None, "warning", "up to 2 days"),
        (step("2", "time-delay", "3", unit="days", value=0, delay_until_time="09:00"), 600, "warning", "up to 1 day"),
        (step("2", "target-date", "3"), None, "warning", "set Time Delay to the longest"),
        (step("2", "target-date", "3"), 604_800, "good", "Time Delay of 7 days counts"),
    ],
)
def test_a_delay_that_is_no_plain_span_is_said_as_it_is(
    waiting: FlowAction, own_s: int | None, outcome: Outcome, says: str
) -> None:
    read = flow()
    read = replace(read, actions=[read.actions[0], waiting, read.actions[2]])

    answer = said(read, replace(WANTED, delay_s=own_s))["delay"]

    assert answer.outcome == outcome
    assert says in f"{answer.found} {answer.fix}"


def test_the_delay_is_judged_by_what_was_measured() -> None:
    slow = replace(WANTED, p99_s=200.0, recommended_delay_s=300)

    assert said(flow(minutes=3), slow)["delay"].fix == "Set the Time Delay to 5 minutes."
    assert said(flow(minutes=5), slow)["delay"].outcome == "good"
    assert said(flow(minutes=1), replace(WANTED, p99_s=None, recommended_delay_s=None))["delay"].outcome == "wrong"


def test_a_flow_or_message_that_is_gone_is_all_that_is_said() -> None:
    assert [one.rule for one in lint(WANTED, Read(None, [], []))] == ["flow_live"]
    gone = said(replace(flow(), actions=flow().actions[:2]))
    assert gone["treatment_message"].outcome == "wrong"
    assert "webhook_url" not in gone


def with_key(key: str) -> Read:
    return flow({"headers": {**WEBHOOK["headers"], "X-Api-Key": key}})


@pytest.mark.parametrize(
    ("key", "outcome", "says"),
    [
        (ORG_KEY, "good", "“Klaviyo webhook” (jai_live_…kkkk) is this org's, and may generate."),
        (None, "wrong", "X-Api-Key is no JustAI key: cut short, mistyped or another one's. Each webhook is refused"),
        (replace(ORG_KEY, revoked_at=NOW - timedelta(hours=3)), "wrong", "was revoked 3 hours ago."),
        (replace(ORG_KEY, expires_at=NOW - timedelta(days=2)), "wrong", "expired 2 days ago."),
        (replace(ORG_KEY, may_generate=False), "wrong", "may not generate, so each webhook is refused."),
        (replace(ORG_KEY, expires_at=NOW + timedelta(days=5, hours=3)), "warning", "ends in 5 days;"),
        (replace(ORG_KEY, expires_at=NOW + timedelta(days=30)), "good", "is this org's"),
    ],
)
def test_a_key_that_does_not_let_the_webhook_in_is_found(key: OrgKey | None, outcome: Outcome, says: str) -> None:
    answer = said(flow(), replace(WANTED, access=replace(ACCESS, key=key)))["webhook_api_key"]

    assert answer.outcome == outcome
    assert says in answer.found
    assert bool(answer.fix) == (outcome != "good")


def test_a_key_of_another_org_is_told_from_what_is_no_key() -> None:
    foreign = mint(lambda size: bytes(size))

    answer = said(with_key(foreign), replace(WANTED, access=Access(now=NOW)))["webhook_api_key"]

    assert answer.outcome == "wrong"
    assert "X-Api-Key is no key of this org." in answer.found


LET_IN = Access(now=NOW, let_in_at=NOW - timedelta(minutes=7))
REFUSED = Access(now=NOW, refused_at=NOW - timedelta(minutes=2), code="revoked_api_key", refused=12)
BY_BODY = replace(REFUSED, code="not_json")


@pytest.mark.parametrize("key", ["jai_live_••••••••4f2a", "********", "ab" * 32, "[REDACTED]", "jai_..."])
@pytest.mark.parametrize(
    ("access", "outcome", "says"),
    [
        (Access(now=NOW), "unknown", "Klaviyo does not show it, and no webhook has come that would tell."),
        (LET_IN, "good", "Klaviyo does not show it; a webhook was let in 7 minutes ago."),
        (REFUSED, "wrong", "webhooks were refused because their X-Api-Key was revoked."),
        (replace(REFUSED, let_in_at=NOW), "good", "a webhook was let in within the last minute."),
        (BY_BODY, "good", "it was accepted, and the webhook refused for another reason."),
    ],
)
def test_where_klaviyo_hides_the_key_the_webhooks_that_came_tell(
    key: str, access: Access, outcome: Outcome, says: str
) -> None:
    answer = said(with_key(key), replace(WANTED, access=access))["webhook_api_key"]

    assert answer.outcome == outcome
    assert says in answer.found
    assert bool(answer.fix) == (outcome != "good")


def test_a_webhook_that_came_before_the_step_was_changed_says_nothing_of_the_key_that_is_hidden_now() -> None:
    read = with_key("********")
    webhook, *others = read.actions

    for minutes, outcome in ((10, "good"), (1, "unknown")):
        changed = replace(webhook, updated_at=NOW - timedelta(minutes=minutes))
        answer = said(replace(read, actions=[changed, *others]), replace(WANTED, access=LET_IN))["webhook_api_key"]
        assert answer.outcome == outcome


def test_refusals_from_before_the_step_was_changed_hold_nobody_up() -> None:
    """Who has put the key right is not told that it is wrong until the next person comes."""
    read, refused = flow(), replace(WANTED, access=replace(REFUSED, key=ORG_KEY))
    webhook, *others = read.actions
    put_right = replace(read, actions=[replace(webhook, updated_at=NOW), *others])

    assert said(read, refused)["webhooks_let_in"].outcome == "wrong"
    answer = said(put_right, refused)["webhooks_let_in"]
    assert answer.outcome == "unknown"
    assert "the step was changed since" in answer.found


def test_a_key_may_come_as_a_bearer_as_the_gateway_takes_it() -> None:
    read = flow({"headers": {"Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}"}})

    assert said(read)["webhook_headers"].outcome == "good"
    assert said(read)["webhook_api_key"].outcome == "good"


@pytest.mark.parametrize(
    ("access", "outcome", "says"),
    [
        (LET_IN, "good", "The last one came 7 minutes ago."),
        (
            BY_BODY,
            "wrong",
            "12 webhooks of this flow refused within two days, the last 2 minutes ago, because their body",
        ),
        (replace(BY_BODY, refused=1), "wrong", "1 webhook of this flow refused"),
        (replace(BY_BODY, let_in_at=NOW), "warning", "since then one was let in, within the last minute."),
        (replace(BY_BODY, let_in_at=NOW - timedelta(hours=1)), "wrong", "Klaviyo skipped these people."),
    ],
)
def test_what_became_of_the_flows_webhooks_is_told(access: Access, outcome: Outcome, says: str) -> None:
    answer = said(flow(), replace(WANTED, access=replace(access, key=ORG_KEY)))["webhooks_let_in"]

    assert answer.outcome == outcome
    assert says in answer.found
    assert bool(answer.fix) == (outcome != "good")


def test_no_answer_shows_the_key() -> None:
    for key in (API_KEY, "sk_of_somebody_else", mint(lambda size: bytes(size))):
        for access in (ACCESS, Access(now=NOW), REFUSED):
            assert key not in str(lint(replace(WANTED, access=access), with_key(key)))
