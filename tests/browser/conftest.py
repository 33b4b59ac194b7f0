"""Pages in a real browser: Debian's Chromium on a console of the test's own.

Chromium is started once per worker and serves every test, each with cookies of its own. It lives in the session's event
loop, and so must what a test awaits: async fixtures here are declared with `@browsing`.

With `--shots` pictures of all pages, wide and narrow, light and dark, go to tests/browser/shots/, which git ignores:
look at them when you change how something looks.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from shared.clock import SystemClock
from tests.component.cli.rig import Box, klaviyo_box
from tests.support.console import PASSWORD, Stage, console

SHOTS = Path(__file__).parent / "shots"
AXE = Path(__file__).parents[2] / "services/console/assets/node_modules/axe-core/axe.min.js"
Scheme = Literal["light", "dark"]
SIZES = {1280: 800, 390: 844}
PATIENCE_MS = 30_000
"""A slow machine is no fault of the page; `expect` would have 5 s otherwise."""
expect.set_options(timeout=PATIENCE_MS)
# Each width and each scheme once: contrast hangs on the scheme, what fits hangs on the width.
Sight = tuple[int, Scheme]
SIGHTS: tuple[Sight, ...] = ((1280, "light"), (390, "dark"))
OTHER_SIGHTS: tuple[Sight, ...] = ((1280, "dark"), (390, "light"))


browsing = pytest_asyncio.fixture(loop_scope="session")


def pytest_configure(config: pytest.Config) -> None:
    Visitor.shoots = config.getoption("--shots")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@browsing
async def stage(database_url: str) -> AsyncIterator[Stage]:
    """In real time: the browser lives in it. Ann owns acme, Cleo may only look."""
    async with console(database_url, SystemClock(), dev=True) as running:
        await running.staff()
        yield running


@pytest.fixture
def box() -> Iterator[Box]:
    """A Klaviyo account in a box."""
    with klaviyo_box() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def playwright_chromium() -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium here; run `make browser`")
    async with async_playwright() as playwright:
        # As root, as in CI, Chromium starts only without its sandbox; it sees pages of ours alone.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@browsing
async def chromium(playwright_chromium: Browser) -> AsyncIterator[Browser]:
    """With nobody in it, before and after."""
    yield playwright_chromium
    for context in playwright_chromium.contexts:
        await context.close()


class Visitor:
    """A person at a browser; whatever the console writes to its log fails the test."""

    shoots = False

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.page, self.url = context, page, url
        self.complaints: list[str] = []
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "status of 4" not in text:  # answers that are meant are no complaints
            self.complaints.append(text)

    async def goes_to(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def signs_in(self, email: str = "ann@example.com") -> None:
        await self.goes_to("/_sign-in")
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url("**/acme/")

    async def look(self, name: str, path: str, *ready: Locator) -> dict[str, list[str]]:
        """Open a page, wait for what it loads later, see it in every sight; its faults by where they were seen."""
        await self.goes_to(path)
        for one in ready:
            await expect(one).to_be_visible()
        return await self.see(name)

    async def see(self, name: str, sights: Sequence[Sight] | None = None) -> dict[str, list[str]]:
        """The page as it is now, in these sights, or in every one; its faults by where they were seen."""
        found: dict[str, list[str]] = {}
        for width, scheme in sights or SIGHTS + (OTHER_SIGHTS if self.shoots else ()):
            await self.page.set_viewport_size({"width": width, "height": SIZES[width]})
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            wide = await self._wide(width)
            await self.shoot(f"{name}-{width}-{scheme}")
            faults = await self.faults() + ([f"{wide} wide"] if wide > width else [])
            found |= {f"{name}-{width}-{scheme}": faults} if faults else {}
        return found

    async def _wide(self, width: int) -> int:
        """How wide the page is, when charts had time to be drawn anew for this width."""
        for _ in range(30):
            wide = int(await self.page.evaluate("document.documentElement.scrollWidth"))
            if wide <= width:
                break
            await asyncio.sleep(0.1)
        return wide

    async def faults(self) -> list[str]:
        """What axe finds, but for the minor. Frames hold emails, where no script runs: it could not look into them."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(f"{AXE.read_text()}; 0")
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations'], iframes: false})")
        return [
            f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
            if one["impact"] != "minor"
        ]

    async def shoot(self, name: str) -> None:
        """A picture, where they are asked for."""
        if self.shoots:
            SHOTS.mkdir(exist_ok=True)
            await self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


async def visitor_of(
    browser: Browser, url: str, *, width: int = 1280, scheme: Scheme = "light", js: bool = True
) -> Visitor:
    """A new person, with cookies of their own. The page's own policy holds: nothing is bypassed."""
    context = await browser.new_context(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme, java_script_enabled=js,
        locale="en-GB", reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"],
    )  # fmt: skip
    context.set_default_timeout(PATIENCE_MS)
    return Visitor(context, await context.new_page(), url)


@browsing
async def ann(chromium: Browser, stage: Stage) -> AsyncIterator[Visitor]:
    """Signed in, at a desk."""
    visitor = await visitor_of(chromium, stage.url)
    await visitor.signs_in()
    yield visitor
    assert visitor.complaints == []
