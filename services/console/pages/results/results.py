"""Results: what templates did against control, how surely, and what a person may decide by it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel

from services.console.pages.results import charts
from services.console.pages.templates import choice as template_choice
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.paging import Paging
from services.console.web.visit import Visit
from shared.admin.csv_text import csv_lines
from shared.admin.errors import Conflict, Refused
from shared.admin.operation import Nothing
from shared.admin.orgs import setting_up
from shared.admin.registry import REGISTRY
from shared.admin.results import policies, results, what_if
from shared.admin.results.advice import IN_REWARD, RATE
from shared.admin.results.models import Results, Segments
from shared.admin.run import read
from shared.admin.templates import settings as template_settings
from shared.admin.templates import templates
from shared.admin.templates.one import OneTemplate
from shared.inference.lift import WORTH
from shared.sentences import ended
from shared.zones import begin_of, day_in

pages = Pages()

_SPANS: Final = (7, 30, 90, 365)
_WHAT_IF_DAYS: Final = ("7", "30", "90")
_TABLES: Final = (*charts.TABLES, "shares", "segments")


class Decision(BaseModel):
    """What becomes of the template."""

    state: Literal["shipped", "archived", "active"]


class VariantDecision(BaseModel):
    """A variant that is taken out."""

    variant: str


@pages.page("GET", "/{org}/results", role="viewer")
async def overview(visit: Visit) -> web.StreamResponse:
    """All templates, live ones first."""
    paging = Paging.of(visit.request.query)
    found = await visit.run(results.overview, results.AskedOverview(limit=paging.limit, offset=paging.offset))
    part = paging.cut(found.templates, visit.path("results"), visit.request.query)
    delivered = any(one.treatment.delivered + one.control.delivered for one in part.rows)
    lacks_source = not delivered and await _no_source(visit)
    return visit.render("results/list.html", part=part, lacks_source=lacks_source)


@pages.page("GET", "/{org}/results/{template}", role="viewer")
async def one(visit: Visit) -> web.StreamResponse:
    """One template."""
    return await _show(visit)


@pages.page("GET", "/{org}/results/{template}/table/{table}", role="viewer")
async def table(visit: Visit) -> web.StreamResponse:
    """What a chart or a table shows, as CSV."""
    name = visit.value("table").removesuffix(".csv")
    if name not in _TABLES:
        raise web.HTTPNotFound
    asked, _ = _asked(visit)
    if name == "shares":
        rows = charts.shares_csv(await visit.run(policies.shares, _shares_asked(visit, asked)))
    elif name == "segments":
        by = visit.request.query.get("by", "")
        rows = charts.segments_csv(await visit.run(results.segments, {**asked, "by": by}))
    else:
        rows = charts.TABLES[name](await visit.run(results.show, asked))
    file = f"{visit.value('template')}-{name}.csv"
    return web.Response(
        text=csv_lines(rows), content_type="text/csv", charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file}"'},
    )  # fmt: skip


@pages.page("GET", "/{org}/results/{template}/what-if", role="viewer")
async def ask_what_if(visit: Visit) -> web.StreamResponse:
    """What another policy would have earned: asked by query, so that an answer can be linked to."""
    query = visit.request.query
    days = query.get("days", "")
    days = days if days in _WHAT_IF_DAYS else "90"
    form = Form({"policy": query.get("policy", "uniform"), "shares": query.get("shares", ""), "days": days})
    template_id, said, status = visit.value("template"), None, 200
    shown = await visit.run(results.show, results.AskedResults(template_id=template_id))
    if "policy" in query:
        text = f"fixed:{query.get('shares', '')}" if query["policy"] == "fixed" else query["policy"]
        try:
            since = day_in(visit.zone, visit.now) - timedelta(days=int(days) - 1)
            said = await visit.run(
                what_if.what_if, {"template_id": template_id, "policy": text, "since": since.isoformat()}
            )  # fmt: skip
        except Refused as error:
            if error.code == what_if.TOO_MUCH:
                form.refuse("days", "go too far back" + error.message.removeprefix("is too early"))
            else:
                form.refuse("shares" if query["policy"] == "fixed" else "policy", error.message)
            status = 422
    return visit.render("results/what_if.html", status, results=shown, form=form, said=said, days=days)


@pages.page("POST", "/{org}/results/{template}/state", role="editor")
async def decide(visit: Visit) -> web.StreamResponse:
    """Ship it, archive it, or take it back into the test."""
    given, _ = await read_form(visit.request, Decision)
    if given is None:
        raise web.HTTPBadRequest(reason="The form did not say what to do.")
    template_id = visit.value("template")
    try:
        await visit.run(template_settings.set_state, {"template_id": template_id, "state": given.state})
    except Refused as error:
        await visit.notice(f"Nothing was changed: {ended(error.message)}", "warn")
    else:
        await visit.notice(f"The template is {given.state} now.")
    return visit.see_other(visit.path("results", template_id))


@pages.page("POST", "/{org}/results/{template}/archive-variant", role="editor")
async def archive_variant(visit: Visit) -> web.StreamResponse:
    """From the next webhook on nobody gets it."""
    given, _ = await read_form(visit.request, VariantDecision)
    if given is None:
        raise web.HTTPBadRequest(reason="The form did not say which variant.")
    template_id = visit.value("template")
    try:
        await visit.run(REGISTRY["variants.archive"], {"template_id": template_id, "variant": given.variant})
    except (Conflict, Refused) as error:
        await visit.notice(f"Nothing was changed: {ended(error.message)}", "warn")
    else:
        await visit.notice(f"{given.variant} is archived; nobody new gets it.")
    return visit.see_other(visit.path("results", template_id))


async def _show(visit: Visit) -> web.Response:
    asked, span = _asked(visit)
    by = visit.request.query.get("by", "")
    segments: Segments | None = None
    no_segments = ""
    async with visit.together() as reads:
        found = await reads.run(results.show, asked)
        shares = await reads.run(policies.shares, _shares_asked(visit, asked))
        template = await reads.run(templates.show, OneTemplate(template_id=found.template_id))
        if by in found.attrs:
            try:
                segments = await reads.run(results.segments, {**asked, "by": by})
            except Refused as error:
                no_segments = error.message
    query = {name: value for name, value in visit.request.query.items() if name in ("since", "until", "days")}
    lift_chart, lift_note = charts.lift(found)
    lacks_source = not found.treatment.delivered + found.control.delivered and await _no_source(visit)
    return visit.render(
        "results/one.html", results=found, span=span, spans=_SPANS, by=by, segments=segments,
        how_long=_how_long(found), pace_of=pace_of, lift_chart=lift_chart, lift_note=lift_note,
        rate_chart=charts.rates(found), weeks_chart=charts.weeks(found), query=query, report=found.report,
        shares_chart=charts.shares(shares) if shares.days else None, no_segments=no_segments,
        nobody_is_control=template_choice.nobody_is_control(template), lacks_source=lacks_source, in_rewards=IN_REWARD,
        rates=RATE,
    )  # fmt: skip


async def _no_source(visit: Visit) -> bool:
    """Whether nothing can tell what became of emails."""
    there = await visit.run(setting_up.show, Nothing())
    return any(one.name == "source" and not one.done for one in there.steps)


def _how_long(found: Results) -> results.HowLong | None:
    try:
        return results.how_long_of(found, WORTH)
    except Refused:  # at such a rate no lift of that size can be
        return None


def pace_of(per_day: float) -> str:
    """In words. Days without decisions count, so it may be less than one email a day."""
    return f"{per_day:,.0f} a day" if per_day >= 1 else "fewer than one a day"


def _asked(visit: Visit) -> tuple[dict[str, Any], int | None]:
    """What results are asked for: two days, or so many days back. A span that is none of ours is the usual one."""
    query: Mapping[str, str] = visit.request.query
    template_id = visit.value("template")
    if query.get("since") or query.get("until"):
        days = {name: query[name] for name in ("since", "until") if query.get(name)}
        return {"template_id": template_id, **days}, None
    text = query.get("days", "")
    span = int(text) if text in {str(one) for one in _SPANS} else 90
    today = day_in(visit.zone, visit.now)
    return {"template_id": template_id, "since": today - timedelta(days=span - 1), "until": today}, span


def _shares_asked(visit: Visit, asked: Mapping[str, Any]) -> dict[str, Any]:
    since, until = read(results.show, asked).span(day_in(visit.zone, visit.now))
    after = begin_of(until + timedelta(days=1), visit.zone)
    return {"template_id": asked["template_id"], "since": begin_of(since, visit.zone), "until": after}
