"""What opened an account before single sign-on found it: whoever set that, it opens nothing any more."""

import pytest

from services.console.people.passwords import Hasher
from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.component.console.single_sign_on.rig import MEMBERS, all_rows, other_settings
from tests.support.console import PASSWORD, Stage
from tests.support.oidc import Provider, comes_back

GROUPS = "tea=other:owner"
NEW = "two slow herons by the sea"
LEFT = """
    SELECT u.has_password, u.sealed_totp, u.totp_since, (SELECT count(*) FROM recovery_codes),
        (SELECT count(*) FROM password_resets WHERE used_at IS NULL), (SELECT count(*) FROM signin_links),
        (SELECT count(*) FROM sessions)
    FROM users u
"""


async def add_second_factor(stage: Stage) -> None:
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE users SET sealed_totp = 'x', totp_since = now()")
        await connection.execute("INSERT INTO recovery_codes SELECT user_id, sha256('code'), NULL FROM users")
        await connection.execute("INSERT INTO signin_links SELECT sha256('link'), user_id, 'infinity' FROM users")


async def test_who_opened_the_account_of_anothers_email_does_not_follow_them_into_their_org(
    database_url: str, wall: FrozenClock, there: Provider
) -> None:
    """An owner invites an address that is not theirs, and takes the invitation: password and second factor are theirs.
    Then the person comes through the provider, whose group makes them owner of another org."""
    async with (
        other_settings(database_url, wall, there, console_oidc_groups=GROUPS) as (stage, person),
        Browser(stage.url) as stranger,
    ):
        email = await stage.person("Ann", acme="editor")
        await stranger.sign_in(email)
        await add_second_factor(stage)
        link = await stage.reset(email)
        there.claims = {"groups": ["tea"]}

        back = await comes_back(person, there, next_path="/other/")

        assert (back.status, (await person.get("/other/")).status) == (303, 200)
        assert await all_rows(stage, MEMBERS) == [(email, "acme", "editor", False), (email, "other", "owner", True)]
        assert (await stranger.get("/acme/")).status == 303
        assert (await stranger.sign_in(email)).status == 422
        assert (await stranger.get(link)).status == 410
        assert await all_rows(stage, LEFT) == [(False, None, None, 0, 0, 0, 1)]
        log = "SELECT operation, target, asked->>'ended' FROM audit_log WHERE operation = 'people.link'"
        assert await all_rows(stage, log) == [("people.link", email, "password, second factor, sessions")]


async def test_a_password_that_the_operator_gives_afterwards_stays(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    email, password = await stage.person("Ann", acme="owner"), "quiet otter in the rain"
    await comes_back(visitor, there)
    await visitor.post(await stage.reset(email), password=password, again=password)

    await comes_back(visitor, there)

    async with Browser(stage.url) as elsewhere:
        assert (await elsewhere.sign_in(email, password)).status == 303


async def test_no_owner_makes_a_password_for_who_signs_in_through_the_provider(
    stage: Stage, visitor: Browser, there: Provider
) -> None:
    """It would open the next org, into which a group lets them."""
    there.claims = {"email": "bob@example.com", "sub": "bob-1"}
    bob = await stage.person("Bob", acme="editor")
    async with Browser(stage.url) as elsewhere:
        await comes_back(elsewhere, there)
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    page = await visitor.get("/acme/people")
    refused = await visitor.post(f"/acme/people/{stage.users[bob]}/reset")

    assert f"/acme/people/{stage.users[bob]}/reset" not in page.html
    said = (await visitor.get(refused.location)).words
    assert "No link was made. This person signs in through the provider" in said
    assert await all_rows(stage, "SELECT 1 FROM password_resets") == []


async def test_a_password_that_is_ended_while_it_is_checked_opens_and_sets_nothing(
    stage: Stage, visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To hash takes a while, and a link by single sign-on may be made in it."""
    email, really = await stage.person("Ann", acme="owner"), Hasher.matches

    async def ended_meanwhile(self: Hasher, stored: str | None, password: str) -> bool:
        right = await really(self, stored, password)
        async with stage.db.transaction() as connection:
            await connection.execute("UPDATE users SET password_hash = NULL")
        return right

    await visitor.sign_in(email)
    sessions = await all_rows(stage, "SELECT count(*) FROM sessions")
    async with stage.db.connection() as connection:
        before = await connection.fetchval("SELECT password_hash FROM users")
    monkeypatch.setattr(Hasher, "matches", ended_meanwhile)
    changed = await visitor.post("/_account/password", current=PASSWORD, password=NEW, again=NEW)
    async with stage.db.transaction() as connection:
        ended = await connection.fetchval("SELECT password_hash FROM users")
        await connection.execute("UPDATE users SET password_hash = $1", before)
    async with Browser(stage.url) as elsewhere:
        refused = await elsewhere.sign_in(email)

    assert (changed.status, refused.status) == (422, 422)
    assert "was changed or ended meanwhile" in changed.words
    assert ended is None
    assert await all_rows(stage, "SELECT count(*) FROM sessions") == sessions
