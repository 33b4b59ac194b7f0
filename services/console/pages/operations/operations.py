"""Operations: what emails showed, and the live view of queue, quota and deadlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.operations.attention import Observed, attention
from services.console.pages.operations.words import counted
from services.console.web.advice import advice
from services.console.web.forms import read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin import stops
from shared.admin.checks.driven_away_store import read_driven_away
from shared.admin.checks.refused_store import read_refused
from shared.admin.exports import exported_hours
from shared.admin.operation import Nothing
from shared.admin.outcomes import outcomes
from shared.admin.outcomes.meanings import WRITES, Meaning
from shared.admin.outcomes.number import AskedNumber, Number, Shows, number
from shared.admin.queues import quota
from shared.admin.sources import sources

pages = Pages()

LANES: Final = {
    "dirty": "Profiles that still hold older copy",
    "fresh": "New copy",
    "retry": "Tried before",
    "clean_up": "Clean-up after the send window",
    "put_off": "Later than the first email, in time for others",
}
_HOURS: Final = {"today": None, "24h": 24.0, "7d": 24.0 * 7, "30d": 24.0 * 30}
_LEAST_HOURS: Final = 1 / 60
_WRITING: Final = outcomes.AskedOutcomes(counts=False)  # only what holds writing up now is wanted
_TEMPLATES_NAMED: Final = 3


class Why(BaseModel):
    """Why it is stopped."""

    reason: Annotated[str, Field(max_length=1000)] = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A time to look back over, by its name in the address."""

    name: str
    title: str
    hours: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why emails showed what they did, in all templates; `templates` are those with most, `more` how many others."""

    first: Shows
    emails: int
    templates: list[Shows]
    more: int


@pages.page("GET", "/{org}/operations", role="viewer")
async def operations(visit: Visit) -> web.StreamResponse:
    """The live view."""
    return visit.render("operations/live.html", **await _live(visit))


@pages.page("POST", "/{org}/operations/stop", role="editor")
async def stop(visit: Visit) -> web.StreamResponse:
    """Stop all of the org's templates."""
    given, _ = await read_form(visit.request, Why)
    await visit.run(stops.stop_org, stops.StopOrg(reason=given.reason or None if given else None))
    await visit.notice(f"{visit.org.name} is stopped: no copy reaches a profile until it is resumed.", "warn")
    return visit.see_other(visit.path("operations"))


@pages.page("POST", "/{org}/operations/resume", role="editor")
async def resume(visit: Visit) -> web.StreamResponse:
    """End the org's stop; templates that were stopped by themselves stay so."""
    left = len((await visit.run(stops.resume_org, Nothing())).stops)
    also = f" {counted(left, 'template')} {'is' if left == 1 else 'are'} still stopped." if left else ""
    await visit.notice(f"The stop is over; the next webhook is served again.{also}", "warn" if left else "good")
    return visit.see_other(visit.path("operations"))


@pages.page("GET", "/{org}/operations/live", role="viewer", asks_itself=True)
async def live(visit: Visit) -> web.StreamResponse:
    """The part of it that reads itself again; the whole page for who opens it."""
    if not visit.is_htmx:
        return visit.see_other(visit.path("operations"))
    return visit.render("operations/_live.html", **await _live(visit))


@pages.page("GET", "/{org}/operations/last-hour", role="viewer", asks_itself=True)
async def last_hour(visit: Visit) -> web.StreamResponse:
    """What reads every write of an hour, and so is asked for once a minute."""
    accounts = (await visit.run(quota.show, quota.AskedQuota(hours=1))).accounts
    missed = [(reason, count, meaning_of_miss(reason)) for one in accounts for reason, count in one.missed.items()]
    template = "operations/_last_hour.html" if visit.is_htmx else "operations/last_hour.html"
    return visit.render(template, accounts=accounts, missed=missed, advice=advice)


@pages.page("GET", "/{org}/operations/number", role="viewer")
async def what_emails_showed(visit: Visit) -> web.StreamResponse:
    """By template and reason; for a script, the figures alone."""
    span = span_of(visit, visit.request.query.get("span", "7d"))
    found = await visit.run(number, AskedNumber(hours=span.hours, most=_TEMPLATES_NAMED))
    template = "operations/_number.html" if visit.is_htmx else "operations/number.html"
    return visit.render(
        template,
        number=found,
        span=span,
        spans=spans(visit),
        parts=shares(found),
        reasons=by_reason(found.rows),
        advice=advice,
    )


@pages.page("GET", "/{org}/operations/attention", role="viewer")
async def needs_attention(visit: Visit) -> web.StreamResponse:
    """What somebody should look at; the home shows it."""
    async with visit.transaction() as connection:
        refused = await read_refused(connection, visit.org.org_id, visit.now)
        driven_away = await read_driven_away(connection, visit.org.org_id)
    org = Observed(
        org_slug=visit.org.slug,
        stops=(await visit.run(stops.list_stops, stops.SomeStops())).stops,
        refused=refused,
        writing=(await visit.run(outcomes.list_outcomes, _WRITING)).writing,
        number=await visit.run(number, AskedNumber(hours=24, most=0)),
        sources=(await visit.run(sources.list_sources, Nothing())).sources,
        exports=await visit.run(exported_hours.list_hours, exported_hours.AskedHours(limit=72)),
        driven_away=driven_away,
    )
    template = "operations/_attention.html" if visit.is_htmx else "operations/attention.html"
    return visit.render(template, found=attention(org, visit.now))


async def _live(visit: Visit) -> dict[str, Any]:
    """What may be asked for every few seconds: nothing of it reads what was."""
    return {
        "accounts": (await visit.run(quota.show, quota.AskedQuota(history=False))).accounts,
        "writing": (await visit.run(outcomes.list_outcomes, _WRITING)).writing,
        "lanes": LANES,
        "stops": (await visit.run(stops.list_stops, stops.SomeStops())).stops,
    }


def by_reason(rows: Sequence[Shows]) -> list[Reason]:
    """Most emails first. A thousand templates have few reasons."""
    groups: dict[tuple[str, str], list[Shows]] = {}
    for one in rows:
        groups.setdefault((one.shown, one.because), []).append(one)
    found = [_reason(group) for group in groups.values()]
    return sorted(found, key=lambda one: -one.emails)


def _reason(group: Sequence[Shows]) -> Reason:
    named = [one for one in group if one.template_id][:_TEMPLATES_NAMED]
    more = sum(one.templates for one in group) - len(named)
    return Reason(named[0] if named else group[0], sum(one.emails for one in group), named, more)


def meaning_of_miss(reason: str) -> Meaning:
    """What a reason of quota's list means; it names no outcome."""
    for outcome in ("expired", "rejected"):
        if known := WRITES.get((outcome, reason)):
            return known
    return WRITES["rejected", "any other"]


def span_of(visit: Visit, name: str) -> Span:
    """The named one; the week for any other name."""
    return next((one for one in spans(visit) if one.name == name), spans(visit)[2])


def spans(visit: Visit) -> list[Span]:
    """What can be looked back over. Today begins at midnight in the org's zone."""
    titles = {"today": "Today", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
    today = max(_LEAST_HOURS, _since_midnight_h(visit.now.astimezone(visit.zone)))
    return [Span(name, titles[name], hours or today) for name, hours in _HOURS.items()]


def _since_midnight_h(there: datetime) -> float:
    midnight = there.replace(hour=0, minute=0, second=0, microsecond=0)
    return (there.timestamp() - midnight.timestamp()) / 3600


def shares(found: Number) -> list[tuple[str, str, int, float]]:
    """The parts of the bar: class, label, emails, and share of all in percent."""
    parts = [
        ("good", "Right", found.right),
        ("plan", "Control, planned", found.control_planned),
        ("warn", "Control, missed", found.control_missed),
        ("faint", "Not sure", found.unsure),
        ("bad", "Faults", found.stale),
    ]
    return [(tone, label, emails, 100 * emails / found.emails) for tone, label, emails in parts if found.emails]
