"""Who is compared with a control that tells no attrs, as Klaviyo's own branch does."""

from datetime import date
from uuid import UUID

import pytest

from shared.inference.guardrail import judge_treatment, judge_variants

Counts = dict[tuple[date, str], dict[UUID | None, tuple[int, int]]]

A, B = UUID(int=1), UUID(int=2)
DAYS = [date(2026, 11, day) for day in (1, 2)]
PRO, FREE = "plan=pro", "plan=free"


def sent(*cells: str, away: int = 100, control: int = 3) -> Counts:
    """1,000 sends a day of each of two variants in each cell, `away` of them left; control tells no cell."""
    counts: Counts = {}
    for day in DAYS:
        counts[day, ""] = {None: (1_000, control)}
        for cell in cells:
            counts.setdefault((day, cell), {}).update({A: (1_000, away), B: (1_000, away)})
    return counts


@pytest.mark.parametrize("cell", ["", PRO])
def test_where_treatment_is_all_of_one_cell_each_variant_is_compared_with_control(cell: str) -> None:
    guards = judge_variants(sent(cell), [A, B])

    assert {(one.verdict, one.against) for one in guards.values()} == {("pause", "control")}


def test_where_cells_differ_no_variant_is_blamed_for_what_all_of_them_do() -> None:
    counts = sent(PRO, FREE)

    assert {(one.verdict, one.against) for one in judge_variants(counts, [A, B]).values()} == {
        ("fine", "the other variants")
    }
    whole = judge_treatment(counts)
    assert (whole.verdict, whole.sends, whole.events) == ("pause", 8_000, 800)
    assert whole.said.endswith("(10.00%), against 0.30% of control")


def test_people_without_attrs_are_not_compared_with_a_control_of_all_people() -> None:
    """Who tells no attrs leaves ten times as often; control holds all kinds of people."""
    counts = sent(PRO, "", away=20, control=110)
    for day in DAYS:
        counts[day, ""] |= {A: (1_000, 200), B: (1_000, 200)}

    assert {one.verdict for one in judge_variants(counts, [A, B]).values()} == {"fine"}
    assert judge_treatment(counts).verdict == "fine"


def test_a_control_that_tells_its_cells_is_compared_within_them() -> None:
    counts: Counts = {}
    for day in DAYS:
        counts[day, ""] = {None: (1_000, 3), A: (1_000, 3)}
        counts[day, PRO] = {None: (1_000, 3), A: (1_000, 100)}

    found = judge_variants(counts, [A])[A]

    assert (found.verdict, found.against, found.sends) == ("pause", "control", 4_000)


def test_treatment_that_is_no_worse_is_fine_and_without_control_nothing_is_said() -> None:
    assert judge_treatment(sent(PRO, FREE, away=3)).verdict == "fine"
    alone: Counts = {key: {name: count for name, count in of.items() if name} for key, of in sent(PRO, FREE).items()}
    assert judge_treatment(alone).verdict == "not enough yet"
