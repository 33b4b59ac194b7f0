"""`make pictures`: take the pictures of the console that the docs show, of the demo's shop after its four days."""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from playwright.async_api import Page, async_playwright
from rich.console import Console

from demo.__main__ import progress, shower
from demo.days import A_DAY, DAYS, SELECT_LOADED, TEMPLATE, learn
from demo.story import ORG, first_emails, ingest, people_come_back, set_up
from demo.waiting import Show, until
from demo.world import World, open_world
from devstack import SERVERS, Endpoints, start

ROOT = Path(__file__).parent.parent
RUN = ROOT / ".run" / "pictures"
PICTURES = ROOT / "docs" / "pictures"
_PASSWORD = "a kettle made of paper"  # noqa: S105  # of an account that lives for these pictures
_WIDTH, _FACTOR, _PEOPLE = 1280, 10.0, 300
_MARGIN = 12  # less than what is between two cards

SELECT_EXAMPLE = """
    SELECT g.generation_id, g.copy_id FROM generations g JOIN sends s USING (generation_id)
    WHERE g.template_id = $1 AND g.copy_id IS NOT NULL AND s.first_click_at IS NOT NULL
    ORDER BY g.accepted_at DESC, g.generation_id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One picture: a path, from its top to the end of what the selector `until` finds. `press`: a button's name;
    `later`: what is there once all that is loaded later is."""

    name: str
    path: str
    until: str
    press: str = ""
    later: str = "main"


@click.command()
def main() -> None:
    """Play the demo's days and write docs/pictures/*.png; about four minutes. Needs Chromium (`make browser`); with
    pngquant on the path, pictures take a third of the space."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no Chromium here: run `make browser`.")
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    PICTURES.mkdir(exist_ok=True)
    with start(SERVERS, RUN / "servers", durable=False) as stack:
        asyncio.run(_play_and_look(Console(highlight=False), stack.endpoints, chromium))


async def _play_and_look(console: Console, endpoints: Endpoints, chromium: str) -> None:
    async with open_world(endpoints, RUN, factor=_FACTOR, echo=None, colour=False) as world:
        with progress(console) as bar:
            await _play(world, shower(bar))
        async with async_playwright() as playwright:
            # As root, Chromium starts only without its sandbox; it sees pages of ours alone.
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(
                viewport={"width": _WIDTH, "height": 800}, reduced_motion="reduce", locale="en-GB"
            )
            await _sign_in(world, page)
            for look in await _looks(world):
                file = await _shoot(page, world.console_url, look)
                console.print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")
            await browser.close()


async def _play(world: World, show: Show) -> None:
    """The demo's acts in another order: on the last day people are busy, and nothing is cleaned up yet."""
    shop = await set_up(world, _PEOPLE, show)
    before = await first_emails(world, shop, show)
    await ingest(world, show)
    await learn(world, shop.flows[TEMPLATE], ORG, show)
    await people_come_back(world, shop, before + DAYS * A_DAY, show)
    wanted = await world.database.fetchval(SELECT_LOADED) + 1
    await world.box.export(".", layout="nested", format="csv")

    async def loaded() -> bool:
        return bool(await world.database.fetchval(SELECT_LOADED) >= wanted)

    await until(loaded, "reading the last file")


async def _sign_in(world: World, page: Page) -> None:
    invited = await world.justai("console", "invite", ORG, "ann@example.com", "--role", "owner")
    await page.goto(next(line for line in invited.splitlines() if line.startswith("http")))
    await page.get_by_label("Your name").fill("Ann Example")
    for label in ("Password", "Password again"):
        await page.get_by_label(label, exact=True).fill(_PASSWORD)
    await page.get_by_role("button", name="Create the account and join").click()
    await page.wait_for_url(f"**/{ORG}/")


async def _looks(world: World) -> list[Look]:
    """What is worth a picture; the variant and the person are whoever is there."""
    row = await world.database.fetchrow(SELECT_EXAMPLE, TEMPLATE)
    if row is None:
        raise RuntimeError(f"Nobody clicked an email of {TEMPLATE}.")
    return [
        Look("home", "/", "[aria-labelledby=lately]", later=".shown:last-of-type .share-bar"),
        Look("variant", f"/templates/{TEMPLATE}/variants/{row['copy_id']}", ".editor"),
        Look("check", "/templates/welcome/check", ".card", press="Check now", later=".answers"),
        Look("results", f"/results/{TEMPLATE}?days=7", "[aria-labelledby=lift]", later="canvas"),
        Look("story", f"/operations/generations/{row['generation_id']}", "[aria-labelledby=s-write]"),
    ]


async def _shoot(page: Page, console_url: str, look: Look) -> Path:
    await page.set_viewport_size({"width": _WIDTH, "height": 800})
    await page.goto(f"{console_url}/{ORG}{look.path}")
    if look.press:
        await page.get_by_role("button", name=look.press).click()
    await page.locator(look.later).first.wait_for()
    await page.wait_for_load_state("networkidle")
    box = await page.locator(look.until).bounding_box()
    if box is None:
        raise RuntimeError(f"{look.path} shows no {look.until}.")
    await page.set_viewport_size({"width": _WIDTH, "height": int(box["y"] + box["height"]) + _MARGIN})
    file = PICTURES / f"{look.name}.png"
    await page.screenshot(path=file)
    if pngquant := shutil.which("pngquant"):
        process = await asyncio.create_subprocess_exec(
            pngquant, "--force", "--strip", "--ext", ".png", "256", str(file)
        )
        if await process.wait() != 0:
            raise RuntimeError(f"{pngquant} could not read {file}.")
    return file


if __name__ == "__main__":
    main()
