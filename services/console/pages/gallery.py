"""Everything that pages are made of, side by side, for who builds pages. Only where `console_dev` is set."""

from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from services.console.people.store import Notice
from services.console.web.forms import Form
from services.console.web.page import Pages
from services.console.web.visit import Visit

pages = Pages()

_ROWS: Final = (
    ("Welcome series", "active", 12_480, 0.214),
    ("Win-back", "shipped", 3_120, 0.187),
    ("Birthday", "draft", 0, None),
    ("Spring sale 2025", "archived", 48_210, 0.164),
)


@pages.page("GET", "/_gallery", role="signed_in")
async def gallery(visit: Visit) -> web.StreamResponse:
    """The design system on one page."""
    if visit.signed_in and visit.signed_in.memberships:
        visit.member = visit.signed_in.memberships[0]  # for the frame alone: nothing of the org is read
    visit.notices = [
        Notice("good", "Saved. The next webhook uses it."),
        Notice("warn", "This key cannot read campaigns; campaign names will be missing."),
    ]
    form = Form(
        {"name": "Welcome series", "delay": "0", "flow": "b", "on": ["open"]}, {"delay": "is too small: at least 1"}
    )
    return visit.render(
        "gallery.html", form=form, rows=_ROWS, moments=_moments(visit), chart=_chart(),
        many=_many(), unknown=_many() | {"series": [{"label": "Lift", "y": [None] * 14}]},
    )  # fmt: skip


def _moments(visit: Visit) -> list[object]:
    return [visit.now - timedelta(seconds=seconds) for seconds in (2, 90, 7200, 86_400 * 3, 86_400 * 90)] + [None]


def _chart() -> dict[str, object]:
    first_day_s = 1_763_942_400
    return {
        "kind": "lines",
        "time": True,
        "unit": "%",
        "x": [first_day_s + 86_400 * at for at in range(14)],
        "series": [
            {
                "label": "Treatment",
                "y": [18.1, 18.9, 19.4, 19.0, 20.2, 20.6, 20.9, 21.5, 21.2, 21.9, 22.3, 22.1, 22.8, 23.0],
                "low": [15.0, 16.4, 17.3, 17.2, 18.5, 19.0, 19.5, 20.1, 20.0, 20.7, 21.2, 21.1, 21.8, 22.1],
                "high": [21.2, 21.4, 21.5, 20.8, 21.9, 22.2, 22.3, 22.9, 22.4, 23.1, 23.4, 23.1, 23.8, 23.9],
            },
            {
                "label": "Control",
                "y": [18.3, 18.0, 18.4, 18.1, 18.6, 18.2, 18.5, 18.3, 18.7, 18.4, 18.6, 18.5, 18.4, 18.6],
            },
        ],
    }


def _many() -> dict[str, Any]:
    first_day_s, days = 1_763_942_400, 14
    return {
        "kind": "lines", "time": True, "unit": "%", "x": [first_day_s + 86_400 * at for at in range(days)],
        "series": [
            {"label": f"Variant {n + 1}", "y": [round(15 - n + (at * (7 - n)) / 7, 1) for at in range(days)]}
            for n in range(14)
        ],
    }  # fmt: skip
