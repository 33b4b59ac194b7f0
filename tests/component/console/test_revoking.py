"""A key that is revoked by the console's button, against gateways that run as processes of their own."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from devstack.ports import LOOPBACK, free_ports
from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.component.gateway.rig import webhook
from tests.support.console import KEY, console
from tests.support.waiting import eventually


@asynccontextmanager
async def gateway(database_url: str, amqp_url: str) -> AsyncIterator[str]:
    """`python -m services.gateway`, killed at the end; its address."""
    [port] = free_ports(1)
    settings = {
        "database_url": database_url, "amqp_url": amqp_url, "seal_keys": f"k1:{KEY}", "api_key_peppers": f"1:{KEY}",
        "gateway_listen": f"{LOOPBACK}:{port}",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", cwd=Path(__file__).parents[3], stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **{f"JUSTAI_{name.upper()}": value for name, value in settings.items()}},
    )  # fmt: skip
    try:
        yield f"http://{LOOPBACK}:{port}"
    finally:
        process.kill()
        await process.wait()


async def asked(http: aiohttp.ClientSession, url: str, key: str) -> tuple[int, str]:
    """The answer's status and, of an error, its code."""
    try:
        async with http.post(f"{url}/api/generate/acme", data=webhook(), headers={"X-Api-Key": key}) as answer:
            said = json.loads(await answer.read())
    except aiohttp.ClientConnectionError:
        return 0, "does not listen yet"
    return answer.status, said["error"]["code"] if answer.status >= 400 else ""


@pytest.mark.long
async def test_a_key_revoked_by_its_button_is_refused_by_every_gateway_within_five_seconds(
    database_url: str, amqp_url: str
) -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(console(database_url, SystemClock(), amqp_url=amqp_url))
        gateways = [await stack.enter_async_context(gateway(database_url, amqp_url)) for _ in range(2)]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        owner = await stack.enter_async_context(Browser(stage.url))
        await owner.sign_in(await stage.person("Ann", acme="owner"))
        made = await owner.post("/acme/keys", name="Klaviyo webhook", kind="generate", days="")
        [key] = set(re.findall(r"jai_live_[0-9A-Za-z]{20,}", made.html))
        [revoke] = re.findall(r'action="(/acme/keys/[^"]+/revoke)"', made.html)

        async def taken() -> bool:
            return [await asked(http, url, key) for url in gateways] == [(202, "")] * 2

        async def refused() -> bool:
            return [await asked(http, url, key) for url in gateways] == [(401, "revoked_api_key")] * 2

        await eventually(taken, within_s=60)
        await owner.post(revoke)
        await eventually(refused, within_s=5)
