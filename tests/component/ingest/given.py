"""Made-up people, emails and event files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

COPY = UUID("00000000-0000-4000-8000-000000000001")
SENT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_numbers = count(1)


@dataclass(frozen=True)
class Row:
    """One event as Klaviyo would say it."""

    event_id: str
    metric: str
    profile_id: str
    at: datetime
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mail:
    """One email to one person, and the events that it can cause."""

    transmission_id: str
    profile_id: str = "P1"
    message_id: str | None = "MSG1"
    flow_id: str | None = "FLOW1"
    sent_at: datetime = SENT

    def received(self, **properties: Any) -> Row:
        return self._event("Received Email", timedelta(0), properties)

    def opened(self, machine_open: bool | None = False, after: timedelta = timedelta(minutes=5)) -> Row:
        said = {} if machine_open is None else {"machine_open": machine_open}
        return self._event("Opened Email", after, said)

    def clicked(self, url: str = "https://shop.example/item", *, bot: bool = False) -> Row:
        return self._event("Clicked Email", timedelta(minutes=6), {"URL": url, "Bot Click": bot})

    def happened(self, metric: str, after: timedelta = timedelta(minutes=7)) -> Row:
        return self._event(metric, after, {})

    def happened_somehow(self, metric: str, after: timedelta = timedelta(minutes=7), *, cohort: bool = False) -> Row:
        """As Klaviyo tells bounces and unsubscribes: without the transmission, perhaps with its hand-over."""
        row = self._event(metric, after, {})
        properties = {name: value for name, value in row.properties.items() if name != "$internal"}
        if cohort:
            properties["$_cohort$message_send_cohort"] = f"{int(self.sent_at.timestamp())}:{self.message_id}"
        return replace(row, properties=properties)

    def _event(self, metric: str, after: timedelta, properties: dict[str, Any]) -> Row:
        always: dict[str, Any] = {
            "Subject": 'Say "hello", friend',
            "$internal": {"Transmission ID": self.transmission_id},
        }
        if self.message_id:
            always["$message"] = self.message_id
        if self.flow_id:
            always["$flow"] = self.flow_id
        event_id = f"EV{next(_numbers):08d}"
        return Row(event_id, metric, self.profile_id, self.sent_at + after, always | properties)


def again(row: Row, **changes: Any) -> Row:
    """The same event, told once more."""
    return replace(row, **changes)


_FLAT = ("$message", "$flow", "machine_open", "Bot Click", "URL")


def mails(count: int) -> list[Mail]:
    """T0 of P0, T1 of P1, …"""
    return [Mail(f"T{number}", f"P{number}") for number in range(count)]


def nested_csv(rows: Iterable[Row]) -> bytes:
    """Properties as JSON in one column."""
    table = [[row.event_id, row.metric, row.profile_id, row.at.isoformat(), json.dumps(row.properties)] for row in rows]
    return _csv(["id", "metric", "profile_id", "datetime", "event_properties"], table)


def flat_csv(rows: Iterable[Row], nothing: str = "") -> bytes:
    """A column for each property; `nothing`: what stands where a row has none."""
    header = ["event_id", "metric_name", "person_id", "timestamp", *(f"event_properties.{name}" for name in _FLAT)]
    table = [
        [
            row.event_id,
            row.metric,
            row.profile_id,
            int(row.at.timestamp()),
            *(row.properties.get(name, nothing) for name in _FLAT),
            row.properties.get("$internal", {}).get("Transmission ID", nothing),
        ]
        for row in rows
    ]
    return _csv([*header, "event_properties.$internal.Transmission ID"], table)


def json_lines(rows: Iterable[Row]) -> bytes:
    """An object a line, properties nested."""
    return b"".join(
        json.dumps(
            {
                "id": row.event_id,
                "metric": row.metric,
                "profile_id": row.profile_id,
                "datetime": row.at.isoformat(),
                "event_properties": row.properties,
            }
        ).encode()
        + b"\n"
        for row in rows
    )


def _csv(header: Sequence[str], table: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows(table)
    return out.getvalue().encode()
