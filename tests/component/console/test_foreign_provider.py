"""Single sign-on through a provider that is not ours, without a browser."""

import re
from urllib.parse import urlsplit

import aiohttp

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import console
from tests.support.oidc import foreign_provider, settings_for

ANN = {"sub": "ann-1", "email": "ann@example.com", "email_verified": True, "name": "Ann", "groups": ["crm"]}
ZOE = {"sub": "zoe-1", "email": "zoe@example.com", "email_verified": True}
BOB = {"sub": "bob-1", "email": "bob@example.com"}


async def decides(visitor: Browser, **form: str) -> str:
    """The path back to the console, after this was clicked on the provider's page."""
    there = (await visitor.get("/_sign-in/oidc")).location
    async with aiohttp.ClientSession() as http, http.post(there, data=form, allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()
        parts = urlsplit(answer.headers["Location"])
        assert f"{parts.scheme}://{parts.netloc}" == visitor.url
        return f"{parts.path}?{parts.query}"


async def test_its_people_are_let_in_as_it_vouches_for_them(database_url: str) -> None:
    async with foreign_provider(ANN, ZOE, BOB) as issuer:
        more = settings_for(issuer, console_oidc_groups="crm=other:editor")
        async with console(database_url, SystemClock(), **more) as stage, Browser(stage.url) as visitor:
            await stage.person("Ann", acme="owner")
            await stage.person("Bob", acme="owner")

            denied = await visitor.get(await decides(visitor, action="deny"))
            stranger = await visitor.get(await decides(visitor, sub="zoe-1"))
            unverified = await visitor.get(await decides(visitor, sub="bob-1"))
            path = await decides(visitor, sub="ann-1")
            back = await visitor.get(path)
            page, by_group = await visitor.get("/acme/people"), await visitor.get("/other/people")
            replayed = await visitor.get(path)
            out = await visitor.post("/_sign-out")

            assert [one.status for one in (denied, stranger, unverified, back)] == [403, 403, 403, 303]
            assert "nobody invited you" in stranger.words
            assert "verified" in unverified.words
            assert (page.status, by_group.status, replayed.status) == (200, 200, 403)
            target = out.headers["Refresh"].removeprefix("0; url=")
            async with aiohttp.ClientSession() as http, http.get(target) as answer:
                form = await answer.text()
            assert answer.status == 200
            assert re.search(rf'value="{stage.url}/_sign-in\?state=signed-out"', form)
