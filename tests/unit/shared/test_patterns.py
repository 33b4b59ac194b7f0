"""A customer's regular expression: what is refused, and that the rest ends soon."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.schemas.patterns import VALUE_CHARS, compiled

PIECES = [
    "a",
    "b",
    ".",
    r"\w",
    "[ab]",
    "(a|b)",
    "(ab)",
    "(?:a|ab)",
    "(a?)",
    "*",
    "+",
    "?",
    "*?",
    "{2,9}",
    "|",
    "^",
    "$",
]


@pytest.mark.parametrize(
    "pattern", ["^(premium|pro)$", "^pro.*plan", "(a|b|c|d|e|f)", "[]a]+", "a{3}", "(pro)?x", r"\d{1,3}"]
)
def test_what_people_need_is_taken(pattern: str) -> None:
    assert isinstance(compiled(pattern), re.Pattern)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "no regular expression"),
        ("(a+)+b", "may not repeat a group: )+"),
        ("(a|ab)*c", "may not repeat a group: )*"),
        ("(ab){2,}", "may not repeat a group: ){2,}"),
        (r"(a)\1", "refer back"),
        ("(?=a)", "look around"),
        ("(?i)a", "look around or set flags"),
        (".*a.*b.*c", "too many ways"),
        ("a?" * 20, "too many ways"),
        ("(a|b)" * 15, "too many ways"),
        ("a" * 201, "at most 200 characters"),
    ],
)
def test_what_could_match_for_ever_is_refused_in_words(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        compiled(pattern)


def test_case_does_not_matter() -> None:
    assert compiled("^PRO$").search("pro")


@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12), value=st.text("ab", max_size=VALUE_CHARS))
@settings(max_examples=300, deadline=None)
def test_whatever_is_taken_ends_soon(pieces: list[str], value: str) -> None:
    """ASVS 5.0 V1.3.12."""
    try:
        pattern = compiled("".join(pieces))
    except ValueError:
        return

    spent_s = time.process_time()
    pattern.search(value)
    pattern.search("a" * VALUE_CHARS)

    assert time.process_time() - spent_s < 0.5  # catastrophic means minutes; a busy machine must not fail this
