"""Dead letters: why each died, whole ones for owners, and replaying one, some or all of a kind."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.operations.words import counted, moment_of
from services.console.web.errors import not_found
from services.console.web.forms import read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.queues import dead
from shared.errors import Failure
from shared.sentences import ended

pages = Pages()

KINDS: Final = {
    "generate": "Webhooks",
    "write": "Profile writes",
    "ingest_file": "Event files",
    "export_hour": "Exports",
    "probe_target": "Tests of a bucket",
    "probe_source": "Tests of a source",
}


class Wanted(BaseModel):
    """Which letters of a kind: one, or those whose reason is this; neither: all. `try_out`: only say which."""

    letter_id: str | None = None
    reason: str | None = None
    try_out: Annotated[bool, Field()] = False


@pages.page("GET", "/{org}/operations/dead-letters", role="editor")
async def letters(visit: Visit) -> web.StreamResponse:
    """By kind and reason."""
    return await _show(visit)


@pages.page("GET", "/{org}/operations/dead-letters/{kind}/{letter}", role="owner")
async def letter(visit: Visit) -> web.StreamResponse:
    """One whole; it holds people's values."""
    asked = {"kind": _kind(visit), "letter_id": visit.value("letter")}
    return visit.render(
        "operations/letter.html", whole=await visit.run(dead.show, asked), kinds=KINDS, moment_of=moment_of
    )


@pages.page("POST", "/{org}/operations/dead-letters/{kind}", role="editor")
async def replay(visit: Visit) -> web.StreamResponse:
    """Round again, or only say which would go."""
    kind = _kind(visit)
    wanted, _ = await read_form(visit.request, Wanted)
    wanted = wanted or Wanted(try_out=True)
    # What the page counted is what goes: the same letters are looked through, and a reason is that reason alone.
    asked = {
        "kind": kind, "letter_id": wanted.letter_id, "reason": wanted.reason, "exact": True, "dry_run": wanted.try_out,
        "limit": dead.LOOKED_THROUGH,
    }  # fmt: skip
    try:
        done = (await visit.run(dead.replay, asked)).letters
    except (AdminError, Failure) as error:
        await visit.notice(f"Nothing was replayed: {ended(str(error))}", "bad")
        return visit.see_other(visit.path("operations", "dead-letters"))
    count = counted(len(done), "letter")
    if wanted.try_out:
        await visit.notice(f"{count} of {KINDS[kind]} would be replayed. Nothing was sent.", "info")
    else:
        await visit.notice(f"{count} of {KINDS[kind]} went round again, as first attempts.")
    return visit.see_other(visit.path("operations", "dead-letters"))


async def _show(visit: Visit) -> web.Response:
    found, away = [], False
    try:
        found = (await visit.run(dead.list_letters, dead.AskedLetters(limit=dead.LOOKED_THROUGH))).letters
    except Failure:
        away = True
    groups = {
        kind: {
            reason: [one for one in found if (one.kind, one.reason) == (kind, reason)]
            for reason in dict.fromkeys(one.reason for one in found if one.kind == kind)
        }
        for kind in KINDS
        if any(one.kind == kind for one in found)
    }
    return visit.render(
        "operations/letters.html",
        503 if away else 200,
        groups=groups,
        away=away,
        kinds=KINDS,
        most=dead.LOOKED_THROUGH,
        moment_of=moment_of,
    )


def _kind(visit: Visit) -> str:
    kind = visit.value("kind")
    if kind not in KINDS:
        raise not_found()
    return kind
