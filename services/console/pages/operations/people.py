"""One person's story: found by profile id or generation id, told generation by generation, and deleted on request."""

from typing import Final
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, SecretStr

from services.console.pages.email_frame import email
from services.console.pages.operations.words import counted
from services.console.web.advice import advice
from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import NotFound
from shared.admin.outcomes import outcomes
from shared.admin.outcomes.outcomes import AskedPerson
from shared.admin.person import person as operations_person
from shared.admin.person import why
from shared.admin.person.person import DeletePerson, OnePerson
from shared.admin.person.story import MOST_EVENTS
from shared.admin.person.why import AskedStory

pages = Pages()

FINDINGS: Final = {
    "as_written": "as written",
    "taken_away": "nothing of ours is there, it was taken away",
    "another_generation": "another generation of ours is there",
    "another_person": "copy of another profile is there, as after a merge into this one",
    "overwritten": "somebody else changed it",
    "profile_gone": "the profile is gone, merged or deleted",
    "not_comparable": "something is there, but our stored copy cannot be read",
    "not_read": "it could not be read",
}
_HOURS = 24.0 * 90
_DAYS = 120


class Confirmed(BaseModel):
    """The id typed once more: what is deleted does not come back."""

    user_id: str = ""


@pages.page("GET", "/{org}/operations/people", role="editor")
async def find(visit: Visit) -> web.StreamResponse:
    """Search; an id that is there leads to its page."""
    asked = visit.request.query.get("q", "").strip()
    form = Form({"q": asked})
    if not asked:
        return visit.render("operations/find.html", form=form)
    generation_id = _uuid(asked)
    if generation_id is not None:
        try:
            found = await visit.run(why.why, AskedStory(generation_id=generation_id, days=_DAYS))
        except NotFound:
            form.refuse(
                "q", f"is no generation of the last {_DAYS} days; one of the last minutes may still be on its way"
            )
            return visit.show_again("operations/find.html", form=form)
        return visit.see_other(visit.path("operations", "generations", str(found.story.generation_id)))
    if len(asked) > 200:
        form.refuse("q", "is too long for an id")
        return visit.show_again("operations/find.html", form=form)
    try:
        await visit.run(operations_person.show, OnePerson(user_id=asked, quick=True))
    except NotFound:
        form.refuse("q", "is nobody of whom anything is stored; use the profile id, not an email address")
        return visit.show_again("operations/find.html", form=form)
    return visit.see_other(visit.path("operations", "people", asked))


@pages.page("GET", "/{org}/operations/people/{person}", role="editor")
async def person(visit: Visit) -> web.StreamResponse:
    """All generations of one person, and what is stored."""
    return await _show(visit, Form())


@pages.page("POST", "/{org}/operations/people/{person}/delete", role="owner")
async def delete(visit: Visit) -> web.StreamResponse:
    """All of it, once the id was typed."""
    user_id = visit.value("person")
    await visit.run(
        operations_person.show, OnePerson(user_id=user_id, quick=True)
    )  # of whom nothing is stored: not here
    given, _ = await read_form(visit.request, Confirmed)
    if given is None or given.user_id != user_id:
        # Said on the page: the field is in a dialog, which is closed again by then.
        return await _show(visit, Form(errors={"": "What was typed is not the id of this person."}))
    done = await visit.run(operations_person.delete, DeletePerson(user_id=SecretStr(user_id)))
    await visit.notice(
        f"Deleted: {counted(done.generations, 'generation')}, {counted(done.sends, 'email')}, "
        f"{counted(done.events, 'event')}, {counted(done.conversions, 'conversion')}. "
        f"{counted(done.clean_ups, 'set of properties leaves', 'sets of properties leave')} the Klaviyo profile; "
        f"{counted(done.export_hours, 'hour is', 'hours are')} exported again. Proof in the audit log: {done.proof}."
    )
    return visit.see_other(visit.path("operations", "people"))


@pages.page("GET", "/{org}/operations/generations/{generation}", role="editor")
async def story(visit: Visit) -> web.StreamResponse:
    """Why this copy."""
    generation_id = _uuid(visit.value("generation"))
    if generation_id is None:
        raise not_found()
    asked = AskedStory(generation_id=generation_id, days=_DAYS, read_back="read_back" in visit.request.query)
    return visit.render(
        "operations/story.html", story=(await visit.run(why.why, asked)).story, findings=FINDINGS, advice=advice,
        most_events=MOST_EVENTS,
    )  # fmt: skip


@pages.page("GET", "/{org}/operations/generations/{generation}/email", role="editor")
async def content(visit: Visit) -> web.StreamResponse:
    """Its copy as it was rendered, for the frame on its story."""
    generation_id = _uuid(visit.value("generation"))
    if generation_id is None:
        raise not_found()
    told = await visit.run(why.why, AskedStory(generation_id=generation_id, days=_DAYS))
    if told.story.content is None:
        raise not_found()
    return email(told.story.content.body)


async def _show(visit: Visit, form: Form) -> web.Response:
    user_id = visit.value("person")
    held = await visit.run(operations_person.show, OnePerson(user_id=user_id, quick=True))
    found = await visit.run(outcomes.list_of_person, AskedPerson(user_id=user_id, hours=_HOURS))
    return visit.render(
        "operations/person.html",
        422 if form.faulty else 200,
        user_id=user_id,
        found=found,
        held=held,
        form=form,
        counted=counted,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
