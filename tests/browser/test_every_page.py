"""Every page that the router knows, seen with real things in it: what axe finds, what does not fit, what has no name.

A new page is here by being declared. A parameter of its path that `tests/support/belongings.py` does not know fails it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest
from playwright.async_api import Browser, CDPSession, Error, Page, expect

from services.console.people.joining import first_run_token
from services.console.routes import all_pages
from services.console.web.page import Page as Declared
from shared.clock import SystemClock
from shared.schemas.copy import Vars
from tests.browser.conftest import OTHER_SIGHTS, SIGHTS, Sight, Visitor, browsing, visitor_of
from tests.browser.inspection import nameless, outline_faults, unseen_focus
from tests.browser.two_factor import give_password, turn_on
from tests.support.belongings import WORDS, Belongings, furnish, parameters_of, put, thing_of
from tests.support.console import Stage, console
from tests.support.neighbours import ingest
from tests.support.operations import Facts
from tests.support.results import History
from tests.support.totals import add_totals

GETS: Final = [page for page in all_pages(dev=True) if page.method == "GET"]
OF_NOBODY: Final = [page for page in GETS if page.least == "anyone"]
OF_SOMEBODY: Final = [page for page in GETS if page.least != "anyone"]
PROVIDERS: Final = {"/_sign-in/oidc", "/_sign-in/oidc/back"}
"""They show no page but where something goes wrong there: tests/browser/test_single_sign_on.py."""
QUERIES: Final = {
    "/{org}/operations/sources/{source}/rejects": "?file=ours.csv",
    "/{org}/operations/examples": "?because=explore&shown=right",
    "/{org}/results/{template}": "?days=30&by=plan",
    "/{org}/results/{template}/what-if": "?policy=best",
}
ASKS_INGEST: Final = {"/{org}/integration/sources/{name}/preview"}
COPY: Final = Vars("Ada, coffee is on", "Three things to know", "<h1>Hello Ada</h1><p>Thanks for joining.</p>")
INSERT_TARGET: Final = """
    INSERT INTO export_targets (org_id, bucket, prefix, cadence, created_at, updated_at)
    VALUES ($1, 'acme-warehouse', 'justai', 'hourly', $2, $2)
"""
WITH_A_HISTORY: Final = "welcome"
"""The template that pages of results are asked for."""

PHONE: Final[Sequence[Sight]] = [(390, "light")]
ALL: Final[Sequence[Sight]] = [*SIGHTS, *OTHER_SIGHTS]
EVERY: Final = pytest.param(ALL, marks=pytest.mark.long, id="every sight")


@browsing
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """With a model, and nobody in it."""
    model: dict[str, Any] = {"llm_provider": "openai", "llm_url": "http://127.0.0.1:1/v1", "llm_model": "gpt-test"}
    async with console(database_url, SystemClock(), dev=True, amqp_url=amqp_url, **model) as running:
        yield running


async def furnished(stage: Stage, amqp_url: str) -> Belongings:
    """Acme, with one of everything, and a month of results; Ann owns it, Cleo may look. `other` has nothing at all."""
    await stage.staff()
    belongings = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    [generation] = belongings.ids["generation"]
    facts = Facts(stage.db, stage.orgs["acme"], stage.now)
    await facts.content(UUID(generation), COPY, "Shown")
    await facts.execute(INSERT_TARGET, facts.org_id, facts.now)
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template(WITH_A_HISTORY)
    await history.days(20, 200)
    await history.policies(20)
    await history.pause()
    await history.count()
    await add_totals(stage.db)
    return belongings


@dataclass
class Inspector:
    """Looks at pages in some sights. `faults`: by page; `titles`: which page goes by one."""

    visitor: Visitor
    devtools: CDPSession
    sights: Sequence[Sight]
    faults: dict[str, list[str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    @property
    def page(self) -> Page:
        return self.visitor.page

    async def opens(self, path: str, status: int = 200) -> None:
        """A page by its address, or a file that is taken along."""
        try:
            answer = await self.page.goto(self.visitor.url + path)
        except Error as error:
            if "Download is starting" not in str(error):
                raise
            self.seen.append(path)
            return
        assert answer is not None
        if answer.status != status:
            self.faults[f"{path} itself"] = [f"answered {answer.status}, not {status}"]
        if "sandbox" in answer.headers["content-security-policy"]:  # an email: what is in it is not ours
            self.seen.append(path)
            return
        await self.looks(path, own=status == 200)

    async def looks(self, name: str, *, own: bool = True) -> None:
        """At the page as it is. `own`: no other page goes by its title."""
        await expect(self.page.locator("[hx-get] .loading:visible")).to_have_count(0)
        found = [*await outline_faults(self.page), *await nameless(self.page, self.devtools)]
        shot = name.strip("/").replace("/", "-").split("?")[0]
        for sight, faults in (await self.visitor.see(f"every-{shot}", self.sights)).items():
            found += [f"{sight}: {one}" for one in faults]
        found += await unseen_focus(self.page)
        title, address = await self.page.title(), self.page.url.split("?")[0]
        if own and self.titles.setdefault(title, address) != address:
            found.append(f"goes by the title {title!r}, and so does {self.titles[title]}")
        self.seen.append(name)
        if found:
            self.faults[name] = found


async def inspector(browser: Browser, stage: Stage, sights: Sequence[Sight]) -> Inspector:
    width, scheme = sights[0]
    visitor = await visitor_of(browser, stage.url, width=width, scheme=scheme)
    return Inspector(visitor, await visitor.context.new_cdp_session(visitor.page), sights)


def path_of(page: Declared, belongings: Belongings) -> str:
    """With things in it that are there."""
    chosen = {"org": belongings.slug}
    for name in parameters_of(page.path):
        kind = thing_of(page.path, name)
        chosen[name] = WORDS[name] if kind is None else belongings.ids[kind][0]
    if page.path.startswith("/{org}/results/"):
        chosen["template"] = WITH_A_HISTORY
    return put(page.path, chosen) + QUERIES.get(page.path, "")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sights", [pytest.param(PHONE, id="a phone"), EVERY])
async def test_every_page_has_no_fault(chromium: Browser, stage: Stage, amqp_url: str, sights: Sequence[Sight]) -> None:
    look = await inspector(chromium, stage, sights)
    await look.opens(f"/_setup/{first_run_token(stage.settings.api_key_peppers.get_secret_value())}")
    belongings = await furnished(stage, amqp_url)
    links = {
        "/_invite/{token}": await stage.invite("acme", "dan@example.com"),
        "/_reset/{token}": await stage.reset("cleo@example.com"),
        "/_let-in/{token}": await stage.let_in("cleo@example.com"),
    }
    for path in (*links.values(), "/_sign-in", "/nothing-here"):
        await look.opens(path, 404 if path == "/nothing-here" else 200)
    await look.opens("/_invite/" + "x" * 43, 410)
    await _with_two_factors(look, stage)
    await look.opens("/acme/audit", 403)

    known = {"/", "/_setup/{token}", "/_sign-in", "/_sign-in/code", *links, *PROVIDERS}
    assert {page.path for page in OF_NOBODY} == known, "say here how a page for nobody in particular is reached"
    await look.visitor.context.clear_cookies()
    await look.visitor.signs_in()
    for page in OF_SOMEBODY:
        async with ingest(stage) if page.path in ASKS_INGEST else nullcontext():
            await look.opens(path_of(page, belongings))
    await look.opens("/acme/nothing-here", 404)
    owner = await asyncpg.connect(stage.settings.database_url.get_secret_value())
    await owner.execute("ALTER TABLE integrations RENAME TO integrations_gone")
    await owner.close()
    await look.opens("/acme/integration", 500)

    assert not look.faults, "\n".join(f"{name}: {one}" for name, found in look.faults.items() for one in found)
    assert len(look.seen) > len(OF_SOMEBODY) + 8
    [of_the_last] = look.visitor.complaints
    assert "status of 500" in of_the_last


async def _with_two_factors(look: Inspector, stage: Stage) -> None:
    """Cleo turns them on, sees her recovery codes, and is asked at her next sign-in."""
    await look.visitor.signs_in("cleo@example.com")
    await look.visitor.goes_to("/_account/two-factor")
    await look.looks("/_account/two-factor")
    [code, *_] = await turn_on(look.visitor, stage)
    await look.looks("recovery codes")
    await look.opens("/_account")
    await look.visitor.context.clear_cookies()
    await give_password(look.visitor, "cleo@example.com")
    await look.looks("/_sign-in/code")
    await look.page.get_by_label("Code").fill(code)
    await look.page.get_by_role("button", name="Sign in", exact=True).click()
    await look.page.wait_for_url("**/acme/")
