"""Pages of templates: their roles' buttons, what is refused, and other orgs' ids."""

import re

from shared.admin.templates import settings as template_settings
from shared.admin.templates import templates
from shared.admin.templates.one import OneTemplate
from tests.component.console.browser import Browser, answer
from tests.support.console import Stage
from tests.support.templates import do, make_template, read_flows

NEW = {"name": "Welcome", "template_id": "welcome", "subject": "Hello", "body": "<p>Hello</p>"}


async def ann(stage: Stage, visitor: Browser, role: str = "owner") -> None:
    await visitor.sign_in(await stage.person("Ann", acme=role))  # type: ignore[arg-type]  # a role


async def test_a_template_that_is_there_is_not_made_again(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)

    made = await visitor.post("/acme/templates/_new", **NEW)
    again = await visitor.post("/acme/templates/_new", **{**NEW, "name": "Another"})
    wrong = await visitor.post("/acme/templates/_new", **{**NEW, "template_id": "a b", "body": "{% if %}"})

    assert (made.status, made.location) == (303, "/acme/templates/welcome/settings")
    assert again.status == 422
    assert "Template id there is a template" in again.words
    assert 'value="Another"' in again.html
    assert "must be an id" in wrong.words
    assert "Body (HTML) cannot stand in" in wrong.words


async def test_a_file_makes_a_template_and_says_what_is_wrong_with_it(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme", review=True)
    exported = (await visitor.get("/acme/templates/welcome/file.yaml")).html

    asked = await visitor.post("/acme/templates/welcome/file", yaml=exported)
    same = await visitor.post("/acme/templates/welcome/file", **answer(asked))
    other = await visitor.post("/acme/templates/_new/import", yaml=exported.replace("id: welcome", "id: w2"))
    misplaced = await visitor.post("/acme/templates/welcome/file", yaml=exported.replace("id: welcome", "id: w3"))
    broken = await visitor.post("/acme/templates/_new/import", yaml="a: [")
    copy = (await visitor.get("/acme/templates/w2/file.yaml")).html

    assert "version 2, in review, is withdrawn" in asked.words
    assert (same.status, other.status) == (303, 303)
    assert "must say template_id: welcome" in misplaced.words
    assert (broken.status, "is no YAML" in broken.words) == (422, True)
    assert copy == exported.replace("id: welcome", "id: w2")
    assert (await visitor.get("/acme/templates/welcome")).words.count("version 2") == 0  # the file withdrew it


async def test_another_orgs_template_is_not_there(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    copy_id = await make_template(stage, "other")
    await make_template(stage, "acme", "mine")
    base = "/acme/templates/welcome"

    statuses = {
        path: (await visitor.get(path)).status
        for path in (base, f"{base}/settings", f"{base}/check", f"{base}/file.yaml", f"{base}/preview",
                     f"{base}/variants/{copy_id}", f"{base}/variants/{copy_id}/email",
                     f"/acme/templates/mine/variants/{copy_id}", f"/acme/templates/mine/variants/{copy_id}/email")
    }  # fmt: skip
    posted = {
        step: (await visitor.post(f"{base}/{step}", state="archived", subject="x", body="x", name="x")).status
        for step in ("state", "stop", "resume", "settings", "control", "try", f"variants/{copy_id}/archive")
    }

    assert set(statuses.values()) == {404}
    assert set(posted.values()) == {404}
    async with stage.db.connection() as connection:
        rows = await connection.fetch("SELECT state, stopped_at FROM templates WHERE template_id = 'welcome'")
    assert [tuple(row) for row in rows] == [("draft", None)]


async def test_a_template_leads_to_what_is_left_to_do_and_then_to_its_results(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")
    draft = (await visitor.get("/acme/templates/welcome")).html
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE templates SET state = 'active'")

    active = (await visitor.get("/acme/templates/welcome")).html
    results = (await visitor.get("/acme/results/welcome")).html

    assert '<a href="#life">Make the template active</a>' in draft
    assert '<a href="/acme/templates/welcome/settings">Select the flow and its Treatment Message</a>' in draft
    assert 'href="/acme/results/welcome"' not in draft
    assert 'href="/acme/results/welcome"' in active
    assert 'href="/acme/templates/welcome"' in results


async def test_who_may_only_look_sees_no_button_that_changes(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor, "viewer")
    copy_id = await make_template(stage, "acme", review=True)
    paths = ("", "/settings", "/file", f"/variants/{copy_id}")

    pages = [(await visitor.get(f"/acme/templates/welcome{path}")).html for path in paths]
    pages += [(await visitor.get("/acme/review")).html, (await visitor.get("/acme/templates")).html]

    buttons = ("Save changes", "Save as a draft", "Import the changes", "Refresh Klaviyo Data", "Stop…", "Approve…",
               "Activate…", "Archive…", "New variant", "New template", "Save the control content")  # fmt: skip
    assert [
        button for button in buttons for html in pages if button in html.replace("click “Refresh Klaviyo Data”", "")
    ] == []


async def test_a_split_of_ours_keeps_the_control_message_that_its_form_does_not_show(
    stage: Stage, visitor: Browser
) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")
    await read_flows(stage, "acme")
    place = {"flow_id": "FLOW01", "treatment_action_id": "70000012"}
    test = {"split": "random", "control_ratio": 0.1}
    await do(
        stage, "acme", template_settings.set_template,
        {"template_id": "welcome", **place, "control_action_id": "70000015", **test},
    )  # fmt: skip
    form = {"name": "Hello", **place, "property_prefix": "jai", "send_window": "15"}

    saved = await visitor.post("/acme/templates/welcome/settings", **form)
    kept = await do(stage, "acme", templates.show, {"template_id": "welcome"})
    swapped = await visitor.post(
        "/acme/templates/welcome/settings", **{**form, "treatment_action_id": kept.control_action_id or ""}
    )
    treated = await do(stage, "acme", templates.show, {"template_id": "welcome"})

    assert (saved.status, kept.name, kept.control_action_id) == (303, "Hello", "70000015")
    assert (swapped.status, treated.treatment_action_id, treated.control_action_id) == (303, "70000015", None)


async def test_another_flow_takes_the_control_message_of_the_old_one_away(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")
    await read_flows(stage, "acme")
    old = {"flow_id": "FLOW01", "treatment_action_id": "70000012", "control_action_id": "70000015"}
    await do(
        stage, "acme", template_settings.set_template,
        {"template_id": "welcome", **old, "split": "random", "control_ratio": 0.1},
    )  # fmt: skip

    moved = await visitor.post(
        "/acme/templates/welcome/settings", name="Hello", flow_id="FLOW02", treatment_action_id="70000031",
        property_prefix="jai", send_window="15",
    )  # fmt: skip

    found = await do(stage, "acme", templates.show, {"template_id": "welcome"})
    assert (moved.status, found.flow_id, found.control_action_id) == (303, "FLOW02", None)


async def test_a_flow_that_was_not_read_stays_selected(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")
    saved = {"name": "Welcome", "flow_id": "GONE01", "treatment_action_id": "7", "send_window": "15"}
    await visitor.post(
        "/acme/templates/welcome/settings", **saved, delay="200", delay_unit="seconds", property_prefix="jai_welcome"
    )
    await read_flows(stage, "acme")

    html = (await visitor.get("/acme/templates/welcome/settings")).html

    assert '<option value="GONE01" selected>GONE01 (not read from Klaviyo)</option>' in html
    assert '<option value="7" selected>7 (not read from Klaviyo)</option>' in html
    assert "jai_welcome_subject" in html
    messages = "/acme/templates/welcome/settings/messages"
    part = (await visitor.get(f"{messages}?flow_id=FLOW01", headers={"HX-Request": "true"})).html
    assert "Email 1 · 3 minutes after the webhook" in part
    assert "<html" not in part
    assert (await visitor.get(messages)).location == "/acme/templates/welcome/settings"


async def test_a_time_delay_is_typed_and_shown_in_klaviyos_units(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")
    path = "/acme/templates/welcome/settings"

    given = {"delay": "3", "delay_unit": "hours", "send_window": "90", "send_window_unit": "minutes"}
    saved = await visitor.post(path, name="W", **given)
    shown = (await visitor.get(path)).html
    refused = await visitor.post(path, name="W", delay="31", delay_unit="days")

    assert saved.status == 303
    template = await do(stage, "acme", templates.show, OneTemplate(template_id="welcome"))
    assert (template.delay_s, template.send_window_s) == (10_800, 5_400)
    assert re.findall(r'name="(?:delay|send_window)"[^>]*value="(\d+)"', shown) == ["3", "90"]
    assert re.findall(r"<option selected>(\w+)</option>", shown) == ["hours", "minutes"]
    assert (refused.status, "Time Delay is too long: at most 30 days." in refused.words) == (422, True)


async def test_a_second_template_is_offered_a_prefix_of_its_own_and_told_why(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    first = await visitor.get("/acme/templates/_new")
    await make_template(stage, "acme", name="Welcome series", variant=False)
    await visitor.post("/acme/templates/_new", **NEW | {"template_id": "winback"}, property_prefix="jai2")

    offered = await visitor.get("/acme/templates/_new")
    kept = await visitor.post("/acme/templates/_new", name="", property_prefix="jai")

    assert 'name="property_prefix" type="text" value="jai"' in first.html
    assert 'name="property_prefix" type="text" value="jai3"' in offered.html
    assert "The prefix jai is in use by “Welcome series”" in offered.words
    assert 'name="property_prefix" type="text" value="jai"' in kept.html  # as it was typed


async def test_what_is_typed_stands_for_itself_in_a_search(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme", "a-1", name="Save 50% now", variant=False)
    await make_template(stage, "acme", "b-1", name="Winback", variant=False)

    found = {text: (await visitor.get(f"/acme/templates?search={text}")).html for text in ("%25", "B-1", "_")}
    wrong = await visitor.get("/acme/templates?state=nonsense")

    assert ["Save 50% now" in found["%25"], "Winback" in found["%25"]] == [True, False]
    assert ["Save 50% now" in found["B-1"], "Winback" in found["B-1"]] == [False, True]
    assert "Nothing found" in found["_"]
    assert (wrong.status, "Winback" in wrong.html) == (200, True)


async def test_a_thousand_templates_are_listed_a_page_at_a_time_and_each_once(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    async with stage.db.transaction() as connection:
        await connection.execute(
            "INSERT INTO templates (org_id, template_id, name, state, control_subject, control_body, created_at, "
            "updated_at) SELECT $1, 't-' || n, 'Template ' || n, 'draft', 's', 'b', $2, $2 "
            "FROM generate_series(1, 1000) n",
            stage.orgs["acme"], stage.now,
        )  # fmt: skip

    found = [await visitor.get(f"/acme/templates?page={page}&search=template") for page in range(1, 21)]

    listed = [set(re.findall(r"/acme/templates/(t-\d+)\b", page.html)) for page in found]
    assert [len(ids) for ids in listed] == [50] * 20
    assert len(set[str]().union(*listed)) == 1000


async def test_a_template_whose_id_is_left_empty_is_called_after_its_name(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)

    made = await visitor.post("/acme/templates/_new", **{**NEW, "name": "Début, 1st email!", "template_id": ""})
    again = await visitor.post("/acme/templates/_new", **{**NEW, "name": "Début: 1st email", "template_id": ""})

    assert made.location == "/acme/templates/debut-1st-email/settings"
    assert (again.status, "Template id" in again.words) == (422, True)
