"""Pages of variants: written, shown in a frame, reviewed, and taken to a spreadsheet and back."""

import re
from uuid import UUID

from shared.admin.templates import settings as template_settings
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.templates import WELCOME, do, make_template, read_flows

INSERT_KINDS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for, attrs)
    SELECT ($2::timestamptz AT TIME ZONE 'UTC')::date, gen_random_uuid(), $1, 'welcome', 'p' || n, 't', $2, $2, $2,
        'control', 'control_split', 'jai', 'welcome', json_build_object('plan', 'p' || n)::jsonb
    FROM generate_series(1, 60) n
"""


async def test_a_body_that_only_travelled_through_a_form_is_no_new_version(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
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
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    copy_id = await make_template(stage, "acme")
    path = f"/acme/templates/welcome/variants/{copy_id}"

    await visitor.post(f"{path}/reject", comment="No")
    rejected = (await visitor.get(path)).words
    state = await visitor.post("/acme/templates/welcome/state", state="active")

    assert "Nothing was done." in rejected
    assert "It is not in review." in rejected
    assert state.status == 422
    assert "the template has no flow message yet" in state.words


async def test_the_grid_has_pages_and_shows_the_people_that_were_chosen(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
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


async def test_an_email_is_served_behind_a_policy_that_runs_nothing(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
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


async def test_somebody_made_up_has_an_address_where_a_link_begins(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await make_template(stage, "acme")
    body = """<p>Hi</p><img src="{{ photo | default: '' }}" alt="x">"""

    for person in ("example", "long"):
        shown = await visitor.post("/acme/templates/welcome/preview-text", subject="x", body=body, person=person)

        assert 'src="https://shop.example/' in shown.html


async def test_a_new_variant_is_not_called_wrong_before_a_word_is_written(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await make_template(stage, "acme")

    begun = (await visitor.get("/acme/templates/welcome/variants/_new")).words
    typed = (await visitor.post("/acme/templates/welcome/try", subject="Hello", body="")).words

    assert "is shown here as you type" in begun
    assert "Body is blank" not in begun
    assert "Body is blank" in typed


async def test_the_review_queue_is_read_a_few_at_a_time_the_longest_waiting_first(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="reviewer"))
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
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
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
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
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


async def test_the_list_of_variants_shows_what_is_served_and_of_a_draft_what_was_written_last(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    served = await make_template(stage, "acme", review=True)
    draft = await make_template(stage, "acme", "winback")
    new = {"name": "Warm", "subject": "Newly written", "preheader": "", "body": "<p>Words.</p>"}
    await visitor.post(f"/acme/templates/welcome/variants/{served}", **new)
    await visitor.post(f"/acme/templates/winback/variants/{draft}", **new)

    of_served = (await visitor.get("/acme/templates/welcome")).words
    of_draft = (await visitor.get("/acme/templates/winback")).words

    assert ("Newly written" in of_served, "Newly written" in of_draft) == (False, True)


async def warm(stage: Stage) -> variants.Variant:
    return await do(stage, "acme", variants.show, {"template_id": "welcome", "variant": "Warm"})


async def save(stage: Stage, subject: str, *, submit: bool = False) -> None:
    """A new version by somebody else, into review if it is to be."""
    asked = {"template_id": "welcome", "variant": "Warm"}
    await do(stage, "acme", variant_saving.save, {**asked, "subject": subject, "body": WELCOME, "theme": "welcome"})
    if submit:
        await do(stage, "acme", variants.submit, asked)


def here(copy_id: UUID) -> str:
    return f"/acme/templates/welcome/variants/{copy_id}"


async def test_who_read_a_version_under_review_does_not_approve_the_one_that_came_after_it(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Bob", acme="reviewer"))
    path = here(await make_template(stage, "acme", review=True))
    read = await visitor.get("/acme/review")
    await save(stage, "Coffee at half the price", submit=True)

    for step, comment in (("approve", ""), ("reject", "No")):
        await visitor.post(f"{path}/{step}", **read.hidden(f"{path}/{step}"), comment=comment)
        told = (await visitor.get("/acme/review")).words
        now = await warm(stage)

        assert "Approve version 2 of Warm?" in read.words
        assert "Nothing was done." in told
        assert "this would be about version 3" in told
        assert (now.state, now.approved_version) == ("approved; version 3 in review", 1)
    again = await visitor.get("/acme/review")
    await visitor.post(f"{path}/approve", **again.hidden(f"{path}/approve"))

    assert (await warm(stage)).approved_version == 3


async def test_an_editors_page_sends_and_approves_the_version_that_it_showed(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Bob", acme="owner"))
    path = here(await make_template(stage, "acme"))
    read = await visitor.get(path)
    await save(stage, "Coffee at half the price")

    for step in ("submit", "approve"):
        await visitor.post(f"{path}/{step}", **read.hidden(f"{path}/{step}"))
        told = (await visitor.get(path)).words

        assert "this would be about version 2" in told
        assert (await warm(stage)).state == "draft"


async def test_two_people_who_roll_back_at_once_roll_back_once(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Bob", acme="reviewer"))
    path = here(await make_template(stage, "acme", review=True))
    await do(stage, "acme", variants.approve, {"template_id": "welcome", "variant": "Warm"})
    read = await visitor.get(path)
    sent = read.hidden(f"{path}/rollback")

    await visitor.post(f"{path}/rollback", **sent)
    first = (await visitor.get(path)).words
    await visitor.post(f"{path}/rollback", **sent)
    second = (await visitor.get(path)).words

    assert "the version before is served again" in first
    assert "Nothing was done." in second
    assert "this would be about version 1" in second
    assert (await warm(stage)).approved_version == 1


async def test_the_last_approved_variant_is_archived_by_who_knows_that_it_is_and_comes_back(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    path = here(await make_template(stage, "acme", review=True))
    of_a_draft = (await visitor.get(path)).words
    await read_flows(stage, "acme")
    place = {"flow_id": "FLOW01", "treatment_action_id": "70000012"}
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", **place})
    await do(stage, "acme", template_settings.set_state, {"template_id": "welcome", "state": "active"})

    of_the_last = (await visitor.get(path)).words
    await visitor.post(f"{path}/archive", comment="")
    archived = await visitor.get(path)
    await visitor.post(f"{path}/approve", **archived.hidden(f"{path}/approve"))

    assert "It is the last approved variant" not in of_a_draft
    assert "It is the last approved variant: from the next webhook on everybody gets the control" in of_the_last
    assert "Send into review" in archived.words
    assert "Archive…" not in archived.words
    assert (await warm(stage)).state == "live"
    assert (await warm(stage)).approved_version == 1


async def test_who_writes_on_while_a_version_is_in_review_is_told_what_becomes_of_it(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    path = here(await make_template(stage, "acme", review=True))
    texts = {"theme": "welcome", "body": WELCOME}

    before = (await visitor.get(path)).words
    await visitor.post(path, **texts, subject="Coffee for two", then="submit")
    reviewed, of_reviewed = await warm(stage), (await visitor.get(path)).words
    await visitor.post(path, **texts, subject="Coffee for three")
    drafted, of_drafted = await warm(stage), (await visitor.get(path)).words

    assert "Version 2 is in review." in before
    assert "saved as a draft, it takes version 2 out of review" in before
    assert before.count("Save for review") == 2
    assert reviewed.state == "approved; version 3 in review"
    assert "not in review any more" not in of_reviewed
    assert drafted.state == "approved; version 4 draft"
    assert "Version 3 is not in review any more." in of_drafted
