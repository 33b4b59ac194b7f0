"""What every page of an org shows where there is nothing yet and where something fails, and whose time it tells."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from html.parser import HTMLParser
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from services.console.routes import all_pages
from services.console.web.page import Page
from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.component.console.test_what_roles_see import ASKS_OTHERS, Offered, path_of
from tests.support.belongings import furnish, parameters_of
from tests.support.console import DRAFTING, Stage, console
from tests.support.results import COPIES, History

PAGES: Final = [page for page in all_pages(dev=False) if page.of_an_org and page.method == "GET"]
ASKS_FOR: Final = {"/{org}/operations/examples"}
"""What they show is said in their query."""
OF_THE_ORG: Final = [page for page in PAGES if not parameters_of(page.path) and page.path not in ASKS_FOR]
EMPTY: Final = {
    "/{org}/templates": "No templates yet",
    "/{org}/review": "Nothing waits for a review",
    "/{org}/results": "No results yet",
    "/{org}/keys": "No API key yet",
    "/{org}/integration/sources": "No source yet",
    "/{org}/integration/hooks": "No hook yet",
    "/{org}/operations/dead-letters": "No dead letters",
    "/{org}/operations/live": "Nothing was written to Klaviyo yet",
    "/{org}/operations/totals": "Not connected to Klaviyo yet",
    "/{org}/operations/sources": "No source of event files yet",
    "/{org}/operations/exports": "There is no export target yet",
}
"""Lists, and what stands there before anything is in them."""
ZONE: Final = ZoneInfo("Asia/Tokyo")
CLOCK: Final = re.compile(r"\b\d{2}:\d{2}\b")
KEPT: Final = "'orgs', 'users', 'sessions', 'memberships', 'identities', 'ring_holders', 'draft_runs'"
"""Tables by which somebody is known, or that are read beside the pages; all others are what pages are about."""
SELECT_OTHERS: Final = f"""
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name NOT IN ({KEPT})
      AND table_name NOT IN (SELECT inhrelid::regclass::text FROM pg_inherits)
"""  # our own words


class Times(HTMLParser):
    """The moments that a page tells, and its other words; not what is quoted or typed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.told: list[tuple[datetime, str, str]] = []
        self.words: list[str] = []
        self._at: tuple[datetime, str] | None = None
        self._quoted = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "time" and (at := has.get("datetime")):
            self._at = datetime.fromisoformat(at), has.get("title") or ""
        self._quoted += tag in ("pre", "code", "script", "style", "textarea")

    def handle_endtag(self, tag: str) -> None:
        self._at = None if tag == "time" else self._at
        self._quoted -= tag in ("pre", "code", "script", "style", "textarea")

    def handle_data(self, data: str) -> None:
        if self._at is not None:
            self.told.append((*self._at, data.strip()))
        elif not self._quoted and data.strip():
            self.words.append(data.strip())


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, FrozenClock(), amqp_url=amqp_url, **DRAFTING) as running:
        yield running


async def test_every_page_of_an_empty_org_says_what_will_be_there(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    unlike: dict[str, str] = {}
    for page in OF_THE_ORG:
        answer = await visitor.get(path_of_org(page))
        if "text/html" not in answer.headers.get("Content-Type", ""):
            continue
        if answer.status != 200:
            unlike[page.path] = f"answered {answer.status}"
        elif re.search(r"<tbody>\s*</tbody>", answer.html):
            unlike[page.path] = "shows a table without rows"
        elif re.search(r">\s*(None|nan|\[\]|\{\})\s*<", answer.html):
            unlike[page.path] = "shows a value that is none"
        elif page.path in EMPTY and (EMPTY[page.path] not in answer.words or 'class="empty"' not in answer.html):
            unlike[page.path] = f"does not say {EMPTY[page.path]!r}"

    assert unlike == {}
    assert EMPTY.keys() <= {page.path for page in OF_THE_ORG}


async def test_no_link_on_a_page_of_an_empty_org_leads_to_what_is_not_there(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    led: dict[str, str] = {}
    for page in OF_THE_ORG:
        answer = await visitor.get(path_of_org(page))
        led |= {path.partition("#")[0]: page.path for method, path in Offered(answer.html).asked if method == "GET"}

    gone = {path: where for path, where in led.items() if (await visitor.get(path)).status == 404}

    assert gone == {}
    assert "/acme/integration" in led


async def test_a_page_whose_server_part_fails_says_so_with_an_id(stage: Stage, visitor: Browser, amqp_url: str) -> None:
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    owner = await asyncpg.connect(stage.settings.database_url.get_secret_value())
    others = [row["table_name"] for row in await owner.fetch(SELECT_OTHERS)]
    for table in others:
        await owner.execute(f"ALTER TABLE {table} RENAME TO gone_{table}")

    failed, bare = 0, {}
    for page in PAGES:
        answer = await visitor.get(path_of(page, ours))
        if answer.status < 500:
            continue
        failed += 1
        if not re.search(r"<h1[^>]*>[^<]+</h1>", answer.html) or not re.search(r"this id: [0-9a-f]{12}", answer.words):
            bare[page.path] = answer.words[:200]
    for table in others:  # what runs beside the pages ends in peace
        await owner.execute(f"ALTER TABLE gone_{table} RENAME TO {table}")
    await owner.close()

    assert bare == {}
    assert failed > len(PAGES) / 2


async def test_every_page_tells_times_in_the_zone_of_the_org(stage: Stage, visitor: Browser, amqp_url: str) -> None:
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.post("/acme/integration/org", time_zone=ZONE.key)
    told, elsewhere = 0, set()
    for page in PAGES:
        if page.path in ASKS_OTHERS:
            continue
        answer = await visitor.get(path_of(page, ours))
        if "text/html" not in answer.headers.get("Content-Type", ""):
            continue
        if "<main" in answer.html and f"Times in {ZONE.key}." not in answer.words:
            elsewhere.add((page.path, "", "the page names no zone"))
        times = Times(answer.html)
        for at, title, words in times.told:
            told += 1
            clock = CLOCK.search(words)
            if (title and ZONE.key not in title) or (clock and clock[0] != clock_of(at)):
                elsewhere.add((page.path, words, title))
        there = {clock_of(at) for at, *_ in times.told}
        for words in times.words:  # a zone is named, or it is one of the page's moments, in a label
            if (clock := CLOCK.search(words)) and not re.search(rf"UTC|{ZONE.key}", words) and clock[0] not in there:
                elsewhere.add((page.path, words[:120], "no zone"))

    assert elsewhere == set()
    assert told > 25
    assert "Times in UTC." in (await visitor.get("/_account")).words  # a person may work in orgs of several zones


@pytest.mark.parametrize("delivered", [False, True])
async def test_results_say_that_nothing_can_come_in_or_nobody_is_control(
    stage: Stage, visitor: Browser, delivered: bool
) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE templates SET split = 'external', control_ratio = 0, control_action_id = NULL")
    if delivered:
        await history.days(2, 50)
        await history.count()
    await visitor.sign_in(await stage.person("Ann", acme="owner"))

    one, every = await visitor.get("/acme/results/welcome"), await visitor.get("/acme/results")

    assert ("there is no source of events yet. Add a source" in one.words) is not delivered
    assert ("there is no source of events yet. Add a source" in every.words) is not delivered
    assert ("Nobody is control, so no lift can be told." in one.words) is not delivered  # the history has a control


async def test_the_best_of_one_variant_is_not_called_best(stage: Stage, visitor: Browser) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.days(12, 200)
    async with stage.db.connection() as connection:
        await connection.execute("DELETE FROM sends WHERE copy_id = ANY ($1)", COPIES[1:])
    await history.count()
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))

    html = (await visitor.get("/acme/results/welcome")).html

    assert re.search(r'data-label="Click rate"[^>]*><div>\s*[0-9.]+ %', html)
    assert {*re.findall(r'data-label="Chance of being best"[^>]*><div>(.*?)</div>', html)} == {"–"}


def clock_of(at: datetime) -> str:
    return f"{at.astimezone(ZONE):%H:%M}"


def path_of_org(page: Page) -> str:
    return page.path.replace("{org}", "acme")
