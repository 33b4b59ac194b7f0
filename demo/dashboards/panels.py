"""A dashboard's JSON and Prometheus' answers, as what the page draws. Pure but for the asking."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from demo.dashboards.prometheus import Prometheus, Series

STEP_S: Final = 15.0
"""The scrape interval; Grafana asks for no finer steps than that."""

SILENT: Final = {
    "publish_failures_total": "The broker was there all the time.",
    "drafts_total": "No language model is set up.",
    "draft_runs_total": "No language model is set up.",
    "retention_held_days": "Nothing is dropped: JUSTAI_EGRESS_KEEP_DAYS is not set.",
}
"""Metrics of which such an hour tells nothing, and why. A query that finds nothing and asks for others is a fault."""

_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_OURS: Final = re.compile(r"\bjai_([a-z_0-9]+?)(?:_bucket|_sum|_count)?\b(?=[\s\[\)/{<>=]|$)")


@dataclass(slots=True)
class Drawn:
    """One dashboard as the page wants it, and its queries that found nothing, each as (panel, query)."""

    title: str
    x: Sequence[float]
    panels: list[dict[str, Any]] = field(default_factory=list)
    empty: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0


async def draw(dashboard: Mapping[str, Any], prometheus: Prometheus, begin: datetime, end: datetime) -> Drawn:
    """Ask each panel's own queries for the time from `begin` to `end`."""
    steps = int((end - begin).total_seconds() // STEP_S)
    drawn = Drawn(dashboard["title"], [begin.timestamp() + step * STEP_S for step in range(steps + 1)])
    for panel in dashboard["panels"]:
        lines: list[dict[str, Any]] = []
        for target in panel["targets"]:
            drawn.asked += 1
            found = await prometheus.over_time(target["expr"], begin, end, STEP_S)
            if not found:
                drawn.empty.append((panel["title"], target["expr"]))
            lines += sorted(
                (line(target["legendFormat"], one, drawn.x) for one in found),
                key=lambda drawn_line: drawn_line["label"],
            )
        drawn.panels.append(panel_of(panel, lines))
    return drawn


def line(legend: str, series: Series, x: Iterable[float]) -> dict[str, Any]:
    """One line: its name, and its value at each moment, None where there is none."""
    values = {round(at, 3): value for at, value in series.values.items()}
    return {"label": named(legend, series.labels), "y": [_number(values.get(round(at, 3))) for at in x]}


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A legend with its `{{labels}}` filled in; one that is not there is empty, as in Grafana."""
    return _LABEL.sub(lambda found: labels.get(found[1], ""), legend)


def _number(value: float | None) -> float | None:
    return None if value is None or value != value or value in (float("inf"), float("-inf")) else value


def panel_of(panel: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What of a panel's JSON the page goes by. Raises ValueError on a kind of panel that it cannot draw."""
    if panel["type"] != "timeseries":
        raise ValueError(f"{panel['title']}: a panel of type {panel['type']} is not drawn here")
    defaults = panel["fieldConfig"]["defaults"]
    limits = [step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None]
    return {
        "title": panel["title"], "description": panel["description"], "at": panel["gridPos"],
        "unit": defaults["unit"], "min": defaults.get("min"), "max": defaults.get("max"),
        "fill": defaults["custom"]["fillOpacity"] / 100,
        "limits": limits if defaults["custom"]["thresholdsStyle"]["mode"] == "line" else [],
        "lines": list(lines),
    }  # fmt: skip


def unexpected(empty: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of queries that found nothing, those that should have: not all that they ask for is silent."""
    return [(title, query) for title, query in empty if not (named_in(query) and named_in(query) <= SILENT.keys())]


def reasons(empty: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By panel, why its queries found nothing, as far as that is known."""
    return {title: SILENT[name] for title, query in empty for name in named_in(query) if name in SILENT}


def named_in(query: str) -> set[str]:
    """Our metrics in a query, as `shared.metrics` calls them."""
    return {found[1] for found in _OURS.finditer(query)}
