"""Made-up event files of every kind that is read, and what reading gives."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.records import Event, Reject, Unreadable

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
READING = Reading({}, NOW)
HEADER = "id,metric,profile_id,datetime,event_properties\n"


def row(number: int) -> str:
    """A line of CSV under HEADER."""
    return f'E{number},Opened Email,P1,2026-11-23T09:00:00Z,"{{""$message"":""M1"",""note"":""a, b""}}"\n'


def csv_text(rows: int) -> str:
    """A header and so many good rows."""
    return HEADER + "".join(row(number) for number in range(1, rows + 1))


def event(number: int, **more: Any) -> dict[str, Any]:
    """One event, with nested properties."""
    return {
        "id": f"E{number}", "metric": "Opened Email", "profile_id": "P1", "datetime": "2026-11-23T09:00:00Z",
        "event_properties": {"$message": "M1"},
    } | more  # fmt: skip


def klaviyo_event(number: int, metric: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One event as Klaviyo's API has it."""
    return {
        "type": "event", "id": f"E{number}",
        "attributes": {
            "timestamp": 1795424400, "datetime": "2026-11-23 09:00:00+00:00", "uuid": "u",
            "event_properties": {"$message": "M1", "$internal": {"Transmission ID": f"T{number}"}},
        },
        "relationships": {
            "metric": {"data": {"type": "metric", "id": "MET1"} | dict(metric or {})},
            "profile": {"data": {"type": "profile", "id": "P1"}},
        },
        "links": {"self": "https://a.example/"},
    }  # fmt: skip


METRIC = {"type": "metric", "id": "MET1", "attributes": {"name": "Opened Email"}}
NAMED = {"attributes": {"name": "Opened Email"}}


def page(events: Sequence[Mapping[str, Any]], included: Sequence[Mapping[str, Any]] = (METRIC,)) -> str:
    """What Klaviyo's API answers."""
    return json.dumps({"data": events, "links": {"next": None, "x": "]}"}, "included": included})


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files by name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def parquet(columns: Mapping[str, Any], **how: Any) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), out, **how)
    return out.getvalue()


def parquet_events(count: int, **columns: Any) -> bytes:
    """So many good rows; `columns` stand beside or in place of theirs."""
    numbers = range(1, count + 1)
    return parquet(
        {
            "id": [f"E{number}" for number in numbers],
            "metric": ["Opened Email"] * count,
            "profile_id": ["P1"] * count,
            "datetime": pa.array([datetime(2026, 11, 23, 9, tzinfo=UTC)] * count, pa.timestamp("us", "UTC")),
        }
        | columns
    )


def read(data: bytes | str | BinaryIO, reading: Reading = READING, size: int = 0) -> tuple[list[Event], list[Reject]]:
    """All of it."""
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, bytes):
        size = len(data)
        data = io.BytesIO(data)
    pieces = list(read_pieces(data, size, reading, quick_from_bytes=1 << 60))  # row by row, however large
    return [one for piece in pieces for one in piece.events], [one for piece in pieces for one in piece.rejects]


def ids(data: bytes | str) -> list[str]:
    """Of events; there is no reject."""
    events, rejects = read(data)
    assert rejects == []
    return [event.event_id for event in events]


def lines(data: bytes | str) -> list[tuple[str, int, str | None]]:
    """Of events: their ids, where they stood and their transmissions; there is no reject."""
    events, rejects = read(data)
    assert rejects == []
    return [(one.event_id, one.line, one.transmission_id) for one in events]


def why_held(data: bytes | str, reading: Reading = READING) -> str:
    """The reason for which a file is held."""
    with pytest.raises(Unreadable) as caught:
        read(data, reading)
    assert len(str(caught.value)) < 500
    return caught.value.reason
