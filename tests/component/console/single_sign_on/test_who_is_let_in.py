"""Who gets in through a provider, as whom, and with which role."""

import asyncio
from typing import Any

from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.component.console.single_sign_on.rig import MEMBERS, all_rows, other_settings
from tests.support.console import Stage
from tests.support.oidc import Provider, comes_back


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
