"""The picture of one dashboard: our page in Chromium, with the console's chart library."""

import asyncio
import shutil
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser

from demo.dashboards.hour import Hour
from demo.dashboards.panels import Drawn, reasons

_HERE: Final = Path(__file__).parent
_VENDOR: Final = _HERE.parents[1] / "services" / "console" / "static" / "vendor"
_WIDTH, _SHARP = 1280, 1.5


async def photograph(browser: Browser, drawn: Drawn, hour: Hour, file: Path) -> None:
    """Write the picture. Raises playwright's errors when the page fails."""
    page = await browser.new_page(viewport={"width": _WIDTH, "height": 800}, device_scale_factor=_SHARP)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    await page.set_content((_HERE / "page.html").read_text())
    for style in (_VENDOR / "uPlot.min.css", _HERE / "page.css"):
        await page.add_style_tag(content=style.read_text())
    for script in (_VENDOR / "uPlot.iife.min.js", _HERE / "page.js"):
        await page.add_script_tag(content=script.read_text())
    await page.evaluate("content => draw(content)", _content(drawn, hour))
    await page.wait_for_function("document.fonts.status === 'loaded'")
    await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    if failures:
        raise RuntimeError(f"{drawn.title}: {failures[0]}")
    await page.screenshot(path=file, full_page=True)
    await page.close()
    await shrink(file)


def _content(drawn: Drawn, hour: Hour) -> dict[str, Any]:
    why = reasons(drawn.empty)
    return {
        "title": drawn.title, "when": f"{hour.begin:%H:%M} to {hour.end:%H:%M} UTC", "x": drawn.x,
        "moments": [
            {"begin": one.begin.timestamp(), "end": one.end and one.end.timestamp(), "what": one.what}
            for one in hour.moments
        ],
        "panels": [{**panel, "why": why.get(panel["title"], "")} for panel in drawn.panels],
    }  # fmt: skip


async def shrink(file: Path) -> None:
    """Fewer colours, where pngquant is installed: a third of the space."""
    if pngquant := shutil.which("pngquant"):
        process = await asyncio.create_subprocess_exec(
            pngquant, "--force", "--strip", "--ext", ".png", "256", str(file)
        )
        if await process.wait() != 0:
            raise RuntimeError(f"{pngquant} could not read {file}.")
