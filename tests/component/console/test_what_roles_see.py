"""Who may not do something sees no button for it, and no link to a page that would say so; in every page there is."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

from services.console.routes import all_pages
from services.console.web.page import Page
from shared.clock import FrozenClock
from shared.people.roles import ROLES, Role, reaches
from tests.component.console.browser import Browser
from tests.support.belongings import WORDS, Belongings, furnish, parameters_of, put, thing_of
from tests.support.console import DRAFTING, Stage, console

PAGES = [page for page in all_pages(dev=False) if page.of_an_org]
ASKS_OTHERS = {"/{org}/integration/sources/{name}/preview"}
"""Answered by ingest, which does not run here."""
QUERIES = {"/{org}/operations/sources/{source}/rejects": "?file=ours.csv", "/{org}/operations/examples": "?shown=right"}


class Offered(HTMLParser):
    """What a page lets people do: the forms that can be sent, and the links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.asked: set[tuple[str, str]] = set()
        self._form: tuple[str, str] | None = None
        self._disabled = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "a" and (href := has.get("href") or "").startswith("/"):
            self.asked.add(("GET", href))
        elif tag == "form":
            self._form = ((has.get("method") or "get").upper(), has.get("action") or "")
        elif tag == "fieldset":
            self._disabled += "disabled" in has or self._disabled > 0
        elif (
            tag == "button" and has.get("type") == "submit" and self._form and not self._disabled | ("disabled" in has)
        ):
            self.asked.add((self._form[0], has.get("formaction") or self._form[1]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "fieldset" and self._disabled:
            self._disabled -= 1


def needed(method: str, path: str) -> Role | None:
    """The least role of the page of an org that answers; None where it is none."""
    asked = urlsplit(path).path
    for page in sorted(PAGES, key=lambda one: one.path.count("{")):
        if page.method == method and re.fullmatch(re.sub(r"\{[a-z_]+\}", "[^/]+", page.path), asked):
            return role_of(page)
    return None


def role_of(page: Page) -> Role:
    """Of a page of an org there is always one."""
    assert page.least != "anyone"
    assert page.least != "signed_in"
    return page.least


def path_of(page: Page, ours: Belongings) -> str:
    kinds = {name: thing_of(page.path, name) for name in parameters_of(page.path)}
    chosen = {name: WORDS[name] if kind is None else ours.ids[kind][0] for name, kind in kinds.items()}
    return put(page.path, {"org": ours.slug, **chosen}) + QUERIES.get(page.path, "")


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, FrozenClock(), amqp_url=amqp_url, **DRAFTING) as running:
        yield running


async def test_nobody_sees_a_button_or_a_link_that_would_refuse_them(stage: Stage, amqp_url: str) -> None:
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    refused, offers = set(), dict.fromkeys(ROLES, 0)
    for role in offers:
        async with Browser(stage.url) as browser:
            await browser.sign_in(await stage.person(role.capitalize(), acme=role))
            for page in PAGES:
                if page.method != "GET" or page.path in ASKS_OTHERS or not reaches(role, role_of(page)):
                    continue
                answer = await browser.get(path_of(page, ours))
                if "text/html" not in answer.headers.get("Content-Type", ""):
                    continue
                for method, path in Offered(answer.html).asked:
                    least = needed(method, path)
                    offers[role] += method == "POST" and least is not None
                    if least is not None and not reaches(role, least):
                        refused.add((role, page.path, method, path, least))

    assert not refused, "\n".join(map(str, sorted(refused)))
    assert 0 < offers["viewer"] < offers["reviewer"] < offers["editor"] < offers["owner"], offers
