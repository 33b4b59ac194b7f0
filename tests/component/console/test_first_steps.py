"""What somebody meets who has never seen the console: names that are proposed, one step to a review, all of a body."""

import re
from datetime import UTC, datetime
from html import unescape

import pytest

from shared.admin.templates import settings as template_settings
from shared.admin.variants import saving as variant_saving
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.operations import Facts
from tests.support.templates import do, make_template

BODY = "<h1>Hello</h1><p>Coffee for {{ city | default: 'your town' }} of {{ last_name | default: 'yours' }}</p>"
PLACE = {"flow_id": "FLOW01", "treatment_action_id": "70000012"}
COPY = {"subject": "For {{ first_name | default: 'you' }}", "preheader": "Three things every subscriber should know"}


@pytest.fixture
async def ann(stage: Stage, visitor: Browser) -> Browser:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    return visitor


async def test_the_json_body_holds_every_field_that_the_copy_prints(stage: Stage, ann: Browser) -> None:
    await make_template(stage, "acme")
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", **PLACE})
    before = unescape((await ann.get("/acme/templates/welcome/settings")).words)
    await do(stage, "acme", variant_saving.save, {"template_id": "welcome", "variant": "Warm", **COPY, "body": BODY})

    words = unescape((await ann.get("/acme/templates/welcome/settings")).words)

    assert '"first_name": "{{ person.first_name }}"' in before
    assert "city" not in before
    assert "The names after lookup: must be spelled" not in before
    for name, tag in (("city", "{{ person|lookup:'city' }}"), ("last_name", "{{ person.last_name }}")):
        assert f'"{name}": "{tag}"' in words
    assert "The names after lookup: must be spelled" in words


async def test_a_variant_is_saved_for_review_in_one_step_and_looked_at_as_people_see_it(
    stage: Stage, ann: Browser
) -> None:
    await make_template(stage, "acme", variant=False)

    saved = await ann.post(
        "/acme/templates/welcome/variants/_new", name="Warm", person="example", then="submit", **COPY, body=BODY
    )

    variant = await ann.get(saved.location)
    assert "Saved Warm: draft." not in variant.words
    assert "Warm, version 1: sent into review." in variant.words
    assert "Write another to compare" in variant.words
    review = unescape((await ann.get("/acme/review")).words)
    assert "For Ada" in review
    assert "Written as For {{ first_name | default: 'you' }}" in review
    assert "Have it approved: it waits under Review" in (await ann.get("/acme/templates/welcome")).words


async def test_what_would_be_pasted_wrong_is_not_there_to_be_copied(stage: Stage, ann: Browser) -> None:
    """A JSON body that names no email, and a key that is none."""
    await make_template(stage, "acme")
    before = await ann.get("/acme/templates/welcome/settings")
    await ann.post("/acme/keys", name="Klaviyo webhook", kind="generate")
    await ann.post("/acme/keys", name="Of our scripts", kind="admin")
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", **PLACE})

    after = await ann.get("/acme/templates/welcome/settings")

    assert "It names the email: select Flow and Treatment Message above and save." in before.words
    assert "An API key, of which there is none yet. Create one" in before.words
    assert '"tracking_id": "{{ person.KlaviyoID }}.FLOW01.70000012"' in unescape(after.words)
    assert re.search("The API key that you stored: Klaviyo webhook jai_live_…[A-Za-z0-9]{4} [.]", after.words)
    for page in (before, after):
        assert "<flow_id>" not in unescape(page.html)
        assert "JUSTAI_API_KEY" not in page.html


async def test_a_variant_may_begin_with_the_email_as_it_is(stage: Stage, ann: Browser) -> None:
    await make_template(stage, "acme", variant=False)
    control = {"subject": "Hi {{ person.first_name|default:'you' }}", "body": "<p>{{ person|lookup:'city' }}</p>"}
    await ann.post("/acme/templates/welcome/control", **control, preheader="")

    empty = await ann.get("/acme/templates/welcome/variants/_new")
    begun = await ann.get("/acme/templates/welcome/variants/_new?from=control")

    assert "Begin with the control content" in empty.words
    assert "Begin with the control content" not in begun.words
    assert unescape(_value(begun.html, "subject") or "") == "Hi {{ first_name | default: 'you' }}"
    assert "<p>{{ city }}</p>" in unescape(begun.html)


async def test_before_it_is_live_somebody_is_told_that_nobody_is_control(stage: Stage, ann: Browser) -> None:
    await make_template(stage, "acme")
    said = (await ann.get("/acme/templates/welcome")).words
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", "control_share": 0.1})

    assert "Nobody is control as it is set, so no lift will be told." in said
    assert "Nobody is control" not in (await ann.get("/acme/templates/welcome")).words


async def test_once_it_is_active_the_first_email_is_what_is_next(stage: Stage, ann: Browser) -> None:
    await make_template(stage, "acme", review=True)
    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", **PLACE})
    await Facts(stage.db, stage.orgs["acme"], datetime.now(UTC)).account()
    await ann.post("/acme/keys", name="Klaviyo webhook", kind="generate")
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE api_keys SET last_used_at = created_at")  # a webhook came

    await ann.post("/acme/templates/welcome/state", state="active")
    said = (await ann.get("/acme/templates/welcome")).words

    assert "Welcome series is active." in said
    assert "Next: See the first right email" in said


async def test_names_are_proposed_until_they_are_taken(stage: Stage, ann: Browser) -> None:
    key, source = (await ann.get("/acme/keys")).html, (await ann.get("/acme/integration/sources?kind=folder")).html
    made = await ann.post("/acme/keys", name="Klaviyo webhook", kind="generate")
    await ann.post("/acme/integration/sources", kind="folder", name="event-folder", path=".", pattern="*", poll_s="60")

    assert _value(key, "name") == "Klaviyo webhook"
    assert _value(source, "name") == "event-folder"
    assert _value(made.html, "name") == ""
    assert re.search("Stored[?] Next: Connect Klaviyo", made.words)
    assert _value((await ann.get("/acme/integration/sources?kind=folder")).html, "name") == ""


async def test_who_got_a_right_email_has_pasted_what_it_needs(stage: Stage, ann: Browser) -> None:
    await make_template(stage, "acme")
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    before = (await ann.get("/acme/")).words
    await facts.generation("01PERSON", template_id="welcome", outcome="written")

    words = (await ann.get("/acme/")).words

    assert "the set-up check there says whether they are right" in before
    assert "Webhooks come in." in words


def _value(html: str, name: str) -> str | None:
    found = re.search(rf'<input id="f-{name}"[^>]*? value="([^"]*)"', html)
    return found and found[1]
