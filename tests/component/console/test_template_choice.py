"""How a template tests and learns, set on its settings and by command: each field checked, and what is locked."""

from typing import Any

import pytest

from shared.admin.errors import Refused
from shared.admin.templates import settings as template_settings
from shared.admin.templates import templates
from shared.admin.templates.choice import locked
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.templates import do, make_template

PATH = "/acme/templates/welcome/choice"
FORM = {
    "split": "persistent", "control_ratio": "12.5", "control_share": "2", "repeat": "allow", "model": "fixed",
    "shares": "Warm: 3", "reward": "revenue", "revenue_cap": "200", "metrics": "Placed Order\nStarted Trial",
    "refunds": "Refunded Order", "window_h": "48", "currency": "eur",
}  # fmt: skip


@pytest.fixture
async def ann(stage: Stage, visitor: Browser) -> Browser:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    await make_template(stage, "acme")
    return visitor


async def stored(stage: Stage) -> templates.Template:
    return await do(stage, "acme", templates.show, {"template_id": "welcome"})


async def set_state(stage: Stage, state: str) -> None:
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE templates SET state = $1", state)


async def test_all_of_it_is_saved_from_the_form_and_shown_there_again(stage: Stage, ann: Browser) -> None:
    done = await ann.post(PATH, **FORM)
    page = await ann.get("/acme/templates/welcome/settings")
    same = await ann.post(PATH, **FORM)

    found = await stored(stage)
    assert (done.status, same.status) == (303, 303)
    assert (found.split, found.control_ratio, found.control_share, found.repeat) == ("persistent", 0.125, 0.02, "allow")
    assert found.policy == {"model": "fixed", "reward": "revenue", "revenue_cap": 200, "shares": {"Warm": 3}}
    assert found.conversions is not None
    assert found.conversions.model_dump() == {
        "metrics": ["Placed Order", "Started Trial"], "refunds": ["Refunded Order"], "window_h": 48, "currency": "EUR",
    }  # fmt: skip
    assert 'name="control_ratio" type="text" value="12.5"' in page.html
    assert "Warm: 3</textarea>" in page.html
    async with stage.db.connection() as connection:
        sql = "SELECT count(*) FROM audit_log WHERE operation = 'templates.set'"
        assert await connection.fetchval(sql) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"control_ratio": "0"}, "Control, in percent is missing: a persistent split needs one, like 10."),
        (
            {"split": "external"},
            "Control, in percent is only for a split of ours: choose Random or Persistent above.",
        ),
        ({"control_ratio": "95"}, "Control, in percent is too large: at most 90"),
        ({"revenue_cap": ""}, "Revenue cap reward revenue needs one, like 200"),
        ({"shares": "Warm"}, "Fixed shares line 1 is not like `Warm: 3`"),
        ({"shares": "Cold: 1"}, "Fixed shares there is no variant &#39;Cold&#39;"),
        ({"metrics": "Opened Email"}, "is about the email itself"),
    ],
)
async def test_what_cannot_be_is_said_at_its_field_and_nothing_is_saved(
    changed: dict[str, str], said: str, stage: Stage, ann: Browser
) -> None:
    refused = await ann.post(PATH, **{**FORM, **changed})

    assert refused.status == 422
    assert said in refused.words
    assert (await stored(stage)).split == "external"


async def test_leaving_a_split_of_ours_gives_its_share_of_control_up(stage: Stage, ann: Browser) -> None:
    await ann.post(PATH, **FORM)

    done = await ann.post(PATH, **{**FORM, "split": "external"})

    found = await stored(stage)
    assert (done.status, found.split, found.control_ratio) == (303, "external", 0)


async def test_a_shipped_template_keeps_its_split_and_says_why(stage: Stage, ann: Browser) -> None:
    await ann.post(PATH, **FORM)
    await set_state(stage, "shipped")

    page = await ann.get("/acme/templates/welcome/settings")
    done = await ann.post(PATH, **{**FORM, "split": "random", "control_ratio": "50", "repeat": "avoid"})
    with pytest.raises(Refused, match="the split ended when the template was shipped"):
        await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", "control_ratio": 0.5})

    found = await stored(stage)
    assert "Split and control is locked: the split ended when the template was shipped" in page.words
    assert done.status == 303
    assert (found.split, found.control_ratio, found.repeat) == ("persistent", 0.125, "avoid")


async def test_an_archived_template_is_locked_as_a_whole(stage: Stage, ann: Browser) -> None:
    await set_state(stage, "archived")

    page = await ann.get("/acme/templates/welcome/settings")

    assert "All of this is locked: an archived template chooses nothing" in page.words
    assert "Save the test" not in page.words
    assert set(locked("archived")) > set(locked("shipped"))
    assert locked("draft") == locked("active") == {}


async def test_fields_of_the_policy_that_are_not_given_stay(stage: Stage, ann: Browser) -> None:
    asked: dict[str, Any] = {"template_id": "welcome", "policy": {"floor": 0.01, "reward": "conversion"}}
    await do(stage, "acme", template_settings.set_template, asked)

    await do(stage, "acme", template_settings.set_template, {"template_id": "welcome", "policy": {"model": "uniform"}})

    found = await stored(stage)
    assert found.policy == {"floor": 0.01, "reward": "conversion", "model": "uniform"}
    assert found.conversions is not None
