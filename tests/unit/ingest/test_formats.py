"""JSON arrays, Klaviyo's own objects, zstd and zip: the same events come of all of them."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.reading import arrays
from services.ingest.reading.lines import MAX_ROW_CHARS
from services.ingest.reading.text import Limits, open_text
from services.ingest.records import Unreadable
from tests.unit.ingest.given_files import (
    METRIC,
    NAMED,
    csv_text,
    event,
    ids,
    klaviyo_event,
    lines,
    page,
    parquet_events,
    read,
    why_held,
    zipped,
)

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
        (json.dumps(event(9, note="x" * (MAX_ROW_CHARS + 1))), "too long"),
        ('"' + "\\\\" * MAX_ROW_CHARS + '"', "too long"),
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
    assert why_held(data) == said


def test_a_window_that_would_fill_the_memory_is_refused() -> None:
    packed = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    ).compressobj()

    data = packed.compress(csv_text(99).encode()) + packed.flush()

    assert why_held(data) == "damaged_zstd"
