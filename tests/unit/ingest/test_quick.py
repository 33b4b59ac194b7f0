"""The quick reader beside the row-by-row reader: the same file must give the same events and the same rejects."""

import csv
import io
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.reading import plain, properties
from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.records import STAGED, Event, Piece, Reject, Unreadable

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HEADER = ("id", "metric", "profile_id", "datetime", "event_properties")
FLAT = (
    "event_id", "metric_name", "person_id", "timestamp", "event_properties.$message", "event_properties.$flow",
    "event_properties.machine_open", "event_properties.Bot Click", "event_properties.URL", "event_properties.$value",
    "event_properties.$internal.Transmission ID", "event_properties.$internal.Handoff Time",
)  # fmt: skip
LAID_OUT = dict[int, Event | Reject]

NOTHING = ["\\N", "NULL", "nan"]
ids = st.sampled_from(
    ["E1", "01M2XP7FY7FV3CW6TA32JN1XG2", "a b", " E2 ", "", "é", "back\\slash", "x" * 201, "\x7f", " NULL", *NOTHING]
)
metrics = st.sampled_from(
    ["Received Email", "Opened Email", "opened email", "Clicked Email", "Bounced Email", "Dropped Email",
     "Viewed Product", "event:klaviyo.opened_email", "Placed Order", "", " Größe gewählt ", "back\\slash", "a\tb",
     "x" * 201, "NULL"]
)  # fmt: skip
times = st.sampled_from(
    ["2026-11-23 09:00:00+00:00", "2026-11-23T09:00:00Z", "2026-11-23T09:00:00.123456+02:00", "2026-11-23 09:00:00",
     "2026-11-23T09:00:00.5Z", "2026-02-30T09:00:00Z", "1763888400", "1763888400123", "1763888400.25", "2026-11-23",
     "2019-12-31 23:59:59",
     "2026-11-28T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T09:00:00-15:00", "soon", "", " 1763888400 ",
     "2026-11-23 09:00:00 UTC", *NOTHING]
)  # fmt: skip
anything = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(
        ["", "MSG1", "https://shop.example/a?b=c", "https://shop.example/\\", "tab\there", "true", "1.0",
         "1795586400:MSG1", "x" * 2001, "ü", "\0", " spaced ", *NOTHING]
    ), st.lists(st.integers(), max_size=1),
    st.dictionaries(st.sampled_from(["Transmission ID", "a"]), st.integers(), max_size=1),
)  # fmt: skip
internals = st.one_of(
    anything,
    st.fixed_dictionaries(
        {},
        optional={
            "Transmission ID": st.one_of(ids, anything),
            "Handoff Time": st.one_of(st.integers(1763880000, 1763890000), anything),
        },
    ),
)
said = st.fixed_dictionaries(
    {},
    optional={
        "$internal": internals,
        "$_cohort$message_send_cohort": st.one_of(st.just("1763888400:MSG1"), anything),
        **{
            name: st.one_of(ids, anything)
            for name in (
                "$message", "$flow", "machine_open", "Bot Click", "URL", "$value", "$event_id", "OrderId", "Subject",
            )
        },
    },
)  # fmt: skip
nested_values = st.one_of(
    said.map(json.dumps),
    st.sampled_from(["", "\\N", "NULL", "{", "[]", "null", '{"$message":"a","$message":"b"}', '{"a":1,}']),
)
nested_rows = st.tuples(ids, metrics, st.one_of(ids, st.just("P1")), times, nested_values)
flat_rows = st.tuples(
    ids, metrics, ids, times, ids, ids, *(st.sampled_from(["", "true", "0", "False", "x", "null"]) for _ in range(2)),
    st.sampled_from(["", "https://shop.example/ü", "https://shop.example", "a\\b", *NOTHING]),
    st.sampled_from(["", "1.5", *NOTHING]), ids, times,
)  # fmt: skip
good_nested = st.tuples(
    st.integers(1, 10**6).map(lambda n: f"E{n}"),
    st.sampled_from(["Received Email", "Opened Email", "Bounced Email", "Viewed Product"]),
    st.just("P1"),
    st.just("2026-11-23T09:00:00Z"),
    said.map(json.dumps),
)


def _read(data: bytes, *, quick: bool) -> tuple[LAID_OUT, str]:
    """What each line is, and what the file as a whole is said to be."""
    found: LAID_OUT = {}
    try:
        for piece in read_pieces(
            io.BytesIO(data), len(data), Reading({}, NOW), quick_from_bytes=0 if quick else 1 << 40
        ):
            found |= {one.line: one for one in _of_piece(piece)}
    except Unreadable as problem:
        return found, str(problem)
    return found, ""


def _of_piece(piece: Piece) -> Iterable[Event | Reject]:
    told = list(_rows(io.BytesIO(bytes(piece.copied))))
    assert len(told) == piece.told
    return [*piece.events, *piece.rejects, *told]


def _rows(copied: io.BytesIO) -> Iterator[Event]:
    """As PostgreSQL reads them."""
    while fields := copied.read(2):
        row: dict[str, Any] = {}
        assert int.from_bytes(fields) == len(STAGED)
        for name in STAGED:
            length = int.from_bytes(copied.read(4), signed=True)
            row[name] = None if length < 0 else _value(name, copied.read(length))
        assert row.pop("day") == (row["event_at"].date() - date(2000, 1, 1)).days
        yield Event(**row)


def _value(name: str, field: bytes) -> Any:
    match name:
        case "line" | "day":
            return int.from_bytes(field, signed=True)
        case "event_at" | "handoff_at":
            return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=int.from_bytes(field, signed=True))
        case "machine_open" | "bot_click":
            return {b"\0": False, b"\1": True}[field]
        case "value":
            return struct.unpack(">d", field)[0]
        case _:
            return field.decode()


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]], **form: Any) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, **({"lineterminator": "\n"} | form))
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _demand_alike(data: bytes) -> LAID_OUT:
    found = _read(data, quick=True)

    assert found == _read(data, quick=False)
    return found[0]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "BLOCK_BYTES", 600)


forms = st.fixed_dictionaries(
    {},
    optional={
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "delimiter": st.sampled_from([",", ";", "\t"]),
    },
)


@settings(max_examples=100)
@given(st.lists(st.one_of(nested_rows, good_nested), max_size=12), forms)
def test_both_readers_see_the_same_in_rows_with_nested_properties(
    rows: list[tuple[str, ...]], form: dict[str, Any]
) -> None:  # fmt: skip
    _demand_alike(_csv(HEADER, rows, **form))


@settings(max_examples=100)
@given(st.lists(flat_rows, max_size=12), forms)
def test_both_readers_see_the_same_in_rows_with_a_column_for_each_property(
    rows: list[tuple[str, ...]], form: dict[str, Any]
) -> None:  # fmt: skip
    _demand_alike(_csv(FLAT, rows, **form))


@settings(max_examples=100)
@given(st.lists(st.tuples(flat_rows, nested_values).map(lambda two: (*two[0], two[1])), max_size=12))
def test_both_readers_see_the_same_where_columns_go_before_properties(rows: list[tuple[str, ...]]) -> None:
    _demand_alike(_csv((*FLAT, "event_properties"), rows))


@pytest.mark.parametrize("nothing", ["\\N", "NULL", "null", "None", "nan"])
def test_columns_that_say_nothing_are_taken_quickly(nothing: str) -> None:
    shop = [(f"E{n}", "Placed Order", "P1", "2026-11-23T09:00:00Z", *[nothing] * 8) for n in range(20)]
    bounced = ("E99", "Bounced Email", "P1", "2026-11-23T09:00:00Z", "M1", *[nothing] * 7)
    data = _csv(FLAT, [*shop, bounced])

    pieces = list(read_pieces(io.BytesIO(data), len(data), Reading({}, NOW), quick_from_bytes=0))
    found = _demand_alike(data)

    assert sum(piece.told for piece in pieces) == 21
    told = [one for one in found.values() if isinstance(one, Event)]
    assert {one.transmission_id for one in told} == {None, "bounce:M1:P1:1795424400"}
    assert {one.message_id for one in told} == {None, "M1"}


broken = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b'"', b'""', b",", b"\0", b"\xff", b'E9,Opened Email,P1,"2026-11-23T09:00:00Z,{}\n',
     b' "x"',     b'E9,"Opened\nEmail",P1,2026-11-23T09:00:00Z,{}\n', b"E9,Opened Email\n",
     b'E9,Opened Email,P"1,2026-11-23T09:00:00Z,{}\n',
     b'E9,Opened Email,"P1"x,2026-11-23T09:00:00Z,{}\n', b"   \n", b"x" * 700 + b"\n"]
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(good_nested, min_size=1, max_size=12), st.lists(st.tuples(st.integers(0, 5000), broken), max_size=3))
def test_both_readers_see_the_same_in_a_file_that_was_damaged_anywhere(
    rows: list[tuple[str, ...]], damages: list[tuple[int, bytes]]
) -> None:
    data = _csv(HEADER, rows)
    for at, bytes_ in damages:
        at %= len(data) + 1
        data = data[:at] + bytes_ + data[at:]

    _demand_alike(data)


def _good(number: int) -> tuple[str, ...]:
    said = {
        "$message": "M1",
        "$internal": {"Transmission ID": f"T{number}", "Handoff Time": 1763888400},
        "Subject": 'a "b"',
    }
    return f"E{number}", "Opened Email", "P1", "2026-11-23T09:00:00Z", json.dumps(said)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_usual_rows_are_taken_quickly_whatever_their_number(mark: bytes) -> None:
    data = mark + _csv(HEADER, map(_good, range(500)))

    pieces = list(read_pieces(io.BytesIO(data), len(data), Reading({}, NOW), quick_from_bytes=0))

    assert sum(piece.told for piece in pieces) == 500
    _demand_alike(data)


def test_a_row_in_doubt_costs_its_neighbours_nothing() -> None:
    data = _csv(HEADER, [*map(_good, range(3)), ("E x", *_good(3)[1:]), *map(_good, range(4, 6))])

    pieces = list(read_pieces(io.BytesIO(data), len(data), Reading({}, NOW), quick_from_bytes=0))

    assert sum(piece.told for piece in pieces) == 5
    assert [one.line for piece in pieces for one in piece.rejects] == [5]
    _demand_alike(data)


def test_lines_are_counted_on_behind_a_row_that_breaks_lines() -> None:
    broken_row = ("E1", "Opened Email", "P1", "2026-11-23T09:00:00Z", '{"Subject":\n"a"}')
    found = _demand_alike(_csv(HEADER, [_good(0), broken_row, *map(_good, range(2, 60))]))

    assert found[61].line == 61


STRANGE = [
    '{"x":NaN}', '{"x":[1, -Infinity ]}', '{"x":Inf}', '{"x":1e999}', '{"x":99e307}', '{"x":-9.5E+308}',
    '{"x":' + "9" * 400 + "}", '{"x":' + "9" * 250 + "e99}", '{"x":"6E943"}', "{}{}", "", " ", "{} ",
    " {}", '{},"x":{}', '{"x":' + "[" * 1500 + "]" * 1500 + "}", '{"x":' * 1100 + "1" + "}" * 1100, '{"x":"\\ud800"}',
    '{"x":"\\udc00"}', '{"x":"\\ud83d\\ude00"}', '{"$message":"a","$message":"b"}', '{"\\u0024message":"a"}',
    '{"$internal":{"Transmission ID":"T","Transmission ID":"U"}}', '{"$internal":"T"}', '{"$internal":null}',
    '{"$internal":{"Handoff Time":1763888400.0}}', '{"$internal":{"Handoff Time":"1763888400"}}', '{"URL":"a\\u0000b"}',
    '{"$value":1e400}', '{"$value":12345678901234567890}', '{"$value":true}', '{"$value":-0}',
    '{"machine_open":"true"}', '{"currency":"EUR"}', '{"currency":null}', '{"OrderId":7}', '{"x":"a\tb"}', '{"x":01}',
    '{"x":.5}', '{"x":1.}', '{"x":+1}', '{"x":1}//', "{'x':1}", '{"x":1,}', '{"x":[}]}', '{"":1}', "[1]", "1", "null",
    '{"x":"NaN, Inf"}',
]  # fmt: skip


@pytest.mark.parametrize("metric", ["Opened Email", "Viewed Product"])
@pytest.mark.parametrize("strange", STRANGE)
def test_both_readers_see_the_same_in_properties_of_any_make_and_in_those_around_them(
    strange: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "BLOCK_BYTES", 1 << 20)
    rows = [_good(0), ("E1", metric, "P1", "2026-11-23T09:00:00Z", strange), *map(_good, range(2, 80))]

    found = _demand_alike(_csv(HEADER, rows))

    assert sum(isinstance(one, Event) and one.transmission_id is not None for one in found.values()) >= 79


def test_rows_of_emails_are_read_at_once_and_others_beside_them_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    by_row = properties._by_row

    def counted(texts: Any, of_emails: Any) -> properties.Properties:
        read.append(len(texts))
        return by_row(texts, of_emails)

    monkeypatch.setattr(properties, "_by_row", counted)
    monkeypatch.setattr(plain, "BLOCK_BYTES", 1 << 20)
    shop = [(f"S{number}", "Viewed Product", *_good(number)[2:4], '{"$event_id":7}') for number in range(20)]
    mixed = [row for number in range(20) for row in (_good(number), shop[number])]

    _demand_alike(_csv(HEADER, [_good(number) for number in range(100)]))
    assert read == []
    _demand_alike(_csv(HEADER, mixed))
    assert read == [20]
