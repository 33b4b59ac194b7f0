"""Signing in through a provider: who gets in, as whom, and what a hostile one, or a hostile link, gets instead."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pyotp
import pytest
from aiohttp import web

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.support.console import PASSWORD, Stage, console
from tests.support.oidc import Provider, answered, asks, comes_back, provider, settings_for

FLOW = "justai-sign-in"


@pytest.fixture
async def there(wall: FrozenClock) -> AsyncIterator[Provider]:
    async with provider(wall) as running:
        yield running


@pytest.fixture
async def stage(database_url: str, wall: FrozenClock, there: Provider) -> AsyncIterator[Stage]:
    async with console(database_url, wall, **settings_for(there.issuer)) as running:
        yield running


@asynccontextmanager
async def other_settings(
    database_url: str, wall: FrozenClock, there: Provider, **more: Any
) -> AsyncIterator[tuple[Stage, Browser]]:
    """A console that is told something else."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(console(database_url, wall, **settings_for(there.issuer, **more)))
        yield stage, await stack.enter_async_context(Browser(stage.url))


async def all_rows(stage: Stage, statement: str) -> list[tuple[Any, ...]]:
    async with stage.db.connection() as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


MEMBERS = """
    SELECT u.email, o.slug, m.role, m.by_group
    FROM memberships m JOIN users u USING (user_id) JOIN orgs o USING (org_id)
    ORDER BY u.email, o.slug
"""

# --- the way there and back ------------------------------------------------------------------------------------------


async def test_the_button_asks_with_a_code_challenge_a_state_and_a_nonce(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    page = await visitor.get("/_sign-in?next=/acme/people")
    first, second = await asks(visitor), await asks(visitor)

    assert 'href="/_sign-in/oidc?next=/acme/people">Sign in with Acme ID</a>' in page.html
    assert first.query | {"state": "", "nonce": "", "code_challenge": ""} == {
        "response_type": "code", "client_id": "the:console", "redirect_uri": f"{stage.url}/_sign-in/oidc/back",
        "scope": "openid email profile", "state": "", "nonce": "", "code_challenge": "",
        "code_challenge_method": "S256",
    }  # fmt: skip
    secrets = [asked.query[name] for asked in (first, second) for name in ("state", "nonce", "code_challenge")]
    assert len(set(secrets)) == 6
    assert min(map(len, secrets)) == 43


async def test_whoever_the_provider_vouches_for_is_signed_in_where_they_wanted_to_go(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")

    back = await comes_back(visitor, there, next_path="/acme/people?page=2")
    page = await visitor.get(back.location)

    assert (back.status, back.location) == (303, "/acme/people?page=2")
    assert (page.status, "Password, Acme ID" in page.words) == (200, True)
    assert [tuple(row) for row in await all_rows(stage, "SELECT issuer, subject, email FROM identities")] == [
        (there.issuer, "ann-1", "ann@example.com")
    ]
    assert await all_rows(stage, "SELECT how FROM signins") == [("provider",)]
    log = await all_rows(stage, "SELECT operation, actor FROM audit_log")
    assert log == [("people.link", "ann@example.com")]


async def test_coming_back_leads_nowhere_else(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.person("Ann", acme="owner")

    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", "/%09/evil.example"):
        assert (await comes_back(visitor, there, next_path=elsewhere)).location == "/"
        await visitor.post("/_sign-out")


async def test_a_session_that_somebody_planted_is_not_taken_over(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    visitor.token = planted = "A" * 43

    await comes_back(visitor, there)

    assert visitor.token not in (None, planted)
    async with Browser(stage.url) as thief:
        thief.token = planted
        assert (await thief.get("/acme/")).status == 303


async def test_an_answer_in_another_browser_signs_nobody_in(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.person("Ann", acme="owner")
    asked = await asks(visitor)
    link = {"code": there.agrees(asked), "state": asked.state}

    async with Browser(stage.url) as victim:
        without_flow = await answered(victim, **link)
        await asks(victim)
        with_a_flow_of_its_own = await answered(victim, **link)
        assert victim.token is None

    assert without_flow.status == with_a_flow_of_its_own.status == 403
    assert "was begun in another browser" in without_flow.words
    assert there.counted.get("/token", 0) == 0


async def test_a_forged_answer_does_not_end_the_sign_in_that_is_under_way(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    asked = await asks(visitor)

    forged = await answered(visitor, code="x", state="A" * 43)
    back = await answered(visitor, code=there.agrees(asked), state=asked.state)

    assert (forged.status, back.status) == (403, 303)


async def test_an_answer_works_once(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.person("Ann", acme="owner")
    asked = await asks(visitor)
    cookies = visitor.cookies
    await answered(visitor, code=there.agrees(asked), state=asked.state)

    async with Browser(stage.url) as thief:
        thief.set_cookie(FLOW, cookies[FLOW])
        again = await answered(thief, code=there.agrees(asked), state=asked.state)

        assert (again.status, thief.token) == (403, None)
    assert there.counted["/token"] == 1


async def test_a_code_that_was_used_is_refused_by_the_provider_and_its_words_are_not_shown(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    asked = await asks(visitor)
    code = there.agrees(asked)
    there.codes.clear()

    back = await answered(visitor, code=code, state=asked.state)

    assert (back.status, visitor.token) == (403, None)
    assert "Acme ID did not confirm this sign-in" in back.words
    assert "no</b>" not in back.html


async def test_a_sign_in_that_takes_longer_than_ten_minutes_begins_again(
    stage: Stage, visitor: Browser, there: Provider, wall: FrozenClock
) -> None:
    await stage.person("Ann", acme="owner")
    asked = await asks(visitor)

    wall.advance(10 * 60)
    back = await answered(visitor, code=there.agrees(asked), state=asked.state)

    assert (back.status, "took too long" in back.words) == (403, True)


async def test_a_person_who_says_no_can_try_again(stage: Stage, visitor: Browser) -> None:
    asked = await asks(visitor)

    back = await answered(visitor, error="access_denied", error_description="<i>Call 555</i>", state=asked.state)

    assert (back.status, "Acme ID did not let you in" in back.words) == (403, True)
    assert "555" not in back.html


ISSUERS = [
    # whether the provider says that it names itself (RFC 9207), how the answer does, what becomes of it
    (None, "own", 303),
    (None, "https://evil.example", 403),
    (None, None, 303),
    (True, "own", 303),
    (True, None, 403),
    (True, "https://evil.example", 403),
]


async def test_an_answer_of_another_provider_is_not_taken(
    stage: Stage, visitor: Browser, there: Provider, wall: FrozenClock
) -> None:
    await stage.person("Ann", acme="owner")

    for says, iss, status in ISSUERS:
        there.discovery["authorization_response_iss_parameter_supported"] = says
        wall.advance(3_601)  # the document is read again
        before = there.counted.get("/token", 0)

        answer = {} if iss is None else {"iss": there.issuer if iss == "own" else iss}
        back = await comes_back(visitor, there, **answer)

        assert (back.status, there.counted.get("/token", 0) - before) == (status, int(status == 303)), (says, iss)
        await visitor.post("/_sign-out")


async def test_failed_answers_slow_an_address_down(stage: Stage, visitor: Browser, there: Provider) -> None:
    there.claims = {"email": "zoe@example.com", "sub": "zoe-1"}

    statuses = [(await comes_back(visitor, there)).status for _ in range(22)]

    assert statuses == [403] * 20 + [429] * 2


async def test_a_provider_that_takes_the_secret_in_the_form_alone_gets_it_there(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    there.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]

    assert (await comes_back(visitor, there)).status == 303


async def test_what_the_id_token_leaves_out_is_asked_for_and_must_be_of_the_same_person(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    await stage.person("Ann", acme="owner")
    there.discovery["userinfo_endpoint"] = f"{there.issuer}/userinfo"
    there.claims = {"email": None, "email_verified": None}
    there.userinfo = {"sub": "bob-1", "email": "ann@example.com", "email_verified": True}

    of_another = await comes_back(visitor, there)
    there.userinfo["sub"] = "ann-1"
    of_the_same = await comes_back(visitor, there)

    assert (of_another.status, of_the_same.status) == (403, 303)


# --- who is let in ---------------------------------------------------------------------------------------------------


async def test_somebody_whom_nobody_invited_is_not_let_in(stage: Stage, visitor: Browser, there: Provider) -> None:
    back = await comes_back(visitor, there)

    assert (back.status, "nobody invited you here yet" in back.words, visitor.token) == (403, True, None)
    assert await all_rows(stage, "SELECT 1 FROM users") == []


async def test_an_invited_person_joins_without_a_password(stage: Stage, visitor: Browser, there: Provider) -> None:
    path = await stage.invite("acme", "ann@example.com", "reviewer")

    page = await visitor.get(path)
    back = await comes_back(visitor, there, next_path="/acme/")
    account = await visitor.get("/_account")

    assert 'href="/_sign-in/oidc?next=/acme/">Join with Acme ID</a>' in page.html
    assert back.location == "/acme/"
    assert await all_rows(stage, MEMBERS) == [("ann@example.com", "acme", "reviewer", False)]
    assert "You sign in with Acme ID, and with nothing else." in account.words
    assert "Current password" not in account.words
    assert (await visitor.get(path)).status == 410


async def test_without_a_password_no_password_is_right(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.invite("acme", "ann@example.com")
    await comes_back(visitor, there)

    async with Browser(stage.url) as guesser:
        assert (await guesser.sign_in("ann@example.com", "a password that nobody has")).status == 422


async def test_an_unverified_email_opens_no_account(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.person("Ann", acme="owner")
    await stage.invite("other", "ann@example.com")

    unverified: list[object] = [False, None, "false", 0, [], {}, "yes"]
    for verified in unverified:
        there.claims = {"email_verified": verified}
        back = await comes_back(visitor, there)
        assert (back.status, "is verified" in back.words, visitor.token) == (403, True, None), verified
    for email in ("ann@example.com\0", "ann", 7, ["ann@example.com"], "ann@example.\u212aom", ""):
        there.claims = {"email": email}
        assert (await comes_back(visitor, there)).status == 403, email

    assert await all_rows(stage, "SELECT 1 FROM identities") == []


async def test_once_linked_it_is_the_subject_that_counts(stage: Stage, visitor: Browser, there: Provider) -> None:
    await stage.person("Ann", acme="owner")
    await comes_back(visitor, there)
    await visitor.post("/_sign-out")

    there.claims = {"email": "ann.new@example.com", "email_verified": False}
    renamed = await comes_back(visitor, there)
    await visitor.post("/_sign-out")
    there.claims = {"sub": "ann-2"}
    successor = await comes_back(visitor, there)

    assert renamed.status == 303
    assert (successor.status, "is linked to somebody else" in successor.words) == (403, True)


async def test_only_people_of_the_domains_are_let_in_even_when_they_are_linked(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_domains="Example.com, example.org") as (
        stage,
        visitor,
    ):
        await stage.person("Ann", acme="owner")
        assert (await comes_back(visitor, there)).status == 303
        await visitor.post("/_sign-out")

        for email, verified in (
            ("ann@evil-example.com", True),
            ("ann@sub.example.com", True),
            ("a@example.com", False),
        ):
            there.claims = {"email": email, "email_verified": verified}
            assert (await comes_back(visitor, there)).status == 403
        assert visitor.token is None


async def test_who_is_unknown_joins_where_the_setting_says_so_and_only_once(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_join="acme:viewer") as (stage, visitor):
        await stage.person("Bob", acme="owner")
        there.claims = {"name": "  Ann \u202e\nExample" + "x" * 200}
        assert (await comes_back(visitor, there)).status == 303
        assert ("ann@example.com", "acme", "viewer", False) in await all_rows(stage, MEMBERS)

        async with stage.db.connection() as connection:
            await connection.execute("DELETE FROM memberships WHERE role = 'viewer'")
        await visitor.post("/_sign-out")
        await comes_back(visitor, there)

        assert [row[0] for row in await all_rows(stage, MEMBERS)] == ["bob@example.com"]


async def test_two_first_sign_ins_at_once_make_one_account(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_join="acme:viewer") as (stage, visitor):
        async with Browser(stage.url) as elsewhere:
            both = await asyncio.gather(comes_back(visitor, there), comes_back(elsewhere, there))

        assert [page.status for page in both] == [303, 303]
        assert await all_rows(stage, "SELECT count(*) FROM users") == [(1,)]


async def test_an_org_that_is_not_there_cannot_be_joined(database_url: str, wall: FrozenClock, there: Provider) -> None:
    async with other_settings(database_url, wall, there, console_oidc_join="nope:viewer") as (stage, visitor):
        back = await comes_back(visitor, there)

        assert (back.status, "the org that you would join is not here" in back.words) == (403, True)
        assert await all_rows(stage, "SELECT 1 FROM users") == []


GROUPS = "/crm/owners=acme:owner, crm=acme:viewer, a=b=acme:editor, tea=other:editor"


async def test_groups_give_roles_at_each_sign_in_and_take_back_what_they_gave(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_groups=GROUPS, console_oidc_join="groups") as (
        stage,
        visitor,
    ):
        await stage.person("Bob", acme="owner", other="owner")

        async def after(*groups: str) -> list[tuple[Any, ...]]:
            there.claims = {"groups": list(groups)}
            assert (await comes_back(visitor, there)).status == 303
            found = [row for row in await all_rows(stage, MEMBERS) if row[0].startswith("ann")]
            await visitor.post("/_sign-out")
            return [row[1:] for row in found]

        assert await after("crm", "tea", "unknown") == [("acme", "viewer", True), ("other", "editor", True)]
        assert await after("/crm/owners", "crm", "tea") == [("acme", "owner", True), ("other", "editor", True)]
        assert await after("a=b") == [("acme", "editor", True)]
        there.claims = {"groups": None, "_claim_names": {"groups": "src1"}}
        assert (await comes_back(visitor, there)).status == 303
        assert ("ann@example.com", "acme", "editor", True) in await all_rows(stage, MEMBERS)
        await visitor.post("/_sign-out")
        assert await after() == []
        log = await all_rows(stage, "SELECT operation, target, asked->>'role' FROM audit_log ORDER BY audit_id")
        assert ("people.remove", "ann@example.com", None) in log
        assert ("people.role", "ann@example.com", "owner") in log


async def test_a_role_given_by_hand_stays_whatever_the_groups_say(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_groups=GROUPS) as (stage, visitor):
        await stage.person("Ann", acme="reviewer")
        there.claims = {"groups": ["/crm/owners"]}

        await comes_back(visitor, there)

        assert await all_rows(stage, MEMBERS) == [("ann@example.com", "acme", "reviewer", False)]


async def test_a_link_for_a_new_password_does_not_follow_into_the_org_of_a_group(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_groups=GROUPS) as (stage, visitor):
        link = await stage.reset(await stage.person("Ann", acme="editor"))
        there.claims = {"groups": ["tea"]}

        assert (await visitor.get(link)).status == 200
        await comes_back(visitor, there)

        assert (await visitor.get(link)).status == 410


async def test_the_last_owner_of_an_org_stays_one_without_the_group(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_groups=GROUPS, console_oidc_join="groups") as (
        stage,
        visitor,
    ):
        there.claims = {"groups": "/crm/owners"}
        await comes_back(visitor, there)
        await visitor.post("/_sign-out")

        there.claims = {"groups": []}
        back = await comes_back(visitor, there)

        assert back.status == 303
        assert await all_rows(stage, MEMBERS) == [("ann@example.com", "acme", "owner", True)]


async def test_groups_alone_let_nobody_in_unless_the_setting_says_so(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_groups=GROUPS) as (_, visitor):
        there.claims = {"groups": ["/crm/owners"]}

        assert (await comes_back(visitor, there)).status == 403


# --- the second factor, and passwords that are turned off ------------------------------------------------------------


@pytest.mark.parametrize("asks_code", [False, True])
async def test_our_second_factor_is_asked_after_the_provider_only_where_the_setting_says_so(
    database_url: str, wall: FrozenClock, there: Provider, asks_code: bool
) -> None:
    async with other_settings(database_url, wall, there, console_oidc_second_factor=asks_code) as (stage, visitor):
        await stage.person("Ann", acme="owner")
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
        await visitor.sign_in(ann)
        await comes_back(through_provider, there)
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
