"""`make dashboard-pictures`: live through an eventful hour and write docs/pictures/dashboard-*.png."""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import yaml
from playwright.async_api import async_playwright
from rich.console import Console

from demo.__main__ import progress, shower
from demo.dashboards import hour, panels, prometheus, scraping
from demo.dashboards.hour import Hour
from demo.dashboards.page import photograph
from demo.world import World, open_world
from devstack import SERVERS, Endpoints, start

ROOT: Final = Path(__file__).parents[2]
RUN: Final = ROOT / ".run" / "dashboards"
LIVED: Final = RUN / "lived.json"
PICTURES: Final = ROOT / "docs" / "pictures"
OBSERVABILITY: Final = ROOT / "deploy" / "observability"
_SETTINGS: Final = {"writer_import_road": "true"}  # so that there is something to know of it


@click.command()
@click.option("--factor", default=5.0, show_default=True, help="How many times as fast as real time the clock runs.")
@click.option("--again", is_flag=True, help="Draw the hour that was lived through last once more.")
def main(factor: float, again: bool) -> None:
    """Start everything, let an hour pass in which much happens, ask a real Prometheus every query of every dashboard,
    and draw the answers; about a quarter of an hour. Exits 1 when a query finds nothing that should find something.

    Needs Chromium and Prometheus (`make dashboard-pictures` installs both).
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no Chromium here: run `make browser`.")
    try:
        prometheus.find()
    except prometheus.PrometheusFailed as missing:
        sys.exit(str(missing))
    console = Console(highlight=False)
    if not again:
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(parents=True)
        with start(SERVERS, RUN / "servers", durable=False) as stack:
            LIVED.write_text(asyncio.run(_live(console, stack.endpoints, factor)).to_json())
    sys.exit(asyncio.run(_look(console, Hour.from_json(LIVED.read_text()), chromium)))


async def _live(console: Console, endpoints: Endpoints, factor: float) -> Hour:
    scrape_file = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    every_s = float(scrape_file["global"]["scrape_interval"].removesuffix("s"))
    stop = asyncio.Event()
    async with open_world(endpoints, RUN, factor=factor, echo=None, colour=False, **_SETTINGS) as world:
        asked = scraping.targets(scrape_file, _hosts(world))
        async with asyncio.TaskGroup() as both:
            scraped = both.create_task(scraping.scrape(asked, world.clock, every_s, RUN / "history.txt", stop))
            with progress(console) as bar:
                lived = await hour.live(world, shower(bar))
            stop.set()
        console.print(f"{len(asked)} targets were asked {scraped.result()} times.")
    return lived


def _hosts(world: World) -> Mapping[str, str]:
    """Base URLs by the host names of the scrape file."""
    served = {name: (command.ready_url or "").removesuffix("/readyz") for name, command in world.services.items()}
    return {**served, "rabbitmq": world.endpoints.amqp_metrics_url}


async def _look(console: Console, lived: Hour, chromium: str) -> int:
    """Ask, judge and draw; the exit code."""
    faults = 0
    async with prometheus.serving(RUN / "history.txt", RUN) as answering, async_playwright() as playwright:
        # As root, Chromium starts only without its sandbox; it sees a page of ours alone.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json")):
            drawn = await panels.draw(json.loads(path.read_text()), answering, lived.begin, lived.end)
            wrong = panels.unexpected(drawn.empty)
            console.print(
                f"{path.stem}: {drawn.asked} queries, {len(drawn.empty)} without data, {len(wrong)} of them a fault"
            )
            for title, query in wrong:
                console.print(f"  {title}: nothing for {query}", markup=False)
            faults += len(wrong)
            file = PICTURES / f"dashboard-{path.stem.removeprefix('justai-')}.png"
            await photograph(browser, drawn, lived, file)
        await browser.close()
    return 1 if faults else 0


if __name__ == "__main__":
    main()
