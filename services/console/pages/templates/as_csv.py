"""A template's variants as a CSV: taken along, changed in a spreadsheet, and sent back as drafts."""

from aiohttp import web

from services.console.pages.templates.templates import show_file, template_of
from services.console.web.forms import Form
from services.console.web.page import Pages
from services.console.web.uploads import posted_of, uploaded
from services.console.web.visit import Visit
from shared.admin.errors import Refused
from shared.admin.templates import writing as template_writing
from shared.admin.templates.one import OneTemplate
from shared.admin.variants import as_csv as variant_csv

pages = Pages()


@pages.page("GET", "/{org}/templates/{template}/variants.csv", role="viewer")
async def download(visit: Visit) -> web.StreamResponse:
    """The variants as a spreadsheet reads them."""
    found = await visit.run(variant_csv.export, {"template_id": visit.value("template")})
    headers = {"Content-Disposition": f'attachment; filename="{found.template_id}.csv"'}
    return web.Response(text=found.csv, content_type="text/csv", headers=headers)


@pages.page("POST", "/{org}/templates/{template}/variants.csv", role="editor")
async def take_in(visit: Visit) -> web.StreamResponse:
    """Each row becomes a draft; rows that cannot be taken in are named, with their line."""
    template, sheet = await template_of(visit), Form()
    try:
        files = list(uploaded(await posted_of(visit.request), "file"))
        if not files:
            raise Refused("is missing", field="csv")
        done = await visit.run(variant_csv.take_in, {"template_id": template.template_id, "csv": files[0][1]})
    except UnicodeDecodeError:
        sheet.refuse("csv", "is no text in UTF-8")
    except Refused as error:
        sheet.refuse_all(error)
    else:
        changed = sum(one.changed for one in done.saved)
        await visit.notice(f"{changed} of {len(done.saved) + len(done.refused)} rows saved as drafts.")
        for row in done.refused:
            said = "; ".join(f"{one.field} {one.message}" for one in row.faults)
            await visit.notice(f"Line {row.line}, {row.name}, was not taken in: {said}", "bad")
        return visit.see_other(visit.path("templates", template.template_id))
    found = await visit.run(template_writing.export, OneTemplate(template_id=template.template_id))
    return await show_file(visit, template, Form({"yaml": found.yaml}), sheet)
