"""How long a webhook waits for its copy while files are loaded, beside the same without.

Webhooks come at a steady rate, as they do when a flow runs, and wait for their copy (`Prefer: wait`), so that the
gateway, the queue, the generator and the database are all in what is clocked.
"""

import asyncio
import base64
import json
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from aiohttp import ClientSession, ClientTimeout

from bench.ingest_files import Maker
from bench.ingest_stage import Shop
from bench.pipeline_stage import Org, plain_attrs, seed
from bench.report import Report
from devstack import Endpoints
from devstack.isolation import fresh_database
from shared.api_keys import Peppers

PER_S, SECONDS, WARM_UP_S = 40, 20.0, 3.0
FILES = 8
START = datetime(2026, 11, 2, 6, tzinfo=UTC)


async def measure_beside(report: Report, servers: Endpoints, folder: Path, maker: Maker, rows: int) -> dict[str, float]:
    """Alone, beside, alone again: the machine's own drift shows between the two alone."""
    async with fresh_database(servers.database_url) as url:
        shop = Shop(url, servers, folder)
        await shop.seed()
        made = await shop.make(maker, "beside", rows, FILES, START - timedelta(days=1))
        peppers = f"1:{base64.b64encode(os.urandom(32)).decode()}"
        shop.env["JUSTAI_API_KEY_PEPPERS"] = peppers
        connection = await asyncpg.connect(url)
        orgs = await seed(connection, Peppers(peppers), "beside")
        await connection.close()
        async with shop.running("gateway", "generator") as (stage, started):
            await stage.quiet()
            senders = _Senders(started.gateway_url, orgs)
            before = await senders.send()
            loading = asyncio.create_task(stage.load([made]))
            await asyncio.sleep(WARM_UP_S)
            beside = await senders.send()
            busy = not loading.done()
            loaded = await loading
            await stage.quiet()
            after = await senders.send()
    if not busy:
        raise RuntimeError("the files were loaded before the webhooks were through; more rows are needed")
    waits = {"alone": [*before, *after], "beside ingest": beside}
    report.table(
        f"{PER_S} webhooks a second until their copy is there, ms; beside: {loaded.rate:,.0f} rows a second",
        ("", "median", "p99", "most"),
        [
            (name, *(f"{one * 1000:.1f}" for one in (statistics.median(found), _p99(found), max(found))))
            for name, found in waits.items()
        ],
    )
    return {"beside_p99_ratio": _p99(beside) / _p99(waits["alone"]), "beside_p99_ms": _p99(beside) * 1000}


def _p99(waits_s: list[float]) -> float:
    return sorted(waits_s)[int(len(waits_s) * 0.99)]


class _Senders:
    """Whoever is late does not hold up the next one: each webhook is clocked from the moment it was due."""

    def __init__(self, gateway_url: str, orgs: list[Org]) -> None:
        self._url, self._orgs, self._sent = gateway_url, orgs, 0

    async def send(self) -> list[float]:
        """Seconds of each."""
        async with ClientSession(timeout=ClientTimeout(total=30)) as session:
            began = time.perf_counter()
            tasks = []
            for number in range(int(PER_S * SECONDS)):
                due = began + number / PER_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.append(asyncio.create_task(self._one(session, due)))
            return list(await asyncio.gather(*tasks))

    async def _one(self, session: ClientSession, due: float) -> float:
        self._sent += 1
        org, person = self._orgs[self._sent % len(self._orgs)], f"01HZY6Q3V9C5W0K7M2N4P{self._sent:05d}"
        body = {
            "template_id": "welcome_1", "user_id": person, "tracking_id": f"{person}.Xy12Ab.9876543",
            "attrs": plain_attrs(self._sent), "fields": {"first_name": "Ann"},
        }  # fmt: skip
        headers = {"X-Api-Key": org.api_key, "Content-Type": "application/json", "Prefer": "wait=20"}
        url = f"{self._url}/api/generate/{org.slug}"
        async with session.post(url, data=json.dumps(body), headers=headers) as response:
            text = await response.text()
            if response.status != 200:
                raise RuntimeError(f"no copy came: {response.status} {text[:200]}")
        return time.perf_counter() - due
