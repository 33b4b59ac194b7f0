"""What needs attention, which reasons are told, and the hours of an export, decided without a page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.console.pages.operations.attention import Observed, attention
from services.console.pages.operations.exports import heat_map, month_of
from services.console.pages.operations.operations import by_reason
from services.console.pages.operations.words import moment_of
from services.console.routes import all_pages
from services.console.web.advice import COMMANDS, RUNBOOKS, advice
from shared.admin.checks.driven_away_store import DrivenAway
from shared.admin.checks.refused_store import RefusedWebhooks
from shared.admin.exports.exported_hours import Hour, Hours
from shared.admin.outcomes.meanings import DECISIONS, WRITES, of_decision, of_write
from shared.admin.outcomes.number import Number, Shows
from shared.admin.outcomes.outcomes import Pause, Writing
from shared.admin.sources.sources import Source
from shared.admin.stops import Stop

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
CALM = Writing(pause=None, blocked_until=None, blocked_reason=None, writes=0, clears=0, first_deadline_at=None)
FINE = Number(
    hours=24, since=NOW - timedelta(hours=24), as_of=None, right=100,
    control_planned=20, control_missed=1, stale=0, unsure=0, replaced=0, pending=0, seen=90,
    rows=[],
)  # fmt: skip
WELL = Observed(
    org_slug="acme", stops=[], refused=[], writing=CALM, number=FINE, sources=[],
    exports=Hours(target=None, hours=[]),
)  # fmt: skip
REFUSED = RefusedWebhooks("FLOW01", "Welcome", "revoked_api_key", 12, NOW - timedelta(minutes=5))


def an_hour(hour: datetime, rows: int, state: str = "exported") -> Hour:
    return Hour.model_validate(
        {"hour": hour, "state": state, "reason": "schedule", "rows": rows, "bytes": 1, "revision": 1,
         "exported_at": hour, "due_at": None, "error": None}
    )  # fmt: skip


def test_nothing_needs_attention_where_all_is_well() -> None:
    assert attention(WELL, NOW) == []


def test_what_is_worst_comes_first() -> None:
    paused = CALM.model_copy(update={"pause": Pause(reason="key_refused", message="401", paused_at=NOW)})
    missed = FINE.model_copy(update={"control_missed": 50})
    stop = Stop(template_id="welcome", stopped_at=NOW, stopped_reason="wrong price")

    found = attention(replace(WELL, stops=[stop], writing=paused, number=missed), NOW)

    assert [one.tone for one in found] == ["bad", "bad", "warn"]
    assert (found[0].path, found[0].link) == ("/acme/templates/welcome", "Template")
    assert (found[1].path, found[1].link) == ("/acme/integration", "Org Integration Settings")
    assert found[0].text == "People get the control content until it is resumed. wrong price."
    assert "66.7 % of emails meant to show our copy did" in found[2].title


def test_a_flow_whose_webhooks_are_refused_needs_attention_while_they_come() -> None:
    over = replace(REFUSED, last_at=NOW - timedelta(hours=2))
    nobodys = replace(REFUSED, flow_id="", flow_name=None)

    [one] = attention(replace(WELL, refused=[REFUSED, over, nobodys]), NOW)

    assert (one.tone, one.title) == ("bad", "Webhooks of Welcome are refused")
    assert one.text == ("12 webhooks within two days, because their X-Api-Key was revoked. Klaviyo skips their people.")
    assert one.path == "/acme/troubleshooting"


def test_a_template_by_which_more_people_leave_than_by_its_control_needs_attention() -> None:
    [one] = attention(replace(WELL, driven_away=[DrivenAway("welcome", "Welcome email", "10.00%, against 0.30%")]), NOW)

    assert (one.tone, one.title) == ("bad", "More people leave by Welcome email than by its control")
    assert one.text.startswith("10.00%, against 0.30%. ")
    assert one.path == "/acme/templates/welcome"


def test_a_source_without_new_files_for_too_long_needs_attention() -> None:
    source = Source(
        source_id=uuid4(), name="events", kind="sftp", place="u@h:22", bucket="", region="", endpoint_url="",
        access_key="", host="h", port=22, username="u", path=".", pattern="*", host_key="k",
        poll_s=60, enabled=True, mapping=None, last_polled_at=NOW, listed=3, ignored=0, last_error=None,
        last_error_at=None,
        refused_at=None, done=3, troubled=0, waiting=0, waiting_since=None, silent_since=NOW - timedelta(hours=60),
        usual_gap_s=86_400,
    )  # fmt: skip

    [one] = attention(replace(WELL, sources=[source]), NOW)

    assert (one.title, one.path) == ("No new file in events for 60 hours", "/acme/operations/sources/events")
    assert "usually come within 24.0 hours of each other" in one.text
    loud = source.model_copy(update={"silent_since": None})
    assert attention(replace(WELL, sources=[loud]), NOW) == []


def test_a_fault_is_said_as_what_it_is() -> None:
    [one] = attention(replace(WELL, number=FINE.model_copy(update={"right": 1000, "stale": 1})), NOW)

    assert (one.tone, one.title) == ("bad", "1 email showed an older copy within 24 hours")


def test_what_is_not_sure_is_named_where_it_is_the_most_frequent() -> None:
    late = Shows(
        template_id="t0", shown="unsure", because="email_left_late", emails=50, seen=50, means="it left late", do=""
    )  # fmt: skip
    number = FINE.model_copy(update={"unsure": 50, "rows": [late]})

    assert [one.text for one in attention(replace(WELL, number=number), NOW)] == ["Most often: it left late."]


def test_reasons_are_told_once_for_all_templates() -> None:
    rows = [
        Shows(template_id=f"t{n}", shown="right", because="written", emails=10 - n, seen=0, means="", do="nothing")
        for n in range(5)
    ]
    late = Shows(template_id="t0", shown="control_missed", because="quota", emails=50, seen=0, means="", do="wait")

    first, second = by_reason([*rows, late])

    assert (first.first.because, first.emails, second.emails) == ("quota", 50, 40)
    assert ([one.template_id for one in second.templates], second.more) == (["t0", "t1", "t2"], 2)


def test_templates_that_are_not_named_are_counted_with_their_reason() -> None:
    rows = [
        Shows(template_id=name, shown="right", because="written", emails=emails, seen=0, templates=templates, means="",
              do="nothing")
        for name, emails, templates in (("", 500, 40), ("t1", 300, 1), ("t2", 200, 1))
    ]  # fmt: skip

    [one] = by_reason(rows)

    assert (one.emails, [named.template_id for named in one.templates], one.more) == (1000, ["t1", "t2"], 40)
    assert one.first.template_id == "t1"


def test_the_heat_map_has_every_hour_of_every_day_so_far() -> None:
    first = month_of("2026-11", NOW)
    hours = [an_hour(first, 0), an_hour(first + timedelta(hours=1), 10), an_hour(first + timedelta(hours=2), 1000)]

    days = heat_map(hours, first, datetime(2026, 12, 1, tzinfo=UTC), NOW)

    assert (len(days), days[0][0].day, days[-1][0].day) == (23, 23, 1)
    assert [cell.look for cell in days[-1][1][:4]] == ["exported l0", "exported l1", "exported l4", "none"]
    assert [cell.look for cell in days[0][1][10:12]] == ["none", "to-come"]


@pytest.mark.parametrize("text", ["", "november", "2026-13", "2026-11-01"])
def test_what_is_no_month_is_this_month(text: str) -> None:
    assert month_of(text, NOW) == datetime(2026, 11, 1, tzinfo=UTC)


def test_advice_leads_to_the_page_that_does_the_same_and_escapes_the_rest() -> None:
    assert advice("`justai quota ORG` <b>", "acme") == '<a href="/acme/operations">Operations</a> &lt;b&gt;'
    assert advice("activate it, in the console or by `justai template state ORG TEMPLATE active`", "acme", "a b") == (
        'activate it, on <a href="/acme/templates/a%20b">the template&#39;s page</a>'
    )
    assert advice("its `/readyz` and `<log>`", "acme") == "its <code>/readyz</code> and <code>&lt;log&gt;</code>"
    assert moment_of("yesterday") is None


def test_nobody_is_sent_to_a_command_line_or_a_file_by_a_page() -> None:
    unforeseen = [of_decision("control", "new_one"), of_write("new_one", None)]
    told = [*DECISIONS.values(), *WRITES.values(), *unforeseen]

    for text in {half for one in told for half in (one.means, one.do)}:
        for template in ("welcome", ""):
            assert "justai " not in (said := advice(text, "acme", template)), said
            assert "docs/" not in said, said


def test_the_pages_that_advice_leads_to_are_there() -> None:
    declared = {one.path for one in all_pages(dev=False) if one.method == "GET"}
    places = [*COMMANDS.values(), *(place for _, place in RUNBOOKS.values()), ("", "/templates")]

    assert {f"/{{org}}{path}" for _, path in places} <= declared
