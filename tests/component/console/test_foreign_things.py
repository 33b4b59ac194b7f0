"""Every page and every operation, asked in one's own org for things of another one that are really there.

The walk goes by what is declared. A parameter that it does not know fails it: who adds a route says here what of
another org it could be asked for, and that is then shown to reach nothing.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import aiohttp
import orjson
import pytest

from services.console.routes import all_pages
from services.console.web.page import Page
from shared.admin.operation import PREFIX, Operation, has_body
from shared.admin.registry import REGISTRY
from shared.clock import FrozenClock
from tests.component.console.browser import COOKIE, Browser
from tests.support.belongings import CANARY, WORDS, Belongings, furnish, parameters_of, put, thing_of
from tests.support.console import Stage, console

PAGES = [page for page in all_pages(dev=False) if page.of_an_org]

MODEL: Final[Mapping[str, Any]] = {
    "llm_provider": "openai",
    "llm_url": "http://127.0.0.1:1/v1",
    "llm_model": "gpt-test",
}

NEW: Final = {("variants.save", "variant")}
"""What an operation makes where it is not there: another org's name is as good as any."""

TEXTS: Final = {"subject": "Hello", "preheader": "Three things that you should know", "body": "<p>Hello</p>"}
SOURCE: Final = {"host": "h", "user": "u"}
TYPED_SOURCE: Final = {**SOURCE, "host_key": "k", "private_key": "k"}
FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "/{org}/people/{user}/role": {"role": "owner"},
    "/{org}/operations/dead-letters/{kind}": {"letter_id": "@letter"},
    "/{org}/operations/sources/{source}/retry": {"file": "@file"},
    "/{org}/operations/people/{person}/delete": {"user_id": "@person"},
    "/{org}/integration/sources/{name}": TYPED_SOURCE,
    "/{org}/integration/sources/{name}/try": TYPED_SOURCE,
    "/{org}/results/{template}/state": {"state": "archived"},
    "/{org}/results/{template}/archive-variant": {"variant": "@variant"},
    "/{org}/templates/{template}/state": {"state": "archived"},
    "/{org}/templates/{template}/file": {"yaml": "template_id: x"},
    "/{org}/templates/{template}/settings": {"name": "x"},
    "/{org}/templates/{template}/control": TEXTS,
    "/{org}/templates/{template}/choice": {"split": "random", "control_ratio": "10"},
    "/{org}/templates/{template}/variants/_new": {"name": "x", **TEXTS},
    "/{org}/templates/{template}/variants/{variant}": {"name": "x", **TEXTS},
    "/{org}/templates/{template}/variants/{variant}/reject": {"comment": "no"},
    "/{org}/templates/{template}/drafts/_new": {"goal": "x", "themes": "x"},
    "/{org}/templates/{template}/drafts/_new/prompt": {"goal": "x", "themes": "x"},
}  # fmt: skip
"""What is sent along, for a page that would else stop at the form. `@thing`: the other org's."""
QUERIES: Final[Mapping[str, str]] = {"/{org}/operations/sources/{source}/rejects": "?file=@file"}

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "templates.state": {"state": "archived"},
    "templates.set": {"name": "x"},
    "templates.control": TEXTS,
    "variants.save": {**TEXTS, "theme": "x"},
    "variants.reject": {"comment": "no"},
    "variants.resume": {"comment": "yes"},
    "variants.try": {**TEXTS, "variant": "@variant"},
    "variants.import_csv": {"csv": "name,theme,subject,preheader,body\nx,,x,x,x\n"},
    "templates.preview": {"variant": "@variant"},
    "sources.set": SOURCE,
    "sources.rejects": {"file": "@file"},
    "sources.retry": {"file": "@file"},
    "sources.preview": {"file": "@file"},
    "sources.accept": {"file": "@file"},
    "sources.backfill": {"since": "2026-11-20", "until": "2026-11-21"},
    "sources.backfilling": {"since": "2026-11-20", "until": "2026-11-21"},
    "dead.replay": {"letter_id": "@letter"},
    "people.role": {"role": "owner"},
    "results.segments": {"by": "plan"},
    "results.what_if": {"policy": "uniform"},
    "drafts.start": {"brief": {"goal": "x", "themes": ["x"]}, "number": 1},
    "drafts.prompt": {"brief": {"goal": "x", "themes": ["x"]}, "number": 1},
}  # fmt: skip
ELSEWHERE: Final[Mapping[str, Mapping[str, Any]]] = {
    "stops.list": {"template_id": "@template"},
    "outcomes.list": {"template_id": "@template", "hours": 96},
    "templates.search": {"search": "@template"},
    "person.delete": {"user_id": "@person"},
    "sources.try": {"name": "@source", "host": "127.0.0.1"},
}
"""Operations whose path names nothing, and what of another org they can be asked for all the same."""


@dataclass(frozen=True)
class Orgs:
    """Ours, in whose name is asked, and theirs."""

    stage: Stage
    ours: Belongings
    theirs: Belongings

    def filled(self, value: Any) -> Any:
        """`@thing` as the other org's."""
        match value:
            case str():
                return re.sub(r"@([a-z]+)$", lambda found: self.theirs.ids[found[1]][0], value)
            case dict():
                return {name: self.filled(one) for name, one in value.items()}
            case _:
                return value


@pytest.fixture
async def orgs(database_url: str, amqp_url: str) -> AsyncIterator[Orgs]:
    """Ann owns ours; each org has one of everything."""
    async with console(database_url, FrozenClock(), amqp_url=amqp_url, **MODEL) as stage:
        await stage.person("Ann", acme="owner")
        ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
        yield Orgs(stage, ours, await furnish(stage, "other", "theirs", amqp_url, CANARY))


def ways(path: str, orgs: Orgs, new: frozenset[str] = frozenset()) -> Iterator[dict[str, str]]:
    """How the parameters of a path can be filled so that at least one is theirs."""
    names = parameters_of(path)
    kinds = {name: thing_of(path, name) for name in names}
    values = {
        name: [(False, WORDS[name])]
        if kind is None
        else [*((True, one) for one in orgs.theirs.ids[kind]), (False, orgs.ours.ids[kind][0])]
        for name, kind in kinds.items()
    }
    for chosen in product(*values.values()):
        named = dict(zip(names, chosen, strict=True))
        if any(theirs for name, (theirs, _) in named.items() if name not in new):
            yield {name: value for name, (_, value) in named.items()}


# --- pages -----------------------------------------------------------------------------------------------------------


async def asked(page: Page, path: str, ann: Browser, orgs: Orgs) -> tuple[int, str]:
    if page.method == "GET":
        answer = await ann.get(path + orgs.filled(QUERIES.get(page.path, "")))
    elif page.path.endswith("/variants.csv"):
        answer = await ann.upload(path, {"x.csv": b"name,theme,subject,preheader,body\nx,,x,x,x\n"})
    else:
        answer = await ann.post(path, **orgs.filled(dict(FORMS.get(page.path, {}))))
    return answer.status, answer.html


async def test_no_page_shows_or_touches_anything_of_another_org(orgs: Orgs) -> None:
    """ASVS 5.0 V8.2.2: what is asked for by its id must be the asker's."""
    before, wrong, asked_for = await orgs.theirs.rows(), [], 0
    async with Browser(orgs.stage.url) as ann:
        await ann.sign_in("ann@example.com")
        for page in PAGES:
            for chosen in ways(page.path, orgs):
                status, html = await asked(page, put(page.path, {"org": "acme", **chosen}), ann, orgs)
                asked_for += 1
                if status not in (403, 404) or CANARY in html:
                    wrong.append((page.method, page.path, chosen, status))

    assert not wrong, "\n".join(map(str, wrong))
    assert await orgs.theirs.rows() == before
    assert asked_for > 100


# --- the HTTP API ----------------------------------------------------------------------------------------------------


async def ask_api(
    http: aiohttp.ClientSession, one: Operation[Any, Any], url: str, sent: Mapping[str, Any], headers: dict[str, str]
) -> tuple[int, str]:
    body: dict[str, Any] = {"json": sent} if has_body(one) else {"params": sent}
    async with http.request(one.method, url, headers=headers, **body) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("by", ["session", "key"])
async def test_no_operation_shows_or_touches_anything_of_another_org(by: str, orgs: Orgs) -> None:
    """ASVS 5.0 V8.2.2, over HTTP: by whoever is signed in, and by an API key of theirs."""
    before, wrong, asked_for = await orgs.theirs.rows(), [], 0
    async with Browser(orgs.stage.url) as ann, aiohttp.ClientSession() as http:
        await ann.sign_in("ann@example.com")
        session = {"Cookie": f"{COOKIE}={ann.token}", "Sec-Fetch-Site": "same-origin"}
        headers = session if by == "session" else {"X-Api-Key": orgs.ours.api_key}
        for one in REGISTRY.served():
            new = frozenset(name for operation, name in NEW if operation == one.name)
            for chosen in ways(PREFIX + one.path, orgs, new):
                url = orgs.stage.url + put(PREFIX + one.path, {"org_slug": "acme", **chosen})
                status, text = await ask_api(http, one, url, orgs.filled(dict(BODIES.get(one.name, {}))), headers)
                asked_for += 1
                if status not in (403, 404) or CANARY in text:
                    wrong.append((one.name, chosen, status, text[:200]))

    assert not wrong, "\n".join(map(str, wrong))
    assert await orgs.theirs.rows() == before
    assert asked_for > 90


async def test_no_operation_takes_anything_of_another_org_from_a_query_or_body(orgs: Orgs) -> None:
    before = await orgs.theirs.rows()
    async with aiohttp.ClientSession() as http:
        for name, sent in ELSEWHERE.items():
            one = REGISTRY[name]
            url = orgs.stage.url + put(PREFIX + one.path, {"org_slug": "acme"})
            status, text = await ask_api(http, one, url, orgs.filled(sent), {"X-Api-Key": orgs.ours.api_key})

            assert status in (200, 404), (name, status, text)
            assert CANARY not in text, (name, orjson.loads(text))
    assert await orgs.theirs.rows() == before


def test_a_parameter_that_nobody_explained_fails_the_walk() -> None:
    with pytest.raises(AssertionError, match=r"say in belongings what \{wallet\} names"):
        thing_of("/{org}/wallets/{wallet}", "wallet")
