"""YAML as it is written and read again."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.admin.yaml_text import BadYaml, documents, joined

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
LINES = st.lists(st.text("ab <>#:'\"|-\t", max_size=8), max_size=5).map("\n".join)
VALUE = st.recursive(
    TEXT | LINES | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.dictionaries(TEXT, VALUE, min_size=1, max_size=4), max_size=3))
def test_what_is_written_is_read_again_as_it_was(contents: list[dict[str, Any]]) -> None:
    assert [one.content for one in documents(joined(contents))] == contents


@given(st.text(max_size=60))
def test_whatever_is_read_is_documents_or_a_fault_with_a_line(text: str) -> None:
    try:
        found = documents(text)
    except BadYaml as error:
        told = [error.line]
    else:
        told = [one.line() for one in found]

    assert all(0 <= line <= len(text) + 1 for line in told)
