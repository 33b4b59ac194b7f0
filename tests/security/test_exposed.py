"""What is shown to whoever reaches a port, and how much of a secret to whoever may see that there is one."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Final

import aiohttp
import pytest
import yaml

from services.console.settings import Settings
from tests.security.from_document import ASK_OTHERS, Document, known_of
from tests.support.belongings import KLAVIYO_KEY, SOURCE_KEY, furnish
from tests.support.console import Stage, console

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
HOOKS: Final = {"/api/generate/", "/api/klaviyo-events/"}


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, amqp_url=amqp_url, klaviyo_url="http://127.0.0.1:1") as running:
        yield running


async def test_no_debug_mode_is_on_unless_somebody_turns_it_on(stage: Stage) -> None:
    """ASVS 5.0 V13.4.2."""
    files = [path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".example", ".sh") or "Docker" in path.name]
    turned_on = re.compile(r"CONSOLE_DEV\W+[\"']?(?:true|1|yes|on)\b|PYTHON(?:ASYNCIODEBUG|DEVMODE)|--reload", re.I)

    async with aiohttp.ClientSession() as http, http.get(f"{stage.url}/_gallery") as gallery:
        answered = gallery.status

    assert Settings.model_fields["console_dev"].default is False
    assert answered == 404
    assert len(files) > 30
    assert [path.name for path in files if turned_on.search(path.read_text())] == []


async def test_what_watches_us_is_reached_from_outside_on_no_way(stage: Stage) -> None:
    """ASVS 5.0 V13.4.5: of the gateway the edge passes webhooks on and nothing else, and the console has its probes and
    metrics at another port. Both documents are meant to be read: they tell what is asked of callers."""
    edge = (DEPLOY / "edge" / "Caddyfile").read_text()
    ways = list(yaml.safe_load_all((DEPLOY / "k8s" / "overlays" / "production" / "ingress.yaml").read_text()))
    to_gateway = {
        path["path"]
        for way in ways for rule in way["spec"]["rules"] for path in rule["http"]["paths"]
        if path["backend"]["service"]["name"] == "gateway"
    }  # fmt: skip

    async with aiohttp.ClientSession() as http:
        statuses = {}
        for path in ("/metrics", "/readyz", "/healthz", "/debug"):
            async with http.get(stage.url + path, allow_redirects=False) as answer:
                statuses[path] = answer.status

    assert to_gateway == HOOKS
    assert re.findall(r"@hooks path (.*)", edge) == [" ".join(f"{path}*" for path in sorted(HOOKS))]
    assert re.findall(r"reverse_proxy (\S+)", edge) == ["gateway:8080", "console:8081"]
    assert set(statuses.values()) == {404}, statuses


async def test_no_answer_shows_more_of_a_secret_than_its_last_characters(stage: Stage, amqp_url: str) -> None:
    """ASVS 5.0 V14.2.6: whatever an owner asks for, keys are told by their last four characters, or not at all."""
    ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
    async with aiohttp.ClientSession(headers={"X-Api-Key": ours.api_key}) as http:
        async with http.get(f"{stage.url}/api/v1/openapi.json") as answer:
            served = await answer.json()
        document = Document(served, known_of(ours), Random(6))
        document.routes = [
            (method, path)
            for method, path in document.routes
            if method == "get" and served["paths"][path][method]["operationId"] not in ASK_OTHERS
        ]
        answers = []
        for case in document.cases(len(document.routes) * 2):
            async with http.get(stage.url + case.path, params=case.query) as answer:
                answers.append((case.name, answer.status, await answer.text()))

    told = [name for name, _, text in answers for one in (ours.api_key, KLAVIYO_KEY, SOURCE_KEY) if one in text]
    assert told == []
    assert len([name for name, status, _ in answers if status == 200]) > 30
    assert any(ours.api_key[-4:] in text for _, _, text in answers)
