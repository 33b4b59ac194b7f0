"""Nothing that changes something is taken from a page of others: every form and every operation, in the name of an
owner whose browser lends its session. And what is only looked at changes nothing."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import aiohttp
import orjson
import pytest

from services.console.routes import all_pages
from shared.admin.operation import PREFIX, Operation, has_body
from shared.admin.registry import REGISTRY
from shared.clock import FrozenClock
from tests.component.console.browser import COOKIE, Browser
from tests.support.belongings import WORDS, Belongings, furnish, parameters_of, put, thing_of
from tests.support.console import Stage, console

PAGES = all_pages(dev=False)
OPERATIONS = list(REGISTRY.served())
OURS: Final = "our own"
REFUSED: Final = [
    # Sec-Fetch-Site, Origin
    ("cross-site", "https://evil.example"),
    ("cross-site", OURS),
    ("same-site", "https://blog.example"),
    ("same-site", OURS),
    ("none", None),
    (None, "https://evil.example"),
    (None, "null"),
    (None, None),
]
METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
SIMPLE_TYPES: Final = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
"""What a page of others may send without asking the browser first."""

ASKS_INGEST: Final = "/{org}/integration/sources/{name}/preview"  # which does not run here: it would be waited for


@dataclass(frozen=True)
class Shop:
    """An org with one of everything, and its owner's session."""

    stage: Stage
    ours: Belongings
    token: str

    def path(self, path: str, org_id: str = "") -> str:
        """With things of ours that are really there; outside an org, with any."""
        chosen = {"org": "acme", "org_slug": "acme"}
        for name in parameters_of(path):
            kind = thing_of(path, name) if path.startswith(("/{org}", PREFIX)) else None
            chosen[name] = self.ours.ids[kind][0] if kind else WORDS.get(name, str(uuid4()))
        return self.stage.url + put(path, chosen)

    def headers(self, site: str | None, origin: str | None, **more: str) -> dict[str, str]:
        """As a browser sends them with the owner's cookie."""
        said = {"Sec-Fetch-Site": site, "Origin": self.stage.url if origin == OURS else origin}
        return {"Cookie": f"{COOKIE}={self.token}", **{name: text for name, text in said.items() if text}, **more}


@pytest.fixture
async def shop(database_url: str, amqp_url: str) -> AsyncIterator[Shop]:
    async with console(database_url, FrozenClock(), amqp_url=amqp_url) as stage, Browser(stage.url) as ann:
        await stage.person("Ann", acme="owner")
        ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
        await ann.sign_in("ann@example.com")
        yield Shop(stage, ours, str(ann.token))


async def test_no_form_is_taken_from_a_page_of_others(shop: Shop) -> None:
    """ASVS 5.0 V3.5.1: who asks must come from a page of ours. Signing in is such a form, too."""
    before, taken = await shop.ours.rows(), []
    posts = [page for page in PAGES if page.method == "POST"]
    async with aiohttp.ClientSession() as http:
        for page in posts:
            for site, origin in REFUSED:
                headers = shop.headers(site, origin, Accept="application/json")
                async with http.post(shop.path(page.path), headers=headers, data={"state": "archived"}) as answer:
                    said = orjson.loads(await answer.read())
                if (answer.status, said["error"]["code"]) != (403, "foreign_form"):
                    taken.append((page.path, site, origin, answer.status))

    assert not taken, "\n".join(map(str, taken))
    assert await shop.ours.rows() == before
    assert len(posts) > 60


async def test_no_operation_is_taken_from_a_page_of_others(shop: Shop) -> None:
    """ASVS 5.0 V3.5.1 and V3.5.3, over HTTP and by each method that may change something."""
    before, taken = await shop.ours.rows(), []
    async with aiohttp.ClientSession() as http:
        for one in OPERATIONS:
            for method in METHODS:
                for site, origin in REFUSED if method == one.method else REFUSED[:1]:
                    headers = shop.headers(site, origin, **{"Content-Type": "application/json"})
                    async with http.request(method, shop.path(PREFIX + one.path), headers=headers, data="{}") as answer:
                        said = orjson.loads(await answer.read())
                    if (answer.status, said["error"]["code"]) != (403, "foreign_form"):
                        taken.append((one.name, method, site, origin, answer.status))

    assert not taken, "\n".join(map(str, taken))
    assert await shop.ours.rows() == before
    assert {one.method for one in OPERATIONS} >= set(METHODS)


def with_body() -> Iterator[Operation[Any, Any]]:
    return (one for one in OPERATIONS if has_body(one) and one.asked.model_fields.keys() - {*one.path_parameters})


async def test_an_operation_reads_no_body_that_a_browser_would_send_across_sites_unasked(shop: Shop) -> None:
    """ASVS 5.0 V3.5.2: what is no JSON by its type is refused, wherever it comes from."""
    before, taken = await shop.ours.rows(), []
    async with aiohttp.ClientSession() as http:
        for one in with_body():
            for kind in SIMPLE_TYPES:
                headers = shop.headers("same-origin", OURS, **{"Content-Type": kind})
                async with http.request(one.method, shop.path(PREFIX + one.path), headers=headers, data="{}") as answer:
                    said = orjson.loads(await answer.read())
                if (answer.status, said["error"]["code"]) != (422, "not_json"):
                    taken.append((one.name, kind, answer.status, said))

    assert not taken, "\n".join(map(str, taken))
    assert await shop.ours.rows() == before


async def test_looking_changes_nothing(shop: Shop) -> None:
    """ASVS 5.0 V3.5.3: whatever is asked by GET leaves every row as it was, so a link or a picture can do no harm."""
    before, broken = await shop.ours.rows(), []
    pages = [page.path for page in PAGES if page.method == "GET" and page.of_an_org and page.path != ASKS_INGEST]
    operations = [PREFIX + one.path for one in OPERATIONS if one.method == "GET"]
    async with aiohttp.ClientSession() as http:
        for path in [*pages, *operations]:
            async with http.get(shop.path(path), headers=shop.headers("cross-site", None)) as answer:
                if answer.status >= 500:
                    broken.append((path, answer.status))

    assert broken == []
    assert await shop.ours.rows() == before
    assert len(pages) > 40


async def test_whoever_has_a_key_needs_no_browser_and_a_browser_lends_none(shop: Shop) -> None:
    """ASVS 5.0 V3.5.1: a key says who asks; beside a session the session's rules hold."""
    url, body = f"{shop.stage.url}/api/v1/orgs/acme/time-zone", {"time_zone": "Europe/Paris"}
    key = {"X-Api-Key": shop.ours.api_key}
    async with aiohttp.ClientSession() as http:
        async with http.put(url, json=body, headers=key) as answer:
            by_key = answer.status
        async with http.put(url, json=body, headers=shop.headers("cross-site", None, **key)) as answer:
            beside_a_session = answer.status

    assert (by_key, beside_a_session) == (200, 403)
