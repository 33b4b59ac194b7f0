"""Texts go from the store into the file by bytes, and are only pointed at on the way; none of that shows."""

import io
import json
from uuid import UUID

import orjson
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from services.egress.columns import Attrs, Bodies
from services.egress.parquet import WRITER, HourFile
from services.egress.record import PAGE
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import encode_vars, opener
from tests.stored_rows import SECOND_US, Stored, stored_rows

SOURCE = VariantSource(UUID(int=1), 3, "Hi {{ name }}", "Look", "<p>Dear {{ name }}, look.</p>")


def stored(n: int, text: bytes) -> Stored:
    at_us, attrs = (1_763_892_000 + n) * SECOND_US, json.dumps({"plan": "pro"})
    return Stored(at_us, f"01H{n}", f"01H{n}.F.A", str(SOURCE.copy_id), "welcome", attrs, text, SOURCE)


def of(body: str) -> bytes:
    return encode_vars(Vars("Hi", "Look", body), SOURCE)


def packed(text: bytes) -> bytes:
    """As the generator packs a text, whatever it is."""
    source = b"\0".join(text.encode() for text in (SOURCE.subject, SOURCE.preheader, SOURCE.body))
    dictionary = zstandard.ZstdCompressionDict(source, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=dictionary).compress(text)


def test_every_row_group_holds_its_own_texts() -> None:
    bodies = [f"{n} ü " + chr(97 + n % 26) * 300_000 for n in range(200)]
    target = io.BytesIO()
    file = HourFile(target, PAGE)

    for start in range(0, 200, 30):
        file.add(stored_rows(stored(n, of(bodies[n])) for n in range(start, min(start + 30, 200))))
    file.close()

    read = pq.ParquetFile(target)
    assert read.num_row_groups >= 3
    assert [row["vars"]["body"] for row in read.read().to_pylist()] == bodies


def test_what_is_no_text_costs_its_copy_and_not_its_row() -> None:
    assert opener(SOURCE)(packed(b"Hi\0Look\0fine")) == (b"Hi", b"Look", b"Hi\0Look\0fine", 8)
    target = io.BytesIO()
    file = HourFile(target, PAGE)

    file.add(stored_rows([stored(1, of("one")), stored(2, packed(b"Hi\0Look\0\xff")), stored(3, of("three"))]))
    summary = file.close()

    assert summary.rows_without_vars == 1
    assert [row["vars"] and row["vars"]["body"] for row in pq.read_table(target).to_pylist()] == ["one", None, "three"]


@pytest.mark.parametrize("text", [b"Hi", b"Hi\0Look", b"Hi\0Look\0one\0more", b""])
def test_a_copy_has_three_texts(text: bytes) -> None:
    with pytest.raises(ValueError, match="three texts"):
        opener(SOURCE)(packed(text))


def test_a_file_that_is_given_up_writes_nothing_more() -> None:
    target = io.BytesIO()
    file = HourFile(target, PAGE)
    file.add(stored_rows(stored(n, of(f"{n}" + "x" * 300_000)) for n in range(120)))

    file.abandon()

    written = target.getvalue()
    with pytest.raises(RuntimeError):
        file.close()
    assert target.getvalue() == written


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=3), st.text(max_size=20)), min_size=1, max_size=9))
def test_a_column_of_bodies_holds_the_ends_of_texts_of_any_length(texts: list[tuple[bytes, str]]) -> None:
    bodies = Bodies()

    for before, body in texts:
        bodies.add(before + body.encode(), len(before))
    column = bodies.column(slice(0, len(texts)), None)

    column.validate(full=True)
    assert column.to_pylist() == [body for _, body in texts]


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=4) | st.lists(st.integers(0, 9)))))
def test_a_column_of_attrs_holds_each_row_s_own_names_in_order(rows: list[dict[str, object]]) -> None:
    attrs = Attrs()

    half = len(rows) // 2
    for some in (rows[:half], rows[half:]):
        attrs.add([orjson.dumps(row) for row in some])

    assert attrs.column().to_pylist() == [
        [
            (name, value if value is None or isinstance(value, str) else orjson.dumps(value).decode())
            for name, value in sorted(row.items())
        ]
        for row in rows
    ]


@pytest.mark.parametrize("count", [3, 3000])
def test_a_file_is_what_pyarrow_writes_of_a_table_of_plain_texts(count: int) -> None:
    ours, plain = io.BytesIO(), io.BytesIO()
    rows = (stored(n, of(f"{n} and more" if n % 5 else "")) for n in range(count))
    file = HourFile(ours, PAGE)
    file.add(stored_rows(row._replace(vars=b"damaged") if n % 7 == 2 else row for n, row in enumerate(rows)))
    file.close()

    options = {"use_dictionary": list(PAGE.repeating), "write_statistics": list(PAGE.statistics), **WRITER}
    with pq.ParquetWriter(plain, PAGE.schema, **options) as writer:
        writer.write_table(pq.read_table(ours))

    assert ours.getvalue() == plain.getvalue()
