"""Jinja: everything escaped, nothing undefined. Only our own templates are rendered with it, never what people write.

Every template sees `visit`, `account`, `org`, `memberships`, `notices`, `here` (the path), `zone`, `now`; the filters
`moment`, `ago`, `real_ago`, `day`, `epoch_day`, `number`, `chart_rows`, `percent`, `span`, `ended`, `scope_title`; and
the function `asset(name)`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from markupsafe import Markup

from services.console.web import times
from services.console.web.assets import Assets
from services.console.web.navigation import Area, is_inside
from shared.people.roles import MEANINGS, ROLES
from shared.sentences import ended
from shared.spans import said

_TEMPLATES = Path(__file__).parent.parent / "templates"


class _Compiled(BytecodeCache):
    """What was compiled, for all consoles of this process; a template that has changed is compiled anew."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (kept := self._kept.get(bucket.key)) is not None:
            bucket.bytecode_from_string(kept)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED: Final = _Compiled()


class Templates:
    """Renders pages."""

    def __init__(self, assets: Assets, areas: Sequence[Area], *, dev: bool) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=dev,
            cache_size=400,
            bytecode_cache=_COMPILED,
        )
        self._environment.globals |= {
            "asset": assets.path, "areas": areas, "is_inside": is_inside, "roles": ROLES, "role_meanings": MEANINGS,
        }  # fmt: skip
        self._environment.filters |= {
            "moment": _moment,
            "ago": _ago,
            "real_ago": _real_ago,
            "day": _day,
            "epoch_day": _epoch_day,
            "number": number,
            "chart_rows": _chart_rows,
            "percent": percent,
            "span": said,
            "ended": ended,
            "scope_title": scope_title,
            "as_json": _as_json,
        }

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """The whole text."""
        return self._environment.get_template(template).render(context)


@pass_context
def _moment(context: Context, at: datetime | None, otherwise: str = "never") -> Markup:
    return times.moment(at, context["zone"], otherwise)


@pass_context
def _ago(context: Context, at: datetime | None, otherwise: str = "never") -> Markup:
    return times.ago(at, context["now"], context["zone"], otherwise)


@pass_context
def _real_ago(context: Context, at: datetime | None, otherwise: str = "never") -> Markup:
    """For what happened in the time of people, whatever the system's clock says."""
    return times.ago(at, context["real_now"], context["zone"], otherwise)


@pass_context
def _day(context: Context, at: datetime) -> str:
    return times.day(at, context["zone"])


@pass_context
def _epoch_day(context: Context, epoch_s: float) -> str:
    return times.day(datetime.fromtimestamp(epoch_s, UTC), context["zone"])


@pass_context
def _chart_rows(context: Context, data: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return chart_rows(data, partial(_epoch_day, context) if data.get("time") else str)


def chart_rows(data: Mapping[str, Any], name_of: Callable[[Any], str]) -> list[tuple[str, list[str]]]:
    """What a chart's table says (see `chart` in _macros.html): each x by name, and its figures. Made here, for a chart
    may have a thousand."""
    after = f" {unit}" if (unit := data.get("unit")) else ""
    drawn = [one.get(name) for one in data["series"] for name in ("y", "low", "high")]
    columns = [[_cell(value, after) for value in column] for column in drawn if column]
    return [(name, list(figures)) for name, *figures in zip(map(name_of, data["x"]), *columns, strict=True)]


def _cell(value: float | None, after: str) -> str:
    return "–" if value is None else number(value) + after


def number(value: float) -> str:
    """`12,345`; what is no whole number keeps at most two places."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


def percent(share: float | None, places: int = 1) -> str:
    """0.123 is `12.3 %`."""
    return "–" if share is None else f"{share * 100:.{places}f} %"


def scope_title(scope: str) -> str:
    """`lists:read` as Klaviyo's page of keys calls it: `Lists: Read`."""
    return ": ".join(part.capitalize() for part in scope.split(":"))


def _as_json(value: Any) -> str:
    """For a data attribute, which autoescape then escapes."""
    return orjson.dumps(value).decode()
