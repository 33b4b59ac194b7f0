"""The HTTP API beside the pages: whoever is signed in asks it with their role, and only from our own pages."""

import aiohttp
import orjson
import pytest

from shared.people.roles import Role
from tests.component.console.browser import COOKIE, Browser
from tests.support.console import Stage

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
ZONE = orjson.dumps({"time_zone": "Europe/Paris"})


async def _ask(
    stage: Stage, visitor: Browser, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    cookie = {"Cookie": f"{COOKIE}={visitor.token}"} if visitor.token else {}
    async with (
        aiohttp.ClientSession() as http,
        http.request(
            method, f"{stage.url}/api/v1/orgs/{path}", data=ZONE if method != "GET" else None,
            headers={**cookie, **(headers or {})},
        ) as answer,
    ):  # fmt: skip
        return answer.status, orjson.loads(await answer.read())


async def test_a_session_reads_its_org(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))

    status, body = await _ask(stage, visitor, "GET", "acme/templates")

    assert (status, body["templates"]) == (200, [])


async def test_nobody_is_told_so(stage: Stage, visitor: Browser) -> None:
    status, body = await _ask(stage, visitor, "GET", "acme/templates")

    assert (status, type(body["error"])) == (401, dict)


@pytest.mark.parametrize("slug", ["other", "nowhere"])
async def test_an_org_of_others_is_as_one_that_is_not_there(slug: str, stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    status, _ = await _ask(stage, visitor, "GET", f"{slug}/templates")

    assert status == 404


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("owner", 200)])
async def test_the_role_decides(role: Role, status: int, stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme=role))

    answered, body = await _ask(stage, visitor, "PUT", "acme/time-zone", SAME_ORIGIN)

    assert answered == status, body


async def test_a_foreign_page_cannot_ask_in_a_persons_name(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    status, _ = await _ask(stage, visitor, "PUT", "acme/time-zone", {**SAME_ORIGIN, "Sec-Fetch-Site": "cross-site"})

    assert status == 403
