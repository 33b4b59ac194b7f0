"""Every variant of a template as every kind of person would see it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from services.console.pages.templates.templates import STATES, template_of
from services.console.web.advice import advice
from services.console.web.page import Pages
from services.console.web.paging import Paging
from services.console.web.visit import Visit
from shared.admin.errors import NotFound
from shared.admin.outcomes.meanings import of_decision
from shared.admin.variants import previewing

pages = Pages()

_CELLS: Final = 24  # on one page; each has a frame of its own
_SAMPLES: Final = (5, 20, 50, 100)


@pages.page("GET", "/{org}/templates/{template}/preview", role="viewer")
async def grid(visit: Visit) -> web.StreamResponse:
    """Every variant for every kind of person, the worst first."""
    template, query = await template_of(visit), visit.request.query
    paging = Paging.of(query, _CELLS)
    sample = next((one for one in _SAMPLES if query.get("sample") == str(one)), _SAMPLES[0])
    variant = query.get("variant", "")
    variant = variant if variant in {one.name for one in template.variants if one.state != "archived"} else ""
    asked: dict[str, Any] = {
        "template_id": template.template_id, "sample": sample, "variant": variant or None,
        "who": query.getall("who", [])[:100], "offset": paging.offset, "limit": paging.limit,
    }  # fmt: skip
    found = await _grid_of(visit, asked)
    if found is None and asked["who"]:  # who was chosen has not come for a while
        asked["who"] = []
        found = await _grid_of(visit, asked)
    kept = urlencode([("sample", sample), ("variant", variant), *(("who", one) for one in asked["who"])])
    part = paging.cut(found.cells if found else [], "", {})
    part = replace(
        part, before=part.before and f"{part.before}&{kept}", after=part.after and f"{part.after}&{kept}"
    )  # fmt: skip
    return visit.render(
        "templates/preview.html", template=template, found=found, part=part, sample=sample, variant=variant,
        samples=_SAMPLES, states=STATES, tab="preview", means=of_decision, advice=advice,
        kinds={"example": "example", "nobody's fields": "nobody", "long values": "long"},
    )  # fmt: skip


async def _grid_of(visit: Visit, asked: Mapping[str, Any]) -> previewing.PreviewGrid | None:
    """None: there is no variant, or nobody of those who were chosen."""
    try:
        return await visit.run(previewing.preview, asked)
    except NotFound:
        return None
