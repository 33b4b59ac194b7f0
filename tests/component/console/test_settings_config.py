"""The page of the configuration file: taken along, looked at, applied, without any script."""

import html
import re

import pytest

from tests.component.console.browser import Browser, Page
from tests.support.console import Stage

PATH = "/acme/integration/config"
FILE = """
org: {name: "Acme & Sons", time_zone: Europe/Paris}
---
template_id: welcome
name: Welcome
control: {subject: Hello, body: <p>Hello</p>}
variants:
  - name: Warm
    approved: true
    subject: Come in
    body: |
      <p>Come in and</p>
      <p>have a seat.</p>
"""


def hidden(page: Page) -> dict[str, str]:
    """The fields that the plan's form sends on, with the line ends that browsers send."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.html, re.DOTALL)
    return {name: html.unescape(value).replace("\n", "\r\n") for name, value in found}


@pytest.fixture
async def ann(stage: Stage, visitor: Browser) -> Browser:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    return visitor


async def test_a_file_is_looked_at_applied_and_taken_along(ann: Browser) -> None:
    plan = await ann.upload(PATH, {"acme.yaml": FILE.replace("\n", "\r\n").encode()})
    assert "Acme Coffee" in (await ann.get("/acme/")).words
    done = await ann.post(f"{PATH}/apply", **hidden(plan))
    after = await ann.get(done.location)
    taken = await ann.get(f"{PATH}.yaml")

    assert "Nothing is changed yet." in plan.words
    for words in (
        "Template welcome Create",
        "Variant welcome / Warm Create",
        "Is approved.",
        "2 to create, 1 to change; 0 stay as they are.",
    ):
        assert words in plan.words
    assert done.status == 303
    assert "Applied: 2 created, 1 changed." in after.words
    assert taken.headers["Content-Disposition"] == 'attachment; filename="acme.yaml"'
    assert "name: Acme & Sons" in taken.html
    assert "\n    <p>have a seat.</p>\n" in taken.html
    again = await ann.upload(PATH, {"acme.yaml": taken.html.encode()})
    assert "Nothing to do" in again.words


async def test_what_is_wrong_with_files_is_listed_by_line(ann: Browser) -> None:
    wrong = await ann.upload(PATH, {"a.yaml": FILE.replace("name: Welcome", "nam: x").encode(), "b.yaml": b"a: ["})
    latin = await ann.upload(PATH, {"a.yaml": b"\xff"})
    nothing = await ann.post(PATH)

    assert (wrong.status, latin.status, nothing.status) == (422, 422, 422)
    assert "3 things in the files cannot be taken." in wrong.words
    assert "a.yaml:5: template welcome, nam is no field of a template file; is it misspelled?" in wrong.words
    assert "b.yaml:2 is no YAML" in wrong.words
    assert "File is no text in UTF-8." in latin.words
    assert "File is missing." in nothing.words


async def test_another_plan_than_was_looked_at_is_not_done(ann: Browser) -> None:
    plan = await ann.upload(PATH, {"acme.yaml": FILE.encode()})
    await ann.post("/acme/integration/org", time_zone="Asia/Tokyo")

    done = await ann.post(f"{PATH}/apply", **hidden(plan))

    assert "nothing was done. Look again." in (await ann.get(done.location)).words
    assert (await ann.get("/acme/templates/welcome")).status == 404


async def test_who_may_only_look_takes_the_file_along(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Cleo", acme="viewer"))

    page = await visitor.get(PATH)

    assert "Editors and owners of the org apply files." in page.words
    assert (await visitor.get(f"{PATH}.yaml")).html.startswith("org:\n  slug: acme\n")
    assert (await visitor.upload(PATH, {"a.yaml": FILE.encode()})).status == 403


async def test_an_editor_is_told_what_an_owner_has_to_apply(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ed", acme="editor"))

    plan = await visitor.upload(PATH, {"acme.yaml": FILE.encode()})

    assert "Needs the role owner." in plan.words
    assert "an owner has to apply these files" in plan.words
    assert hidden(plan) == {}
