"""Writes engagement events as Klaviyo's SFTP export drops them into a folder.

No public text describes the export's columns. This layout is our marked assumption, and readers must go by the header:

| layout | columns |
|---|---|
| nested | id, uuid, metric, profile_id, datetime, timestamp, event_properties (a JSON object) |
| flattened | the first six, then one column per property path, such as `event_properties.$message` |

CSV or JSON lines, plain or gzip. A file appears under its name at once (written aside, then renamed), unless it is
asked to lie there half written.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from simulator.ids import Ids
from simulator.people.events import Event, EventStore

Layout = Literal["nested", "flattened"]
Format = Literal["csv", "jsonl"]

HEAD = ("id", "uuid", "metric", "profile_id", "datetime", "timestamp")


@dataclass(frozen=True, slots=True)
class ExportFile:
    name: str
    content: bytes
    rows: int
    events: int


def due_events(store: EventStore, now: datetime, duplicate: float, ids: Ids) -> list[Event]:
    """The events that the next file carries: all visible ones not exported yet, and the duplicates of this and
    earlier files. Marks them as exported."""
    fresh = [event for event in store.visible(now) if event.id not in store.exported]
    store.exported.update(event.id for event in fresh)
    repeated = list(store.owed_duplicates)
    store.owed_duplicates.clear()
    for event in fresh:
        if ids.random.random() < duplicate:
            (repeated if ids.random.random() < 0.5 else store.owed_duplicates).append(event)
    return fresh + repeated


def export_file(
    account_id: str, events: Sequence[Event], now: datetime, layout: Layout, form: Format, *, compress: bool
) -> ExportFile:
    """One file's name and bytes. Same events give the same bytes."""
    rows = [_row(event, layout) for event in events]
    text = _csv(rows, layout) if form == "csv" else _jsonl(rows)
    content = gzip.compress(text.encode(), mtime=0) if compress else text.encode()
    name = f"klaviyo_events_{account_id}_{now:%Y%m%dT%H%M%S%f}.{form}{'.gz' if compress else ''}"
    return ExportFile(name, content, len(rows), len({event.id for event in events}))


def write_file(folder: Path, file: ExportFile, *, half: bool = False) -> Path:
    """Put the file into `folder`. `half` leaves the first half under the final name, as a slow upload does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    if half:
        path.write_bytes(file.content[: len(file.content) // 2])
        return path
    aside = folder / f".{file.name}.part"
    aside.write_bytes(file.content)
    aside.replace(path)
    return path


def finish_file(path: Path, content: bytes) -> None:
    """Append what a half-written file lacks."""
    with path.open("ab") as file:
        file.write(content[path.stat().st_size :])


def _row(event: Event, layout: Layout) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": event.id,
        "uuid": event.uuid,
        "metric": event.metric_name,
        "profile_id": event.profile_id,
        "datetime": event.at.isoformat(sep=" " if layout == "flattened" else "T"),
        "timestamp": event.timestamp,
    }
    if layout == "nested":
        row["event_properties"] = event.properties
    else:
        row |= dict(_flattened("event_properties", event.properties))
    return row


def _flattened(path: str, properties: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in properties.items():
        if isinstance(value, Mapping):
            yield from _flattened(f"{path}.{name}", value)
        else:
            yield f"{path}.{name}", value


def _csv(rows: Sequence[Mapping[str, Any]], layout: Layout) -> str:
    if layout == "nested":
        columns = [*HEAD, "event_properties"]
    else:
        columns = [*HEAD, *sorted({name for row in rows for name in row} - set(HEAD))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name, "")) for name in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else value


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
