"""Where a file has no event id, a stated hash stands for it: equal for what is the same event, and for nothing else."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingest.reading.beginning import look
from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.records import Event, Listed, Unreadable
from shared.admin.sources.sources import known_fields
from shared.event_fields import HASH

NOW = datetime(2026, 11, 26, tzinfo=UTC)
READING = Reading({"event_id": HASH}, NOW)
ROW = {
    "metric": "Clicked Email", "profile_id": "P1", "datetime": "2026-11-23T09:00:00+00:00", "$message": "MSG1",
    "$flow": "FLOW1", "URL": "https://shop.example/a", "Bot Click": False, "$value": 5, "OrderId": "O1",
    "$event_id": "own-1", "$internal": {"Transmission ID": "T1", "Handoff Time": 1_795_424_000},
}  # fmt: skip
TOP = ("metric", "profile_id", "datetime")


def nested(row: dict[str, Any]) -> bytes:
    properties = {name: value for name, value in row.items() if name not in TOP}
    return json.dumps({**{name: row[name] for name in TOP}, "event_properties": properties}).encode() + b"\n"


def flat(row: dict[str, Any]) -> bytes:
    told = {name: json.dumps(value) if isinstance(value, dict | bool) else value for name, value in row.items()}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(told))
    writer.writeheader()
    writer.writerow(told)
    return out.getvalue().encode()


def read(content: bytes, reading: Reading = READING) -> list[Event]:
    pieces = list(read_pieces(io.BytesIO(content), len(content), reading, quick_from_bytes=1))
    assert not [reject for piece in pieces for reject in piece.rejects]
    assert not any(piece.told for piece in pieces)  # the quick reader leaves such files alone
    return [event for piece in pieces for event in piece.events]


def id_of(row: dict[str, Any]) -> str:
    [event] = read(nested(row))
    return event.event_id


def test_the_hash_is_the_documented_one() -> None:
    # sha256 of the JSON array that docs/formats.md names, made by other means.
    assert id_of(ROW) == "hash:48c9512bc46c68f29f968b91d4b27acc"


def test_the_same_event_has_the_same_id_in_every_layout() -> None:
    assert [event.event_id for event in read(flat(ROW))] == [id_of(ROW)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("metric", "Opened Email"), ("profile_id", "P2"), ("datetime", "2026-11-23T09:00:00.000001+00:00"),
     ("$message", "MSG2"), ("$internal", {"Transmission ID": "T2"}), ("URL", "https://shop.example/b"),
     ("OrderId", "O2"), ("$event_id", "own-2"), ("$value", 6)],
)  # fmt: skip
def test_what_tells_events_apart_changes_it(field: str, value: object) -> None:
    assert id_of(ROW | {field: value}) != id_of(ROW)


@pytest.mark.parametrize(
    ("field", "value"), [("Bot Click", True), ("$flow", "FLOW2"), ("$currency_code", "EUR"), ("Subject", "another"),
                         ("$internal", {"Transmission ID": "T1", "Handoff Time": 1_795_424_001})],
)  # fmt: skip
def test_what_may_be_corrected_later_does_not(field: str, value: object) -> None:
    assert id_of(ROW | {field: value}) == id_of(ROW)


def test_a_column_of_ids_is_left_alone_when_the_hash_is_wanted() -> None:
    assert [event.event_id for event in read(nested({"id": "EV1", **ROW}))] == [id_of(ROW)]


def test_without_the_mapping_the_file_is_held_and_told_how_to_go_on() -> None:
    with pytest.raises(Unreadable, match=r"no column for event_id; .* set event_id to \(hash\)\.$"):
        read(nested(ROW), Reading({}, NOW))


def test_a_preview_shows_that_the_id_is_a_hash() -> None:
    content = flat(ROW)

    seen = look(content, Listed("a.csv", len(content), NOW), READING)

    [field] = [one for one in seen.fields if one.field == "event_id"]
    assert (field.column, field.by, seen.problem) == (HASH, "hand", None)
    assert seen.rows[0]["event_id"] == id_of(ROW)


def test_no_other_field_may_be_a_hash() -> None:
    assert known_fields({"event_id": HASH}) == {"event_id": HASH}
    with pytest.raises(ValueError, match="for event_id alone, not for profile_id"):
        known_fields({"profile_id": HASH})
