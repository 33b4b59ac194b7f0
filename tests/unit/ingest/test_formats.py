"""JSON arrays, Klaviyo's own objects, Parquet, zstd and zip: the same events come of all of them."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest import arrays, parse
from services.ingest.parse import Reading
from services.ingest.records import Unreadable
from services.ingest.text import Limits, open_text
from tests.unit.ingest.given_files import (
    METRIC,
    NAMED,
    NOW,
    csv_text,
    event,
    ids,
    klaviyo_event,
    page,
    parquet,
    parquet_events,
    read,
    zipped,
)


def lines(data: bytes | str) -> list[tuple[str, int, str | None]]:
    events, rejects = read(data)
    assert rejects == []
    return [(one.event_id, one.line, one.transmission_id) for one in events]


def reason(data: bytes | str, reading: Reading | None = None) -> str:
    with pytest.raises(Unreadable) as caught:
        read(data, reading or Reading({}, NOW))
    assert len(str(caught.value)) < 500
    return caught.value.reason


# --- JSON arrays


@pytest.mark.parametrize(
    "spell", [json.dumps, lambda found: json.dumps(found, indent=2), lambda found: f"\n {json.dumps(found)}\n"]
)
@pytest.mark.parametrize(
    "pack",
    [str.encode, lambda text: gzip.compress(text.encode("utf-16")), lambda text: zstandard.compress(text.encode())],
)
def test_elements_of_an_array_are_records_with_their_number(
    spell: Callable[[Any], str], pack: Callable[[str], bytes]
) -> None:  # fmt: skip
    events = [event(1), event(2, event_properties={"a": '[{"\\', "b": [[], {}]}), event(3)]

    assert [one[:2] for one in lines(pack(spell(events)))] == [("E1", 1), ("E2", 2), ("E3", 3)]


def test_several_arrays_and_pages_may_follow_each_other() -> None:
    text = page([klaviyo_event(1)]) + "\n" + json.dumps([]) + page([klaviyo_event(2)], []) + json.dumps([event(3)])

    assert [one[:2] for one in lines(text)] == [("E1", 1), ("E2", 2), ("E3", 3)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('{"id": nope}', "not JSON"),
        ("{,}", "not JSON"),
        ("17", "not a JSON object"),
        ("null", "not a JSON object"),
        ('"E9"', "not a JSON object"),
        ("[[]]", "not a JSON object"),
        ("{}", "no column for event_id, metric, profile_id, event_at"),
        ('{"id": "\\ud800"}', "not JSON"),
        ('{"id": ' + "[" * 2000 + "]" * 2000 + "}", "not JSON"),
        (json.dumps(event(9, datetime="never")), "event_at is not a time"),
        (json.dumps(event(9, note="x" * (parse.MAX_ROW_CHARS + 1))), "too long"),
        ('"' + "\\\\" * parse.MAX_ROW_CHARS + '"', "too long"),
    ],
)
def test_a_bad_element_costs_only_itself(bad: str, said: str) -> None:
    events, rejects = read(f"[{json.dumps(event(1))},{bad},\n{json.dumps(event(2))}]")

    assert [(one.event_id, one.line) for one in events] == [("E1", 1), ("E2", 3)]
    assert [(one.line, one.reason) for one in rejects] == [(2, said)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "cut off after 0 elements"),
        (f"[{json.dumps(event(1))}", "cut off after 1 elements"),
        (f'[{json.dumps(event(1))}, {{"a": "', "cut off after 1 elements"),
        (f"[{json.dumps(event(1))}, {{", "cut off after 1 elements"),
        (f"[{json.dumps(event(1))} {json.dumps(event(2))}]", "broken after element 1: no comma"),
        (f'[{json.dumps(event(1))}, {{"a": [1}}]', "broken after element 1: a } closes what another bracket opened"),
        (f"[{json.dumps(event(1))},,]", "broken after element 1: a comma or a bracket stands where a value belongs"),
        (f"[{json.dumps(event(1))}] rest", "broken after element 1: something else stands where an array begins"),
        ("[" + "[" * 200_000, "deep"),
        ('{"data": [], "links"}', "broken after element 0: a member of the page has no name"),
        ('{"data": [], 5: 6}', "broken after element 0: a member of the page has no name"),
        ('{"data": [] "links": 1}', "broken after element 0: no comma follows a member of the page"),
    ],
)  # fmt: skip
def test_an_array_whose_elements_cannot_be_told_apart_is_held(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as caught:
        read(text)

    assert caught.value.reason == "damaged_json"


# Anything that JSON can say, in any spelling.
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def reader_of(text: str, sizes: list[int]) -> Callable[[int], str]:
    """Gives the text in parts of these sizes, then in larger ones."""
    stream, waiting = io.StringIO(text, newline=""), list(sizes)
    return lambda most: stream.read(min(most, waiting.pop() if waiting else 7))


@given(
    found=st.lists(_json, max_size=8),
    indent=st.sampled_from([None, 0, 3]),
    ascii=st.booleans(),
    sizes=st.lists(st.integers(1, 4), max_size=200),
)
def test_the_splitter_finds_the_elements_that_a_json_reader_finds(
    found: list[Any], indent: int | None, ascii: bool, sizes: list[int]
) -> None:
    text = json.dumps(found, indent=indent, ensure_ascii=ascii)

    elements = list(arrays.elements(reader_of(text, sizes), 10_000))

    assert [json.loads(element.text) for element in elements] == found
    assert all(element.whole and element.part == "data" for element in elements)
    assert len(list(arrays.elements(reader_of(text, sizes), 3))) == len(
        found
    )  # most are too long, and end where they do


@given(text=st.text(alphabet='[]{},:" \\abdt\n\ufeff1', max_size=60), sizes=st.lists(st.integers(1, 5), max_size=60))
def test_the_splitter_ends_with_elements_or_a_clear_word_however_the_text_comes(text: str, sizes: list[int]) -> None:
    def outcome(read: Callable[[int], str]) -> tuple[list[arrays.Element], str]:
        elements: list[arrays.Element] = []
        try:
            elements.extend(arrays.elements(read, 20))
        except Unreadable as problem:
            return elements, str(problem)
        return elements, ""

    assert outcome(reader_of(text, sizes)) == outcome(io.StringIO(text, newline="").read)


@given(
    data=st.binary(max_size=200),
    first=st.sampled_from([b"", b"[", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"i\0d\0"]),
    pack=st.sampled_from([bytes, gzip.compress, zstandard.compress, lambda data: zipped({"a": data})]),
    cut=st.integers(0, 400),
)  # fmt: skip
def test_any_bytes_open_as_text_or_end_with_a_clear_word(
    data: bytes, first: bytes, pack: Callable[[bytes], bytes], cut: int
) -> None:
    raw = pack(first + data)[:cut]
    try:
        opened = open_text(io.BytesIO(raw), len(raw), Limits())
        text = opened.text.read()
    except Unreadable:
        return
    assert text.startswith(opened.head)


# --- Klaviyo's own objects


@pytest.mark.parametrize(
    "text",
    [
        page([klaviyo_event(1), klaviyo_event(2)]),
        json.dumps({"included": [METRIC], "data": [klaviyo_event(1), klaviyo_event(2)]}, indent=1),
        json.dumps([klaviyo_event(1, NAMED), klaviyo_event(2, NAMED)]),
        "\n".join(json.dumps(klaviyo_event(number, NAMED)) for number in (1, 2)),
        # Its own page and what was flattened by somebody.
        "id,attributes.datetime,metric,relationships.profile.data.id,attributes.event_properties.$message,"
        "attributes.event_properties.$internal.Transmission ID\n"
        + "".join(f"E{number},2026-11-23T09:00:00Z,Opened Email,P1,M1,T{number}\n" for number in (1, 2)),
    ],
    ids=["page", "included first", "array", "lines", "flattened"],
)
def test_klaviyos_own_shape_is_understood_nested_and_flattened(text: str) -> None:
    events, rejects = read(text)

    assert rejects == []
    assert [
        (one.event_id, one.metric, one.profile_id, one.event_at, one.message_id, one.transmission_id) for one in events
    ] == [(f"E{n}", "Opened Email", "P1", datetime(2026, 11, 23, 9, tzinfo=UTC), "M1", f"T{n}") for n in (1, 2)]


@pytest.mark.parametrize(
    "text",
    [page([klaviyo_event(1)], []), json.dumps([klaviyo_event(1)]), json.dumps(klaviyo_event(1))],
    ids=["page", "array", "line"],
)
def test_a_metric_of_which_only_the_id_is_told_holds_the_file(text: str) -> None:
    with pytest.raises(Unreadable, match="metric 'MET1' is told by its id only") as caught:
        read(text)

    assert caught.value.reason == "unknown_metric"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relationships": {"metric": {"data": None}, "profile": {"data": {"id": "P1"}}}}, "no column for metric"),
        ({"relationships": None}, "no column for metric, profile_id"),
        ({"relationships": {"metric": {"data": {"id": 5}}, "profile": {"data": {"id": "P1"}}}}, "no metric"),
        ({"relationships": {"metric": {"data": METRIC}, "profile": {"data": {"id": []}}}}, "no profile_id"),
        ({"attributes": []}, "no column for metric, profile_id, event_at"),
    ],
)
def test_an_object_of_klaviyos_that_lacks_something_costs_only_itself(changes: dict[str, Any], said: str) -> None:
    events, rejects = read(page([klaviyo_event(1), klaviyo_event(2) | changes, klaviyo_event(3)]))

    assert [one.event_id for one in events] == ["E1", "E3"]
    assert [(one.line, one.reason) for one in rejects] == [(2, said)]


# --- zip and zstd


def test_a_zip_may_hold_what_a_mac_adds() -> None:
    files = {"__MACOSX/._a.csv": b"x", ".DS_Store": b"x", "sub/": b"", "sub/a.csv": csv_text(2).encode()}

    assert ids(zipped(files)) == ["E1", "E2"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zipped({"a.csv": csv_text(1).encode(), "b.csv": csv_text(1).encode()}), "many_in_zip"),
        (zipped({}), "many_in_zip"),
        (zipped({"a/": b""}), "many_in_zip"),
        (zipped({"a.csv": csv_text(1).encode()}, zipfile.ZIP_LZMA), "unknown_format"),
        (zipped({"a.csv": csv_text(1).encode()}, zipfile.ZIP_BZIP2), "unknown_format"),
        (zipped({"a.zip": zipped({"a.csv": csv_text(1).encode()})}), "unknown_format"),
        (zipped({"a.gz": gzip.compress(csv_text(1).encode())}), "unknown_format"),
        (zipped({"a.parquet": parquet_events(2)}), "unknown_format"),
        (gzip.compress(parquet_events(2)), "unknown_format"),
        (zstandard.compress(zstandard.compress(b"x")), "unknown_format"),
        (zipped({"a.csv": csv_text(1).encode()})[:-30], "damaged_zip"),
        (zipped({"a.csv": csv_text(9).encode()}, zipfile.ZIP_STORED).replace(b"E5", b"E6"), "damaged_zip"),
        (zstandard.compress(csv_text(99).encode())[:-1], "damaged_zstd"),
        (zstandard.compress(csv_text(99).encode())[:40], "damaged_zstd"),
        (zstandard.compress(csv_text(99).encode()) + b"rubbish", "damaged_zstd"),
        (b"\x50\x2a\x4d\x18\xff\xff\xff\xff", "damaged_zstd"),
        (b"\x50\x2a\x4d\x18\xff", "damaged_zstd"),
    ],
)
def test_packing_that_is_not_read_is_held_with_a_reason(data: bytes, said: str) -> None:
    assert reason(data) == said


def test_a_window_that_would_fill_the_memory_is_refused() -> None:
    packed = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    ).compressobj()

    data = packed.compress(csv_text(99).encode()) + packed.flush()

    assert reason(data) == "damaged_zstd"


# --- Parquet


def test_rows_of_a_table_are_records_with_their_number() -> None:
    data = parquet_events(
        3,
        event_properties=pa.array([{"$message": "M1", "$internal": {"Transmission ID": f"T{n}"}} for n in (1, 2, 3)]),
        payload=[b"\xff"] * 3,
    )

    assert lines(data) == [("E1", 1, "T1"), ("E2", 2, "T2"), ("E3", 3, "T3")]


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
    assert reason(data) == said


def test_an_empty_table_has_no_rows() -> None:
    assert read(parquet_events(0)) == ([], [])


def test_a_table_that_unpacks_to_more_than_is_read_is_held_before_it_is_read() -> None:
    data = parquet_events(1000, note=["x" * 10_000 for _ in range(1000)])
    limits = Limits(max_ratio=1, slack_bytes=1000)

    assert reason(data, Reading({}, NOW, limits)) == "too_large_unpacked"


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
