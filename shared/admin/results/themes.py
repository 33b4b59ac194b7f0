"""Results by theme: what the variants of one theme did together. Pure.

A theme is drawn when one of its variants is, so its probability is the sum of theirs, and its rate is weighted by that
as a variant's is by its own: the rate if everybody had been sent the theme, its variants in the shares they were drawn
in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from shared.admin.results.store import Fact
from shared.inference import variants
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws, Estimate, Tally

_NAMES = UUID("5d1c7b0e-5f5b-4f0e-9a35-2f6d3c0a9b11")  # themes are drawn under ids, as variants are


@dataclass(frozen=True, slots=True)
class Theme:
    """`name` None: of variants without one. `variants`: how many have a decision; `share`: of all delivered draws."""

    name: str | None
    variants: int
    assigned: int
    delivered: int
    clicks: int
    share: float
    rate: Estimate | NotEnough


def by_theme(
    facts: Iterable[Fact], draws: Iterable[Draws], themes: Mapping[UUID, str], design: float
) -> Sequence[Theme]:
    """Most delivered first. `themes`: of each variant, empty without one."""
    tally = variants.tally(_drawn_together(draws, themes))
    sums: dict[str, tuple[int, int, int]] = {}
    copies: dict[str, set[UUID]] = {}
    for fact in facts:
        if fact.copy_id is not None:
            theme = themes.get(fact.copy_id, "")
            assigned, delivered, clicked = sums.get(theme, (0, 0, 0))
            sums[theme] = (assigned + fact.assigned, delivered + fact.delivered, clicked + fact.clicked)
            copies.setdefault(theme, set()).add(fact.copy_id)
    drawn = sum(one.sends for one in tally.of.values())
    found = [
        Theme(theme or None, len(copies[theme]), *counts, _share(tally, theme, drawn), _rate(tally, theme, design))
        for theme, counts in sums.items()
    ]
    return sorted(found, key=lambda one: (-one.delivered, -one.assigned, one.name or ""))


def _drawn_together(draws: Iterable[Draws], themes: Mapping[UUID, str]) -> Iterable[Draws]:
    for one in draws:
        chances: dict[UUID, float] = {}
        for copy_id, probability in zip(one.eligible, one.probabilities, strict=True):
            key = _key(themes.get(copy_id, ""))
            chances[key] = chances.get(key, 0.0) + probability
        # What was drawn although its logged probability says it could not be is of no use here, either.
        own = dict(zip(one.eligible, one.probabilities, strict=True)).get(one.copy_id, 0.0)
        if own > 0:
            # A sum of shares may come out a hair above 1.
            capped = tuple(min(1.0, chance) for chance in chances.values())
            yield Draws(
                one.fold, one.cell, tuple(chances), capped, _key(themes.get(one.copy_id, "")), one.sends, one.clicks
            )


def _key(theme: str) -> UUID:
    return uuid5(_NAMES, theme)


def _share(tally: Tally, theme: str, drawn: int) -> float:
    sums = tally.of.get(_key(theme))
    return sums.sends / drawn if sums is not None and drawn else 0.0


def _rate(tally: Tally, theme: str, design: float) -> Estimate | NotEnough:
    sums = tally.of.get(_key(theme))
    if sums is None:
        return NotEnough("no delivered send has a logged probability")
    return variants.judged(sums, tally.pooled, design)
