"""What takes something away says so on a page of its own first, and does it only to who read that."""

import html as text
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from shared.admin.exports import exports
from shared.admin.orgs import content_rules
from shared.admin.templates import settings as template_settings
from shared.admin.templates import templates
from shared.admin.templates import writing as template_writing
from shared.admin.templates.one import OneTemplate
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from tests.component.console.browser import Browser, answer
from tests.support.console import Stage
from tests.support.operations import Facts
from tests.support.templates import WELCOME, do, make_template, read_flows

WARM = {"template_id": "welcome", "variant": "Warm"}
PLACE = {"flow_id": "FLOW01", "treatment_action_id": "70000012"}
SETTINGS = {"name": "Welcome series", **PLACE, "property_prefix": "jai", "send_window": "15"}
CHOICE = {
    "split": "persistent", "control_ratio": "20", "control_share": "0", "repeat": "avoid", "model": "logistic",
    "reward": "click",
}  # fmt: skip


@pytest.fixture
async def ann(stage: Stage, visitor: Browser) -> Browser:
    """An owner; `welcome` is active in its flow, with one approved variant."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await make_template(stage, "acme")
    await read_flows(stage, "acme")
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", **PLACE})
    await do(stage, "acme", variants.approve, {"template_id": "welcome", "variant": "Warm"}, name="Ada")
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "active"})
    return visitor


async def yaml_of(stage: Stage) -> str:
    exported = await do(stage, "acme", template_writing.export, OneTemplate(template_id="welcome"))
    return exported.yaml


async def template(stage: Stage) -> templates.Template:
    return await do(stage, "acme", templates.show, {"template_id": "welcome"})


async def state_of(stage: Stage) -> str:
    return (await do(stage, "acme", variants.show, WARM)).state


async def another_version(stage: Stage, *, submit: bool = False) -> None:
    """Beside the one that is served; into review if it is to be."""
    await do(stage, "acme", variant_saving.save, {**WARM, "subject": "Coffee is on", "body": WELCOME})
    if submit:
        await do(stage, "acme", variants.submit, WARM)


async def audited(stage: Stage) -> list[str]:
    async with stage.db.connection() as connection:
        return [row["operation"] for row in await connection.fetch("SELECT operation FROM audit_log ORDER BY audit_id")]


@pytest.mark.parametrize("path", ["/acme/templates/welcome/file", "/acme/templates/_new/import"])
async def test_a_file_that_leaves_a_variant_out_names_it_before_it_is_archived(
    path: str, stage: Stage, ann: Browser
) -> None:
    without = re.sub(r"(?s)\nvariants:.*", "\nvariants: []\n", await yaml_of(stage))
    without = without.replace("state: active", "state: draft")
    before = await audited(stage)

    asked = await ann.post(path, yaml=without)
    untouched = await template(stage)
    done = await ann.post(path, **answer(asked))

    assert (asked.status, done.status) == (200, 303)
    assert "Nothing is changed yet." in asked.words
    assert "Warm is archived: nobody new gets it." in asked.words
    assert "Welcome series is draft instead of active. People get the control content." in asked.words
    assert [(one.name, one.state) for one in untouched.variants] == [("Warm", "approved")]
    assert [one.state for one in (await template(stage)).variants] == ["archived"]
    assert await audited(stage) == [*before, "templates.import"]


async def test_a_file_that_takes_nothing_away_is_imported_at_once(stage: Stage, ann: Browser) -> None:
    longer = (await yaml_of(stage)).replace("name: Welcome series", "name: Welcome, all of it")

    done = await ann.post("/acme/templates/welcome/file", yaml=longer)

    assert done.status == 303
    assert (await template(stage)).name == "Welcome, all of it"


@pytest.mark.parametrize("path", ["/acme/templates/welcome/file", "/acme/templates/_new/import"])
async def test_a_file_that_knows_nothing_of_a_version_in_review_says_that_it_is_withdrawn(
    path: str, stage: Stage, ann: Browser
) -> None:
    await another_version(stage, submit=True)

    asked = await ann.post(path, yaml=await yaml_of(stage))
    untouched = await state_of(stage)
    done = await ann.post(path, **answer(asked))

    assert (asked.status, done.status) == (200, 303)
    assert "Warm: version 2, in review, is withdrawn." in asked.words
    assert (untouched, await state_of(stage)) == ("live; version 2 in review", "live")


async def test_a_file_whose_changed_text_is_served_at_once_says_so(stage: Stage, ann: Browser) -> None:
    changed = (await yaml_of(stage)).replace("Thanks for joining.", "Thanks for coming.")
    assert "Thanks for coming." in changed

    asked = await ann.post("/acme/templates/welcome/file", yaml=changed)
    untouched = [one.version for one in (await template(stage)).variants]
    done = await ann.post("/acme/templates/welcome/file", **answer(asked))

    assert (asked.status, done.status) == (200, 303)
    assert "Warm: the changed text is served from the next webhook on, in place of version 1." in asked.words
    assert (untouched, [one.version for one in (await template(stage)).variants]) == ([1], [2])


async def test_a_file_that_ends_a_pause_says_so(stage: Stage, ann: Browser) -> None:
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE variants SET state = 'paused'")
    cold = {"name": "Cold", "approved": True, "subject": "Cold coffee", "body": "<p>Cold</p>"}
    content: dict[str, Any] = yaml.safe_load(await yaml_of(stage))
    content["variants"].append(cold)

    asked = await ann.post("/acme/templates/welcome/file", yaml=yaml.safe_dump(content))

    assert "pause ends: it is a draft." in asked.words
    assert "Cold:" not in asked.words
    assert [one.state for one in (await template(stage)).variants] == ["paused"]


@pytest.mark.parametrize("path", ["/acme/templates/welcome/file", "/acme/templates/_new/import"])
async def test_who_cancels_finds_the_file_as_it_was_typed(path: str, stage: Stage, ann: Browser) -> None:
    typed = re.sub(r"(?s)\nvariants:.*", "\nvariants: []\n", await yaml_of(stage))
    typed = typed.replace("state: active", "state: draft")
    asked = await ann.post(path, yaml=typed)

    back = await ann.post(path, **answer(asked, yes=False))
    # What was to be taken away is gone already: there is nothing to ask, and still nothing is done.
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "draft"})
    await do(stage, "acme", variants.archive, WARM)
    later = await ann.post(path, **answer(asked, yes=False))

    for page in (back, later):
        assert page.status == 200
        assert "Nothing is changed yet." not in page.words
        assert text.unescape(page.html).count(typed) == 1
    assert "templates.import" not in (await audited(stage))[1:]


async def test_who_cancels_finds_what_was_typed(stage: Stage, ann: Browser) -> None:
    plan: dict[str, Any] = {"plan": {"kind": "string"}}
    await do(stage, "acme", content_rules.set_attributes, {"definitions": {"attributes": plan}})
    await do(stage, "acme", exports.set_target, {"bucket": "records"})
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation()
    await facts.exported((facts.now - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0))
    hours = {"start": f"{facts.now - timedelta(hours=5):%Y-%m-%dT%H:00}", "end": f"{facts.now:%Y-%m-%dT%H:00}"}
    forms = (
        ("/acme/integration/attributes", {"attributes": "other:\n  kind: list\n"}),
        ("/acme/operations/exports/backfill", hours),
        ("/acme/templates/welcome/settings", {**SETTINGS, "property_prefix": "jai_two"}),
        ("/acme/templates/welcome/control", {"subject": "Typed", "preheader": "", "body": "<p>Typed, too</p>"}),
        ("/acme/templates/welcome/choice", {**CHOICE, "control_ratio": "17"}),
    )

    for path, typed in forms:
        asked = await ann.post(path, **typed)
        back = await ann.post(path, **answer(asked, yes=False))

        assert (asked.status, back.status) == (200, 200)
        assert "Nothing is changed yet." not in back.words
        for value in typed.values():
            assert value in text.unescape(back.html)
    assert (await do(stage, "acme", content_rules.show_attributes, {})).attributes.keys() == {"plan"}


async def test_who_agreed_to_something_else_is_asked_again(stage: Stage, ann: Browser) -> None:
    without = re.sub(r"(?s)\nvariants:.*", "\nvariants: []\n", await yaml_of(stage)).replace(
        "state: active", "state: draft"
    )
    asked = await ann.post("/acme/templates/welcome/file", yaml=without)
    new = {"name": "Cold", "subject": "Cold coffee", "preheader": "Three things to know of it", "body": "<p>Cold</p>"}
    await ann.post("/acme/templates/welcome/variants/_new", **new)

    again = await ann.post("/acme/templates/welcome/file", **answer(asked))

    assert again.status == 200
    assert "Cold is archived" in again.words
    assert len((await template(stage)).variants) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"property_prefix": "jai_two"}, "Copy is written to jai_two_subject"),
        ({"treatment_action_id": "70000015"}, "The JSON body of the Webhook step changes, too"),
    ],
)
async def test_moving_a_live_template_says_that_emails_show_control_until_the_snippet_is_pasted(
    changed: dict[str, str], said: str, stage: Stage, ann: Browser
) -> None:
    asked = await ann.post("/acme/templates/welcome/settings", **{**SETTINGS, **changed})
    before = await template(stage)
    done = await ann.post("/acme/templates/welcome/settings", **answer(asked))

    assert (asked.status, done.status) == (200, 303)
    assert (
        "until the new one is pasted into the Treatment Message, every email shows the control content" in asked.words
    )
    assert said in asked.words
    after = await template(stage)
    [(name, value)] = changed.items()
    assert (getattr(before, name) == value, getattr(after, name)) == (False, value)


async def test_a_draft_is_moved_and_a_live_one_renamed_without_asking(stage: Stage, ann: Browser) -> None:
    renamed = await ann.post("/acme/templates/welcome/settings", **{**SETTINGS, "name": "Hello"})
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "draft"})
    moved = await ann.post("/acme/templates/welcome/settings", **{**SETTINGS, "property_prefix": "jai_two"})

    assert (renamed.status, moved.status) == (303, 303)


async def test_another_split_of_a_live_template_says_who_is_control_and_that_results_may_doubt_it(
    stage: Stage, ann: Browser
) -> None:
    asked = await ann.post("/acme/templates/welcome/choice", **CHOICE)
    before = await template(stage)
    done = await ann.post("/acme/templates/welcome/choice", **answer(asked))

    assert (asked.status, done.status) == (200, 303)
    assert "Until now: Klaviyo splits · nobody is control. Then: Persistent, 20 % control." in asked.words
    assert "they may say that the split is not what was planned" in asked.words
    assert (before.split, (await template(stage)).control_ratio) == ("external", 0.2)


async def test_what_leaves_control_as_it_is_and_a_draft_are_saved_without_asking(stage: Stage, ann: Browser) -> None:
    same = await ann.post(
        "/acme/templates/welcome/choice", **{**CHOICE, "split": "external", "control_ratio": "0", "repeat": "allow"}
    )
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "draft"})
    draft = await ann.post("/acme/templates/welcome/choice", **CHOICE)

    assert (same.status, draft.status) == (303, 303)


async def test_another_holdout_of_a_shipped_template_is_asked_for_too(stage: Stage, ann: Browser) -> None:
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "shipped"})

    asked = await ann.post("/acme/templates/welcome/choice", control_share="5", model="logistic", reward="click")

    assert asked.status == 200
    assert "Then: Klaviyo splits · 5 % holdout." in asked.words
    assert "not what was planned" not in asked.words


async def test_control_content_of_a_live_template_is_asked_for_and_kept_as_it_was_typed(
    stage: Stage, ann: Browser
) -> None:
    typed = {"subject": "Welcome", "preheader": "", "body": "<p>\n  \u201cNew\u201d</p>\n<p>&amp;</p>"}

    asked = await ann.post("/acme/templates/welcome/control", **typed)
    done = await ann.post("/acme/templates/welcome/control", **answer(asked))
    same = await ann.post("/acme/templates/welcome/control", **typed)

    assert (asked.status, done.status, same.status) == (200, 303, 303)
    assert "until the new snippet is pasted into the Treatment Message" in asked.words
    assert (await template(stage)).control_body == typed["body"]


async def test_a_backfill_says_how_many_hours_there_are_and_are_there_already(stage: Stage, ann: Browser) -> None:
    await do(stage, "acme", exports.set_target, {"bucket": "records"})
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation()
    start = facts.now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
    await facts.exported(start)
    await facts.exported(start + timedelta(hours=1))
    path, span = (
        "/acme/operations/exports/backfill",
        {"start": f"{start:%Y-%m-%dT%H:%M}", "end": f"{facts.now:%Y-%m-%dT%H:00}"},
    )

    asked = await ann.post(path, **span)
    astray = await ann.post(path, start=span["end"], end=span["start"])

    assert (asked.status, astray.status) == (200, 422)
    assert "5 hours from" in asked.words
    assert "are exported to s3://records" in asked.words
    assert "2 objects are there already, with 240 rows: overwritten" in asked.words
    assert re.search('class="button danger"[^>]*>Export them', asked.html)
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM export_hours WHERE reason = 'backfill'") == 0


async def test_a_backfill_of_two_tables_counts_hours_and_objects_each_by_its_name(stage: Stage, ann: Browser) -> None:
    await do(stage, "acme", exports.set_target, {"bucket": "records", "tables": ["outcomes"]})
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation()
    hour = facts.now.replace(minute=0, second=0, microsecond=0)
    await facts.exported(hour)
    async with stage.db.connection() as connection:
        await connection.execute(
            "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, state, dirty_seq, exported_seq, rows, "
            "bytes) SELECT org_id, 'outcomes', hour, reason, due_at, state, 1, 1, 30, 100 FROM export_hours"
        )

    span = {"start": f"{hour:%Y-%m-%dT%H:%M}", "end": f"{hour + timedelta(hours=1):%Y-%m-%dT%H:%M}"}
    asked = await ann.post("/acme/operations/exports/backfill", **span)

    assert "is exported to s3://records, each as 2 objects: generations and outcomes." in asked.words
    assert "1 hour from" in asked.words
    assert "2 objects are there already, with 150 rows: overwritten" in asked.words


async def test_a_first_export_takes_nothing_away_and_does_not_look_as_if_it_did(stage: Stage, ann: Browser) -> None:
    await do(stage, "acme", exports.set_target, {"bucket": "records"})
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation()
    end = facts.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    span = {"start": f"{end - timedelta(days=20):%Y-%m-%dT%H:%M}", "end": f"{end:%Y-%m-%dT%H:%M}"}

    asked = await ann.post("/acme/operations/exports/backfill", **span)

    assert re.search("[12] hours? from .* none before the first record", asked.words)
    assert re.search('class="button primary"[^>]*>Export them', asked.html)


async def test_the_end_of_a_backfill_brings_the_month_as_it_is_now(stage: Stage, ann: Browser) -> None:
    await do(stage, "acme", exports.set_target, {"bucket": "records"})
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation()
    hour = facts.now.replace(minute=0, second=0, microsecond=0)
    await facts.exported(hour)
    span = f"from={hour:%Y-%m-%dT%H}&to={hour + timedelta(hours=1):%Y-%m-%dT%H}"

    last = await ann.get(f"/acme/operations/exports/progress?{span}", {"HX-Request": "true"})

    assert "1 of 1 hours exported" in last.words
    assert 'id="month-map"' in last.html
    assert 'hx-swap-oob="true"' in last.html
    assert "exported l" in last.html


async def test_attributes_that_are_left_out_are_named(stage: Stage, ann: Browser) -> None:
    two: dict[str, Any] = {"plan": {"kind": "string"}, "orders": {"kind": "number", "edges": [1]}}
    await do(stage, "acme", content_rules.set_attributes, {"definitions": {"attributes": two}})

    asked = await ann.post("/acme/integration/attributes", attributes="plan:\n  kind: string\n")
    done = await ann.post("/acme/integration/attributes", **answer(asked))
    more = await ann.post("/acme/integration/attributes", attributes="plan:\n  kind: string\nx:\n  kind: list\n")

    assert (asked.status, done.status, more.status) == (200, 303, 303)
    assert "orders is not defined any more: from the next webhook on it is a plain text." in asked.words
    assert "plan is not defined" not in asked.words


async def test_another_bucket_is_taken_once_it_is_ticked(stage: Stage, ann: Browser) -> None:
    await ann.post("/acme/integration/export", bucket="records")

    hourly = await ann.post("/acme/integration/export", bucket="records", cadence="hourly")
    asked = await ann.post("/acme/integration/export", bucket="elsewhere")
    done = await ann.post("/acme/integration/export", bucket="elsewhere", replaces="true")

    assert (hourly.status, asked.status, done.status) == (303, 422, 303)
    assert "must be ticked: later exports go to another place" in asked.words
    assert "Yes, leave s3://records" in asked.words
