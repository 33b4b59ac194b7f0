"""The set-up linter's rules, on flows as Klaviyo describes them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.api_keys import mint
from shared.klaviyo.client import Flow, FlowAction, Message
from shared.klaviyo.lint import Prefix, Read, Wanted, lint
from shared.klaviyo.lint_access import Access, OrgKey
from shared.klaviyo.lint_answer import Answer, Outcome
from shared.klaviyo.lint_emails import emails_of
from shared.snippet import Control, earlier_snippet, marker, snippet

PLACE = "jai", marker("welcome", "FLOW01", "3"), Control("Hello", "", "<p>Hello</p>")
SNIPPET, EARLIER = snippet(*PLACE), earlier_snippet(*PLACE)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
API_KEY = "jai_live_" + "k" * 38
ORG_KEY = OrgKey("Klaviyo webhook", "jai_live_…kkkk", may_generate=True, expires_at=None, revoked_at=None)
ACCESS = Access(now=NOW, key=ORG_KEY)
WANTED = Wanted(
    "welcome", "acme", "3", SNIPPET, EARLIER, frozenset({"first_name"}), frozenset({"plan"}), 4.0, 120, ACCESS,
    Prefix("jai"),
)  # fmt: skip
BODY: dict[str, Any] = {
    "template_id": "welcome",
    "user_id": "{{ person.KlaviyoID }}",
    "tracking_id": "{{ person.KlaviyoID }}.FLOW01.3",
    "attrs": {"plan": "{{ person|lookup:'plan' }}"},
    "fields": {"first_name": "{{ person.first_name }}"},
}
WEBHOOK: dict[str, Any] = {
    "url": "https://copy.example/api/generate/acme",
    "headers": {"Content-Type": "application/json", "X-Api-Key": API_KEY},
    "body": json.dumps(BODY),
}
EMAIL: dict[str, Any] = {"subject_line": SNIPPET.subject, "preview_text": SNIPPET.preheader}


def step(action_id: str, kind: str, following: str | None, **data: Any) -> FlowAction:
    return FlowAction(action_id, {"id": action_id, "type": kind, "links": {"next": following}, "data": data})


def flow(
    webhook: dict[str, Any] | None = None,
    email: dict[str, Any] | None = None,
    *,
    minutes: int = 3,
    status: str = "live",
    step_status: str = "live",
    body: str | None = SNIPPET.body,
) -> Read:
    actions = [
        step("1", "send-webhook", "2", message={**WEBHOOK, **(webhook or {})}, status=step_status),
        step("2", "time-delay", "3", unit="minutes", value=minutes),
        step("3", "send-email", None, message={**EMAIL, **(email or {})}, status="live"),
    ]
    return read_of(actions, status=status, bodies={"": body})


def read_of(
    actions: Sequence[FlowAction],
    *,
    status: str = "live",
    listed: Sequence[Message] = (),
    bodies: Mapping[str, str | None],
) -> Read:
    """`bodies`: of each message, by its id."""
    sent = [replace(one, body=bodies[one.message_id]) for one in emails_of(actions[-1], listed)]
    return Read(Flow("FLOW01", "Welcome", status, archived=False), actions, sent)


def said(read: Read, wanted: Wanted = WANTED) -> dict[str, Answer]:
    return {one.rule: one for one in lint(wanted, read)}


def changed(**change: Any) -> dict[str, str]:
    return {"body": json.dumps({**BODY, **change})}


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
    ("read", "says"),
    [
        (
            flow(email={"subject_line": EARLIER.subject, "preview_text": EARLIER.preheader}, body=EARLIER.body),
            "Subject Line, Preview Text, Body: of an earlier release",
        ),
        (flow(body=f"<div>{EARLIER.body}</div>"), "Body: of an earlier release"),
        (flow(email={"subject_line": EARLIER.subject}, body=None), "Subject Line: of"),
    ],
)
def test_a_snippet_of_an_earlier_release_is_guarded_and_a_newer_one_is_said_once(read: Read, says: str) -> None:
    answers = lint(WANTED, read)

    [newer] = [one for one in answers if one.outcome == "warning"]
    assert (newer.rule, newer.outcome) == ("snippet_person", "warning")
    assert newer.found.startswith(says)
    assert "merges two profiles" in newer.found
    assert "all three" in newer.fix
    assert {one.outcome for one in answers if one.rule != newer.rule} <= {"good", "unknown"}


def ab_test(*emails: dict[str, Any]) -> list[FlowAction]:
    """A flow whose email is a test of Klaviyo's between these; the first is the one that is shown."""
    main, *_ = variations = [{"type": "send-email", "data": {"message": one, "status": "live"}} for one in emails]
    test = step("3", "ab-test", None, status="live", main_action=main, current_experiment={"variations": variations})
    return [*flow().actions[:2], test]


def test_every_email_of_an_ab_test_must_hold_the_snippet() -> None:
    """Whichever Klaviyo draws, its clicks count for the variant."""
    ours, fixed = {**EMAIL, "id": "M1", "name": "A"}, {"id": "M2", "name": "B", "subject_line": "Sale"}

    answers = said(read_of(ab_test(ours, fixed), bodies={"M1": SNIPPET.body, "M2": "<p>Sale</p>"}))

    for part in ("subject", "preheader", "body"):
        assert answers[f"snippet_{part}"].outcome == "wrong"
        assert answers[f"snippet_{part}"].found.startswith("In “B”: ")
    assert answers["treatment_message"].outcome == "good"


def test_an_ab_test_is_warned_of_even_where_each_email_holds_the_snippet() -> None:
    ours = [{**EMAIL, "id": f"M{n}", "name": f"{n}"} for n in range(2)]

    answers = said(read_of(ab_test(*ours), bodies={"M0": SNIPPET.body, "M1": SNIPPET.body}))

    assert {rule for rule, one in answers.items() if one.outcome != "good"} == {"one_message"}
    assert answers["one_message"].outcome == "warning"
    assert "2 emails" in answers["one_message"].found


def test_an_email_that_klaviyo_lists_beside_the_steps_definition_is_read_too() -> None:
    listed = [Message("M1", "A", "email", {}), Message("M2", "B", "email", {"name": "B"}), Message("M3", "C", "sms")]

    answers = said(read_of(flow().actions, listed=listed, bodies={"M1": SNIPPET.body, "M2": None}))

    assert answers["snippet_subject"].found == "In “B”: The Subject Line does not hold the snippet."
    assert answers["snippet_body"].outcome == "unknown"
    assert answers["one_message"].outcome == "warning"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (SNIPPET.body, "wrong"),
        (EARLIER.body.replace("'", "&#39;"), "wrong"),
        ("{{ person.jai_body|safe }}", "wrong"),
        (SNIPPET.body.replace("{{ person|lookup:'jai_body'|safe }}", "Hello"), "good"),
        ("Hello {{ person.first_name }}. {% unsubscribe %}", "good"),
        ("{{ person|lookup:'jai2_body' }}", "good"),
    ],
)
def test_a_plain_text_version_that_prints_the_body_is_found(text: str, outcome: Outcome) -> None:
    """There it is the source of HTML."""
    read = flow()

    answer = said(replace(read, sent=[replace(one, text=text) for one in read.sent]))["plain_text"]

    assert answer.outcome == outcome
    assert ("edit the plain-text version" in answer.fix) == (outcome == "wrong")


def test_an_amp_version_is_warned_of_and_what_is_not_there_is_not_spoken_of() -> None:
    read = flow()

    answers = said(replace(read, sent=[replace(one, amp="<html amp4email>") for one in read.sent]))

    assert answers["amp"].outcome == "warning"
    assert not {"amp", "plain_text"} & set(said(read))


BYE = "{% unsubscribe 'Bye' %}"
LEAVING = snippet(*PLACE[:2], Control("Hello", "", f"<p>Hello</p>{{% if person.vip %}}x{{% endif %}}{BYE}"))
WITH_LINK = replace(WANTED, snippet=LEAVING)
FOOTER = "<footer>{% unsubscribe %}</footer>"


@pytest.mark.parametrize(
    ("body", "wanted", "outcome", "says"),
    [
        (LEAVING.body, WITH_LINK, "wrong", "only unsubscribe tag stands in the snippet's control content"),
        (f"<html>{LEAVING.body}</html>".replace("'", "&#39;"), WITH_LINK, "wrong", "only unsubscribe tag"),
        (LEAVING.body.replace("Hello", "Hello, by hand"), WANTED, "wrong", "only unsubscribe tag"),
        (LEAVING.body.replace(BYE, "<a href='{% unsubscribe_link %}'>x</a>"), WANTED, "wrong", ""),
        (LEAVING.body.replace(BYE, "{%manage_preferences%}"), WANTED, "wrong", ""),
        (LEAVING.body.replace(BYE, "{{ organization.unsubscribe_url }}"), WANTED, "wrong", ""),
        (LEAVING.body + FOOTER, WITH_LINK, "good", "outside the snippet"),
        (f"{FOOTER}<br>{SNIPPET.body}", WANTED, "good", "outside the snippet"),
        ("{% if person.vip %}" + SNIPPET.body + FOOTER + "{% endif %}", WANTED, "good", "outside the snippet"),
        (f"{SNIPPET.body}<a href='{{{{ organization.unsubscribe_url }}}}'>x</a>", WANTED, "good", "outside"),
        (SNIPPET.body, WITH_LINK, "good", "Klaviyo adds a link"),
        (None, WITH_LINK, "warning", "The key may not read"),
    ],
)  # fmt: skip
def test_an_unsubscribe_tag_that_no_variant_would_have_is_found(
    body: str | None, wanted: Wanted, outcome: Outcome, says: str
) -> None:
    answer = said(flow(body=body), wanted)["unsubscribe"]

    assert answer.outcome == outcome
    assert says in answer.found
    assert ("footer" in answer.fix) == (outcome != "good")


def test_where_nobody_can_look_and_control_has_no_unsubscribe_tag_nothing_is_said_of_it() -> None:
    assert "unsubscribe" not in said(flow(body=None))


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
