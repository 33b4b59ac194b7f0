"""Attrs by their definitions: every kind, and a defined cell for what is missing, unknown or garbage."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.generator.cells import Cells, compiled
from services.generator.select import CELL_CHARS, MOST_ATTRS, NO_ATTRS, TOO_MANY_ATTRS, cell_of
from shared.schemas.attributes import Attributes
from shared.schemas.jobs import Attrs
from tests.unit.generator.given import TEN

READ: TypeAdapter[Any] = TypeAdapter(Attributes)
PLAN = {"kind": "string", "options": {"pro": ["premium", "/^pro[ -]/"], "team": ["/plus/"], "free": []}}
TASTES = {"kind": "list", "options": {"dark": ["espresso"], "light": [], "milk": [], "decaf": []}, "most": 2}
ORDERS = {"kind": "number", "edges": [0, 1, 5, 20.5]}
SINCE = {"kind": "date", "edges": [0, 7, 30]}


def cells(**definitions: Mapping[str, Any]) -> Cells:
    return Cells(READ.validate_python(definitions))


def value_of(definition: Mapping[str, Any], given: str | list[str], at: datetime = TEN) -> str:
    """What one value becomes."""
    name, _, value = cells(x=definition).of({"x": given}, at).partition("=")
    assert name == "x"
    return value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Pro", "pro"), (" PREMIUM ", "pro"), ("pro-2024", "pro"), ("Pro  Yearly", "pro"), ("team", "team"),
        ("Team PLUS", "team"), ("pro plus", "pro"), ("professional", "other"), ("gold", "other"), ("", "missing"),
        (["pro"], "pro"), (["pro", "PRO"], "pro"), (["pro", "free"], "other"), ([], "missing"), ("other", "other"),
        ("&=,%\x00", "other"),
    ],
)  # fmt: skip
def test_a_string_is_the_option_that_it_is_or_is_an_alias_of(given: str | list[str], expected: str) -> None:
    assert value_of(PLAN, given) == expected


def test_a_string_without_options_is_itself_and_reserved_characters_never_part_a_cell() -> None:
    assert value_of({"kind": "string"}, " Zürich\n West ") == "zürich west"
    assert value_of({"kind": "string"}, "a&b=c,d") == "a%26b%3dc%2cd"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Espresso, MILK", "dark,milk"), (["milk", "dark"], "dark,milk"), ("milk,milk", "milk"),
        ("decaf,milk,light,dark", "dark,light"), ("tea", "other"), ("tea,milk", "milk,other"),
        ("tea,milk,decaf", "decaf,milk"), (" , ", "missing"), ([], "missing"),
    ],
)  # fmt: skip
def test_a_list_is_a_bounded_set_in_the_order_of_its_options(given: str | list[str], expected: str) -> None:
    assert value_of(TASTES, given) == expected


def test_a_list_without_options_keeps_the_first_of_the_alphabet() -> None:
    assert value_of({"kind": "list", "most": 2}, "c,b,a") == "a,b"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-1", "below_0"), ("0", "0_to_1"), ("0.99", "0_to_1"), ("1", "1_to_5"), ("4.99", "1_to_5"), ("5", "5_to_20.5"),
        ("20.5", "from_20.5"), ("1e3", "from_20.5"), ("+7", "5_to_20.5"), (".5", "0_to_1"), ("nan", "other"),
        ("inf", "other"), ("1_000", "other"), ("1,5", "other"), ("٣", "other"), ("five", "other"), ("1e999", "other"),
        (["3"], "1_to_5"), (["3", "4"], "other"), ("", "missing"), ("9" * 1_000, "other"),
    ],
)  # fmt: skip
def test_a_number_is_the_bucket_between_two_edges(given: str | list[str], expected: str) -> None:
    assert value_of(ORDERS, given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-11-23", "0_to_7"), ("2026-11-16", "7_to_30"), ("2026-11-17T23:59:59", "0_to_7"),
        ("2026-10-01", "from_30"),
        ("2026-11-24", "below_0"), ("2026-11-23T10:00:00Z", "0_to_7"), ("2026-11-22 23:30:00-05:00", "0_to_7"),
        ("20261116", "7_to_30"), ("1795392000", "0_to_7"), ("1795392000000", "0_to_7"), ("1700000000", "from_30"),
        ("yesterday", "other"), ("2026-02-30", "other"), ("12", "other"), ("99999999999999", "below_0"),
        ("0001-01-01T00:00:00+14:00", "other"), ("9999-12-31T23:59:59-12:00", "other"), ("", "missing"),
    ],
)  # fmt: skip
def test_a_date_is_the_bucket_of_the_days_since_then(given: str, expected: str) -> None:
    assert value_of(SINCE, given) == expected


def test_days_are_those_of_the_orgs_time_zone() -> None:
    evening = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)  # the next morning in Tokyo
    definitions = READ.validate_python({"x": {"kind": "date", "edges": [0, 1]}})

    assert Cells(definitions).of({"x": "2026-11-23"}, evening) == "x=0_to_1"
    assert Cells(definitions, zone=ZoneInfo("Asia/Tokyo")).of({"x": "2026-11-23"}, evening) == "x=from_1"
    assert Cells(definitions, zone=ZoneInfo("Asia/Tokyo")).of({"x": "2026-11-23T22:00:00Z"}, evening) == "x=0_to_1"


def test_a_cell_follows_the_day_of_acceptance() -> None:
    known = cells(x=SINCE)

    assert known.of({"x": "2026-11-20"}, TEN) == "x=0_to_7"
    assert known.of({"x": "2026-11-20"}, TEN + timedelta(days=5)) == "x=7_to_30"


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (PLAN | {"default": "Free"}, "free"), (TASTES | {"default": "milk"}, "milk"),
        (ORDERS | {"default": 3}, "1_to_5"), (ORDERS | {"default": -1e14}, "below_0"),
        (SINCE | {"default": "2026-11-01"}, "7_to_30"),
        ({"kind": "string", "default": "a=b"}, "a%3db"),
    ],
)  # fmt: skip
def test_who_brings_no_value_is_in_the_cell_of_the_default(definition: Mapping[str, Any], expected: str) -> None:
    assert cells(x=definition).of({}, TEN) == f"x={expected}"
    assert value_of(definition, "") == expected


def test_attrs_that_nobody_defined_are_texts_or_ignored() -> None:
    attrs: Attrs = {"Plan": "Premium", "City": "Bern", "tags": ["b", "A"]}
    known = READ.validate_python({"plan": PLAN})

    assert Cells(known).of(attrs, TEN) == "city=bern&plan=pro&tags=a,b"
    assert Cells(known, other_attrs="ignore").of(attrs, TEN) == "plan=pro"
    assert Cells({}, other_attrs="ignore").of(attrs, TEN) == NO_ATTRS


@given(
    attrs=st.dictionaries(
        st.text(max_size=9), st.one_of(st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3))
    )
)
def test_without_definitions_a_cell_is_what_it_always_was(attrs: Attrs) -> None:
    assert compiled({}, {}, other_attrs="pass", time_zone="Europe/Berlin").of(attrs, TEN) == cell_of(attrs)


def test_a_templates_definition_goes_before_the_orgs_of_the_same_name() -> None:
    made = compiled(
        {"plan": PLAN, "orders": ORDERS}, {"PLAN": {"kind": "string"}}, other_attrs="ignore", time_zone=None
    )

    assert made.of({"plan": "Premium", "orders": "2"}, TEN) == "orders=1_to_5&plan=premium"


@pytest.mark.parametrize(
    "stored",
    [{"plan": {"kind": "colour"}}, {"plan": {"kind": "string", "options": {"a": ["/(a+)+/"]}}}, {"plan": "pro"}],
)
def test_stored_definitions_that_are_none_are_refused(stored: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="plan"):
        compiled(stored, {}, other_attrs="pass", time_zone=None)


def test_a_stored_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Mars/North"):
        compiled({"plan": PLAN}, {}, other_attrs="pass", time_zone="Mars/North")


def test_garbage_has_a_cell_of_its_own_and_what_is_defined_is_read_beside_strange_neighbours() -> None:
    known = Cells(READ.validate_python({"plan": PLAN}), other_attrs="ignore")
    long_list = ["x"] * (MOST_ATTRS + 1)

    assert known.of({f"a{number}": "x" for number in range(10_000)}, TEN) == TOO_MANY_ATTRS
    assert known.of({"plan": "pro", "junk": long_list}, TEN) == TOO_MANY_ATTRS
    assert known.of({"plan": "pro", "junk": "x" * 1_000_000, "\x00": "&"}, TEN) == "plan=pro"


names = st.sampled_from(["plan", "PLAN ", "tastes", "orders", "since", "city"])
values = st.one_of(st.text(max_size=30), st.sampled_from(["pro", "2", "2026-01-01", "milk,tea"]))


@given(attrs=st.dictionaries(names, st.one_of(values, st.lists(values, max_size=5))), data=st.data())
def test_any_attrs_have_one_cell_whatever_their_order_that_can_be_stored_and_taken_apart(
    attrs: Attrs, data: st.DataObject
) -> None:
    known = Cells(
        READ.validate_python({"plan": PLAN, "tastes": TASTES, "orders": ORDERS, "since": SINCE}), other_attrs="ignore"
    )
    shuffled = {name: attrs[name] for name in data.draw(st.permutations(list(attrs)))}

    cell = known.of(attrs, TEN)

    assert cell == known.of(shuffled, TEN)
    assert len(cell) <= CELL_CHARS
    assert "\x00" not in cell
    assert [pair.partition("=")[0] for pair in cell.split("&")] == ["orders", "plan", "since", "tastes"]
