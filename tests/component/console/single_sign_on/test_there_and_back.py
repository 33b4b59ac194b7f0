"""The way to a provider and back: what a hostile one, or a hostile link, gets."""

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.component.console.single_sign_on.rig import all_rows
from tests.support.console import Stage
from tests.support.oidc import Provider, answered, asks, comes_back

FLOW = "justai-sign-in"


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
    assert (page.status, "Acme ID" in page.words) == (200, True)
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
