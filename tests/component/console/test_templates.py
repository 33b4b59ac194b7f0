"""Pages of templates: their roles' buttons, what is refused, other orgs' ids, previews behind their own policy."""

import re

from shared.admin import templates
from shared.admin.stops import OneTemplate
from tests.component.console.browser import Browser
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

    same = await visitor.post("/acme/templates/welcome/file", yaml=exported)
    other = await visitor.post("/acme/templates/_new/import", yaml=exported.replace("id: welcome", "id: w2"))
    misplaced = await visitor.post("/acme/templates/welcome/file", yaml=exported.replace("id: welcome", "id: w3"))
    broken = await visitor.post("/acme/templates/_new/import", yaml="a: [")
    copy = (await visitor.get("/acme/templates/w2/file.yaml")).html

    assert (same.status, other.status) == (303, 303)
    assert "must say template_id: welcome" in misplaced.words
    assert (broken.status, "is no YAML" in broken.words) == (422, True)
    assert copy == exported.replace("id: welcome", "id: w2")
    assert (await visitor.get("/acme/templates/welcome")).words.count("version 2") == 0  # the file withdrew it


async def test_a_body_that_only_travelled_through_a_form_is_no_new_version(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    copy_id = await make_template(stage, "acme")
    path = f"/acme/templates/welcome/variants/{copy_id}"
    body = "<h1>Hello {{ first_name | default: 'there' }}</h1>\r\n<p>Thanks for joining. Here is what to expect from a "
    body += 'small roastery.</p>\r\n<p><a href="https://shop.example/first">See the beans</a></p>\r\n'
    texts = {"subject": "Hi {{ first_name | default: 'you' }}, coffee is on", "theme": "welcome", "body": body}
    texts["preheader"] = "Three things that every new subscriber should know"

    await visitor.post(path, **texts)
    said = (await visitor.get(path)).words

    assert "Nothing was changed." in said
    assert "Version 1 is the newest" in said


async def test_a_step_that_cannot_be_done_is_told(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    copy_id = await make_template(stage, "acme")
    path = f"/acme/templates/welcome/variants/{copy_id}"

    await visitor.post(f"{path}/reject", comment="No")
    rejected = (await visitor.get(path)).words
    state = await visitor.post("/acme/templates/welcome/state", state="active")

    assert "Nothing was done." in rejected
    assert "It is not in review." in rejected
    assert state.status == 422
    assert "the template has no flow message yet" in state.words


INSERT_KINDS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for, attrs)
    SELECT ($2::timestamptz AT TIME ZONE 'UTC')::date, gen_random_uuid(), $1, 'welcome', 'p' || n, 't', $2, $2, $2,
        'control', 'control_split', 'jai', 'welcome', json_build_object('plan', 'p' || n)::jsonb
    FROM generate_series(1, 60) n
"""


async def test_the_grid_has_pages_and_shows_the_people_that_were_chosen(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor, "viewer")
    await make_template(stage, "acme")
    async with stage.db.transaction() as connection:
        await connection.execute("SELECT ensure_partition('generations', $1)", stage.now.date())
        await connection.execute(INSERT_KINDS, stage.orgs["acme"], stage.now)
    path = "/acme/templates/welcome/preview"

    first = await visitor.get(f"{path}?sample=50")
    last = await visitor.get(f"{path}?page=3&sample=50")
    beyond = await visitor.get(f"{path}?page=9&sample=50")
    usual = await visitor.get(path)
    keys = re.findall(r'name="who" value="(\w+)"', usual.html)
    some = await visitor.get(f"{path}?who={keys[0]}&who={keys[-1]}&variant=Warm")
    nobody = await visitor.get(f"{path}?who=00000000&sample=none&variant=Hot")

    assert "52 renderings" in first.words
    assert [page.html.count("<article") for page in (first, last, usual, some, nobody)] == [24, 4, 7, 2, 7]
    assert "?page=2&amp;sample=50&amp;variant=" in first.html
    assert "Better" not in last.words
    assert "No rendering is left" in beyond.words
    assert len(keys) == 7
    assert "2 of 7 people" in some.words
    assert some.html.count(" checked") == 2
    assert "Choose among these 7 people" in nobody.words


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


async def test_an_email_is_served_behind_a_policy_that_runs_nothing(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    copy_id = await make_template(stage, "acme")

    answers = [
        await visitor.get(f"/acme/templates/welcome/variants/{copy_id}/email?version=1&person=long"),
        await visitor.post("/acme/templates/welcome/preview-text", subject="x", body="<p>x</p>"),
        await visitor.post("/acme/templates/welcome/preview-text", subject="{{ x", body=""),
    ]

    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none';")
        assert "script" not in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "Maximiliane" in answers[0].html
    assert "Control content is shown instead" in answers[2].html


async def test_a_new_variant_is_not_called_wrong_before_a_word_is_written(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    await make_template(stage, "acme")

    begun = (await visitor.get("/acme/templates/welcome/variants/_new")).words
    typed = (await visitor.post("/acme/templates/welcome/try", subject="Hello", body="")).words

    assert "is shown here as you type" in begun
    assert "Body is blank" not in begun
    assert "Body is blank" in typed


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


async def test_the_review_queue_is_read_a_few_at_a_time_the_longest_waiting_first(
    stage: Stage, visitor: Browser
) -> None:
    await ann(stage, visitor, "reviewer")
    for number in range(11):
        await make_template(stage, "acme", f"t{number:02}", review=True)

    first, second = [await visitor.get(f"/acme/review?page={page}") for page in (1, 2)]

    named = [
        [number for number in range(11) if f"/acme/templates/t{number:02}/" in page.html] for page in (first, second)
    ]
    assert sorted(map(len, named)) == [1, 10]
    assert sorted(number for page in named for number in page) == [*range(11)]
    assert "?page=2" in first.html


async def test_variants_go_to_a_spreadsheet_and_come_back_as_drafts(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor, "editor")
    await make_template(stage, "acme")

    sheet = await visitor.get("/acme/templates/welcome/variants.csv")
    rows = f"{sheet.html}Cool,,Hello,,<p>Hello.</p>,\r\nBad,,,,<p>x</p>,\r\n"
    sent = await visitor.upload("/acme/templates/welcome/variants.csv", {"welcome.csv": rows.encode()})
    page = await visitor.get(sent.location)
    latin = await visitor.upload("/acme/templates/welcome/variants.csv", {"welcome.csv": "name\nÄ\n".encode("latin-1")})

    assert sheet.headers["Content-Disposition"] == 'attachment; filename="welcome.csv"'
    assert "1 of 3 rows saved as drafts." in page.words
    assert "Bad, was not taken in: subject" in page.words
    assert "/acme/templates/welcome/variants/" in page.html
    assert (latin.status, "CSV file is no text in UTF-8." in latin.words) == (422, True)


async def test_where_reviews_are_required_who_may_not_approve_is_told_why(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)
    copy_id = await make_template(stage, "acme")
    await stage.person("Rob", acme="reviewer")
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE orgs SET review_required = true")
    path = f"/acme/templates/welcome/variants/{copy_id}"

    before = (await visitor.get(path)).html
    await visitor.post(f"{path}/submit")
    own = (await visitor.get(path)).html
    await visitor.sign_in("rob@example.com")
    of_another = (await visitor.get(path)).html

    assert "send it into review first" in before
    assert "somebody else has to approve it" in own
    assert "Reject…" in own
    assert ["Approve…" in html for html in (before, own, of_another)] == [False, False, True]


async def test_a_template_whose_id_is_left_empty_is_called_after_its_name(stage: Stage, visitor: Browser) -> None:
    await ann(stage, visitor)

    made = await visitor.post("/acme/templates/_new", **{**NEW, "name": "Début, 1st email!", "template_id": ""})
    again = await visitor.post("/acme/templates/_new", **{**NEW, "name": "Début: 1st email", "template_id": ""})

    assert made.location == "/acme/templates/debut-1st-email/settings"
    assert (again.status, "Template id" in again.words) == (422, True)


async def test_the_list_of_variants_shows_what_is_served_and_of_a_draft_what_was_written_last(
    stage: Stage, visitor: Browser
) -> None:
    await ann(stage, visitor)
    served = await make_template(stage, "acme", review=True)
    draft = await make_template(stage, "acme", "winback")
    new = {"name": "Warm", "subject": "Newly written", "preheader": "", "body": "<p>Words.</p>"}
    await visitor.post(f"/acme/templates/welcome/variants/{served}", **new)
    await visitor.post(f"/acme/templates/winback/variants/{draft}", **new)

    of_served = (await visitor.get("/acme/templates/welcome")).words
    of_draft = (await visitor.get("/acme/templates/winback")).words

    assert ("Newly written" in of_served, "Newly written" in of_draft) == (False, True)
