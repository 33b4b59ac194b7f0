"""Passwords, second factors, sessions: who gets in, for how long, and how one gets out."""

import asyncio
import re
from datetime import timedelta

import pyotp
import pytest
from aiohttp import web

from services.console.web.cookies import set_session
from shared.clock import FrozenClock
from shared.people import links
from tests.component.console.browser import Browser
from tests.support.console import PASSWORD, Stage


async def test_the_right_password_opens_the_page_that_was_asked_for(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner")

    asked = await visitor.get("/acme/people?page=2")
    signed_in = await visitor.sign_in(ann, next_path="/acme/people?page=2")
    page = await visitor.get(signed_in.location)

    assert (asked.status, asked.location) == (303, "/_sign-in?next=%2Facme%2Fpeople%3Fpage%3D2")
    assert (signed_in.status, signed_in.location) == (303, "/acme/people?page=2")
    assert (page.status, "Ann Example" in page.words) == (200, True)


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)"],
)
async def test_signing_in_leads_nowhere_else(stage: Stage, visitor: Browser, elsewhere: str) -> None:
    ann = await stage.person("Ann", acme="owner")

    signed_in = await visitor.sign_in(ann, next_path=elsewhere)

    assert signed_in.location == "/"


async def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V6.3.8."""
    ann = await stage.person("Ann", acme="owner")

    wrong = await visitor.sign_in(ann, "not the password at all")
    unknown = await visitor.sign_in("zoe@example.com", "not the password at all")

    assert wrong.status == unknown.status == 422
    assert wrong.html.replace(ann, "") == unknown.html.replace("zoe@example.com", "")
    assert "Email or password are not right." in wrong.words
    assert visitor.token is None


async def test_refused_sign_ins_are_told_to_the_operator_without_what_was_typed(
    stage: Stage, visitor: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """ASVS 5.0 V16.3.1."""
    ann = await stage.person("Ann", acme="owner")

    await visitor.sign_in(ann, "not the password at all")
    await visitor.sign_in("zoe@example.com", "not the password at all")
    await visitor.sign_in(ann)

    told = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "signin.refused"]
    address = told[0]["address"]
    assert [(one["reason"], one["address"], one["user_id"]) for one in told] == [
        ("password", address, stage.users[ann]), ("password", address, None),
    ]  # fmt: skip
    said = "".join(str(record.__dict__) for record in caplog.records)
    assert "zoe@example.com" not in said
    assert "not the password" not in said
    async with stage.db.connection() as connection:
        kept = await connection.fetch("SELECT user_id, how, address FROM signins")
    assert [tuple(row) for row in kept] == [(stage.users[ann], "password", address)]


async def test_a_session_that_somebody_planted_is_not_taken_over(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.2.4."""
    ann = await stage.person("Ann", acme="owner")
    visitor.token = planted = "A" * 43

    await visitor.sign_in(ann)

    assert visitor.token not in (None, planted)
    async with Browser(stage.url) as thief:
        thief.token = planted
        assert (await thief.get("/acme/")).status == 303


async def test_signing_in_again_ends_the_session_that_the_browser_had(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    before = visitor.token
    await visitor.sign_in(ann)

    async with Browser(stage.url) as old:
        old.token = before or ""
        assert (await old.get("/acme/")).status == 303
    assert (await visitor.get("/acme/")).status == 200


async def test_the_token_is_stored_as_a_digest_only(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.2.1 to V7.2.3: minted for each session, 256 random bits, looked up here each time."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    async with stage.db.connection() as connection:
        stored = await connection.fetchval("SELECT digest FROM sessions")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", visitor.token or "")
    assert stored == links.digest(visitor.token or "")


async def test_a_session_ends_after_half_an_hour_without_use(stage: Stage, visitor: Browser, wall: FrozenClock) -> None:
    """ASVS 5.0 V7.3.1."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    wall.advance(29 * 60)
    assert (await visitor.get("/acme/")).status == 200
    wall.advance(29 * 60)
    assert (await visitor.get("/acme/")).status == 200
    wall.advance(30 * 60)
    assert (await visitor.get("/acme/")).status == 303


async def test_a_session_ends_after_twelve_hours_however_it_is_used(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    """ASVS 5.0 V7.3.2."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    for _ in range(12 * 60 // 20 - 1):
        wall.advance(20 * 60)
        assert (await visitor.get("/acme/")).status == 200
    wall.advance(20 * 60)
    assert (await visitor.get("/acme/")).status == 303


async def test_signing_out_ends_the_session_and_clears_what_the_browser_kept(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.4.1."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    token = visitor.token or ""

    out = await visitor.post("/_sign-out")

    assert (out.status, out.headers["Clear-Site-Data"]) == (303, '"cache", "storage"')
    visitor.token = token
    assert (await visitor.get("/acme/")).status == 303


async def test_signing_out_everywhere_ends_every_session(stage: Stage, visitor: Browser) -> None:
    ann = await stage.person("Ann", acme="owner")
    async with Browser(stage.url) as elsewhere:
        await visitor.sign_in(ann)
        await elsewhere.sign_in(ann)

        await visitor.post("/_account/sign-out-everywhere")

        assert (await elsewhere.get("/acme/")).status == 303
        assert (await visitor.get("/acme/")).status == 303


async def test_the_cookie_is_bound_to_the_host_and_to_https_unless_the_setting_says_so(stage: Stage) -> None:
    """ASVS 5.0 V3.3.1 to V3.3.4."""
    response = web.Response()  # the stage itself speaks plain http
    set_session(response, stage.settings.model_copy(update={"console_plain_cookies": False}), "t")

    assert response.cookies.output(header="").strip() == "__Host-justai=t; HttpOnly; Path=/; SameSite=Lax; Secure"


# --- the second factor -----------------------------------------------------------------------------------------------


async def with_second_factor(stage: Stage, visitor: Browser, wall: FrozenClock) -> tuple[pyotp.TOTP, list[str]]:
    """Turned on by its owner, who is signed in; the app, and the recovery codes."""
    page = await visitor.get("/_account/two-factor")
    found = re.search(r'value="((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})"', page.html)
    assert found is not None
    app = pyotp.TOTP(found.group(1).replace(" ", ""))
    done = await visitor.post("/_account/two-factor", code=app.at(wall.now()), current=PASSWORD)
    return app, re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b", done.html)


async def test_with_a_second_factor_the_password_alone_opens_nothing(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    app, codes = await with_second_factor(stage, visitor, wall)
    wall.advance(60)

    async with Browser(stage.url) as fresh:
        assert "Forgot your password? An owner of your org can make a link" in (await fresh.get("/_sign-in")).words
        half = await fresh.sign_in(ann)
        half_token = fresh.token
        asked = await fresh.get(half.location)
        assert "Lost your phone? A recovery code lets you in" in asked.words
        assert "an owner of your org can make a link on the page People" in asked.words
        assert half.location == "/_sign-in/code?next=%2F"
        assert (await fresh.get("/acme/")).status == 303
        assert (await fresh.get("/_account")).status == 303
        full = await fresh.post("/_sign-in/code", code=app.at(wall.now()))

        assert (full.status, len(codes)) == (303, 10)
        assert fresh.token != half_token
        assert (await fresh.get("/acme/")).status == 200


async def test_a_code_cannot_be_used_twice(stage: Stage, visitor: Browser, wall: FrozenClock) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    app, codes = await with_second_factor(stage, visitor, wall)
    wall.advance(60)

    async def attempt(code: str) -> int:
        async with Browser(stage.url) as fresh:
            await fresh.sign_in(ann)
            return (await fresh.post("/_sign-in/code", code=code)).status

    assert [await attempt(app.at(wall.now())) for _ in range(2)] == [303, 422]
    assert [await attempt(codes[0]) for _ in range(2)] == [303, 422]
    assert sorted(await asyncio.gather(*(attempt(codes[1]) for _ in range(3)))) == [303, 422, 422]


async def test_guessing_codes_is_slowed_down_whatever_session_asks(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    app, _ = await with_second_factor(stage, visitor, wall)
    wall.advance(60)

    async with Browser(stage.url) as guesser:
        await guesser.sign_in(ann)
        guesses = [(await guesser.post("/_sign-in/code", code="000000")).status for _ in range(6)]
        await guesser.sign_in(ann)
        right = await guesser.post("/_sign-in/code", code=app.at(wall.now()))

    assert guesses == [422] * 5 + [429]
    assert (right.status, right.headers["Retry-After"]) == (429, "30")


async def test_turning_it_on_takes_the_password_and_the_right_code(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.5.1, with the next ones. An email cannot be changed."""
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    without = await visitor.post("/_account/two-factor", code="123456")
    wrong = await visitor.post("/_account/two-factor", code="123456", current=PASSWORD)

    assert (without.status, wrong.status) == (422, 422)
    assert "Your password is not right." in without.words
    assert "Code does not fit" in wrong.words
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT totp_since FROM users") is None


async def test_a_changed_password_signs_every_other_browser_out(stage: Stage, visitor: Browser) -> None:
    """ASVS 5.0 V7.4.3."""
    ann, new = await stage.person("Ann", acme="owner"), "a kettle made of paper"
    async with Browser(stage.url) as elsewhere:
        await visitor.sign_in(ann)
        await elsewhere.sign_in(ann)

        refused = await visitor.post("/_account/password", current="not the one", password=new, again=new)
        changed = await visitor.post("/_account/password", current=PASSWORD, password=new, again=new)

        assert "Current password is not right." in refused.words
        assert (refused.status, changed.status) == (422, 303)
        assert (await visitor.get("/acme/")).status == 200
        assert (await elsewhere.get("/acme/")).status == 303
        assert (await elsewhere.sign_in(ann, new)).status == 303


async def test_turning_it_off_takes_the_password(stage: Stage, visitor: Browser, wall: FrozenClock) -> None:
    ann = await stage.person("Ann", acme="owner")
    await visitor.sign_in(ann)
    await with_second_factor(stage, visitor, wall)

    refused = await visitor.post("/_account/two-factor/off", current="something else here")
    done = await visitor.post("/_account/two-factor/off", current=PASSWORD)

    assert (refused.status, done.status) == (422, 303)
    async with Browser(stage.url) as fresh:
        assert (await fresh.sign_in(ann)).location == "/"


async def test_the_secret_is_sealed_at_rest(stage: Stage, visitor: Browser, wall: FrozenClock) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    app, codes = await with_second_factor(stage, visitor, wall)

    async with stage.db.connection() as connection:
        rows = await connection.fetch("SELECT u::text FROM users u UNION ALL SELECT r::text FROM recovery_codes r")
    everything = "\n".join(row[0] for row in rows)
    assert app.secret not in everything
    assert not [code for code in codes if code in everything or code.replace("-", "") in everything]


# --- floods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [200, pytest.param(1_000, marks=pytest.mark.long)])
async def test_a_flood_of_sign_ins_for_one_account_ends_in_429_and_leaves_others_alone(
    stage: Stage, number: int
) -> None:
    """ASVS 5.0 V6.3.1."""
    ann, bob = await stage.person("Ann", acme="owner"), await stage.person("Bob", acme="viewer")

    async def attempt(at: int) -> int:
        async with Browser(stage.url, {"X-Forwarded-For": f"203.0.113.{at % 250}"}) as guesser:
            return (await guesser.sign_in(ann, f"guess number {at:06}")).status

    statuses = await asyncio.gather(*(attempt(at) for at in range(number)))

    assert statuses.count(422) == 5  # as many as are looked at, however many came at once
    assert statuses.count(429) == number - 5
    async with Browser(stage.url) as other:
        assert (await other.sign_in(bob)).status == 303


async def test_the_wait_grows_with_each_failure_and_is_forgotten_in_time(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    ann = await stage.person("Ann", acme="owner")
    for _ in range(5):
        await visitor.sign_in(ann, "not the password at all")

    waits = []
    for _ in range(4):
        refused = await visitor.sign_in(ann, "not the password at all")
        waits.append(int(refused.headers["Retry-After"]))
        wall.advance(waits[-1])
        await visitor.sign_in(ann, "not the password at all")
    wall.advance(timedelta(minutes=31).total_seconds())

    assert waits == [1, 2, 4, 8]
    assert (await visitor.sign_in(ann, "not the password at all")).status == 422
    assert (await visitor.sign_in(ann)).status == 303


async def test_one_address_cannot_try_many_accounts(visitor: Browser) -> None:
    statuses = [
        (await visitor.sign_in(f"person{number}@example.com", "spring is in the air")).status for number in range(22)
    ]

    assert statuses == [422] * 20 + [429] * 2


async def test_an_address_that_must_wait_leaves_nothing_behind_for_the_emails_that_it_makes_up(
    stage: Stage, visitor: Browser
) -> None:
    for number in range(20):
        await visitor.sign_in(f"person{number}@example.com", "spring is in the air")

    statuses = {(await visitor.sign_in(f"made.up{n}@example.com", "spring is in the air")).status for n in range(50)}

    assert statuses == {429}
    async with stage.db.connection() as connection:
        rows = await connection.fetch("SELECT kind, count(*) FROM signin_delays GROUP BY kind ORDER BY kind")
    assert [tuple(row) for row in rows] == [("account", 20), ("address", 1)]
