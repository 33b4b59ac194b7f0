"""Klaviyo's own event objects (`type`, `id`, `attributes`, `relationships`), laid flat as other files have them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from services.ingest.reading.arrays import Element
from services.ingest.records import Unreadable

_MOST_METRICS: Final = 10_000

Names = Mapping[str, str] | None
"""Metrics' names by their ids; None: the file was not read that far, and an id stands for its name."""


def is_event(found: Mapping[str, Any]) -> bool:
    """Whether it is one of Klaviyo's, by its type and its attributes."""
    return found.get("type") == "event" and isinstance(found.get("attributes"), dict)


def flat(found: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Its attributes beside `id`, `metric` (by name) and `profile_id`. Raises Unreadable when the metric is told by an
    id that nothing in the file explains: another account has another metric under it."""
    told = {"id": found.get("id"), **found["attributes"]}
    if metric := _related(found, "metric"):
        told["metric"] = _name_of(metric, names)
    if profile := _related(found, "profile"):
        told["profile_id"] = profile.get("id")
    return told


def metric_names(elements: Iterator[Element]) -> dict[str, str]:
    """The names of metrics among what pages include."""
    names: dict[str, str] = {}
    for element in elements:
        if element.part != "included" or not element.whole or len(names) >= _MOST_METRICS:
            continue
        try:
            found = orjson.loads(element.text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict) and found.get("type") == "metric" and (name := _own_name(found)):
            names[str(found.get("id"))] = name
    return names


def _related(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    one: Any = found.get("relationships")
    for name in (kind, "data"):
        one = one.get(name) if isinstance(one, dict) else None
    return one if isinstance(one, dict) else {}


def _own_name(metric: Mapping[str, Any]) -> str | None:
    attributes = metric.get("attributes")
    name = attributes.get("name") if isinstance(attributes, dict) else None
    return name if isinstance(name, str) else None


def _name_of(metric: Mapping[str, Any], names: Names) -> Any:
    metric_id = metric.get("id")
    if (name := _own_name(metric)) is not None or not isinstance(metric_id, str):
        return name
    if names is None:
        return metric_id
    if metric_id not in names:
        raise Unreadable(
            f"metric {metric_id[:40]!r} is told by its id only, which says nothing outside of its account; export the "
            "events with their metrics (`include=metric`), or with the metric's name",
            reason="unknown_metric",
        )
    return names[metric_id]
