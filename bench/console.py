"""Milliseconds of the console's pages with much behind them, and kilobytes of the first one. `make bench-console`

The console as it ships, in this process, beside a private PostgreSQL with 1,000 templates and a template of ten million
events (`--events`), two thirds of them of the last 24 hours and 100,000 decisions of the last hour, and a broker with
dead letters. Times are from a request's first byte to its answer's last, one at a time, over loopback: a little
more than the server's own. Decisions, outcomes and sends are made by generate_series and counted by ingest's own
counters; a few hundred come after that.
"""

import argparse
import asyncio
import gzip
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import aiohttp
from playwright.async_api import async_playwright

import devstack
from bench import console_operations as operations
from bench import console_stage as stage
from bench.report import Report
from devstack.endpoints import Endpoints
from devstack.isolation import fresh_database, fresh_virtual_host
from devstack.ports import LOOPBACK, free_ports
from services.console.app import build
from services.console.people.passwords import Hasher
from services.console.settings import Settings
from shared.db.pool import Database, open_database
from shared.runtime import settle_heap

_STORY = "/acme/operations/generations/{generation_id}"  # of the newest that was expired
_PATHS = {
    "home": "/acme/",
    "templates": "/acme/templates",
    "templates, page 20": "/acme/templates?page=20",
    "templates, found by name": "/acme/templates?search=late+99",
    "a template": "/acme/templates/t1",
    "its settings": "/acme/templates/t1/settings",
    "its editor": f"/acme/templates/t1/variants/{stage.COPIES[0]}",
    "a new variant": "/acme/templates/t1/variants/_new",
    "its preview grid": "/acme/templates/t1/preview",
    "the grid, for 100 kinds of people": "/acme/templates/t1/preview?sample=100",
    "its file": "/acme/templates/t1/file",
    "review queue": "/acme/review",
    "results of all templates": "/acme/results",
    "the same, page 20": "/acme/results?page=20",
    "results of one": "/acme/results/t1",
    "the same, by country": "/acme/results/t1?by=country",
    "a year of it": "/acme/results/t1?days=365",
    "operations, live": "/acme/operations",
    "operations, last hour": "/acme/operations/last-hour",
    "needs attention": "/acme/operations/attention",
    "what emails showed, today": "/acme/operations/number?span=today",
    "the same, 24 hours": "/acme/operations/number?span=24h",
    "the same, 7 days": "/acme/operations/number?span=7d",
    "the same, 30 days": "/acme/operations/number?span=30d",
    "examples of a rare reason, 24 hours": "/acme/operations/examples?because=quota&span=24h",
    "examples of a rare reason, 30 days": "/acme/operations/examples?because=quota&span=30d",
    "examples of a reason nobody had, 30 days": "/acme/operations/examples?because=nonsense&span=30d",
    "dead letters": "/acme/operations/dead-letters",
    "sources": "/acme/operations/sources",
    "exports of a month": "/acme/operations/exports",
    "one person": "/acme/operations/people/p7919",
    "nobody is found": "/acme/operations/people?q=nobody",
    "a person's story": _STORY,
    "audit log": "/acme/audit",
    "audit log, an area": "/acme/audit?area=keys",
    "troubleshooting": "/acme/troubleshooting",
    "Integration Settings": "/acme/integration",
    "an export's settings": "/acme/integration/export",
    "API keys": "/acme/keys",
    "hooks of sources": "/acme/integration/hooks",
    "people": "/acme/people",
    "attributes": "/acme/integration/attributes",
    "rules for copy": "/acme/integration/rules",
    "configuration as a file": "/acme/integration/config",
}
_ASKED = {"p95_ms": "< 50", "first_page_kb": "< 100", "axe_serious": "<= 0"}
_EMAIL, _PASSWORD = "ann@example.com", "violet teapot under the stairs"
_KEY = "A" * 43 + "="
_AXE = Path(__file__).parent.parent / "services/console/assets/node_modules/axe-core/axe.min.js"
_WARM_UP = 5

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, 'acme', 'Acme Coffee', $2)"
INSERT_USER = "INSERT INTO users (user_id, email, name, password_hash, created_at) VALUES ($1, $2, 'Ann', $3, $4)"
INSERT_MEMBER = "INSERT INTO memberships (org_id, user_id, role, created_at) VALUES ($1, $2, 'owner', $3)"
COUNT_COUNTED = "SELECT (SELECT count(*) FROM result_counts) + (SELECT count(*) FROM shown_counts)"
COUNT_LATELY = """
    SELECT count(*) AS decisions_24_h, count(*) FILTER (WHERE accepted_at >= $2) AS decisions_1_h FROM generations
    WHERE accepted_at >= $1 AND day >= $1::date
"""
SELECT_STORY = """
    SELECT generation_id FROM write_outcomes WHERE outcome = 'expired' AND day >= $1::date ORDER BY at DESC LIMIT 1
"""
_BACK = (timedelta(days=1), timedelta(hours=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/console.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(arguments)
    report = Report("console")
    with (
        tempfile.TemporaryDirectory(prefix="justai-bench-") as folder,
        devstack.start(("postgres", "rabbitmq"), Path(folder), durable=False) as servers,
    ):
        asyncio.run(_measure(servers.endpoints, options.events, options.rounds, report))


async def _measure(servers: Endpoints, events: int, rounds: int, report: Report) -> None:
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(servers.database_url))
        amqp_url = await stack.enter_async_context(fresh_virtual_host(servers))
        settings = Settings(
            database_url=url, amqp_url=amqp_url, seal_keys=f"k1:{_KEY}", api_key_peppers=f"1:{_KEY}",
            console_listen=f"{LOOPBACK}:{port}", console_url=f"http://{LOOPBACK}:{port}", console_plain_cookies=True,
            log_level="WARNING",
        )  # fmt: skip
        db = await stack.enter_async_context(open_database(url, name="bench"))
        await _stage(db, url, amqp_url, events)
        await build(settings, stack)
        settle_heap()  # as a service process does
        jar = aiohttp.CookieJar(unsafe=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(settings.console_url, cookie_jar=jar))
        await _sign_in(http)
        async with db.connection() as connection:
            story = await connection.fetchval(SELECT_STORY, min(datetime.now(UTC) - back for back in _BACK), timeout=60)
        paths = {name: path.format(generation_id=story) for name, path in _PATHS.items()}
        times = {name: await _times_ms(http, path, rounds) for name, path in paths.items()}
        first_kb = await _first_page_kb(settings.console_url, http)
        serious = await _axe_serious(settings.console_url, paths.values())
        async with db.connection() as connection:
            sends = await connection.fetchval("SELECT count(*) FROM sends WHERE template_id = 't1'", timeout=60)
            rows = await connection.fetchval(COUNT_COUNTED, timeout=60)
            lately = await connection.fetchrow(
                COUNT_LATELY, *sorted(datetime.now(UTC) - back for back in _BACK), timeout=60
            )
    report.table("Milliseconds", ("page", "p50", "p95", "worst"), [
        (name, *(f"{_percentile(taken, share):.1f}" for share in (0.5, 0.95, 1)))
        for name, taken in times.items()
    ])  # fmt: skip
    figures = {
        "events": round(sends * stage.EVENTS_A_SEND), "sends": sends, "counted_rows": rows, **dict(lately or {}),
        "p95_ms": max(_percentile(taken, 0.95) for taken in times.values()),
        "first_page_kb": first_kb, "axe_serious": float(serious),
    }  # fmt: skip
    report.finish(figures, _ASKED)


async def _stage(db: Database, url: str, amqp_url: str, events: int) -> None:
    now, org_id, user_id = datetime.now(UTC), uuid4(), uuid4()
    hasher = Hasher()
    try:
        password = await hasher.hash(_PASSWORD)
    finally:
        hasher.close()
    async with db.transaction() as connection:
        await connection.execute(INSERT_ORG, org_id, now)
        await connection.execute(INSERT_USER, user_id, _EMAIL, password, now)
        await connection.execute(INSERT_MEMBER, org_id, user_id, now)
    await stage.seed(db, org_id, now, events, _progress)
    await operations.seed(db, org_id, now)
    await operations.bury(amqp_url, org_id, now)
    await stage.tidy(url)
    await stage.count(db, org_id, now, _progress)
    await stage.tidy(url)


async def _sign_in(http: aiohttp.ClientSession) -> None:
    form = {"email": _EMAIL, "password": _PASSWORD}
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with http.post("/_sign-in", data=form, headers=headers, allow_redirects=False) as answer:
        if answer.status != 303:
            raise RuntimeError(f"nobody could sign in: {answer.status}")


async def _times_ms(http: aiohttp.ClientSession, path: str, rounds: int) -> list[float]:
    taken = []
    for at in range(_WARM_UP + rounds):
        started = time.perf_counter()
        async with http.get(path) as answer:
            await answer.read()
            if answer.status not in (200, 422):  # 422: what was looked for is not there
                raise RuntimeError(f"{path} answers {answer.status}")
        if at >= _WARM_UP:
            taken.append((time.perf_counter() - started) * 1e3)
    return taken


async def _first_page_kb(url: str, http: aiohttp.ClientSession) -> float:
    """The home page and all that it loads, as a proxy that compresses would send it."""
    async with http.get("/acme/") as answer:
        page = await answer.text()
    total = len(gzip.compress(page.encode()))
    for path in set(re.findall(r'(?:src|href)="(/_static/[^"]+)"', page)):
        async with aiohttp.request(
            "GET", url + path, headers={"Accept-Encoding": "gzip"}, auto_decompress=False
        ) as answer:  # fmt: skip
            total += len(await answer.read())
    return total / 1e3


async def _axe_serious(url: str, paths: Iterable[str]) -> int:
    """Findings that axe calls serious or critical, on all pages that were measured."""
    found = 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{url}/_sign-in")
        await page.get_by_label("Email").fill(_EMAIL)
        await page.get_by_label("Password", exact=True).fill(_PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url("**/acme/")
        for path in ("/acme/", *paths):
            await page.goto(url + path)
            said = await page.evaluate(f"{_AXE.read_text()}; axe.run(document)")
            found += sum(one["impact"] in ("serious", "critical") for one in said["violations"])
        await browser.close()
    return found


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _progress(text: str) -> None:
    print(f"\r{text:<40}", end="", flush=True)


if __name__ == "__main__":
    main()
