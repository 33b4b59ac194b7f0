"""The operator's link for an owner whom the provider does not let in, and ending single sessions."""

from shared.clock import FrozenClock
from shared.people import links
from tests.component.console.browser import Browser
from tests.support.console import Stage


async def test_the_link_signs_an_owner_in_once_and_looking_at_it_does_not_use_it_up(
    stage: Stage, visitor: Browser
) -> None:
    path = await stage.let_in(await stage.person("Ann", acme="owner"))

    seen = [await visitor.get(path), await visitor.get(path)]
    used = await visitor.post(path)
    page = await visitor.get("/acme/")
    again = await visitor.post(path)

    assert ["As ann@example.com . This link works once." in one.words for one in seen] == [True, True]
    assert (used.status, used.location, page.status) == (303, "/", 200)
    assert again.status == 410
    assert "Operator" in (await visitor.get("/_account")).words


async def test_the_link_asks_for_the_second_factor_of_who_has_one(stage: Stage, visitor: Browser) -> None:
    path = await stage.let_in(await stage.person("Ann", acme="owner"))
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE users SET sealed_totp = 'x', totp_since = now()")

    used = await visitor.post(path)

    assert used.location == "/_sign-in/code"
    assert (await visitor.get("/acme/")).status == 303


async def test_the_link_ends_after_a_quarter_of_an_hour_and_with_a_newer_one(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    ann = await stage.person("Ann", acme="owner")
    old, new = await stage.let_in(ann), await stage.let_in(ann)

    assert (await visitor.get(old)).status == 410
    assert (await visitor.get(new)).status == 200
    wall.advance(15 * 60)
    assert [(await visitor.get(new)).status, (await visitor.post(new)).status] == [410, 410]
    assert visitor.token is None


async def test_one_session_of_mine_can_be_ended_and_nobody_elses(stage: Stage, visitor: Browser) -> None:
    ann, bob = await stage.person("Ann", acme="owner"), await stage.person("Bob", acme="owner")
    async with Browser(stage.url) as elsewhere, Browser(stage.url) as stranger:
        await visitor.sign_in(ann)
        await elsewhere.sign_in(ann)
        await stranger.sign_in(bob)
        async with stage.db.connection() as connection:
            digests = {
                row["email"]: row["digest"].hex()
                for row in await connection.fetch(
                    "SELECT u.email, s.digest FROM sessions s JOIN users u USING (user_id) "
                    "ORDER BY s.digest = $1 DESC", links.digest(visitor.token or ""),
                )
            }  # fmt: skip

        ended = await visitor.post(f"/_account/sessions/{digests[ann]}/end")
        of_bob = await visitor.post(f"/_account/sessions/{digests[bob]}/end")
        of_nobody = await visitor.post("/_account/sessions/nonsense/end")

        assert [page.status for page in (ended, of_bob, of_nobody)] == [303, 404, 404]
        assert (await visitor.get("/_account")).status == 200
        assert (await elsewhere.get("/acme/")).status == 303
        assert (await stranger.get("/acme/")).status == 200


async def test_the_last_sign_ins_are_shown_with_how_and_from_where(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.sign_in("ann@example.com", "wrong")

    page = await visitor.get("/_account")

    assert page.html.count("127.0.0.1") == 1
    assert "Password" in page.words[page.words.index("Last sign-ins") :]
