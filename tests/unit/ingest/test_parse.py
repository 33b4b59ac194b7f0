"""Any bytes in, events and numbered rejects out, in bounded memory."""

import csv
import gzip
import io
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.reading.lines import MAX_ROW_CHARS
from services.ingest.reading.objects import MAX_RAW_BYTES
from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.reading.text import Limits
from services.ingest.records import Event, Reject, Unreadable
from tests.unit.ingest.given_files import zipped

READING = Reading({}, datetime(2026, 11, 23, 10, 0, tzinfo=UTC))
HEADER = "id,metric,profile_id,datetime,event_properties\n"
ROW_BY_ROW = 1 << 40  # no file is as large; test_quick.py has the quick reader, beside this one


def row(number: int, properties: str = '"{""$message"":""M1"",""note"":""a, b""}"') -> str:
    return f"E{number},Opened Email,P1,2026-11-23T09:00:00Z,{properties}\n"


def read(data: bytes | str, reading: Reading = READING) -> tuple[list[Event], list[Reject]]:
    raw = data.encode() if isinstance(data, str) else data
    pieces = list(read_pieces(io.BytesIO(raw), len(raw), reading, quick_from_bytes=ROW_BY_ROW))
    return [event for piece in pieces for event in piece.events], [r for piece in pieces for r in piece.rejects]


def ids(data: bytes | str) -> list[str]:
    events, rejects = read(data)
    assert rejects == []
    return [event.event_id for event in events]


def json_line(number: int, **more: Any) -> str:
    event = {"id": f"E{number}", "metric": "Opened Email", "profile_id": "P1", "datetime": "2026-11-23T09:00:00Z"}
    return json.dumps(event | more) + "\n"


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("utf-32-le"),
        lambda text: text.encode("utf-32-be"),
        lambda text: gzip.compress(text.encode("utf-16-be"), mtime=0),
        lambda text: zstandard.compress(text.encode()),
        lambda text: zstandard.compress(text[:50].encode()) + zstandard.compress(text[50:].encode()),
        lambda text: b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(text.encode("utf-16")),
        lambda text: zipped({"events": text.encode()}),
        lambda text: gzip.compress(text.encode(), mtime=0),
        lambda text: gzip.compress(text[:50].encode(), mtime=0) + gzip.compress(text[50:].encode(), mtime=0),
        lambda text: gzip.compress(text.encode("utf-16"), mtime=0),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace("\n", "\r\n", 1).replace("E2", "E2", 1).encode().rstrip(b"\n"),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
)
@pytest.mark.parametrize("text", [HEADER + row(1) + row(2) + row(3), json_line(1) + json_line(2) + json_line(3)])
def test_packing_encoding_and_line_ends_do_not_matter(spell: Callable[[str], bytes], text: str) -> None:
    assert ids(spell(text)) == ["E1", "E2", "E3"]


def test_one_file_may_mix_its_line_ends() -> None:
    text = (
        HEADER.replace("\n", "\r")
        + row(1)
        + row(2).replace("\n", "\r\n")
        + "\r\n"
        + row(3).replace("\n", "\r")
        + row(4)
    )

    assert ids(text) == ["E1", "E2", "E3", "E4"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("escape", [None, "\\"])
def test_any_delimiter_quoting_and_escaping_is_read(delimiter: str, quoting: Any, escape: str | None) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, escapechar=escape, doublequote=escape is None)
    writer.writerow(["id", "metric", "profile_id", "datetime", "event_properties"])
    properties = json.dumps({"$message": "M1", "Subject": 'say "hi"; or, | or\tnot\\', "text": "two\nlines"})
    for number in (1, 2, 3):
        writer.writerow([f"E{number}", "Opened Email", "P1", "2026-11-23 09:00:00+00:00", properties])

    events, rejects = read(out.getvalue())

    assert [(event.event_id, event.message_id) for event in events] == [(f"E{n}", "M1") for n in (1, 2, 3)]
    assert rejects == []


def test_a_quoted_line_break_does_not_disturb_line_numbers() -> None:
    text = HEADER + row(1, '"{""note"": ""\\n""}"') + row(2, '"{\n}"') + "broken\n" + row(3)

    events, rejects = read(text)

    assert [(event.event_id, event.line) for event in events] == [("E1", 2), ("E2", 3), ("E3", 6)]
    assert rejects == [Reject(5, "1 values for 5 columns", "broken\n")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("E9,Opened Email,P1\n", "3 values for 5 columns"),
        ("E9,Opened Email,P1,2026-11-23T09:00:00Z,{},extra\n", "6 values for 5 columns"),
        ('E9,Opened Email,P1,2026-11-23T09:00:00Z,"{""a"":1}\n', "the quoting is broken"),
        ('E9,Opened Email,P1,2026-11-23T09:00:00Z,"{}"x\n', "the quoting is broken"),
        ('"\n', "the quoting is broken"),
        ("\0\0\0\n", "1 values for 5 columns"),
        ("," * 500_000 + "\n", "500001 values for 5 columns"),
        (",,,,\n", "event_at is not a time"),
        ("E9,Opened Email,P1,2126-11-23T09:00:00Z,\n", "event_at is before 2020 or in the future"),
        ("E9,Opened Email,P1,-5,\n", "event_at is not a time"),
        ("E9,Opened Email,P1,99999999999999999999999999,\n", "event_at is not a time"),
        ("E9,Opened Email,P1,2026-11-23T09:00:00Z,nope\n", "event_properties is not JSON"),
        (HEADER, "event_properties is not JSON"),
        ("x" * (MAX_ROW_CHARS + 5) + "\n", "too long, or a quote never closes"),
    ],
)
@pytest.mark.parametrize("place", ["first", "middle", "last", "last without line end"])
def test_one_bad_row_costs_only_itself(bad: str, reason: str, place: str) -> None:
    good = [row(number) for number in (1, 2, 3, 4)]
    rows = {"first": [bad, *good], "middle": [*good[:2], bad, *good[2:]]}.get(place, [*good, bad])
    text = HEADER + "".join(rows)

    events, rejects = read(text.rstrip("\n") if "without" in place else text)

    assert [event.event_id for event in events] == ["E1", "E2", "E3", "E4"]
    assert [(reject.line, reject.reason) for reject in rejects] == [(rows.index(bad) + 2, reason)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{broken\n", "not JSON"),
        ("[1, 2]\n", "not a JSON object"),
        ('{"id": "\\ud800"}\n', "not JSON"),
        ("[" * 5000 + "\n", "not JSON"),
        (json_line(9, id=10**400), "not JSON"),
        (json_line(9, datetime=10**30), "event_at is not a time"),
        ("{}\n", "no column for event_id, metric, profile_id, event_at"),
        ('{"x": "' + "y" * MAX_ROW_CHARS + '"}\n', "too long"),
        (json_line(9, datetime="never"), "event_at is not a time"),
    ],
)
def test_one_bad_json_line_costs_only_itself(bad: str, reason: str) -> None:
    events, rejects = read(json_line(1) + bad + json_line(2))

    assert [(event.event_id, event.line) for event in events] == [("E1", 1), ("E2", 3)]
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, reason)]


def test_json_lines_may_differ_in_their_keys() -> None:
    flat = {"id": "E2", "metric": "Clicked Email", "person_id": "P2", "timestamp": 1795424340, "$message": "M2"}

    events, rejects = read(json_line(1, event_properties={"$message": "M1"}) + json.dumps(flat))

    assert [(event.event_id, event.message_id) for event in events] == [("E1", "M1"), ("E2", "M2")]
    assert rejects == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b,c\n1,2,3\n", "unknown_layout"),
        (b'"never closed\n', "unknown_layout"),
        (b"E1,Opened Email,P1,2026-11-23T09:00:00Z\n", "unknown_layout"),
        (b'{"a": 1}\n', "unknown_layout"),
        (b'[{"id": 1}]', "unknown_layout"),
        (b"PK\x03\x04....", "damaged_zip"),
        (b"PAR1....", "damaged_parquet"),
        (b"PARE....", "unknown_format"),
        (b"BZh9....", "unknown_format"),
        (b"\x28\xb5\x2f\xfd....", "damaged_zstd"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "unknown_format"),
        (gzip.compress((HEADER + row(1)).encode(), mtime=0)[:-9], "damaged_gzip"),
        (gzip.compress((HEADER + row(1)).encode(), mtime=0)[:12], "damaged_gzip"),
        (gzip.compress((HEADER + row(1)).encode(), mtime=0) + b"rubbish", "damaged_gzip"),
        (b"\x1f\x8b" + b"\xff" * 100, "damaged_gzip"),
        (",".join(f"c{n}" for n in range(3000)).encode(), "too_many_columns"),
        (b"," * 1_000_000 + b"\n", "unknown_layout"),
        (bytes(range(256)) * 50, "unknown_layout"),
        (b"id,id,metric,profile_id,datetime\n", "duplicate_column"),
    ],
)
def test_a_file_that_makes_no_sense_is_held_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(data)

    assert caught.value.reason == reason
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", HEADER.encode(), gzip.compress(b"", mtime=0)])
def test_an_empty_file_has_no_rows(data: bytes) -> None:
    assert read(data) == ([], [])


def test_raw_text_of_a_reject_is_short_and_storable() -> None:
    _, rejects = read(HEADER.encode() + row(1).encode() + "\0é".encode() * 9000 + b"\xff\n")

    assert len(rejects[0].raw.encode()) <= MAX_RAW_BYTES
    assert "\0" not in rejects[0].raw


def test_a_wrong_character_in_a_text_does_not_cost_the_event() -> None:
    assert ids(HEADER.encode() + b'E1,Opened Email,P1,2026-11-23,"{""Subject"":""caf\xe9""}"\n') == ["E1"]


def bomb(size: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    packed = [pack.compress((HEADER + row(1)).encode())]
    packed += [pack.compress(b" " * (1 << 20)) for _ in range(size >> 20)]
    return b"".join(packed) + pack.flush()


def test_a_gzip_bomb_is_stopped_at_its_limit() -> None:
    data = bomb(64 << 20)

    with pytest.raises(Unreadable) as caught:
        read(data, Reading({}, READING.now, Limits(max_ratio=200, slack_bytes=1 << 20)))

    assert caught.value.reason == "too_large_unpacked"


class _Endless(io.RawIOBase):
    """Bytes that nobody could hold in memory."""

    def __init__(self, head: bytes, filler: bytes, size: int) -> None:
        self._parts = self._generate(head, filler, size)
        self._rest = b""

    @staticmethod
    def _generate(head: bytes, filler: bytes, size: int) -> Iterator[bytes]:
        yield head
        for _ in range(size // len(filler)):
            yield filler
        yield b"\n" + row(2).encode()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # only ever called for the first two bytes, which are put back by hand

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._parts, b"")
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("filler", [b"x" * (1 << 20), b'x"",' * (1 << 18), b"\0" * (1 << 20)])
@pytest.mark.parametrize("quick_from_bytes", [0, ROW_BY_ROW])
def test_a_line_of_any_length_is_one_reject_in_bounded_memory(filler: bytes, quick_from_bytes: int) -> None:
    stream: BinaryIO = io.BufferedReader(_Endless((HEADER + row(1)).encode(), filler, 128 << 20), 1 << 20)
    tracemalloc.start()
    try:
        pieces = list(read_pieces(stream, 128 << 20, READING, quick_from_bytes=quick_from_bytes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [event.event_id for piece in pieces for event in piece.events][-1] == "E2"
    assert sum(len(piece.events) + piece.told for piece in pieces) == 2
    assert sum(len(piece.rejects) for piece in pieces) == 1
    assert peak < 40 << 20


def test_pieces_are_bounded() -> None:
    text = HEADER + "".join(row(number) for number in range(12_000))

    pieces = list(read_pieces(io.BytesIO(text.encode()), len(text), READING, quick_from_bytes=ROW_BY_ROW))

    assert [len(piece.events) for piece in pieces] == [5000, 5000, 2000]


@pytest.mark.parametrize("blank", [" ", "\n", "\r\n"])
def test_a_file_that_begins_with_more_blanks_than_are_looked_at_is_no_empty_file(blank: str) -> None:
    assert read(blank * 100_000) == ([], [])

    with pytest.raises(Unreadable, match="nothing but blanks where the file begins"):
        read(blank * 100_000 + HEADER + row(1))


def test_reading_stops_when_the_rejects_have_decided() -> None:
    text = HEADER + row(1) + "bad\n" * 60_000

    _, rejects = read(text)

    assert 20_000 < len(rejects) < 60_000


@pytest.mark.parametrize("most", [0.05, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("bad_of_20", [10, 11, 13])
def test_a_file_that_is_forgiven_is_read_to_its_end(most: float, bad_of_20: int) -> None:
    numbers = range(60_000)
    text = HEADER + "".join("bad\n" if number % 20 < bad_of_20 else row(number, "") for number in numbers)
    reading = Reading({}, READING.now, Limits(max_rejects=most))

    events, rejects = read(text, reading)

    whole = len(events) + len(rejects) == len(numbers)
    assert whole or not reading.forgives(len(rejects), len(events) + len(rejects))
    assert whole is (bad_of_20 / 20 <= max(most, 0.5))


# Pieces of files that have hurt somebody, thrown together.
_shards = st.sampled_from(
    [
        "E1", "id", "Opened Email", "P1", "2026-11-23T09:00:00Z", "{}", '"', '""', '"""', "'", "\\", '\\"', ",", ";",
        "\t", "|", "\n", "\r", "\r\n", "\0", "\u2028", "\x85", "\x1c", "\ufeff", "é", "{", "}", "[", " ",
        HEADER, row(1),
    ]
)  # fmt: skip


@given(body=st.lists(_shards, max_size=60).map("".join), head=st.sampled_from([HEADER, "", json_line(1)]))
def test_every_record_is_an_event_or_a_reject(body: str, head: str) -> None:
    try:
        events, rejects = read(head + body)
    except Unreadable:
        return
    lines = [event.line for event in events] + [reject.line for reject in rejects]
    assert len(set(lines)) == len(lines)
    assert all(1 <= line <= len(io.StringIO(head + body, newline="").readlines()) for line in lines)


@given(data=st.binary(max_size=300), prefix=st.sampled_from([b"", HEADER.encode(), b"\x1f\x8b", b"\xff\xfe", b"{"]))
def test_any_bytes_end_in_rows_or_in_a_clear_word(data: bytes, prefix: bytes) -> None:
    try:
        events, rejects = read(prefix + data)
    except Unreadable:
        return
    assert all(reject.reason for reject in rejects)
    assert all(event.event_id for event in events)


@given(
    good=st.lists(st.integers(0, 10**6), unique=True, max_size=30),
    bad=st.lists(
        st.sampled_from(["x\n", "a,b\n", '"\n', 'q,"z\n', '"a"b\n', '",",\n', "\\\n", '",""",\n']), max_size=30
    ),
    seed=st.integers(0, 1000),
)
def test_bad_rows_never_take_a_good_neighbour_along(good: list[int], bad: list[str], seed: int) -> None:
    # Between two bad rows stands a good one, so that one's open quote cannot close in the other.
    rows = [row(number) for number in good]
    places = random.Random(seed).sample(range(len(rows)), min(len(bad), len(rows)))
    for place, line in zip(sorted(places, reverse=True), bad, strict=False):
        rows.insert(place, line)

    events, rejects = read(HEADER + "".join(rows))

    assert [event.event_id for event in events] == [f"E{number}" for number in good]
    assert len(rejects) == min(len(bad), len(good))
