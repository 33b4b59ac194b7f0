"""Results by theme: variants of one theme are drawn, counted and judged as one."""

from datetime import date
from uuid import UUID

import pytest

from shared.admin.results.store import Fact
from shared.admin.results.themes import by_theme
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws, Estimate

WARM, WARMER, BOLD, PLAIN = (UUID(int=number) for number in range(1, 5))
THEMES = {WARM: "Warmth", WARMER: "Warmth", BOLD: "Humour", PLAIN: ""}
ALL = (WARM, WARMER, BOLD, PLAIN)


def drawn(copy_id: UUID, sends: int, clicks: int, p: tuple[float, ...], cell: str = "") -> Draws:
    return Draws(0, cell, ALL, p, copy_id, sends, clicks)


def fact(copy_id: UUID | None, assigned: int, delivered: int, clicked: int, *, control: bool = False) -> Fact:
    return Fact(
        date(2026, 11, 1), control, copy_id, "", False, assigned, assigned, delivered, delivered, 0, clicked, 0, 0, 0
    )  # fmt: skip


def test_counts_of_variants_of_one_theme_add_up_and_control_is_no_theme() -> None:
    facts = [fact(WARM, 120, 100, 9), fact(WARMER, 60, 50, 3), fact(BOLD, 30, 25, 2), fact(None, 9, 9, 1, control=True)]

    found = by_theme(facts, [], THEMES, 1.0)

    assert [(one.name, one.variants, one.assigned, one.delivered, one.clicks) for one in found] == [
        ("Warmth", 2, 180, 150, 12),
        ("Humour", 1, 30, 25, 2),
    ]
    assert {type(one.rate) for one in found} == {NotEnough}


def test_a_themes_rate_is_weighted_by_the_sum_of_its_variants_probabilities() -> None:
    loves, hates = (0.5, 0.3, 0.1, 0.1), (0.05, 0.05, 0.5, 0.4)  # Warmth: 0.8 and 0.1
    draws = [
        drawn(WARM, 500, 100, loves, "likes=warm"), drawn(WARMER, 300, 60, loves, "likes=warm"),
        drawn(WARM, 50, 2, hates, "likes=bold"), drawn(WARMER, 50, 2, hates, "likes=bold"),
        drawn(BOLD, 100, 4, loves, "likes=warm"), drawn(BOLD, 500, 50, hates, "likes=bold"),
    ]  # fmt: skip
    facts = [fact(one.copy_id, one.sends, one.sends, int(one.clicks)) for one in draws]

    warmth = next(one for one in by_theme(facts, draws, THEMES, 1.0) if one.name == "Warmth")

    assert isinstance(warmth.rate, Estimate)
    assert warmth.rate.rate == pytest.approx((160 / 0.8 + 4 / 0.1) / (800 / 0.8 + 100 / 0.1))
    assert warmth.rate.within.low < warmth.rate.rate < (warmth.rate.within.high or 0)
    assert warmth.share == pytest.approx(900 / 1500)


def test_a_theme_with_few_sends_has_no_rate_but_what_is_missing() -> None:
    p = (0.4, 0.3, 0.29, 0.01)
    draws = [drawn(WARM, 1000, 50, p), drawn(PLAIN, 10, 2, p)]

    found = by_theme([fact(one.copy_id, one.sends, one.sends, int(one.clicks)) for one in draws], draws, THEMES, 1.0)

    assert [one.name for one in found] == ["Warmth", None]
    assert isinstance(found[1].rate, NotEnough)
    assert found[1].rate.more is not None


def test_a_variant_that_its_log_says_could_not_be_drawn_counts_for_no_rate() -> None:
    draws = [drawn(WARM, 400, 40, (0.0, 0.5, 0.5, 0.0)), drawn(WARMER, 400, 20, (0.0, 0.5, 0.5, 0.0))]

    [warmth] = by_theme([fact(WARM, 400, 400, 40), fact(WARMER, 400, 400, 20)], draws, THEMES, 1.0)

    assert (warmth.delivered, warmth.share) == (800, 1.0)
    assert isinstance(warmth.rate, Estimate)
    assert warmth.rate.rate == pytest.approx(20 / 400)
