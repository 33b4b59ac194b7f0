"""A change of tastes is found where it happened; what only looks like one is not taken for one."""

from collections.abc import Callable

import numpy as np
import pytest

from services.ranker.change import Counts, changed_at
from services.ranker.facts import NO_CLICK, Fact, edges_of
from services.ranker.fit import next_snapshot
from tests.unit.ranker.given import COPIES, task

CELLS = [f"persona=p{persona}&plan=l{plan}" for persona in range(4) for plan in range(3)]
EDGES = edges_of(72)
FIRST_DAY = EDGES.index(72 * 3600.0)  # the bucket of sends that are three days old; the next nine are a day each
DAYS = 9
SENDS = 1_000  # a day

Rates = Callable[[int, int, int], float]
"""Of a variant in a cell on a day, 0 the youngest."""


def counts(rate: Rates, seed: int = 5) -> Counts:
    chance = np.random.default_rng(seed)
    rows = []
    for day in range(DAYS):
        for cell in range(len(CELLS)):
            for variant in range(3):
                sends = SENDS // len(CELLS) // 3
                clicks = int(chance.binomial(sends, rate(variant, cell, day)))
                rows.append((variant, cell, FIRST_DAY + day, sends, clicks))
    variants, cells, ages, sends_of, clicks_of = np.array(rows, dtype=np.int64).T
    return Counts(variants, cells, ages, sends_of.astype(np.float64), clicks_of.astype(np.float64))


def liked(variant: int, cell: int) -> float:
    """Persona 0 and 1 like variant 0, the others variant 2."""
    return 0.08 if variant == (0 if cell < len(CELLS) // 2 else 2) else 0.03


def turned(variant: int, cell: int, day: int, since: int = 4) -> float:
    return liked(2 - variant if day < since else variant, cell)


def test_a_change_of_tastes_is_found_at_its_age() -> None:
    found = changed_at(counts(turned), CELLS)

    assert found is not None
    assert abs(found - (FIRST_DAY + 4)) <= 1


def test_a_change_for_everybody_is_found_without_attrs() -> None:
    def rate(variant: int, _cell: int, day: int) -> float:
        return 0.08 if variant == (0 if day < 4 else 2) else 0.03

    told = counts(rate)

    assert changed_at(Counts(told.variants, told.cells * 0, told.ages, told.n, told.clicks), [""]) is not None


@pytest.mark.parametrize("seed", range(12))
def test_tastes_that_stay_are_no_change(seed: int) -> None:
    assert changed_at(counts(lambda variant, cell, _: liked(variant, cell), seed=seed), CELLS) is None


def test_a_season_that_moves_all_variants_alike_is_no_change() -> None:
    def rate(variant: int, cell: int, day: int) -> float:
        return liked(variant, cell) * (2.0 if day < 4 else 1.0)

    assert changed_at(counts(rate), CELLS) is None


def test_a_ranker_that_learned_whom_to_send_what_is_no_change() -> None:
    # Of late variant 0 goes only to those who like it: its rate rises, and nobody's taste has changed.
    chance = np.random.default_rng(8)
    rows = []
    for day in range(DAYS):
        for cell in range(len(CELLS)):
            likes = cell < len(CELLS) // 2
            for variant in range(3):
                learned = (0.9 if likes else 0.02) if variant == 0 else (0.05 if likes else 0.49)
                sends = round(5 * SENDS / len(CELLS) * (learned if day < 4 else 1 / 3))
                rate = (0.12 if likes else 0.01) if variant == 0 else 0.05
                rows.append((variant, cell, FIRST_DAY + day, sends, chance.binomial(sends, rate)))
    variants, cells, ages, sends_of, clicks = np.array(rows, dtype=np.int64).T
    told = Counts(variants, cells, ages, sends_of.astype(np.float64), clicks.astype(np.float64))

    assert changed_at(told, CELLS) is None
    # Without the cells it would look like one.
    assert changed_at(Counts(variants, cells * 0, ages, told.n, told.clicks), [""]) is not None


def test_few_clicks_are_no_proof() -> None:
    few = counts(turned)
    tenth = Counts(few.variants, few.cells, few.ages, few.n / 20, np.floor(few.clicks / 20))

    assert changed_at(tenth, CELLS) is None


def test_nothing_sent_is_no_change() -> None:
    nothing = np.array([], dtype=np.int64)

    assert changed_at(Counts(nothing, nothing, nothing, np.array([]), np.array([])), CELLS) is None


def facts(rate: Rates) -> list[Fact]:
    told = counts(rate)
    found = []
    for variant, cell, age, sends, clicks in zip(
        told.variants, told.cells, told.ages, told.n, told.clicks, strict=True
    ):
        found += [
            Fact(COPIES[variant], CELLS[cell], int(age), 2, int(clicks)),
            Fact(COPIES[variant], CELLS[cell], int(age), NO_CLICK, int(sends - clicks)),
        ]
    return [fact for fact in found if fact.sends]


def test_after_a_change_shares_follow_the_recent_facts_and_say_since_when() -> None:
    made = next_snapshot(task(facts(turned)))
    stayed = next_snapshot(task(facts(lambda variant, cell, _: liked(variant, cell))))

    assert made.cells[CELLS[0]][2] > 0.8
    assert made.cells[CELLS[-1]][0] > 0.8
    assert made.diagnostics["changed_days"] == pytest.approx(7, abs=1)
    assert stayed.cells[CELLS[0]][0] > 0.8
    assert stayed.diagnostics["changed_days"] is None


def test_who_wants_all_facts_for_ever_gets_them() -> None:
    made = next_snapshot(task(facts(turned), half_life_days=None))

    assert made.diagnostics["changed_days"] is None
    assert made.cells[CELLS[0]][2] < 0.8
