"""What an org or a template says of its attrs: the `attributes:` of a YAML file, and the columns of that name.

| kind | a value becomes |
| string | the option that it is or is an alias of, `other` if none; without options: itself |
| list | the set of what its entries become; a text is split at its commas |
| number | the bucket between two edges: `below_1`, `1_to_5`, `from_5` |
| date | the bucket of the days since then, at acceptance, in the org's time zone; a day to come counts below 0 |

What cannot be read as its kind is `other`; what is not there is the default, and `missing` where there is none.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core.core_schema import ValidationInfo

from shared.schemas.patterns import VALUE_CHARS, compiled

OTHER = "other"
"""The value of what is given, but none of those that are defined."""

MISSING = "missing"
"""The value of what is defined, but not given."""

OtherAttrs = Literal["pass", "ignore"]
"""What becomes of attrs that nobody defined: `pass` takes them as texts, as they are."""

_PATTERN = re.compile(r"/(.*)/i?", re.DOTALL)


def folded(text: str) -> str:
    """How names and values are compared: lower-case, one Unicode form, single spaces, VALUE_CHARS of it."""
    lowered = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(lowered.split())[:VALUE_CHARS].strip()


def pattern_of(alias: str) -> re.Pattern[str] | None:
    """The pattern of an alias between slashes; None of any other. Raises ValueError."""
    found = _PATTERN.fullmatch(alias)
    return compiled(found[1]) if found else None


def _plain(text: str) -> str:
    if not (known := folded(text)):
        raise ValueError("is blank")
    return known


def _option(text: str) -> str:
    if (known := _plain(text)) in (OTHER, MISSING):
        raise ValueError(f"{known!r} has a meaning of its own; call this option something else")
    return known


def _alias(text: str) -> str:
    return text if pattern_of(text) is not None else _plain(text)


def _listed(given: Any) -> Any:
    """Options without aliases may stand in a list, or without a value."""
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return {one: [] for one in given}
    if isinstance(given, dict):
        return {name: [] if aliases is None else aliases for name, aliases in given.items()}
    return given


def _increasing(edges: list[float]) -> list[float]:
    if any(after <= before for before, after in pairwise(edges)):
        raise ValueError("must increase, each edge above the one before")
    return edges


def _distinct(options: dict[str, list[str]]) -> dict[str, list[str]]:
    meant: dict[str, str] = {}
    for option, aliases in options.items():
        for text in (option, *(alias for alias in aliases if pattern_of(alias) is None)):
            if meant.setdefault(text, option) != option:
                raise ValueError(f"{text!r} stands for {meant[text]!r} and for {option!r}")
    return options


_Text = Annotated[str, StringConstraints(max_length=1_000)]
Options = Annotated[
    dict[
        Annotated[_Text, AfterValidator(_option)],
        Annotated[list[Annotated[_Text, AfterValidator(_alias)]], Field(max_length=200)],
    ],
    BeforeValidator(_listed, json_schema_input_type=list[str] | dict[str, list[str] | None]),
    Field(min_length=1, max_length=200),
    AfterValidator(_distinct),
]
_Edge = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
_Days = Annotated[int, Field(ge=-36_500, le=36_500)]


class _Attribute(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StringAttribute(_Attribute):
    """One of several words. An alias is a text, or a pattern between slashes: `/^(premium|pro)$/`."""

    kind: Literal["string"]
    options: Options | None = None
    default: Annotated[_Text, AfterValidator(_plain)] | None = None

    @field_validator("default")
    @classmethod
    def _is_an_option(cls, default: str | None, given: ValidationInfo) -> str | None:
        options = given.data.get("options")
        if default is not None and options is not None and default not in options:
            raise ValueError(f"{default!r} is none of the options")
        return default


class ListAttribute(StringAttribute):
    """Several words. Of more than `most` the first stay, in the order of the options, else of the alphabet."""

    kind: Literal["list"]  # type: ignore[assignment]  # a list is defined like a string
    most: Annotated[int, Field(ge=1, le=16)] = 4


class NumberAttribute(_Attribute):
    """A number; a bucket holds its lower edge."""

    kind: Literal["number"]
    edges: Annotated[list[_Edge], Field(min_length=1, max_length=50), AfterValidator(_increasing)]
    default: _Edge | None = None


class DateAttribute(_Attribute):
    """A day: ISO 8601, or Unix seconds or milliseconds. `edges` are days since then; a bucket holds its lower edge."""

    kind: Literal["date"]
    edges: Annotated[list[_Days], Field(min_length=1, max_length=50), AfterValidator(_increasing)]
    default: date | None = None


Attribute: TypeAlias = Annotated[
    StringAttribute | ListAttribute | NumberAttribute | DateAttribute, Field(discriminator="kind")
]


def _names(given: Any) -> Any:
    """Names as they are compared; two that are then the same cannot be told apart."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        return given
    known = {folded(name): definition for name, definition in given.items()}
    if len(known) < len(given):
        raise ValueError("two names differ by case or spacing only")
    if "" in known:
        raise ValueError("a name is blank")
    return known


Attributes = Annotated[
    dict[Annotated[str, StringConstraints(max_length=VALUE_CHARS)], Attribute],
    BeforeValidator(_names),
    Field(max_length=24),
]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; it is called like Europe/Berlin") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


class OrgAttributes(_Attribute):
    """What `justai org attributes import` reads; templates may define single attributes anew."""

    time_zone: ZoneName | None = None
    attributes: Attributes = {}


def stored(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """As a column of json holds it; the order of options counts, which jsonb would lose."""
    return {name: one.model_dump(mode="json", exclude_none=True) for name, one in attributes.items()}
