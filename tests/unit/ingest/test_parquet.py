"""Rows of Parquet files are events like any other."""

import json
import os
import random
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.reading.reading import Reading
from services.ingest.reading.text import Limits
from services.ingest.records import Unreadable
from tests.unit.ingest.given_files import (
    NAMED,
    NOW,
    ids,
    klaviyo_event,
    lines,
    parquet,
    parquet_events,
    read,
    why_held,
)


def test_rows_of_a_table_are_records_with_their_number() -> None:
    data = parquet_events(
        3,
        event_properties=pa.array([{"$message": "M1", "$internal": {"Transmission ID": f"T{n}"}} for n in (1, 2, 3)]),
        payload=[b"\xff"] * 3,
    )

    assert lines(data) == [("E1", 1, "T1"), ("E2", 2, "T2"), ("E3", 3, "T3")]


def test_rows_are_read_where_a_thousand_files_are_open() -> None:
    with ExitStack() as many:
        while many.enter_context(Path(os.devnull).open("rb")).fileno() < 1024:
            pass

        assert len(lines(parquet_events(1))) == 1


_MAPS = pa.map_(pa.string(), pa.string())


@pytest.mark.parametrize(
    "columns",
    [
        {"event_properties": pa.array([[("$message", "M1")]], _MAPS)},
        {"event_properties": ['{"$message": "M1"}']},
        {"event_properties": pa.array([b'{"$message": "M1"}'], pa.binary())},
        {"event_properties.$message": ["M1"]},
        {"$message": pa.array(["M1"]).dictionary_encode()},
        {"$message": pa.array(["M1"], pa.large_string())},
    ],
    ids=["map", "text", "bytes", "dotted", "dictionary", "large"],
)
def test_properties_may_be_nested_or_columns_of_their_own(columns: dict[str, Any]) -> None:
    ((found,), rejects) = read(parquet_events(1, **columns))

    assert (found.message_id, rejects) == ("M1", [])


@pytest.mark.parametrize(
    ("values", "moment"),
    [
        (pa.array([datetime(2026, 11, 23, 9)], pa.timestamp("s")), "2026-11-23T09:00:00+00:00"),  # noqa: DTZ001  # the case
        (pa.array([1795424400123456789], pa.timestamp("ns", "UTC")), "2026-11-23T09:00:00.123456+00:00"),
        (pa.array([1795424400123], pa.timestamp("ms", "Europe/Berlin")), "2026-11-23T09:00:00.123000+00:00"),
        (pa.array([date(2026, 11, 23)]), "2026-11-23T00:00:00+00:00"),
        (pa.array([1795424400]), "2026-11-23T09:00:00+00:00"),
        (pa.array([1795424400.5]), "2026-11-23T09:00:00.500000+00:00"),
        (pa.array([Decimal("1795424400")]), "2026-11-23T09:00:00+00:00"),
        (pa.array(["2026-11-23 09:00:00+00:00"]), "2026-11-23T09:00:00+00:00"),
    ],
)
def test_a_time_may_have_any_type_of_a_table(values: Any, moment: str) -> None:
    ((found,), rejects) = read(parquet_events(1, datetime=values))

    assert (found.event_at.isoformat(), rejects) == (moment, [])


def test_spark_writes_times_in_an_older_way() -> None:
    times = pa.array([datetime(2026, 11, 23, 9, tzinfo=UTC)], pa.timestamp("ns", "UTC"))
    data = parquet(
        {"id": ["E1"], "metric": ["Opened Email"], "profile_id": ["P1"], "datetime": times},
        use_deprecated_int96_timestamps=True,
    )

    assert ids(data) == ["E1"]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("datetime", pa.array([1795424400000, 2**62], pa.timestamp("ms")), "a value cannot be read"),
        ("datetime", pa.array([1795424400, None], pa.timestamp("s")), "event_at is not a time"),
        ("datetime", pa.array([1795424400, -5], pa.timestamp("s")), "event_at is before 2020 or in the future"),
        ("datetime", pa.array([1795424400.0, float("nan")]), "event_at is not a time"),
        ("metric", pa.array(["Opened Email", None]), "no metric"),
        ("metric", pa.array([b"Opened Email", b"\xff\0"]), "metric is not a name"),
        ("profile_id", pa.array(["P1", "P 1"]), "profile_id is not an id"),
        ("id", pa.array(["E1", "x" * (2 << 20)]), "too long"),
    ],
)
def test_a_row_of_a_table_that_is_no_event_costs_only_itself(column: str, values: Any, said: str) -> None:
    events, rejects = read(parquet_events(2, **{column: values}))

    assert [one.line for one in events] == [1]
    assert [(one.line, one.reason) for one in rejects] == [(2, said)]


def test_klaviyos_own_shape_may_be_a_table() -> None:
    events = [klaviyo_event(number, NAMED) for number in (1, 2)]
    data = parquet({name: pa.array([one[name] for one in events]) for name in events[0]})

    assert lines(data) == [("E1", 1, "T1"), ("E2", 2, "T2")]


def test_a_reject_of_a_table_shows_what_was_read_of_it() -> None:
    _, rejects = read(parquet_events(1, metric=pa.array([None], pa.string()), other=["not read"]))

    assert json.loads(rejects[0].raw)["profile_id"] == "P1"
    assert "not read" not in rejects[0].raw


def damaged_at(data: bytes, at: int, size: int = 20) -> bytes:
    return data[:at] + bytes(255 - byte for byte in data[at : at + size]) + data[at + size :]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (parquet_events(100)[:-1], "damaged_parquet"),
        (parquet_events(100)[:50], "damaged_parquet"),
        (b"PAR1" + b"\0" * 50 + b"\xff\xff\xff\x7fPAR1", "damaged_parquet"),
        (b"PAR1" + b"\x15\xff" * 30 + (60).to_bytes(4, "little") + b"PAR1", "damaged_parquet"),
        (damaged_at(parquet_events(100), 4, 60), "damaged_parquet"),
        (parquet({"a": [1], "b": [2]}), "unknown_layout"),
        (parquet({f"c{number}": [1] for number in range(2500)}), "too_many_columns"),
        (parquet({f"c{number}": [1] for number in range(5500)}), "too_many_columns"),
    ],
)
def test_a_table_that_makes_no_sense_is_held_with_a_reason(data: bytes, said: str) -> None:
    assert why_held(data) == said


def test_an_empty_table_has_no_rows() -> None:
    assert read(parquet_events(0)) == ([], [])


def test_a_table_that_unpacks_to_more_than_is_read_is_held_before_it_is_read() -> None:
    data = parquet_events(1000, note=["x" * 10_000 for _ in range(1000)])
    limits = Limits(max_ratio=1, slack_bytes=1000)

    assert why_held(data, Reading({}, NOW, limits)) == "too_large_unpacked"


@given(at=st.integers(0, 1500), size=st.integers(1, 12), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_a_damaged_table_ends_in_rows_or_in_a_clear_word(at: int, size: int, seed: int) -> None:
    data = parquet_events(60)
    place = at % len(data)
    broken = data[:place] + random.Random(seed).randbytes(size) + data[place + size :]
    try:
        events, rejects = read(broken)
    except Unreadable:
        return
    assert len(events) + len(rejects) == 60
