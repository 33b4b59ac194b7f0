"""Exports: the hours of a month as a heat map, what went wrong, and a backfill with its progress."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel

from services.console.pages.operations.words import counted
from services.console.web.ask_back import agreed, ask_back
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.exports import exported_hours
from shared.admin.exports import removal as export_removal
from shared.admin.exports import switch as export_switch
from shared.admin.exports.exported_hours import AskedHours, Hour, Range
from shared.admin.operation import Nothing
from shared.errors import Failure
from shared.exports import HOUR
from shared.loaders.recipe import ENGINES
from shared.sentences import ended
from shared.zones import has_neighbours

pages = Pages()

_LEVELS: Final = 4
_MONTH_HOURS: Final = 31 * 24


def _moment(text: str) -> datetime:
    """As a browser's field says it, or by hand; UTC, as the bucket's paths are."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is no moment; write 2026-11-23T10:00") from None
    if not has_neighbours(at):
        raise ValueError("is no moment of any export")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


class NewBackfill(BaseModel):
    """Hours in UTC; the end is exclusive."""

    start: Annotated[str, AfterValidator(lambda text: _moment(text).isoformat())]
    end: Annotated[str, AfterValidator(lambda text: _moment(text).isoformat())]
    count: bool = False  # say what it would do, and do nothing


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of the map. `look` is a class: state, and for exported ones how many rows, from 0 to 4."""

    hour: datetime
    look: str
    said: str


@pages.page("GET", "/{org}/operations/exports", role="viewer")
async def overview(visit: Visit) -> web.StreamResponse:
    """A month."""
    return await _show(visit, Form())


@pages.page("POST", "/{org}/operations/exports/backfill", role="editor")
async def backfill(visit: Visit) -> web.StreamResponse:
    """Every hour of a range again."""
    given, form = await read_form(visit.request, NewBackfill)
    if given is None:
        return await _show(visit, form)
    asked = {"start": given.start, "end": given.end}
    if not given.count:
        told = await _touched(visit, given)
        if not await agreed(visit, told):
            tone: Literal["danger", "primary"] = "danger" if len(told) > 1 else "primary"
            back = partial(_show, visit, form)
            return await ask_back(visit, "Export these hours?", told, "Export them", back=back, tone=tone)
    try:
        if given.count:
            return await _show(visit, form, await visit.run(exported_hours.preview, asked))
        hours = (await visit.run(exported_hours.backfill, asked)).hours
    except AdminError as error:
        form.refuse_all(error)
        return await _show(visit, form)
    except Failure as error:
        await visit.notice(f"The hours are marked, and exported within ten minutes: {ended(str(error))}", "warn")
        return visit.see_other(visit.path("operations", "exports"))
    start, end = f"{hours[0]:%Y-%m-%dT%H}", f"{hours[-1] + HOUR:%Y-%m-%dT%H}"
    return visit.see_other(f"{visit.path('operations', 'exports')}?month={hours[0]:%Y-%m}&from={start}&to={end}")


@pages.page("POST", "/{org}/operations/exports/off", role="editor")
async def switch_off(visit: Visit) -> web.StreamResponse:
    """Asked back, for the bucket is then no longer what its readers take it for."""
    back = visit.path("operations", "exports")
    try:
        told = _what_waits(await visit.run(export_switch.show_state, Nothing()))
    except AdminError as error:
        await visit.notice(ended(error.message), "warn")
        return visit.see_other(back)
    if not await agreed(visit, told):
        return await ask_back(visit, "Switch exports off?", told, "Switch off", back=back)
    await visit.run(export_switch.switch_off, Nothing())
    await visit.notice("Exports are off. What becomes due waits.", "warn")
    return visit.see_other(back)


def _what_waits(now: export_switch.Switched) -> list[str]:
    if not now.enabled:
        return []
    return [
        "Nothing more is written into the bucket: no hours that close, no late rows, and nobody who is deleted is "
        "taken out of it. All that waits is written once exports are on again.",
        "Backfills are refused until then, and the days that wait are kept, however old they become.",
        f"{counted(now.waiting, 'hour waits', 'hours wait')} now. An hour that is being written is finished.",
    ]


@pages.page("POST", "/{org}/operations/exports/on", role="editor")
async def switch_on(visit: Visit) -> web.StreamResponse:
    """What waits is written within minutes."""
    try:
        now = await visit.run(export_switch.switch_on, Nothing())
    except AdminError as error:
        await visit.notice(ended(error.message), "warn")
    else:
        waiting = f"{counted(now.waiting, 'hour waits', 'hours wait')} already, and those that closed meanwhile follow."
        await visit.notice(f"Exports are on. {waiting}")
    return visit.see_other(visit.path("operations", "exports"))


@pages.page("POST", "/{org}/operations/exports/remove", role="owner")
async def remove(visit: Visit) -> web.StreamResponse:
    """Asked back, for it cannot be undone for what waits."""
    back = visit.path("operations", "exports")
    try:
        would = await visit.run(export_removal.show_removal, Nothing())
        told = [
            f"{counted(would.objects, 'object stays', 'objects stay')} in {would.place}, yours alone from then on: "
            "nothing there is rewritten any more, and nobody who is deleted is taken out of it.",
            f"{counted(would.waiting, 'hour that waits is', 'hours that wait are')} never written, "
            f"{would.deletions:,} of them with people who were deleted. Days are no longer kept for them.",
            "The bucket's key is forgotten. A new bucket begins with the oldest hour that we still have.",
        ]
        if not await agreed(visit, told):
            return await ask_back(visit, "Give exports up?", told, "Give up", back=back)
        done = await visit.run(export_removal.remove_target, Nothing())
    except AdminError as error:
        await visit.notice(f"{error.message}.", "warn")
    else:
        await visit.notice(f"There is no export to {done.place} any more.", "warn")
    return visit.see_other(back)


async def _touched(visit: Visit, given: NewBackfill) -> list[str]:
    """Nothing where the operation refuses the range anyhow."""
    asked = Range(start=_moment(given.start), end=_moment(given.end))
    found = await visit.run(exported_hours.list_hours, AskedHours(limit=1))
    if found.target is None or asked.end <= asked.start:
        return []
    try:
        would = await visit.run(exported_hours.preview, asked)
    except AdminError:
        return []
    hours, each = would.hours, len(would.tables)
    of_several = f", each as {each} objects: {' and '.join(would.tables)}" if each > 1 else ""
    told = [
        f"{counted(hours, 'hour')} from {asked.start:%-d %b %Y, %H:%M} to {asked.end:%-d %b %Y, %H:%M} UTC, "
        f"none before the first record, {'is' if hours == 1 else 'are'} exported to {found.target.place}{of_several}."
    ]
    if would.objects:
        told.append(
            f"{counted(would.objects, 'object is', 'objects are')} there already, with {counted(would.rows, 'row')}: "
            "overwritten, where anything has changed."
        )
    return told


@pages.page("GET", "/{org}/operations/exports/progress", role="viewer", asks_itself=True)
async def progress(visit: Visit) -> web.StreamResponse:
    """How far a backfill is; the page asks again until it is through."""
    asked = _asked_range(visit)
    if asked is None or not visit.is_htmx:
        return visit.see_other(visit.path("operations", "exports"))
    now = await visit.run(exported_hours.progress, asked)
    if now.exported + now.blocked < now.asked:
        return visit.render("operations/_progress.html", range=asked, progress=now)
    return visit.render("operations/_progress_done.html", range=asked, progress=now, **await _map(visit, asked.start))


async def _map(visit: Visit, at: datetime) -> dict[str, Any]:
    """The month of a moment, as the heat map shows it."""
    first = month_of(f"{at:%Y-%m}", visit.now)
    after = _next_month(first)
    found = await visit.run(exported_hours.list_hours, AskedHours(limit=_MONTH_HOURS, before=after))
    hours = [one for one in found.hours if one.hour >= first]
    return {
        "target": found.target, "hours": hours, "hours_of_day": range(24), "month": first,
        "days": heat_map(hours, first, after, visit.now), "before": f"{first - timedelta(days=1):%Y-%m}",
        "after": f"{after:%Y-%m}" if after <= visit.now else None,
    }  # fmt: skip


async def _show(visit: Visit, form: Form, preview: exported_hours.Preview | None = None) -> web.Response:
    shown = await _map(visit, month_of(visit.request.query.get("month", ""), visit.now))
    asked = _asked_range(visit)
    return visit.render(
        "operations/exports.html",
        422 if form.faulty else 200,
        form=form,
        preview=preview,
        state=await visit.run(export_switch.show_state, Nothing()) if shown["target"] is not None else None,
        engines=ENGINES,
        trouble=[one for one in shown["hours"] if one.error or one.state == "blocked"][:50],
        range=asked,
        progress=await visit.run(exported_hours.progress, asked) if asked else None,
        **shown,
    )


def _asked_range(visit: Visit) -> Range | None:
    query = visit.request.query
    try:
        return Range(start=_moment(query["from"]), end=_moment(query["to"]))
    except (KeyError, ValueError):
        return None


def month_of(text: str, now: datetime) -> datetime:
    """The first moment of a month like `2026-11`; of this month for anything else."""
    with suppress(ValueError):
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        if has_neighbours(first):
            return first
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=32)).replace(day=1)


def heat_map(hours: Sequence[Hour], first: datetime, after: datetime, now: datetime) -> list[tuple[date, list[Cell]]]:
    """The days of the month, newest first, up to today; each with its 24 hours."""
    by_hour = {one.hour: one for one in hours}
    most = max((one.rows or 0 for one in hours), default=0)
    days = []
    day = first
    while day < after and day <= now:
        days.append((day.date(), [_cell(day + HOUR * n, by_hour.get(day + HOUR * n), most, now) for n in range(24)]))
        day += timedelta(days=1)
    return days[::-1]


def _cell(hour: datetime, found: Hour | None, most: int, now: datetime) -> Cell:
    if found is None and hour > now:
        return Cell(hour, "to-come", "to come")
    if found is None:
        return Cell(hour, "none", "not asked for")
    if found.state == "exported":
        rows = found.rows or 0
        level = 0 if not rows else 1 + min(_LEVELS - 1, rows * _LEVELS // (most + 1))
        return Cell(hour, f"exported l{level}", f"exported, {counted(rows, 'row')}")
    return Cell(hour, found.state, f"{found.state}{f': {found.error}' if found.error else ''}")
