"""The audit log: who changed what, by area and time, and all of it as CSV."""

from datetime import datetime, timedelta
from typing import Final

import orjson
from aiohttp import web

from services.console.people.remembering import WORDS
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.audit import AskedEntries, Entry, list_entries
from shared.admin.csv_text import csv_lines
from shared.admin.registry import REGISTRY

pages = Pages()

_PAGE: Final = 50
_CSV_PAGE: Final = 1000
_CSV_MOST: Final = 100_000
_COLUMNS: Final = ("audit_id", "at", "actor", "actor_kind", "operation", "target", "asked", "results", "request_id")
_DAYS: Final = {"": "All time", "1": "24 hours", "7": "7 days", "30": "30 days", "365": "A year"}


@pages.page("GET", "/{org}/audit", role="owner")
async def audit(visit: Visit) -> web.StreamResponse:
    """Newest first."""
    asked, area, days = _asked(visit, _PAGE)
    found = await visit.run(list_entries, asked)
    return visit.render(
        "operations/audit.html", entries=found.entries, before=found.before, area=area, days=days, areas_of=areas_of(),
        spans=_DAYS, summaries={one.name: one.summary for one in REGISTRY} | WORDS,
        started="before" in visit.request.query,
    )  # fmt: skip


@pages.page("GET", "/{org}/audit/csv", role="owner")
async def as_csv(visit: Visit) -> web.StreamResponse:
    """The same entries, all of them up to a hundred thousand."""
    asked, _, _ = _asked(visit, _CSV_PAGE)
    entries: list[Entry] = []
    while len(entries) < _CSV_MOST:
        found = await visit.run(list_entries, asked)
        entries += found.entries
        if found.before is None:
            break
        asked = asked.model_copy(update={"before": found.before})
    return web.Response(
        text=csv_lines([_COLUMNS, *map(_cells, entries)]), content_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="audit-{visit.org.slug}.csv"'},
    )  # fmt: skip


def areas_of() -> list[str]:
    """What changes can be of."""
    return sorted({one.name.partition(".")[0] for one in REGISTRY if one.changes})


def _asked(visit: Visit, limit: int) -> tuple[AskedEntries, str, str]:
    """The filter of the address; what is none counts as not given."""
    query = visit.request.query
    area, days, before = query.get("area", ""), query.get("days", ""), query.get("before", "")
    area = area if area in areas_of() else ""
    days = days if days in _DAYS else ""
    since: datetime | None = visit.now - timedelta(days=int(days)) if days else None
    known = before.isascii() and before.isdigit() and len(before) < 19
    return (
        AskedEntries(since=since, operation=area or None, before=int(before) if known else None, limit=limit),
        area,
        days,
    )


def _cells(one: Entry) -> tuple[object, ...]:
    asked, results = (orjson.dumps(value).decode() for value in (one.asked, one.results))
    return (
        one.audit_id, one.at.isoformat(), one.actor, one.actor_kind, one.operation, one.target, asked, results,
        one.request_id,
    )  # fmt: skip
