"""What people leave behind: the fields of real rows, the rates, and the export's files."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulator.ids import Ids
from simulator.people import events as shapes
from simulator.people.behaviour import Behaviour, EventMaker, Reaction
from simulator.people.events import METRIC_NAMES, Event, EventStore, Sent
from simulator.people.export import due_events, export_file, finish_file, write_file

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
METRIC_IDS = {name: f"M{number}" for number, name in enumerate(METRIC_NAMES)}
QUIET = Behaviour(
    bounce=0, open=0, machine_open=0, click=0, bot_click=0, unsubscribe=0, spam=0, late=0, duplicate=0, campaign_noise=0
)
SENT = Sent("01TRANSMISSION", "MSG123", "Welcome 1", "FLOW99", "01PERSON", "ann@shop.example", "Hi Ann", AT)
HTML = '<a href="https://shop.example/boots?a=1">Boots</a>'


def made(behaviour: Behaviour, people: int = 1, properties: dict[str, object] | None = None) -> list[Event]:
    maker = EventMaker(Ids(7), behaviour, METRIC_IDS)
    return [event for _ in range(people) for event in maker.after(SENT, HTML, properties or {})]


def of(events: list[Event], metric: str) -> list[Event]:
    return [event for event in events if event.metric_name == metric]


def changed(**rates: Any) -> Behaviour:
    return QUIET.model_copy(update=rates)


def test_an_email_that_arrives_is_received_with_its_transmission_id() -> None:
    (event,) = made(QUIET)

    assert event.metric_name == shapes.RECEIVED
    assert event.properties["$message"] == "MSG123"
    assert event.properties["$flow"] == "FLOW99"
    assert event.properties["$internal"]["Transmission ID"] == "01TRANSMISSION"
    assert event.properties["$event_id"] == "MSG123:01TRANSMISSION"
    assert event.properties["Campaign Name"] == "Welcome 1"
    assert event.properties["Recipient Email Address"] == "ann@shop.example"
    assert event.properties["$_cohort$message_send_cohort"] == f"{int(AT.timestamp())}:MSG123"
    assert event.metric_id == METRIC_IDS[shapes.RECEIVED]


def test_opens_and_clicks_share_the_transmission_id_and_mark_machines() -> None:
    events = made(changed(open=1.0, machine_open=1.0, click=1.0, bot_click=1.0))

    opens, clicks = of(events, shapes.OPENED), of(events, shapes.CLICKED)
    assert sorted(event.properties["machine_open"] for event in opens) == [False, True]
    assert sorted(event.properties["Bot Click"] for event in clicks) == [False, True]
    for event in opens + clicks:
        assert event.properties["$internal"] == {"Transmission ID": "01TRANSMISSION"}
        assert event.properties["$event_id"] == f"MSG123:01TRANSMISSION:{event.timestamp}"
    assert {event.properties["URL"] for event in clicks} == {"https://shop.example/boots?a=1"}


def test_a_bounced_email_is_never_received() -> None:
    (event,) = made(changed(bounce=1.0))

    assert event.metric_name == shapes.BOUNCED
    assert event.properties["Bounce Type"] in ("Hard", "Soft")
    assert event.properties["$flow"] == "FLOW99"
    assert "$internal" not in event.properties


def test_campaign_rows_have_no_flow() -> None:
    events = made(changed(campaign_noise=1.0))

    noise = [event for event in events if event.properties["$message"] != "MSG123"]
    assert len(noise) == 1
    assert "$flow" not in noise[0].properties
    assert len(noise[0].properties["$message"]) == 26


def test_variants_differ_by_the_reaction_that_fits() -> None:
    behaviour = changed(
        open=1.0, click=0.0, reactions=(Reaction(contains="Boots", where={"persona": "runner"}, click=1.0),)
    )

    assert len(of(made(behaviour, 20, {"persona": "runner"}), shapes.CLICKED)) == 20
    assert of(made(behaviour, 20, {"persona": "cook"}), shapes.CLICKED) == []


def test_rates_come_out_as_asked() -> None:
    events = made(changed(open=0.5, click=0.5, unsubscribe=0.1, order=0.5), people=2000)

    counts = Counter(event.metric_name for event in events)
    assert counts[shapes.RECEIVED] == 2000
    assert counts[shapes.OPENED] == pytest.approx(1000, rel=0.1)
    assert counts[shapes.CLICKED] == pytest.approx(500, rel=0.15)
    assert counts[shapes.ORDERED] == pytest.approx(250, rel=0.2)
    assert counts[shapes.UNSUBSCRIBED] == pytest.approx(100, rel=0.3)


def test_the_same_seed_gives_the_same_people() -> None:
    assert made(Behaviour(), 50) == made(Behaviour(), 50)


def test_events_are_seen_when_their_time_has_come_and_late_ones_later() -> None:
    store = EventStore()
    for event in made(changed(late=1.0, late_by_s=3600)):
        store.add(event)

    assert store.counts(AT + timedelta(minutes=30)) == {}
    assert store.counts(AT + timedelta(hours=2)) == {shapes.RECEIVED: 1}
    assert next(iter(store.visible(AT + timedelta(hours=2)))).at < AT + timedelta(minutes=1)


def store_of(behaviour: Behaviour, people: int = 30) -> EventStore:
    store = EventStore()
    for event in made(behaviour, people):
        store.add(event)
    return store


def test_an_export_carries_each_event_once_and_the_next_only_what_is_new() -> None:
    store, ids = store_of(changed(open=0.5)), Ids(1)
    early, late = AT + timedelta(minutes=2), AT + timedelta(days=1)

    first, second = due_events(store, early, 0, ids), due_events(store, late, 0, ids)

    assert {event.id for event in first} & {event.id for event in second} == set()
    assert len(first) + len(second) == len(store.events)
    assert due_events(store, late, 0, ids) == []


def test_duplicates_come_in_the_same_file_or_a_later_one() -> None:
    store, ids = store_of(QUIET, 200), Ids(1)

    first = due_events(store, AT + timedelta(days=1), 0.5, ids)
    second = due_events(store, AT + timedelta(days=1), 0.5, ids)

    assert 20 < len(first) - 200 < 80
    assert 20 < len(second) < 80
    assert {event.id for event in second} <= {event.id for event in first}


def read_csv(content: bytes) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    return [row | {"event_properties": json.loads(row["event_properties"])} for row in rows]


def read_jsonl(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().splitlines()]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("form", "read"), [("csv", read_csv), ("jsonl", read_jsonl)])
def test_the_nested_layout_reads_back(form: Any, read: Callable[[bytes], list[dict[str, Any]]], compress: bool) -> None:
    events = store_of(changed(open=0.5, click=0.5)).events

    file = export_file("ACC1", events, AT, "nested", form, compress=compress)

    rows = read(gzip.decompress(file.content) if compress else file.content)
    assert file.name == f"klaviyo_events_ACC1_20261123T100000000000.{form}" + (".gz" if compress else "")
    assert [row["id"] for row in rows] == [event.id for event in events]
    assert [row["event_properties"] for row in rows] == [event.properties for event in events]
    assert [int(row["timestamp"]) for row in rows] == [event.timestamp for event in events]
    assert list(rows[0]) == ["id", "uuid", "metric", "profile_id", "datetime", "timestamp", "event_properties"]


def test_the_flattened_layout_has_a_column_per_property() -> None:
    events = store_of(changed(open=1.0)).events

    file = export_file("ACC1", events, AT, "flattened", "csv", compress=False)

    rows = list(csv.DictReader(io.StringIO(file.content.decode())))
    opened = next(row for row in rows if row["metric"] == shapes.OPENED)
    assert opened["event_properties.$internal.Transmission ID"] == "01TRANSMISSION"
    assert opened["event_properties.machine_open"] == "false"
    assert next(row for row in rows if row["metric"] == shapes.RECEIVED)["event_properties.machine_open"] == ""


def test_a_file_appears_whole_or_half_written_when_asked(tmp_path: Path) -> None:
    file = export_file("ACC1", store_of(QUIET).events, AT, "nested", "csv", compress=False)

    whole = write_file(tmp_path / "a", file)
    half = write_file(tmp_path / "b", file, half=True)

    assert whole.read_bytes() == file.content
    assert [path.name for path in (tmp_path / "a").iterdir()] == [file.name]
    assert half.read_bytes() == file.content[: len(file.content) // 2]
    finish_file(half, file.content)
    assert half.read_bytes() == file.content
