"""What strangers wrote, as a page of its own that may do nothing."""

from html import escape

from aiohttp import web

from services.console.web.security import PREVIEW_HEADERS
from shared.admin.outcomes.meanings import of_decision
from shared.admin.variants import previewing


def email(body: str, status: int = 200) -> web.Response:
    """A page of its own, which runs nothing, for an `<iframe sandbox>`."""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Preview</title><style>:root{color-scheme:light}body{margin:0;padding:16px;background:#fff;color:#111;"
        "font:16px/1.5 Arial,sans-serif;overflow-wrap:anywhere}img{max-width:100%}</style></head>"
        f"<body>{body}</body></html>"
    )
    return web.Response(text=html, status=status, content_type="text/html", headers=dict(PREVIEW_HEADERS))


def email_of(tried: previewing.Tried) -> web.Response:
    """Copy as it was tried, or why the control content is shown."""
    if tried.shown:
        return email(tried.body)
    why = of_decision("control", tried.reason or "").means if tried.reason != "not_served" else "the checks refuse it"
    return email(f'<p style="color:#666">Control content is shown instead: {escape(why)}.</p>')
