"""Schemathesis on every route of both APIs: a fuzzer that others made, beside ours (test_open_api.py).

It reads the documents as they are served and holds each answer against them. What it is not asked: whether `Allow`
names the methods of one path alone, since `/people/{member}` is also the path of `/people/delete`; whether all that a
document allows is taken, since names, dates and states have rules that no schema says; and, of the gateway, whether
what it does not allow is refused, since the reader mends what it can.
ASVS 5.0 V2.2.1 (input is checked), V4.1.1 (content types), V8.2.1 (no route without its key), V16.5.1 (errors).
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from shared.admin.exports import exports
from shared.admin.sources import trying
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from tests.component.gateway.rig import USER, Rig
from tests.security.from_document import known_of
from tests.support.belongings import furnish
from tests.support.console import KEY, console
from tests.support.loopback import hosted

TOOL: Final = Path(__file__).parents[2] / ".venv-fuzz" / "bin" / "st"
SEED: Final = 20_261_126
EXAMPLES: Final = 40
"""Of each route and phase; some ten thousand requests for the console."""
_NOT_ASKED: Final = "allow_header_conformance,positive_data_acceptance"

_INSTALLED = pytest.mark.skipif(not TOOL.is_file(), reason="schemathesis is not there; `make chaos` installs it")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500), _INSTALLED]


def config(known: Mapping[str, Iterable[str]]) -> str:
    """Four in five paths name something that is there."""
    lines = ["[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.8 }}' for name in known]
    for name, values in known.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(sorted(values))}"]
    return "\n".join(lines)


async def fuzz(url: str, key: str, known: Mapping[str, Iterable[str]], folder: Path, *more: str) -> str:
    """What it printed; fails unless it found nothing."""
    file = folder / "schemathesis.toml"
    file.write_text(config(known))
    running = await asyncio.create_subprocess_exec(
        TOOL, "--no-color", "--config-file", file, "run", url, "--header", f"X-Api-Key: {key}", "--seed", str(SEED),
        "--max-examples", str(EXAMPLES), "--request-timeout", "20", "--generation-database", "none", "--no-shrink",
        "--continue-on-failure", *more,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    assert running.returncode == 0, output.decode()
    return output.decode()


def asked(told: str) -> tuple[int, int]:
    """Operations and requests."""
    [operations], [requests] = re.findall(r"Tested: (\d+)", told), re.findall(r"(\d+) generated", told)
    return int(operations), int(requests)


async def test_the_gateway(rig: Rig, tmp_path: Path) -> None:
    known = {"org_slug": ["acme"], "user_id": [USER], "template_id": ["welcome"]}
    key = await rig.new_key(rig.acme)

    told = await fuzz(
        f"{rig.url}/openapi.json", key, known, tmp_path, "--exclude-checks", f"{_NOT_ASKED},negative_data_rejection"
    )

    operations, requests = asked(told)
    print(f"\n{operations} operations, {requests} requests")  # noqa: T201  # a figure for who reads the run
    assert operations >= 6
    assert len(await rig.queued()) > 0  # reading them as jobs proves that nothing poisonous is there


@asynccontextmanager
async def klaviyo_that_refuses() -> AsyncIterator[str]:
    """Any key, at once: who is not reached is asked again and again."""
    refusal = {"errors": [{"status": 401, "code": "not_authenticated", "detail": "no such key"}]}

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(refusal, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with hosted(app) as url:
        yield url


async def test_the_console(database_url: str, amqp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for waits in (exports, trying):  # for services that are not there
        monkeypatch.setattr(waits, "PROBE_WAIT_S", 0.05)
    async with (
        klaviyo_that_refuses() as klaviyo_url,
        console(database_url, FrozenClock(), amqp_url=amqp_url, klaviyo_url=klaviyo_url) as stage,
    ):
        ours = await furnish(stage, "acme", "ours", amqp_url, "ordinary")
        sealed = KeyRing(f"k1:{KEY}").seal("pk_ours", f"{stage.orgs['acme']}/klaviyo")
        async with stage.db.transaction() as connection:
            await connection.execute("UPDATE integrations SET sealed_key = $1, base_url = $2", sealed, klaviyo_url)
        told = await fuzz(
            f"{stage.url}/api/v1/openapi.json", ours.api_key, known_of(ours), tmp_path, "--exclude-checks", _NOT_ASKED
        )

    operations, requests = asked(told)
    print(f"\n{operations} operations, {requests} requests")  # noqa: T201  # a figure for who reads the run
    assert operations >= 126
    assert requests >= 5_000
