"""What people change of their own accounts stands in the audit log of each org they work in, without secrets."""

import re
from typing import Any

import pyotp

from services.console.people.joining import first_run_token
from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.support.console import PASSWORD, Stage

NEW = "copper kettle on a cold stove"
SELECT_ENTRIES = """
    SELECT o.slug, l.operation, l.actor, l.actor_kind, l.asked FROM audit_log l JOIN orgs o USING (org_id)
    ORDER BY l.audit_id
"""


async def entries(stage: Stage) -> list[tuple[Any, ...]]:
    """Org, what, who, what was said with it; nothing secret stands in any column."""
    async with stage.db.connection() as connection:
        rows = [dict(row) for row in await connection.fetch(SELECT_ENTRIES)]
        everything = str([dict(row) for row in await connection.fetch("SELECT * FROM audit_log")])
    assert PASSWORD not in everything
    assert NEW not in everything
    assert {row["actor_kind"] for row in rows} <= {"person"}
    return [(row["slug"], row["operation"], row["actor"], row["asked"]) for row in rows]


async def test_who_joins_by_an_invitation_is_remembered_by_the_org_that_is_joined_alone(
    stage: Stage, visitor: Browser
) -> None:
    invited = {"by": "invitation", "invited_by": "Ann Example"}
    await visitor.post(await stage.invite("acme", "dan@example.com"), name="Dan", password=NEW, again=NEW)
    assert await entries(stage) == [("acme", "people.join", "dan@example.com", {**invited, "role": "editor"})]

    await visitor.post(await stage.invite("other", "dan@example.com", "viewer"))

    [_, second] = await entries(stage)
    assert second == ("other", "people.join", "dan@example.com", {**invited, "role": "viewer"})


async def test_the_first_person_is_remembered_by_their_org(stage: Stage, visitor: Browser) -> None:
    path = f"/_setup/{first_run_token(stage.settings.api_key_peppers.get_secret_value())}"
    typed = {"email": "ann@example.com", "name": "Ann", "password": NEW, "again": NEW}

    done = await visitor.post(path, **typed, org="new", org_name="Third", org_slug="third")

    assert done.status == 303
    assert await entries(stage) == [("third", "people.set_up", "ann@example.com", {"new_org": True})]


async def test_a_reset_that_is_used_is_remembered_by_every_org_of_the_person(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner", other="viewer")

    await visitor.post(await stage.reset(ann, drops_totp=True), password=NEW, again=NEW)

    said = ("people.reset_used", ann, {"second_factor": True})
    assert sorted(await entries(stage)) == [("acme", *said), ("other", *said)]


async def test_each_change_of_an_account_is_remembered_once_it_is_done(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)

    await visitor.post("/_account/password", current="wrong", password=NEW, again=NEW)
    await visitor.post("/_account/two-factor/off", current=PASSWORD)
    assert await entries(stage) == []

    await visitor.post("/_account/name", name="Ann Other")
    await visitor.post("/_account/password", current=PASSWORD, password=NEW, again=NEW)
    shown = re.search(r'value="((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})"', (await visitor.get("/_account/two-factor")).html)
    assert shown is not None
    code = pyotp.TOTP(shown.group(1).replace(" ", "")).at(wall.now())
    await visitor.post("/_account/two-factor", code=code, current=NEW)
    await visitor.post("/_account/two-factor/codes", current=NEW)
    await visitor.post("/_account/two-factor/off", current=NEW)

    assert await entries(stage) == [
        ("acme", "people.name", ann, {"name": "Ann Other"}),
        ("acme", "people.password", ann, {}),
        ("acme", "people.second_factor_on", ann, {}),
        ("acme", "people.recovery_codes", ann, {}),
        ("acme", "people.second_factor_off", ann, {}),
    ]
    said = (await visitor.get("/acme/audit?area=people")).words
    assert "Turn two-factor sign-in off people.second_factor_off" in said


async def test_the_operators_link_is_remembered_when_it_is_used(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner")
    path = await stage.let_in(ann)

    await visitor.get(path)
    unused = await entries(stage)
    await visitor.post(path)

    assert (unused, await entries(stage)) == ([], [("acme", "people.let_in_used", ann, {})])
