"""Single sign-on beside the second factor, in the place of passwords, and how it ends."""

import re

import pyotp
import pytest
from aiohttp import web

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.component.console.single_sign_on.rig import all_rows, other_settings
from tests.support.console import PASSWORD, Stage
from tests.support.oidc import Provider, comes_back

# --- the second factor, and passwords that are turned off ------------------------------------------------------------


@pytest.mark.parametrize("asks_code", [False, True])
async def test_our_second_factor_is_asked_after_the_provider_only_where_the_setting_says_so(
    database_url: str, wall: FrozenClock, there: Provider, asks_code: bool
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_second_factor=asks_code) as (stage, visitor):
        await stage.person("Ann", acme="owner")
        await comes_back(visitor, there)
        await visitor.post("/_sign-out")
        async with stage.db.connection() as connection:
            await connection.execute("UPDATE users SET sealed_totp = 'x', totp_since = now()")

        back = await comes_back(visitor, there, next_path="/acme/people")

        assert back.location == ("/_sign-in/code?next=%2Facme%2Fpeople" if asks_code else "/acme/people")
        assert (await visitor.get("/acme/people")).status == (303 if asks_code else 200)


async def test_where_only_the_provider_lets_people_in_passwords_open_and_change_nothing(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_only=True) as (stage, visitor):
        ann = await stage.person("Ann", acme="owner")
        invite, reset = await stage.invite("acme", "new@example.com"), await stage.reset(ann)
        password = {"password": "quiet otter in the rain", "again": "quiet otter in the rain"}

        page = await visitor.get("/_sign-in")
        answers = [
            await visitor.sign_in(ann, PASSWORD),
            await visitor.get(reset),
            await visitor.post(reset, **password),
            await visitor.post(invite, name="New", **password),
        ]

        assert ("Sign in with Acme ID" in page.words, "Email" in page.words) == (True, False)
        assert [answer.status for answer in answers] == [403] * 4
        assert "Password" not in (await visitor.get(invite)).words
        assert (await comes_back(visitor, there)).status == 303
        assert "You are signed in as ann@example.com" in (await visitor.get(invite)).words


async def test_sessions_that_began_with_a_password_end_when_passwords_are_turned_off(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    ann = await stage.person("Ann", acme="owner")
    async with Browser(stage.url) as through_provider:
        await comes_back(through_provider, there)
        password = "quiet otter in the rain"
        await visitor.post(await stage.reset(ann), password=password, again=password)
        await comes_back(through_provider, there)
        await visitor.sign_in(ann, password)
        pages = [await one.get("/acme/") for one in (visitor, through_provider)]

        object.__setattr__(stage.settings, "console_oidc_only", True)  # a restart with the setting, as fast as it gets

        assert [page.status for page in pages] == [200, 200]
        assert [(await one.get("/acme/")).status for one in (visitor, through_provider)] == [303, 200]


async def test_without_a_password_the_second_factor_is_turned_on_by_who_has_just_signed_in(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    there.discovery["end_session_endpoint"] = f"{there.issuer}/out"
    async with other_settings(database_url, wall, there, console_oidc_second_factor=True) as (stage, visitor):
        await stage.invite("acme", "ann@example.com")
        await comes_back(visitor, there)
        page = await visitor.get("/_account/two-factor")
        [secret] = re.findall(r'value="((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})"', page.html)
        app = pyotp.TOTP(secret.replace(" ", ""))

        wall.advance(10 * 60)
        too_late = await visitor.post("/_account/two-factor", code=app.at(wall.now()))
        await visitor.post("/_sign-out")
        await comes_back(visitor, there)
        turned_on = await visitor.post("/_account/two-factor", code=app.at(wall.now()))
        await visitor.post("/_sign-out")
        half = await comes_back(visitor, there)
        wall.advance(60)
        full = await visitor.post("/_sign-in/code", code=app.at(wall.now()), next="/acme/")
        page = await visitor.get("/_account")
        out = await visitor.post("/_sign-out")

        assert "Your password" not in page.words
        assert (too_late.status, "Your sign-in is too long ago" in too_late.words) == (422, True)
        assert turned_on.status == 200
        assert half.location == "/_sign-in/code?next=%2F"
        assert full.location == "/acme/"
        assert "id_token_hint=ey" in out.headers["Refresh"]


# --- out -------------------------------------------------------------------------------------------------------------


async def test_signing_out_ends_our_session_and_leads_to_the_providers(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    """ASVS 5.0 V7.6.1."""
    await stage.person("Ann", acme="owner")
    there.discovery["end_session_endpoint"] = f"{there.issuer}/out?tenant=1"
    await comes_back(visitor, there)
    token = visitor.token or ""

    out = await visitor.post("/_sign-out")

    target = out.headers["Refresh"].removeprefix("0; url=")
    assert target.startswith(f"{there.issuer}/out?tenant=1&client_id=the%3Aconsole&post_logout_redirect_uri=")
    assert "id_token_hint=ey" in target
    assert f'href="{target.replace("&", "&amp;")}"' in out.html
    assert out.headers["Clear-Site-Data"] == '"cache", "storage"'
    visitor.token = token
    assert (await visitor.get("/acme/")).status == 303
    assert "You are signed out." in (await visitor.get("/_sign-in?state=signed-out")).words


async def test_a_provider_that_is_away_keeps_nobody_signed_in(
    stage: Stage, visitor: Browser, there: Provider, wall: FrozenClock
) -> None:
    await stage.person("Ann", acme="owner")
    await comes_back(visitor, there)
    there.answers["/.well-known/openid-configuration"] = lambda _: web.Response(status=500)
    wall.advance(20 * 60)
    await visitor.get("/acme/")
    wall.advance(20 * 60)
    await visitor.get("/acme/")
    wall.advance(20 * 60 + 1)

    out = await visitor.post("/_sign-out")

    assert (out.status, out.location) == (303, "/_sign-in?done=signed-out")


async def test_the_id_token_is_kept_sealed_and_goes_with_the_session(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    await comes_back(visitor, there)

    [(sealed,)] = await all_rows(stage, "SELECT sealed_id_token FROM sessions")
    await visitor.post("/_account/sign-out-everywhere")

    assert sealed.startswith("v1.k1.")
    assert await all_rows(stage, "SELECT 1 FROM sessions") == []
