"""What a file's beginning tells of it: by the readers that load files, and never more than was read."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import zstandard

from services.ingest.reading.beginning import BEGINNING_BYTES, MOST_TABLE_BYTES, end_bytes, look
from services.ingest.reading.mapping import FIELDS
from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.records import Listed
from shared.event_fields import EVENT_FIELDS
from shared.schemas.probes import FilePreview
from tests.unit.ingest.given_files import NAMED, event, klaviyo_event, page, parquet, parquet_events, zipped

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HEADER = "id,metric,profile_id,datetime,event_properties\n"


def row(number: int, note: str = "x") -> str:
    return f'E{number},Opened Email,P{number},2026-11-23T09:00:00Z,"{{""$message"":""M1"",""note"":""{note}""}}"\n'


def noise(number: int) -> str:
    """So that packing does not make it small."""
    return random.Random(number).randbytes(300).hex()


def seen(data: bytes, *, size: int | None = None, saved: dict[str, str] | None = None) -> FilePreview:
    listed = Listed("/out/a.csv", len(data) if size is None else size, NOW)
    return look(data, listed, Reading(saved or {}, NOW))


def part_seen(data: bytes) -> FilePreview:
    """As the probe reads it: its beginning, and what is asked for of its end."""
    beginning = data[:BEGINNING_BYTES]
    missing = end_bytes(beginning, len(data))
    end = data[len(data) - missing :] if missing else b""
    return look(beginning, Listed("/out/a", len(data), NOW), Reading({}, NOW), end)


def columns(found: FilePreview) -> dict[str, tuple[str | None, str | None]]:
    return {one.field: (one.column, one.by) for one in found.fields if one.by}


def test_the_fields_that_people_may_name_are_those_that_are_read() -> None:
    assert set(EVENT_FIELDS) == set(FIELDS)


def test_a_small_file_is_told_whole_as_it_would_be_loaded() -> None:
    text = HEADER + row(1) + "E2,,P2,2026-11-23T09:00:00Z,{}\n" + row(3)
    found = seen(text.encode())

    (piece,) = read_pieces(io.BytesIO(text.encode()), len(text), Reading({}, NOW))
    assert (found.whole, found.format, found.problem) == (True, "CSV, separated by commas, UTF-8", None)
    assert (found.events, found.rejected) == (len(piece.events), len(piece.rejects)) == (2, 1)
    assert [(one.line, one.reason, one.raw) for one in found.rejects] == list(piece.rejects)
    assert found.rows[0] == {
        "line": "2", "event_id": "E1", "metric": "Opened Email", "profile_id": "P1",
        "event_at": "2026-11-23T09:00:00+00:00", "message_id": "M1",
    }  # fmt: skip
    assert columns(found) == {
        "event_id": ("id", "header"), "metric": ("metric", "header"), "profile_id": ("profile_id", "header"),
        "event_at": ("datetime", "header"), "properties": ("event_properties", "header"),
        "message_id": (None, "inside"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "spell", [str.encode, lambda text: text.encode("utf-16"), lambda text: gzip.compress(text.encode())]
)
def test_of_a_long_file_only_whole_records_of_its_beginning_count(spell: Callable[[str], bytes]) -> None:
    data = spell(HEADER + "".join(row(number, noise(number)) for number in range(1500)))

    found = seen(data[:BEGINNING_BYTES], size=len(data))

    assert len(data) > BEGINNING_BYTES
    assert (found.whole, found.problem, found.rejected) == (False, None, 0)
    assert 100 < found.events < 1500
    assert len(found.rows) == 10


def test_a_record_that_the_end_of_the_part_cuts_in_a_quote_is_no_reject() -> None:
    data = (HEADER + row(1) + 'E2,Opened Email,P2,2026-11-23T09:00:00Z,"{""note"":\n""a\n').encode()

    found = seen(data, size=len(data) + 1000)

    assert (found.events, found.rejected) == (1, 0)


def test_json_lines_offer_the_keys_of_all_first_objects() -> None:
    data = b'{"id":"E1","metric":"Opened Email","profile_id":"P1","datetime":1764000000}\n{"id":"E2","who":"P"}\n'

    found = seen(data)

    assert found.format == "JSON lines, UTF-8"
    assert found.columns == ["id", "metric", "profile_id", "datetime", "who"]
    assert (found.events, found.rejected) == (1, 1)


def test_a_layout_that_is_not_understood_still_shows_its_columns_and_what_is_found() -> None:
    data = b"id;metric;Wer;datetime\nE1;Opened Email;P1;2026-11-23\n"

    found, mended = seen(data), seen(data, saved={"profile_id": "Wer"})

    assert found.problem is not None
    assert found.problem.startswith("no column for profile_id")
    assert found.columns == ["id", "metric", "Wer", "datetime"]
    assert set(columns(found)) == {"event_id", "metric", "event_at"}
    assert (mended.problem, mended.events) == (None, 1)
    assert columns(mended)["profile_id"] == ("Wer", "hand")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PAR1....", "the Parquet data is damaged or cut off: it has no footer"),
        (b"BZh9....", "a bzip2 file; CSV, JSON and Parquet are read"),
        (gzip.compress(b"x" * 1000)[:10] + b"\xff" * 400, "the gzip data is damaged"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, said: str) -> None:
    assert said in str(seen(data).problem)
    assert said in str(seen(data, size=len(data) + 1).problem)


def test_an_empty_file_is_no_problem() -> None:
    assert (seen(b"").format, seen(b"").problem) == ("empty", None)


def test_a_bomb_unpacks_no_further_than_is_looked_at() -> None:
    data = gzip.compress((HEADER + row(1)).encode() + b"0" * (64 << 20))

    found = seen(data[:50_000], size=len(data))

    assert found.events == 1


def test_mostly_rejects_is_a_problem() -> None:
    found = seen((HEADER + row(1) + "E2,,P2,x,{}\n" * 3).encode())

    assert found.problem == "3 of its first 4 rows are no events"


def long_csv() -> bytes:
    return (HEADER + "".join(row(number, noise(number)) for number in range(3000))).encode()


@pytest.mark.parametrize(
    ("pack", "format"),
    [
        (zstandard.compress, "CSV, separated by commas, UTF-8, zstd"),
        (lambda data: zipped({"a.csv": data}), "CSV, separated by commas, UTF-8, zip"),
        (lambda data: zipped({"a.csv": data}, zipfile.ZIP_STORED), "CSV, separated by commas, UTF-8, zip"),
        (lambda data: json.dumps([event(n, note=noise(n)) for n in range(3000)]).encode(), "JSON array, UTF-8"),
        (lambda data: page([klaviyo_event(n) for n in range(3000)]).encode(), "JSON pages, UTF-8"),
    ],
)
def test_the_beginning_of_a_long_file_of_any_kind_is_shown(pack: Callable[[bytes], bytes], format: str) -> None:
    data = pack(long_csv())

    found = part_seen(data)

    assert len(data) > BEGINNING_BYTES
    assert (found.whole, found.format, found.problem, found.rejected) == (False, format, None, 0)
    assert 100 < found.events <= 2000
    assert {"id", "event_properties"} <= set(found.columns)


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (zstandard.compress(HEADER.encode() + row(1).encode()), "CSV, separated by commas, UTF-8, zstd"),
        (zipped({"a": HEADER.encode() + row(1).encode()}), "CSV, separated by commas, UTF-8, zip"),
        (json.dumps([event(1)], indent=2).encode(), "JSON array, UTF-8"),
        (page([klaviyo_event(1)]).encode(), "JSON pages, UTF-8"),
        (json.dumps(klaviyo_event(1, NAMED)).encode(), "JSON lines, UTF-8"),
        (parquet_events(1), "Parquet"),
    ],
)
def test_a_small_file_of_any_kind_is_told_whole(data: bytes, format: str) -> None:
    found = part_seen(data)

    assert (found.whole, found.format, found.problem) == (True, format, None)
    assert (found.events, found.rows[0]["event_id"], found.rows[0]["metric"]) == (1, "E1", "Opened Email")
    assert columns(found)["event_id"] == ("id", "header")


def test_a_table_that_fits_is_read_whole_and_of_a_larger_one_the_columns_are_shown() -> None:
    fits = parquet_events(1000, note=[noise(number) for number in range(1000)])
    large = parquet_events(1000, note=[random.Random(number).randbytes(17_000) for number in range(1000)])

    seen_whole, seen_part = part_seen(fits), part_seen(large)

    assert BEGINNING_BYTES < len(fits) < MOST_TABLE_BYTES < len(large)
    assert (seen_whole.whole, seen_whole.events, seen_whole.problem) == (True, 1000, None)
    assert (seen_part.whole, seen_part.events, seen_part.problem) == (False, 0, None)
    assert seen_part.read_bytes < 2 << 20
    assert columns(seen_part) == columns(seen_whole)


def test_a_table_whose_columns_are_not_found_shows_them() -> None:
    found = part_seen(parquet({"id": ["E1"], "Wer": ["P1"]}))

    assert str(found.problem).startswith("no column for metric, profile_id, event_at")
    assert found.columns == ["id", "Wer"]


def test_a_metric_without_a_name_is_a_problem_only_where_the_whole_file_was_read() -> None:
    data = page([klaviyo_event(number) for number in range(3000)], []).encode()

    assert part_seen(data).rows[0]["metric"] == "MET1"
    assert "told by its id only" in str(part_seen(page([klaviyo_event(1)], []).encode()).problem)
