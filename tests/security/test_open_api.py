"""Every route of both APIs, asked as its document allows and as it does not, by whom it may and by whom it may not.

No answer is a 500, none tells of what is inside, and each is one that the document promises, down to its shape.
ASVS 5.0 V2.2.1 (input is checked against what it must be), V16.5.1 (errors tell nothing), V4.1.1 (content types),
V1.2.4 (quotes in any value break no statement; ruff's S608 asks about each that is put together).
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any, Final
from uuid import uuid4

import aiohttp
import pytest
from yarl import URL

from shared import api_keys
from shared.admin.access import keys
from shared.admin.context import Actor, Asking, Means
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from tests.component.gateway.rig import USER, Rig
from tests.security.from_document import ASK_OTHERS, Case, Document, known_of
from tests.support.belongings import furnish
from tests.support.console import KEY, Stage, console

SEED: Final = 20_261_126
SHORT, LONG = 220, 5_000
_AT_ONCE: Final = 20
INSIDE: Final = (b"Traceback", b"asyncpg", b"site-packages", b"/services/", b"/shared/", b"SELECT ", b"pydantic")
"""What no answer may hold: where it was made, and of what."""


@pytest.mark.parametrize("number", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
async def test_the_gateway_answers_as_its_document_says(rig: Rig, number: int) -> None:
    random = Random(SEED)
    good, other = await rig.new_key(rig.acme), await rig.new_key(rig.other)
    async with rig.http.get(f"{rig.url}/openapi.json") as answer:
        document = Document(
            await answer.json(), {"org_slug": ["acme"], "user_id": [USER], "template_id": ["welcome"]}, random
        )

    document.routes += [route for route in document.routes if route[1].startswith("/api/")] * 5
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(case: Case) -> tuple[int, str | None]:
        key = random.choice([good] * 6 + [other, api_keys.mint(os.urandom), "jai_live_x", ""])
        async with turn:  # some wait for copy that nobody renders
            headers = {**case.headers, **({"X-Api-Key": key} if key else {})}
            return await asked(rig.http, rig.url, case, headers, document)

    answers = await asyncio.gather(*map(one, document.cases(number)))
    faults = [fault for _, fault in answers if fault]
    statuses = {status for status, _ in answers}

    assert faults == [], "\n".join(faults[:20])
    assert {200, 202, 401, 403, 404, 422} <= statuses
    await rig.queued()  # reading them as jobs proves that nothing poisonous is there


@pytest.mark.parametrize("number", [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(400)])])
async def test_the_console_answers_as_its_document_says(
    stage: Stage, amqp_url: str, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(SEED)
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    await furnish(stage, "other", "theirs", amqp_url, "axolotl")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        async with http.get(f"{stage.url}/api/v1/openapi.json") as answer:
            served = await answer.json()
        document = Document(served, known_of(ours), random)
        document.routes = [
            (method, path)
            for method, path in document.routes
            if served["paths"][path][method]["operationId"] not in ASK_OTHERS
        ]
        key, faults, statuses = ours.api_key, [], Counter[int]()
        for case in document.cases(number):
            chosen = random.choice([key] * 8 + [api_keys.mint(os.urandom), ""])
            headers = {**case.headers, **({"X-Api-Key": chosen} if chosen else {})}
            status, fault = await asked(http, stage.url, case, headers, document)
            statuses[status] += 1
            faults += [fault] if fault else []
            if status == 401 and chosen == key:  # it has revoked itself
                key = await new_key(stage)

    failed = [vars(record).get("fields") for record in caplog.records if record.getMessage() == "api.failed"]
    assert (faults, failed) == ([], []), "\n".join(faults[:20])
    assert {200, 401, 404, 409, 422} <= statuses.keys(), statuses


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_what_asks_other_servers_answers_as_its_document_says_though_nobody_answers_it(
    stage: Stage, amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each waits for as long as it says; so they wait together."""
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    turn = asyncio.Semaphore(2 * _AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        async with http.get(f"{stage.url}/api/v1/openapi.json") as answer:
            served = await answer.json()
        document = Document(served, known_of(ours), Random(SEED))
        document.routes = [
            (method, path)
            for method, path in document.routes
            if served["paths"][path][method]["operationId"] in ASK_OTHERS
        ]

        async def one(case: Case) -> tuple[int, str | None]:
            async with turn:
                return await asked(http, stage.url, case, {**case.headers, "X-Api-Key": ours.api_key}, document)

        answers = await asyncio.gather(*map(one, document.cases(len(ASK_OTHERS) * 16)))

    failed = [vars(record).get("fields") for record in caplog.records if record.getMessage() == "api.failed"]
    faults = [fault for _, fault in answers if fault]
    assert len(document.routes) == len(ASK_OTHERS)
    assert (faults, failed) == ([], []), "\n".join(faults[:20])
    assert {200, 422} <= {status for status, _ in answers}, Counter(status for status, _ in answers)


async def asked(
    http: aiohttp.ClientSession, url: str, case: Case, headers: Mapping[str, str], document: Document
) -> tuple[int, str | None]:
    """The status, and what is wrong with the answer."""
    target = URL(url + case.path, encoded=True).extend_query(case.query)
    sent: dict[str, Any] = {} if case.body is None else {"data": case.body}
    async with http.request(case.method, target, headers=headers, allow_redirects=False, **sent) as answer:
        body = await answer.read()
    inside = [one for one in INSIDE if one in body] if case.route[1] not in ("/openapi.json", "/metrics") else []
    fault = document.fault_of(case, answer.status, answer.headers, body)
    if answer.status == 500 or inside or fault:
        return answer.status, f"{case.name}\n  -> {answer.status} {inside or fault or ''} {body[:300]!r}"
    return answer.status, None


async def new_key(stage: Stage) -> str:
    org_id = stage.orgs["acme"]
    means = Means(
        stage.db, stage.wall, KeyRing(f"k1:{KEY}"), Peppers(f"1:{KEY}"), new_id=uuid4, random_bytes=os.urandom
    )
    asking = Asking(means, Actor("Grace", "person", "owner", org_id, "acme"), "request-1")
    made = await run(asking, keys.create, keys.CreateKey(name=f"robot-{uuid4()}", scopes=("admin",)))
    return made.key


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    nowhere = "http://127.0.0.1:1"
    async with console(database_url, FrozenClock(), amqp_url=amqp_url, klaviyo_url=nowhere) as running:
        yield running
