"""How much a young send says, learned from clicks that are themselves seen only when they are fast enough."""

from random import Random

import pytest

from services.ranker.facts import NO_CLICK, Fact, bucket_of, edges_of
from services.ranker.ripeness import curve_of, curves, decayed, ripeness, usual
from tests.unit.ranker.given import COPIES

EDGES = edges_of(72)
WINDOW_S = 72 * 3600.0


def clicks(median_h: float, number: int, *, seed: int = 1) -> list[Fact]:
    """Clicks of sends whose age is anything up to the window: what is too slow for its send's age is not seen."""
    chance = Random(seed)
    found = []
    for _ in range(number):
        age_s, delay_s = chance.uniform(0, WINDOW_S * 1.2), chance.expovariate(0.693 / (median_h * 3600))
        if delay_s < min(age_s, WINDOW_S):
            found.append(Fact(COPIES[0], "", bucket_of(age_s, EDGES), bucket_of(delay_s, EDGES), 1))
    return found


@pytest.mark.parametrize("median_h", [1.0, 6.0, 16.0])
def test_the_curve_is_that_of_all_clicks_although_slow_ones_are_seen_less(median_h: float) -> None:
    curve = curves(clicks(median_h, 6_000), EDGES, WINDOW_S)[COPIES[0]]

    of_window = 1 - 0.5 ** (72 / median_h)
    for edge, found in zip(EDGES, curve, strict=False):
        assert found == pytest.approx((1 - 0.5 ** (edge / 3600 / median_h)) / of_window, abs=0.06)


def test_without_clicks_the_curve_is_the_usual_one() -> None:
    broader = usual(EDGES, WINDOW_S)

    assert curve_of({}, broader) == pytest.approx(broader)
    assert broader[0] == 0
    assert broader[-1] == 1


def test_a_variant_leans_on_its_template() -> None:
    fast = [Fact(COPIES[0], "", 24, 0, 500)]
    unknown = [Fact(COPIES[1], "", 24, NO_CLICK, 100)]

    found = curves([*fast, *unknown], EDGES, WINDOW_S)

    assert found[COPIES[1]][1] > 0.9 > usual(EDGES, WINDOW_S)[1]


def test_ripeness_grows_to_one_at_the_windows_end() -> None:
    curve = usual(EDGES, WINDOW_S)
    ages = [ripeness(age, curve) for age in range(len(EDGES))]

    assert ages == sorted(ages)
    assert [one for age, one in zip(EDGES, ages, strict=True) if age >= WINDOW_S] == [1.0] * (
        len(EDGES) - len(curve) + 1
    )


def test_a_fact_weighs_half_after_a_half_life() -> None:
    age = bucket_of(28 * 86_400, EDGES)

    assert decayed(0, EDGES, 28) == pytest.approx(1, abs=0.001)
    assert decayed(age, EDGES, 28) == pytest.approx(0.5, abs=0.06)
    assert decayed(age, EDGES, None) == 1


def test_the_windows_end_is_an_edge_and_edges_rise() -> None:
    for window_h in (1, 5, 72, 720):
        edges = edges_of(window_h)
        assert window_h * 3600 in edges
        assert list(edges) == sorted(set(edges))
