"""Invitations, resets, the first person: links that work once, and for a while."""

import asyncio
import re

import pytest

from services.console.people.joining import first_run_token
from shared.clock import FrozenClock
from tests.component.console.browser import Browser, Page
from tests.support.console import KEY, PASSWORD, Stage

NEW = {"name": "Dan Example", "password": "a kettle made of paper", "again": "a kettle made of paper"}
SETUP = f"/_setup/{first_run_token(f'1:{KEY}')}"


async def test_an_invited_person_makes_an_account_and_is_in(stage: Stage, visitor: Browser) -> None:
    path = await stage.invite("acme", "dan@example.com", "reviewer")

    page = await visitor.get(path)
    joined = await visitor.post(path, **NEW)
    home = await visitor.get(joined.location)

    assert "Ann Example invites dan@example.com as reviewer" in page.words
    assert (joined.status, joined.location, home.status) == (303, "/acme/", 200)
    assert "Dan Example Reviewer" in home.words


async def test_an_invitation_works_once_even_when_it_is_sent_twice_at_once(stage: Stage) -> None:
    path = await stage.invite("acme", "dan@example.com")

    async def attempt() -> int:
        async with Browser(stage.url) as browser:
            return (await browser.post(path, **NEW)).status

    assert sorted(await asyncio.gather(attempt(), attempt(), attempt())) == [303, 410, 410]


@pytest.mark.parametrize("days", [6, 7])
async def test_an_invitation_ends_after_a_week(stage: Stage, visitor: Browser, wall: FrozenClock, days: int) -> None:
    path = await stage.invite("acme", "dan@example.com")

    wall.advance(days * 86_400)

    assert (await visitor.get(path)).status == (200 if days < 7 else 410)


async def test_a_new_invitation_ends_the_old_one(stage: Stage, visitor: Browser) -> None:
    old = await stage.invite("acme", "dan@example.com", "owner")
    new = await stage.invite("acme", "dan@example.com", "viewer")

    assert [(await visitor.get(path)).status for path in (old, new)] == [410, 200]


async def test_who_has_an_account_joins_with_it_and_nobody_else_does(stage: Stage, visitor: Browser) -> None:
    ann, bob = await stage.person("Ann", acme="owner"), await stage.person("Bob", other="viewer")
    path = await stage.invite("acme", bob, "editor")

    anonymous = await visitor.post(path, **NEW)
    await visitor.sign_in(ann)
    somebody_else = await visitor.post(path)
    async with Browser(stage.url) as his:
        await his.sign_in(bob)
        joined = await his.post(path)

        assert (anonymous.status, somebody_else.status, joined.status) == (422, 422, 303)
        assert "Welcome to Acme Coffee." in (await his.get("/acme/")).words


REFUSED = [
    ({"password": "short", "again": "short"}, "Password is too short"),
    ({"again": "another kettle of fish"}, "Password again is not the same"),
    ({"password": "passwordpassword1", "again": "passwordpassword1"}, "Password is among the first"),
    ({"password": "dan@example.com1", "again": "dan@example.com1"}, "Password is made of your name or email"),
    ({"name": "  "}, "Your name is missing"),
    ({"name": "x" * 101}, "Your name is too long: at most 100"),
    ({"password": "x y" * 60, "again": "x y" * 60}, "Password is too long"),
]


@pytest.mark.parametrize(("wrong", "why"), REFUSED)
async def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost_but_secrets(
    stage: Stage, visitor: Browser, wrong: dict[str, str], why: str
) -> None:
    path = await stage.invite("acme", "dan@example.com")

    refused = await visitor.post(path, **{**NEW, **wrong})

    assert (refused.status, why in refused.words) == (422, True), refused.words
    assert NEW["password"] not in refused.html
    assert wrong.get("name", NEW["name"]) in refused.html
    assert (await visitor.post(path, **NEW)).status == 303


# --- resets ----------------------------------------------------------------------------------------------------------


async def test_a_reset_sets_the_password_ends_sessions_and_signs_nobody_in(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.4.3."""
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    path = await stage.reset(ann)

    async with Browser(stage.url) as other:
        done = await other.post(path, password=NEW["password"], again=NEW["password"])
        assert (done.status, done.location, other.token) == (303, "/_sign-in?done=password", None)
        assert (await other.post(path, password=PASSWORD, again=PASSWORD)).status == 410
        assert (await other.sign_in(ann)).status == 422
        assert (await other.sign_in(ann, NEW["password"])).status == 303
    assert (await visitor.get("/acme/")).status == 303


def link_of(page: Page) -> str:
    found = re.search(r"http://[^\"]+(/_reset/[^\"]+)", page.html)
    assert found is not None, page.words
    return found[1]


async def test_an_owner_makes_the_link_of_who_works_in_no_other_org(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    email = await stage.person("Bob", acme="editor")
    made = await visitor.post(f"/acme/people/{stage.users[email]}/reset")

    async with Browser(stage.url) as bob:
        done = await bob.post(link_of(made), password=NEW["password"], again=NEW["again"])
        entered = await bob.sign_in(email, NEW["password"])

    assert "New password for bob@example.com" in made.words
    assert (done.status, entered.location) == (303, "/")
    async with stage.db.connection() as connection:
        rows = await connection.fetch("SELECT operation, actor, target, asked, results FROM audit_log")
    assert [(row["operation"], row["actor"], row["target"]) for row in rows] == [
        ("people.reset", "ann@example.com", str(stage.users[email])),
        ("people.reset_used", email, email),
    ]
    assert "_reset" not in str([dict(row) for row in rows])


async def test_no_owner_takes_over_who_works_elsewhere_too(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    both, stranger = await stage.person("Bob", acme="editor", other="owner"), await stage.person("Cleo", other="viewer")

    refused = await visitor.post(f"/acme/people/{stage.users[both]}/reset")
    unknown = await visitor.post(f"/acme/people/{stage.users[stranger]}/reset")

    assert "No link was made. This person works elsewhere too" in (await visitor.get(refused.location)).words
    assert unknown.status == 404
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM password_resets") == 0


async def test_a_link_of_one_orgs_owner_does_not_open_the_next_org(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    email = await stage.person("Bob", acme="editor")
    path = link_of(await visitor.post(f"/acme/people/{stage.users[email]}/reset"))
    invite = await stage.invite("other", email)

    async with Browser(stage.url) as bob:
        await bob.sign_in(email)
        joined = await bob.post(invite)

    assert (joined.status, (await visitor.get(path)).status) == (303, 410)


async def test_a_reset_ends_after_an_hour(stage: Stage, visitor: Browser, wall: FrozenClock) -> None:
    path = await stage.reset(await stage.person("Ann", acme="owner"))

    wall.advance(3600)

    assert (await visitor.get(path)).status == 410


async def test_a_reset_lets_in_who_was_slowed_down(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner")
    for _ in range(6):
        await visitor.sign_in(ann, "not the password at all")

    await visitor.post(await stage.reset(ann), password=NEW["password"], again=NEW["password"])

    assert (await visitor.sign_in(ann, NEW["password"])).status == 303


# --- the first person ------------------------------------------------------------------------------------------------


@pytest.fixture
def first(stage: Stage) -> dict[str, str]:
    return {**NEW, "email": "Dan@Example.com ", "org": str(stage.orgs["acme"])}


async def test_the_first_person_sets_the_console_up_and_owns_the_org(visitor: Browser, first: dict[str, str]) -> None:
    assert "Nobody is here yet" in (await visitor.get("/")).words
    assert (await visitor.get(SETUP)).status == 200

    done = await visitor.post(SETUP, **first)

    assert (done.status, done.location) == (303, "/")
    assert "Dan Example Owner" in (await visitor.get("/acme/")).words


async def test_the_log_says_where_the_set_up_page_is(
    stage: Stage, visitor: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    [said] = [record for record in caplog.get_records("setup") if record.getMessage() == "console.nobody_yet"]

    assert vars(said)["fields"]["set_up"] == stage.url + SETUP


async def test_the_set_up_page_works_once(stage: Stage, visitor: Browser, first: dict[str, str]) -> None:
    async def attempt(name: str) -> int:
        async with Browser(stage.url) as browser:
            return (await browser.post(SETUP, **{**first, "email": f"{name}@example.com"})).status

    assert sorted(await asyncio.gather(attempt("eve"), attempt("dan"))) == [303, 404]
    assert (await visitor.get(SETUP)).status == 404


async def test_the_set_up_page_needs_the_token_of_the_log(visitor: Browser, first: dict[str, str]) -> None:
    assert (await visitor.get("/_setup/" + "0" * 64)).status == 404
    assert (await visitor.post("/_setup/" + "0" * 64, **first)).status == 404


# --- people of an org ------------------------------------------------------------------------------------------------


async def test_an_owner_invites_changes_and_removes(stage: Stage, visitor: Browser) -> None:
    bob = await stage.person("Bob", acme="viewer")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    made = await visitor.post("/acme/people/invites", email=" New@Example.com ", role="editor")
    again = await visitor.post("/acme/people/invites", email=bob, role="editor")
    wrong = await visitor.post("/acme/people/invites", email="nobody", role="king")
    changed = await visitor.post(f"/acme/people/{stage.users[bob]}/role", role="reviewer")
    removed = await visitor.post(f"/acme/people/{stage.users[bob]}/remove")

    assert "Invitation for new@example.com" in made.words
    assert f"{stage.url}/_invite/" in made.html
    assert "Email is a member already." in again.words
    assert "Email is no email address like ann@example.com." in wrong.words
    assert (changed.status, removed.status) == (303, 303)
    async with Browser(stage.url) as his:
        await his.sign_in(bob)
        assert (await his.get("/acme/")).status == 404


async def test_what_is_taken_away_is_gone_with_the_next_request(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V8.3.2: a session says who somebody is, and each request is looked up for what they may."""
    bob = await stage.person("Bob", acme="owner")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    async with Browser(stage.url) as his:
        await his.sign_in(bob)
        before = (await his.get("/acme/people")).status, (await his.post("/acme/people/invites", email="x")).status
        await visitor.post(f"/acme/people/{stage.users[bob]}/role", role="viewer")
        smaller = await his.post("/acme/people/invites", email="x")
        await visitor.post(f"/acme/people/{stage.users[bob]}/remove")
        gone = await his.get("/acme/people")

    assert (*before, smaller.status, gone.status) == (200, 422, 403, 404)


async def test_the_last_owner_stays_even_when_two_leave_at_once(stage: Stage, visitor: Browser) -> None:
    ann, bob = await stage.person("Ann", acme="owner"), await stage.person("Bob", acme="owner")
    async with Browser(stage.url) as his:
        await visitor.sign_in(ann)
        await his.sign_in(bob)

        await asyncio.gather(
            visitor.post(f"/acme/people/{stage.users[bob]}/remove"), his.post(f"/acme/people/{stage.users[ann]}/remove")
        )

    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM memberships WHERE role = 'owner'") == 1


async def test_a_notice_is_said_once(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    await visitor.post("/_account/name", name="Anna")

    assert "Your name is changed." in (await visitor.get("/_account")).words
    assert "Your name is changed." not in (await visitor.get("/_account")).words
