"""Rows survive the way through Parquet, and the same rows make the same bytes."""

import io
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from services.egress import parquet
from services.egress.parquet import HourFile, Summary
from services.egress.record import ANALYST, PAGE
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import encode_vars
from tests.stored_rows import SECOND_US, Detail, Stored, stored_rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE = VariantSource(UUID(int=1), 3, "Hi {{ name }}", "Look", "<p>Dear {{ name }}, look.</p>")

# What PostgreSQL can hold: any text without NUL and lone surrogates.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
attrs = st.dictionaries(texts, st.one_of(texts, st.lists(texts, max_size=3)), max_size=4)
copies = st.builds(Vars, texts, texts, texts)


details = st.builds(
    Detail, st.uuids().map(str), st.none() | texts, st.none() | st.floats(0, 1), st.none() | st.uuids().map(str),
    st.sampled_from(["treatment", "control"]), texts, st.none() | texts, st.none() | texts,
)  # fmt: skip


@st.composite
def drawn_rows(draw: st.DrawFn) -> tuple[Stored, Vars]:
    copy = draw(copies)
    row = Stored(
        draw(st.integers(0, 2**52)),
        draw(texts),
        draw(texts),
        str(draw(st.uuids())),
        draw(texts),
        json.dumps(draw(attrs)),
        encode_vars(copy, SOURCE),
        SOURCE,
    )
    return row, copy


def encoded(rows: Sequence[Stored], *, batch: int = 1000) -> tuple[bytes, Summary]:
    target = io.BytesIO()
    file = HourFile(target, PAGE)
    for start in range(0, len(rows), batch):
        file.add(stored_rows(rows[start : start + batch]))
    summary = file.close()
    return target.getvalue(), summary


def row(n: int, *, body: str = "<p>Dear Ann, look.</p>", **changes: Any) -> Stored:
    copy = Vars("Hi Ann", "Look", body)
    stored = Stored(
        (1_763_892_000 + n) * SECOND_US, f"01H{n}", f"01H{n}.F.A", str(SOURCE.copy_id), "welcome", '{"plan": "pro"}',
        encode_vars(copy, SOURCE), SOURCE,
    )  # fmt: skip
    return stored._replace(**changes)


@settings(max_examples=60)
@given(st.lists(drawn_rows(), max_size=12))
def test_what_is_read_back_is_what_was_written(drawn: list[tuple[Stored, Vars]]) -> None:
    content, summary = encoded([stored for stored, _ in drawn])

    read = pq.read_table(io.BytesIO(content)).to_pylist(maps_as_pydicts="strict")

    assert summary.rows == len(drawn)
    assert read == [
        {
            "event_timestamp": stored.event_timestamp,
            "user_id": stored.user_id,
            "tracking_id": stored.tracking_id,
            "copy_id": stored.copy_id,
            "template_id": stored.template_id,
            "vars": copy._asdict(),
            "attrs": {
                key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                for key, value in json.loads(stored.attrs).items()
            },
        }
        for stored, copy in drawn
    ]


@settings(max_examples=60)
@given(st.lists(drawn_rows(), min_size=1, max_size=8))
def test_names_and_values_of_attrs_of_any_content_are_the_same_in_duckdb(
    drawn: list[tuple[Stored, Vars]],
) -> None:
    content, _ = encoded([stored for stored, _ in drawn])
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(content)
        file.flush()
        read = duckdb.execute(
            "SELECT user_id, map_keys(attrs), map_values(attrs), vars.subject, vars.body FROM read_parquet(?)",
            [file.name],
        ).fetchall()

    assert [
        (user_id, dict(zip(names, values, strict=True)), subject, body)
        for user_id, names, values, subject, body in read
    ] == [
        (
            stored.user_id,
            {name: told(value) for name, value in json.loads(stored.attrs).items()},
            copy.subject,
            copy.body,
        )
        for stored, copy in drawn
    ]


def told(value: object) -> object:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@settings(max_examples=40)
@given(st.lists(drawn_rows(), max_size=8), st.data())
def test_the_analyst_s_record_survives_too_and_begins_with_the_page_s(
    drawn: list[tuple[Stored, Vars]], data: st.DataObject
) -> None:
    rows = [stored._replace(detail=data.draw(details)) for stored, _ in drawn]
    target, page = io.BytesIO(), io.BytesIO()
    for sink, form in ((target, ANALYST), (page, PAGE)):
        file = HourFile(sink, form)
        file.add(stored_rows(rows))
        file.close()

    read = pq.read_table(target).to_pylist(maps_as_pydicts="strict")

    names = [name for name, _ in PAGE.fields]
    assert [{name: row[name] for name in names} for row in read] == pq.read_table(page).to_pylist(
        maps_as_pydicts="strict"
    )
    assert [
        ((row["event_time"] - EPOCH) // timedelta(microseconds=1), *[row[name] for name in Detail._fields])
        for row in read
    ] == [(row.accepted_us, *(row.detail or ())) for row in rows]
    assert [row["control"] for row in read] == [row["decision"] == "control" for row in read]


def test_wide_attrs_fill_a_row_group_as_wide_bodies_do() -> None:
    content, _ = encoded([row(n, attrs=json.dumps({"note": f"{n}" + "y" * 200_000})) for n in range(200)])

    metadata = pq.read_metadata(io.BytesIO(content))

    assert metadata.num_row_groups > 1
    assert metadata.row_group(0).num_rows * 200_000 <= parquet.ROW_GROUP_BYTES + 200_000


@settings(max_examples=30)
@given(st.lists(drawn_rows(), min_size=1, max_size=12), st.integers(1, 12))
def test_the_same_rows_make_the_same_bytes_however_they_arrive(drawn: list[tuple[Stored, Vars]], batch: int) -> None:
    rows = [stored for stored, _ in drawn]
    turned = [
        stored._replace(attrs=json.dumps(dict(reversed(list(json.loads(stored.attrs).items()))))) for stored in rows
    ]

    assert encoded(rows) == encoded(turned, batch=batch)


def test_the_columns_are_those_of_the_contract_in_its_order(tmp_path: Path) -> None:
    content, _ = encoded([row(1)])
    file = tmp_path / "hour.parquet"
    file.write_bytes(content)

    described = duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)]).fetchall()

    assert [(name, kind) for name, kind, *_ in described] == [
        ("event_timestamp", "BIGINT"),
        ("user_id", "VARCHAR"),
        ("tracking_id", "VARCHAR"),
        ("copy_id", "VARCHAR"),
        ("template_id", "VARCHAR"),
        ("vars", "STRUCT(subject VARCHAR, preheader VARCHAR, body VARCHAR)"),
        ("attrs", "MAP(VARCHAR, VARCHAR)"),
    ]
    assert pq.read_schema(file).metadata[b"justai.schema_version"] == b"1"


def test_a_row_group_holds_no_more_text_than_memory_is_meant_for() -> None:
    wide = "x" * 200_000
    content, _ = encoded([row(n, body=f"{n}{wide}") for n in range(400)], batch=50)

    metadata = pq.read_metadata(io.BytesIO(content))

    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sum(sizes) == 400
    assert max(sizes) * 200_000 <= parquet.ROW_GROUP_BYTES + 200_000
    assert sizes[:-1] == [sizes[0]] * (len(sizes) - 1)  # full but for the last, so readers get even pieces


def test_a_copy_that_does_not_open_costs_its_text_and_not_the_hour() -> None:
    rows = [row(1), row(2, vars=b"damaged"), row(3, source=None), row(4)]

    content, summary = encoded(rows)

    read = pq.read_table(io.BytesIO(content)).to_pylist()
    assert summary.rows_without_vars == 2
    assert [found["vars"] is None for found in read] == [False, True, True, False]
    assert [found["user_id"] for found in read] == ["01H1", "01H2", "01H3", "01H4"]


def test_the_summary_tells_what_the_file_holds() -> None:
    content, summary = encoded([row(5), row(9)])

    assert (summary.first_event, summary.last_event) == (1_763_892_005, 1_763_892_009)
    assert summary.bytes == len(content)
    assert summary == encoded([row(5), row(9)])[1]


def test_an_hour_without_rows_still_has_a_name_for_its_content() -> None:
    assert encoded([])[1].sha256 == encoded([])[1].sha256
    assert encoded([])[1].sha256 != encoded([row(1)])[1].sha256
    assert encoded([])[1].first_event is None
