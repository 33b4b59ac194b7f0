"""The tags and filters of Klaviyo's template language that are publicly known; nothing else exists.

Loaded as the engine's only library. Filters that Django ships but that need its settings (number formats,
translations) are written here instead, so that no settings module is ever touched.
"""

from collections.abc import Callable
from typing import Any

from django.template import Library
from django.template.defaultfilters import (
    default,
    escapejs_filter,
    lower,
    safe,
    slice_filter,
    title,
    upper,
)
from django.template.defaulttags import comment, do_for, do_if
from django.utils.safestring import mark_safe

register = Library()


class Person(dict[str, Any]):
    """What `{{ person… }}` sees. `missing` is what `lookup` gives for a key that is not there: None in webhook bodies
    (printed "None"), nothing in emails."""

    def __init__(self, values: dict[str, Any], missing: str | None) -> None:
        super().__init__(values)
        self.missing = missing


def lookup(holder: Any, key: str) -> Any:
    if not isinstance(holder, dict):
        return None
    value = holder.get(key)
    return getattr(holder, "missing", None) if value is None else value


def floatformat(value: Any, places: Any = 1) -> str:
    try:
        return f"{float(value):.{abs(int(places))}f}"
    except (TypeError, ValueError):
        return ""


def multiply(value: Any, factor: Any) -> Any:
    try:
        return float(value) * float(factor)
    except (TypeError, ValueError):
        return ""


def truncatechars(value: Any, length: Any) -> str:
    text, limit = str(value), int(length)
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def trim_slash(value: Any) -> str:
    return str(value).rstrip("/")


def _link_tag(words: str, place: str) -> Callable[..., str]:
    def tag(context: Any, text: str = words) -> str:
        person = context.get("person") or {}
        href = f"https://manage.kmail.example/{place}/{person.get('KlaviyoID', '')}"
        return str(mark_safe(f'<a href="{href}">{text}</a>'))  # noqa: S308 - our own constant markup

    return tag


register.tag("if", do_if)
register.tag("for", do_for)
register.tag("comment", comment)
register.simple_tag(_link_tag("Unsubscribe", "unsubscribe"), takes_context=True, name="unsubscribe")
register.simple_tag(_link_tag("View in browser", "web-view"), takes_context=True, name="web_view")
register.simple_tag(_link_tag("Manage preferences", "preferences"), takes_context=True, name="manage_preferences")

for name, function, options in (
    ("default", default, {"is_safe": False}),
    ("escapejs", escapejs_filter, {}),
    ("lower", lower, {}),
    ("safe", safe, {}),
    ("slice", slice_filter, {"is_safe": True}),
    ("title", title, {}),
    ("upper", upper, {}),
    ("lookup", lookup, {}),
    ("floatformat", floatformat, {"is_safe": True}),
    ("multiply", multiply, {}),
    ("truncatechars", truncatechars, {}),
    ("trim_slash", trim_slash, {}),
):
    register.filter(name, function, **options)
