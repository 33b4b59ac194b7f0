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
