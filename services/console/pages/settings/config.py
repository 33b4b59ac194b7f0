"""Configuration file: what is set up of the org, taken along; and files that are looked at before they are applied."""

from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from services.console.web.errors import bad_request
from services.console.web.forms import Form
from services.console.web.page import Pages
from services.console.web.uploads import Posted, one_way, posted_of, uploaded
from services.console.web.visit import Visit
from shared.admin.config import config
from shared.admin.config.config import AppliedConfig, GivenFile
from shared.admin.errors import AdminError, Conflict, Fault, Forbidden, Refused
from shared.admin.operation import Nothing

pages = Pages()

_MOST_FAULTS = 50


@pages.page("GET", "/{org}/integration/config", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """The file to take along, and the way in for others."""
    return visit.render("settings/config.html", form=Form(), faults=())


@pages.page("GET", "/{org}/integration/config.yaml", role="viewer")
async def download(visit: Visit) -> web.StreamResponse:
    """The file itself."""
    found = await visit.run(config.show, Nothing())
    headers = {"Content-Disposition": f'attachment; filename="{visit.org.slug}.yaml"'}
    return web.Response(text=found.yaml, content_type="application/yaml", headers=headers)


@pages.page("POST", "/{org}/integration/config", role="editor")
async def look(visit: Visit) -> web.StreamResponse:
    """What the files would change; nothing is changed yet."""
    form, files = Form(), list[GivenFile]()
    try:
        posted = await posted_of(visit.request)
        files = _files(posted)
        if not files:
            form.refuse("file", "is missing")
        else:
            prune = posted.get("prune") == "true"
            plan = await visit.run(config.apply, {"files": _raw(files), "dry_run": True, "prune": prune})
            return _plan(visit, plan, files, prune=prune)
    except UnicodeDecodeError:
        form.refuse("file", "is no text in UTF-8")
    except Refused as error:
        return _refused(visit, form, error)
    return visit.show_again("settings/config.html", form=form, faults=())


@pages.page("POST", "/{org}/integration/config/apply", role="editor")
async def apply(visit: Visit) -> web.StreamResponse:
    """What was looked at; another plan than that is shown instead of done."""
    posted = await posted_of(visit.request)
    names, texts = posted.getall("name", []), posted.getall("text", [])
    files = [
        GivenFile(name=name, text=one_way(text))
        for name, text in zip(names, texts, strict=False)
        if isinstance(name, str) and isinstance(text, str)
    ]
    if not files:
        raise bad_request("The form holds no file.")
    asked = {"files": _raw(files), "prune": posted.get("prune") == "true", "expected": str(posted.get("expected", ""))}
    try:
        done = await visit.run(config.apply, asked)
    except Refused as error:
        return _refused(visit, Form(), error)
    except Conflict as error:
        if error.code != "new_plan":
            return _refused(visit, Form(), error)
        await visit.notice("What is set up has changed since you looked: nothing was done. Look again.", "warn")
        return visit.see_other(visit.path("integration", "config"))
    except Forbidden as error:
        await visit.notice(error.message, "bad")
        return visit.see_other(visit.path("integration", "config"))
    await visit.notice(f"Applied: {_counted(done, _DONE)}.")
    for one in done.to_do:
        await visit.notice(f"To be done by hand: {one}.", "warn")
    return visit.see_other(visit.path("integration", "config"))


_DONE: Final = {"create": "created", "change": "changed", "archive": "archived"}
_PLANNED: Final = {"create": "to create", "change": "to change", "archive": "to archive"}


def _counted(found: AppliedConfig, words: Mapping[str, str]) -> str:
    """`3 created, 1 changed`."""
    counts = [(sum(change.what == what for change in found.changes), word) for what, word in words.items()]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing to do"


def _plan(visit: Visit, plan: AppliedConfig, files: Sequence[GivenFile], *, prune: bool) -> web.Response:
    return visit.render(
        "settings/config_plan.html", plan=plan, files=files, prune=prune, counted=_counted(plan, _PLANNED)
    )


def _refused(visit: Visit, form: Form, error: AdminError) -> web.Response:
    """All that is wrong, in the files' own words."""
    found = error.faults if isinstance(error, Refused) else ()
    faults = list(found) or [Fault("the files", error.message)]
    more = len(faults) - _MOST_FAULTS
    form.refuse("", f"{len(faults)} thing{'' if len(faults) == 1 else 's'} in the files cannot be taken.")
    return visit.show_again("settings/config.html", form=form, faults=faults[:_MOST_FAULTS], more=more)


def _files(posted: Posted) -> list[GivenFile]:
    return [GivenFile(name=name, text=text) for name, text in uploaded(posted, "file")]


def _raw(files: Sequence[GivenFile]) -> list[dict[str, str]]:
    return [one.model_dump() for one in files]
