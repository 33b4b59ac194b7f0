"""Fields are found in what PostgreSQL sends, whatever lies in them."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.egress.copying import Fields

Row = tuple[bytes | None, ...]
START = pack(">hi", 3, 8)  # how a row of three begins, the first of eight bytes


def sent(rows: list[Row], end: bytes = b"") -> bytes:
    """As COPY has them."""
    fields = (
        pack(">h", len(row)) + b"".join(pack(">i", -1) if one is None else pack(">i", len(one)) + one for one in row)
        for row in rows
    )
    return b"".join(fields) + end


any_bytes = st.binary(max_size=9) | st.just(START) | st.just(START + bytes(8)) | st.just(b"\xff\xff")
any_rows = st.lists(st.tuples(st.none() | any_bytes, st.none() | any_bytes, st.none() | any_bytes), max_size=6)
even_rows = st.lists(st.tuples(st.binary(min_size=8, max_size=8), st.none() | any_bytes, any_bytes), max_size=6)


@settings(max_examples=200)
@given(any_rows | even_rows, st.sampled_from([b"", b"\xff\xff"]))
def test_fields_are_found_also_where_one_looks_like_the_beginning_of_a_row(rows: list[Row], end: bytes) -> None:
    fields = Fields(sent(rows, end), 3)

    assert len(fields) == len(rows)
    for number in range(3):
        assert fields.bytes_of(number) == [row[number] for row in rows]
        assert fields.absent(number).tolist() == [row[number] is None for row in rows]


@pytest.mark.parametrize("first", [None, b"12345678"])
def test_texts_and_numbers_come_by_column(first: bytes | None) -> None:
    rows: list[Row] = [(b"87654321", "Zoë".encode(), pack(">i", -7)), (first, None, None)]

    fields = Fields(sent(rows), 3)

    assert fields.texts(1).to_pylist() == ["Zoë", None]
    assert fields.numbers(2, ">i4").tolist() == [-7, 0]
