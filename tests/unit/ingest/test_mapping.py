"""Columns are found by name or not at all."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.reading.mapping import Columns, check_mapping
from services.ingest.reading.values import Rejected, read_time
from services.ingest.records import Event, Unreadable

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def read(row: dict[str, Any], saved: dict[str, str] | None = None) -> Event:
    return Columns(tuple(row), saved or {}, NOW).read(list(row.values()), 2)


def plain(**more: Any) -> dict[str, Any]:
    return {"id": "E1", "metric": "Opened Email", "profile_id": "P1", "datetime": AT.isoformat()} | more


def test_nested_properties_give_the_joins_and_flags() -> None:
    event = read(
        plain(
            event_properties='{"$message":"M1","$flow":"F1","machine_open":false,"Bot Click":true,"URL":"https://x/y",'
            '"$value":9.5,"$internal":{"Transmission ID":"T1","Handoff Time":1795424340}}'
        )
    )

    handoff_at = datetime.fromtimestamp(1795424340, UTC)
    assert event == Event(
        2, "E1", "Opened Email", "P1", AT, "M1", "F1", "T1", handoff_at, False, True, "https://x/y", 9.5
    )


@pytest.mark.parametrize(
    "names",
    [
        ("event_properties.$message", "event_properties.$flow", "event_properties.$internal.Transmission ID"),
        ("$message", "$flow", "$internal.Transmission ID"),
        ("Event Properties.$message", "Event_Properties.$Flow", 'event_properties.$internal."Transmission ID"'),
        ("property_message", "property_flow", "property_internal_transmission_id"),
        ("flow_message_id", "flow_id", "transmission_id"),
    ],
)
def test_flattened_properties_give_the_same_joins_however_they_are_spelled(names: tuple[str, str, str]) -> None:
    event = read(plain(**dict(zip(names, ("M1", "F1", "T1"), strict=True))))

    assert (event.message_id, event.flow_id, event.transmission_id) == ("M1", "F1", "T1")


@pytest.mark.parametrize("nothing", ["\\N", "NULL", "null", "None", "nan"])
def test_a_word_for_an_empty_field_is_no_value(nothing: str) -> None:
    names = ("$message", "$flow", "$internal.Transmission ID", "URL", "currency", "OrderId", "$internal")
    event = read(plain(event_properties='{"$message":"M1"}') | dict.fromkeys(names, nothing))
    nested = read(plain(event_properties=json.dumps(dict.fromkeys(("$flow", "URL", "OrderId"), nothing))))

    assert event == Event(2, "E1", "Opened Email", "P1", AT, "M1", *[None] * 7)
    assert nested == Event(2, "E1", "Opened Email", "P1", AT, *[None] * 8)
    assert read(plain(event_properties=nothing)) == nested


@pytest.mark.parametrize("nothing", ["\\N", "NULL", "null", "None", "nan", " NULL "])
def test_a_word_for_an_empty_field_is_no_id_of_an_event_or_person(nothing: str) -> None:
    for field, reason in [("id", "no event_id"), ("profile_id", "no profile_id"), ("metric", "metric is not a name")]:
        with pytest.raises(Rejected, match=reason):
            read(plain() | {field: nothing})


def test_a_flattened_file_may_keep_internal_as_json() -> None:
    event = read(plain(**{"$message": "M1", "$internal": '{"Transmission ID": "T1"}'}))

    assert event.transmission_id == "T1"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("event_id", "event", "person_id", "timestamp"), Event),
        (("ID", "Metric Name", "Profile ID", "Event Datetime"), Event),
        (("uuid", "metric", "profile_id", "datetime"), "no column for event_id"),
        (("event_properties.$event_id", "metric", "profile_id", "datetime"), "no column for event_id"),
        (("$event_id", "metric", "profile_id", "datetime"), "no column for event_id"),
        (("id", "metric_id", "profile_id", "datetime"), "no column for metric"),
        (("id", "metric", "email", "datetime"), "no column for profile_id"),
        (("a", "b", "c", "d"), "no column for event_id, metric, profile_id, event_at"),
    ],
)
def test_a_header_names_the_fields_or_the_file_is_held(names: tuple[str, ...], wanted: object) -> None:
    if wanted is Event:
        assert Columns(names, {}, NOW).read(["E1", "Opened Email", "P1", AT.isoformat()], 2).profile_id == "P1"
    else:
        with pytest.raises(Unreadable, match=str(wanted)):
            Columns(names, {}, NOW)


def test_a_free_text_column_named_message_is_not_taken_for_the_message_id() -> None:
    assert read(plain(message="Hello there")).message_id is None


def test_the_same_column_twice_is_ambiguous() -> None:
    with pytest.raises(Unreadable, match="the column of profile_id is there 2 times"):
        Columns(("id", "metric", "profile_id", "profile_id", "datetime"), {}, NOW)


def test_a_saved_mapping_overrules_names() -> None:
    row = {"key": "E1", "what": "Opened Email", "who": "P1", "id": "not this", "when": AT.isoformat()}

    event = read(row, {"event_id": "key", "metric": "what", "profile_id": "who", "event_at": "when"})

    assert (event.event_id, event.profile_id) == ("E1", "P1")


@pytest.mark.parametrize("saved", [{"evnt_id": "x"}, {"event_id": 3}, "id", ["id"]])
def test_a_mapping_that_is_none_is_named(saved: object) -> None:
    with pytest.raises(Unreadable, match="mapping"):
        check_mapping(saved)


def test_a_mapping_to_a_missing_column_holds_the_file() -> None:
    with pytest.raises(Unreadable, match="wants event_id from 'key', which is missing"):
        Columns(("id", "metric", "profile_id", "datetime"), {"event_id": "key"}, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2023-08-10 07:21:56+00:00",
        "2023-08-10T07:21:56Z",
        "2023-08-10T09:21:56+02:00",
        "2023-08-10 07:21:56",
        "2023-08-10 07:21:56.000 UTC",
        "1691652116",
        1691652116,
        1691652116.0,
        1691652116000,
        "1691652116000000",
        " 2023-08-10T07:21:56Z ",
    ],
)
def test_times_are_read_in_every_shape_seen(text: object) -> None:
    assert read_time(text) == datetime(2023, 8, 10, 7, 21, 56, tzinfo=UTC)


@pytest.mark.parametrize("value", ["10/08/2023", "yesterday", "", None, True, [], "nan", "1e400", "inf", 1e300, -1e300])
def test_what_is_no_time_is_rejected(value: object) -> None:
    with pytest.raises(Rejected, match="event_at is not a time"):
        read_time(value)


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        (datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2020, 1, 1, tzinfo=UTC), True),
        (NOW + timedelta(days=2), True),
        (NOW + timedelta(days=2, seconds=1), False),
        (datetime(1969, 1, 1, tzinfo=UTC), False),
    ],
)
def test_events_before_2020_or_in_the_future_are_rejected(moment: datetime, kept: bool) -> None:
    row = plain(datetime=moment.isoformat())
    if kept:
        assert read(row).event_at == moment
    else:
        with pytest.raises(Rejected, match="before 2020 or in the future"):
            read(row)


@pytest.mark.parametrize(
    ("value", "meant"),
    [(True, True), ("true", True), ("1.0", True), (1, True), (False, False), ("False", False), ("0", False)],
)
def test_flags_are_read_in_every_shape_seen(value: object, meant: bool) -> None:
    assert read(plain(machine_open=value)).machine_open is meant


@pytest.mark.parametrize("value", [None, "", "maybe", 2, {}])
def test_a_flag_that_is_not_clearly_said_is_not_known(value: object) -> None:
    assert read(plain(machine_open=value)).machine_open is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("opened_email", "Opened Email"),
        ("klaviyo:opened_email", "Opened Email"),
        ("event:klaviyo.opened_email", "Opened Email"),
        (" RECEIVED EMAIL ", "Received Email"),
        ("Placed Order (Shop 2)", "Placed Order (Shop 2)"),
    ],
)
def test_metrics_are_known_by_name_and_strangers_are_kept(text: str, name: str) -> None:
    assert read(plain(metric=text)).metric == name


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", "", "no event_id"),
        ("id", None, "no event_id"),
        ("id", "a b", "event_id is not an id"),
        ("id", "a\0b", "event_id is not an id"),
        ("id", "é", "event_id is not an id"),
        ("id", "x" * 201, "event_id is not an id"),
        ("profile_id", "", "no profile_id"),
        ("metric", "", "metric is not a name"),
        ("metric", 5, "no metric"),
        ("event_properties", "{", "event_properties is not JSON"),
        ("event_properties", "[]", "event_properties is not an object"),
        ("event_properties", '{"$internal": 5}', r"\$internal is not an object"),
        ("event_properties", '{"$message": ["a"]}', "no message_id"),
    ],
)
def test_a_bad_value_rejects_its_row_and_is_not_quoted(field: str, value: object, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        read(plain(**{field: value}))


@pytest.mark.parametrize("metric", ["Bounced Email", "Dropped Email"])
def test_a_bounce_without_transmission_gets_one_of_its_own(metric: str) -> None:
    properties = {"$message": "M1", "$_cohort$message_send_cohort": f"{int(AT.timestamp()) - 60}:M1"}

    event = read(plain(metric=metric, event_properties=properties))

    assert event.transmission_id == f"bounce:M1:P1:{int(AT.timestamp()) - 60}"
    assert event.handoff_at == AT - timedelta(seconds=60)


def test_the_cohort_tells_the_hand_over_in_a_flat_file_too() -> None:
    cohort = f"{int(AT.timestamp()) - 60}:M1"

    event = read(plain(**{"event_properties.$_cohort$message_send_cohort": cohort}))

    assert (event.handoff_at, event.transmission_id) == (AT - timedelta(seconds=60), None)


def test_a_hand_off_that_cannot_be_is_ignored() -> None:
    later = (AT + timedelta(days=1)).timestamp()
    event = read(plain(event_properties={"$internal": {"Transmission ID": "T1", "Handoff Time": later}}))

    assert event.handoff_at is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    values=st.fixed_dictionaries(
        {
            name: _json | st.sampled_from(["E1", "Opened Email", "2026-11-23", 1795424340])
            for name in ("id", "metric", "profile_id", "datetime", "event_properties", "machine_open", "url", "$value")
        }
    )
)
def test_any_values_give_an_event_that_the_database_takes_or_a_rejection(values: dict[str, Any]) -> None:
    try:
        event = read(values)
    except Rejected:
        return
    assert event.event_id.isprintable()
    assert event.event_at.tzinfo is UTC
    assert "\0" not in (event.url or "") + event.metric
    assert event.value is None or abs(event.value) < float("inf")


@pytest.mark.parametrize(
    ("properties", "order_id", "currency"),
    [
        ('{"OrderId": 1001, "$event_id": "x", "$currency_code": "eur"}', "1001", "EUR"),
        ('{"$event_id": "#1001 B", "currency": "dollars"}', "#1001 B", None),
        ('{"order_id": "", "Order ID": "A"}', "A", None),
        ('{"OrderId": ["A"]}', None, None),
    ],
)
def test_an_order_has_its_shops_name_and_a_currency_that_is_one(
    properties: str, order_id: str | None, currency: str | None
) -> None:
    event = read(plain(event_properties=properties) | {"metric": "Placed Order"})

    assert (event.order_id, event.currency) == (order_id, currency)


def test_only_a_shops_own_events_are_named_by_their_event_id() -> None:
    flat = {"event_properties.$event_id": "7", "event_properties.currency": "USD", "event_properties.Currency": "EUR"}

    assert read(plain(**flat)).order_id is None
    assert read(plain(**flat) | {"metric": "Cancelled Order"}).order_id == "7"
    assert read(plain(**flat)).currency == "USD"
