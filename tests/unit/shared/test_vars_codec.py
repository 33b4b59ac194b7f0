from contextlib import suppress
from uuid import uuid4

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import decode_vars, encode_vars

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(source=st.tuples(text, text, text), copy=st.tuples(text, text, text))
def test_stored_copy_comes_back_byte_for_byte(source: tuple[str, str, str], copy: tuple[str, str, str]) -> None:
    variant = VariantSource(uuid4(), 1, *source)

    assert decode_vars(encode_vars(Vars(*copy), variant), variant) == Vars(*copy)


def test_a_rendered_body_costs_less_than_a_fiftieth_of_its_size() -> None:
    rows = "".join(
        f"<tr><td style='padding:{n}px'>Row {n} of the offer, {n * 7919 % 9973}</td></tr>" for n in range(150)
    )
    variant = VariantSource(
        uuid4(), 1, "Hi {{ first_name }}", "Only today", f"<table>{rows}</table>{{{{ first_name }}}}"
    )
    copy = Vars("Hi Ann", "Only today", f"<table>{rows}</table>Ann")

    assert len(encode_vars(copy, variant)) * 50 < len(copy.body)


def test_a_copy_does_not_open_against_another_variants_source() -> None:
    body = "".join(f"<p>{n * 7919 % 9973}</p>" for n in range(200))
    ours, theirs = (VariantSource(uuid4(), 1, "s", "p", body), VariantSource(uuid4(), 1, "s", "p", "short"))
    blob = encode_vars(Vars("s", "p", body), ours)

    with pytest.raises((zstandard.ZstdError, ValueError)):
        decode_vars(blob, theirs)


def test_a_damaged_copy_never_opens_as_another_text() -> None:
    variant = VariantSource(uuid4(), 1, "Hi {{ first_name }}", "Only today", "<p>Hello {{ first_name }}</p>")
    copy = Vars("Hi Ann", "Only today", "<p>Hello Ann, this was written for you</p>")
    blob = encode_vars(copy, variant)

    opened: set[Vars] = set()
    for bit in range(len(blob) * 8):
        damaged = bytearray(blob)
        damaged[bit // 8] ^= 1 << bit % 8
        with suppress(zstandard.ZstdError, ValueError):
            opened.add(decode_vars(bytes(damaged), variant))

    assert opened <= {copy}


def test_copy_that_was_stored_without_a_checksum_still_opens() -> None:
    variant, copy = VariantSource(uuid4(), 1, "s", "p", "<p>b</p>"), Vars("s", "p", "<p>b</p>")
    text = "\x00".join((variant.subject, variant.preheader, variant.body)).encode().ljust(8, b" ")
    source = zstandard.ZstdCompressionDict(text, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    blob = zstandard.ZstdCompressor(dict_data=source, write_checksum=False).compress("\x00".join(copy).encode())

    assert decode_vars(blob, variant) == copy


def test_a_blob_that_claims_to_be_huge_is_refused_before_memory_is_taken() -> None:
    frame = bytes.fromhex("28b52ffde0") + (1 << 40).to_bytes(8, "little") + bytes.fromhex("010000")

    with pytest.raises(ValueError, match="as large"):
        decode_vars(frame, VariantSource(uuid4(), 1, "s", "p", "b"))
