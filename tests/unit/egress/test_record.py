"""Texts go from the store into the file by bytes, in memory that is used again, and none of that shows."""

import io
import json
from uuid import UUID

import pyarrow.parquet as pq
import pytest
import zstandard

from services.egress import record
from services.egress.parquet import HourFile
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


def test_every_row_group_holds_its_own_texts_though_they_lay_in_the_same_memory() -> None:
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
    assert bytes(opener(SOURCE)(packed(b"Hi\0Look\0fine"))[2]) == b"fine"
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


def test_bodies_outgrow_the_memory_that_they_began_with() -> None:
    bodies = record.Bodies()
    texts = [b"a" * 700_000, b"", b"b" * 900_000, b"c" * 5_000_000]

    for text in texts:
        bodies.add(text)

    assert [one.as_py() for one in bodies.column(None)] == [text.decode() for text in texts]
    bodies.clear()
    assert len(bodies.column(None)) == 0
