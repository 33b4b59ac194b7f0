"""What waits for somebody's approval, over all templates."""

from typing import Final

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.paging import Paging
from services.console.web.visit import Visit
from shared.admin.variants import preview_grid, previewing, variants
from shared.admin.variants import queue as variant_queue

pages = Pages()

_IN_REVIEW: Final = 10


@pages.page("GET", "/{org}/review", role="viewer")
async def review(visit: Visit) -> web.StreamResponse:
    """What waits for somebody's approval, with what would change; a few at a time, since each is read as a whole."""
    paging = Paging.of(visit.request.query, _IN_REVIEW)
    asked = variant_queue.AskedQueue(limit=paging.limit, offset=paging.offset)
    part = paging.cut((await visit.run(variant_queue.queue, asked)).waiting, visit.path("review"), {})
    diffs = {
        one.copy_id: await visit.run(
            variants.diff, {"template_id": one.template_id, "variant": str(one.copy_id), "second": one.version}
        )
        for one in part.rows
        if one.version > 1  # the first has nothing before it
    }
    inbox = {one.copy_id: _inbox(one) for one in part.rows}
    return visit.render("templates/review.html", part=part, diffs=diffs, inbox=inbox)


def _inbox(waiting: variant_queue.WaitingReview) -> tuple[str, str]:
    """Subject and preview text as somebody with every field sees them; as they are written, where they cannot be."""
    headers = preview_grid.Variant(
        waiting.copy_id, waiting.name, "draft", waiting.version, waiting.subject, waiting.preheader, "<p>…</p>"
    )
    [cell] = preview_grid.grid([headers], [previewing.person_of("example", sorted(preview_grid.fields_of(headers)))])
    return (cell.shown.subject, cell.shown.preheader) if cell.shown else (waiting.subject, waiting.preheader)
