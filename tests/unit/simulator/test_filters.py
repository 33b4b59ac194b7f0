"""The filter grammar."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.api.filters import InvalidFilter, Term, holds, parse

ALLOWED = {
    "metric_id": ("equals",),
    "id": ("any",),
    "name": ("contains", "starts-with"),
    "archived": ("equals",),
    "metric": ("has",),
    "datetime": ("greater-or-equal", "less-than"),
    "timestamp": ("greater-or-equal",),
    "messages.channel": ("equals",),
}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('equals(metric_id,"X")', [Term("equals", "metric_id", "X")]),
        ("equals(messages.channel,'email')", [Term("equals", "messages.channel", "email")]),
        ('any(id,["a","b"])', [Term("any", "id", ("a", "b"))]),
        ("has(metric)", [Term("has", "metric", None)]),
        ("equals(archived,false)", [Term("equals", "archived", False)]),
        ("greater-or-equal(timestamp,1700000000)", [Term("greater-or-equal", "timestamp", 1_700_000_000)]),
        (
            'equals(metric_id,"X"), greater-or-equal(datetime,2026-11-22T00:00:00Z)',
            [
                Term("equals", "metric_id", "X"),
                Term("greater-or-equal", "datetime", datetime(2026, 11, 22, tzinfo=UTC)),
            ],
        ),
        ("and(has(metric),equals(archived,true))", [Term("has", "metric", None), Term("equals", "archived", True)]),
        ('contains(name,"a,b(c)\\"d")', [Term("contains", "name", 'a,b(c)"d')]),
    ],
)
def test_the_documented_forms_are_understood(text: str, terms: list[Term]) -> None:
    assert list(parse(text, ALLOWED)) == terms


@pytest.mark.parametrize(
    "text",
    [
        "equals(metric_id,X)",
        "equals(metric_id)",
        'equals(metric_id,"X"',
        'equals(metric_id,"X") nonsense',
        'contains(metric_id,"X")',
        'equals(secret,"X")',
        'bigger(datetime,"X")',
        "has(metric),",
        'equals(metric_id,"unclosed)',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse(text, ALLOWED)


@given(text=st.text(max_size=60))
def test_no_text_can_crash_the_parser(text: str) -> None:
    try:
        terms = parse(text, ALLOWED)
    except InvalidFilter:
        return
    assert all(term.field in ALLOWED for term in terms)


@given(value=st.text(st.characters(exclude_characters="\\\"'"), max_size=20))
def test_a_quoted_text_is_read_back(value: str) -> None:
    (term,) = parse(f'equals(metric_id,"{value}")', ALLOWED)

    assert term.value == value


@pytest.mark.parametrize(
    ("text", "have", "expected"),
    [
        ('contains(name,"HELLO")', {"name": "say hello"}, True),
        ('any(id,["a"])', {"id": "b"}, False),
        ("has(metric)", {"metric": "m"}, True),
        ("less-than(datetime,2026-01-01T00:00:00Z)", {"datetime": datetime(2025, 1, 1, tzinfo=UTC)}, True),
        ('equals(metric_id,"x")', {}, False),
    ],
)
def test_terms_are_tested_against_an_object(text: str, have: dict[str, Any], expected: bool) -> None:
    assert holds(parse(text, ALLOWED), have.get) is expected
