"""CSV that no spreadsheet runs."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis.strategies import lists, text

from shared.admin.csv_text import csv_lines, unguarded


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "  @"])
def test_a_text_that_a_spreadsheet_would_run_is_shown_as_a_text(start: str) -> None:
    [row] = csv.reader(io.StringIO(csv_lines([[f"{start}HYPERLINK(1)"]]), newline=""))

    assert row == [f"'{start}HYPERLINK(1)"]


def test_numbers_words_and_nothing_stay_as_they_are() -> None:
    assert csv_lines([["n", "word", "none"], [-1.5, "plain, with comma", None]]) == (
        'n,word,none\r\n-1.5,"plain, with comma",\r\n'
    )


@given(lists(text(), min_size=1))
def test_every_text_is_one_cell_that_no_spreadsheet_runs(row: list[str]) -> None:
    """ASVS 5.0 V1.2.10."""
    [read] = csv.reader(io.StringIO(csv_lines([row]), newline=""))

    assert [cell.removeprefix("'") for cell in read] == [cell.removeprefix("'") for cell in row]
    assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in read)


@given(text(alphabet="'=+-@ \t\r\nab", max_size=6))
def test_a_text_comes_back_as_it_was(written: str) -> None:
    [[cell], _] = csv.reader(io.StringIO(csv_lines([[written], ["end"]]), newline="")) if written else [[""], []]

    assert unguarded(cell) == written
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
