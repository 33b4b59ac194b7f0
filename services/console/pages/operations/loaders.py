"""Loading the export into a warehouse: a recipe to take along."""

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, NotFound
from shared.admin.exports import exports, loading
from shared.admin.operation import Nothing
from shared.loaders.recipe import ENGINES

pages = Pages()


@pages.page("GET", "/{org}/operations/exports/loaders/{engine}", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """One engine's, for this org's bucket and tables."""
    engine = visit.value("engine")
    if engine not in ENGINES:
        raise NotFound(f"There is no engine {engine!r}")
    made, refused = None, ""
    try:
        made = await visit.run(loading.loader, {"engine": engine})
    except NotFound:
        return visit.see_other(visit.path("operations", "exports"))
    except AdminError as error:
        refused = str(error)
    target = await visit.run(exports.show, Nothing())
    return visit.render(
        "operations/loader.html", engine=engine, engines=ENGINES, made=made, refused=refused, target=target
    )  # fmt: skip
