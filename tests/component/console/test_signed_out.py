"""What was typed when a session ended: script leaves it where it is, and a form comes back to be sent again."""

import html as text
import re

import pytest

from shared.admin.templates import templates
from shared.clock import FrozenClock
from tests.component.console.browser import Browser, Page
from tests.support.console import Stage
from tests.support.templates import do, make_template

NEW = "/acme/templates/welcome/variants/_new"
TYPED = {
    "name": "Cold", "subject": 'Cold "coffee" <b>', "preheader": "Three things to know of it",
    "body": "<p>Cold</p>\n<p>&amp; good</p>",
}  # fmt: skip
SCRIPT = {"HX-Request": "true"}
PASSWORDS = {"current": "violet teapot", "password": "green teapot over", "again": "green teapot over"}


@pytest.fixture
async def ann(stage: Stage, visitor: Browser, wall: FrozenClock) -> Browser:
    """Signed in half an hour ago and more, and not seen since."""
    await make_template(stage, "acme")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    wall.advance(31 * 60)
    return visitor


def held(page: Page) -> dict[str, str]:
    """What the page sends again."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.html)
    return {name: text.unescape(value) for name, value in found}


async def variants(stage: Stage) -> list[str]:
    found = await do(stage, "acme", templates.show, {"template_id": "welcome"})
    return sorted(one.name for one in found.variants)


@pytest.mark.parametrize(("method", "path"), [("POST", "/acme/templates/welcome/try"), ("GET", "/acme/templates?q=w")])
async def test_script_that_somebody_set_going_says_so_and_leaves_the_page(ann: Browser, method: str, path: str) -> None:
    headers = {**SCRIPT, "Sec-Fetch-Site": "same-origin"}

    answer = await ann.ask(method, path, headers=headers, form=TYPED if method == "POST" else None)

    assert (answer.status, answer.headers.get("HX-Redirect")) == (401, None)
    assert answer.headers["HX-Retarget"] == "[data-toasts]"
    assert "You were signed out. Sign in in another tab ; what you typed is still here." in answer.words
    assert "<html" not in answer.html


async def test_a_form_comes_back_until_somebody_is_signed_in_and_is_saved_then(stage: Stage, ann: Browser) -> None:
    first = await ann.post(NEW, **TYPED)
    again = await ann.post(NEW, **held(first))
    before = await variants(stage)
    await ann.sign_in("ann@example.com")
    done = await ann.post(NEW, **held(again))

    assert (first.status, again.status, done.status) == (401, 401, 303)
    assert "Nothing was saved" in first.words
    assert f'<form method="post" action="{NEW}">' in first.html
    assert held(first) == held(again) == TYPED
    assert "<b>" not in first.html
    assert (before, await variants(stage)) == (["Warm"], ["Cold", "Warm"])


async def test_who_signs_in_meanwhile_and_may_not_do_it_is_told_so(stage: Stage, ann: Browser) -> None:
    kept = await ann.post(NEW, **TYPED)
    await ann.sign_in(await stage.person("Vic", acme="viewer"))

    refused = await ann.post(NEW, **held(kept))

    assert (refused.status, "Your role does not allow this" in refused.words) == (403, True)
    assert await variants(stage) == ["Warm"]


async def test_a_page_of_others_has_no_form_kept_and_none_sent_again(stage: Stage, ann: Browser) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}

    planted = await ann.post(NEW, foreign, **TYPED)
    kept = await ann.post(NEW, **TYPED)
    await ann.sign_in("ann@example.com")
    sent = await ann.post(NEW, foreign, **held(kept))

    assert (planted.status, sent.status) == (403, 403)
    assert "This form did not come from the console" in planted.words
    assert "Cold" not in planted.html
    assert await variants(stage) == ["Warm"]


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/acme/integration", {"private_key": "pk_secret"}),
        ("/acme/integration/export", {"bucket": "records", "secret_key": "pk_secret"}),
        ("/_account/password", PASSWORDS),
    ],
)
async def test_what_held_a_secret_keeps_nothing_and_is_not_sent_again(
    ann: Browser, path: str, form: dict[str, str]
) -> None:
    answer = await ann.post(path, **form)

    assert answer.status == 401
    assert "go back one page here" in answer.words
    assert "<form" not in answer.html
    assert not [value for value in form.values() if value in answer.html]


async def test_a_secret_that_was_left_empty_is_none(ann: Browser) -> None:
    answer = await ann.post("/acme/integration/export", bucket="records", secret_key="")

    assert held(answer) == {"bucket": "records"}


async def test_a_file_is_not_kept(ann: Browser) -> None:
    answer = await ann.upload("/acme/templates/welcome/variants.csv", {"a.csv": b"name\nSecretive\n"})

    assert (answer.status, "<form" in answer.html, "Secretive" in answer.html) == (401, False, False)


async def test_the_preview_beside_a_text_says_so_in_its_frame(ann: Browser) -> None:
    answer = await ann.post("/acme/templates/welcome/preview-text", {"Sec-Fetch-Dest": "iframe"}, **TYPED)

    assert (answer.status, "You were signed out." in answer.words) == (401, True)
    assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
    assert "Cold" not in answer.html
