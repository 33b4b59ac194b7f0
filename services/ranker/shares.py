"""From a posterior to the share of each variant in each cell, and what keeps shares in bounds. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.ranker.features import Ints
from services.ranker.model import Floats, Posterior

DRAWS = 1_000
_CELLS_AT_ONCE_VALUES = 4_000_000  # numbers in memory together, 32 MB
_DIGITS = 6

Shares = tuple[float, ...]
"""Of the eligible variants in the order of their copy ids; they sum to 1."""


def chance_of_best(posterior: Posterior, x: Ints, eligible: Ints, temper: float, seed: int) -> Floats:
    """How often each eligible variant is the best in each row of x, over draws from the posterior: Thompson sampling
    without the sampling. All cells share the draws, so cells that the model cannot tell apart get the same shares."""
    chance = np.random.Generator(np.random.PCG64(seed))
    worth = np.ascontiguousarray(posterior.draws(DRAWS, temper, chance)[eligible].transpose(1, 0, 2))
    found = np.empty((len(x), len(eligible)))
    step = max(1, _CELLS_AT_ONCE_VALUES // (len(eligible) * DRAWS))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        total = worth[part[:, 0]].copy()
        for column in range(1, part.shape[1]):
            total += worth[part[:, column]]
        best = total.argmax(axis=1)
        for variant in range(len(eligible)):
            found[start : start + step, variant] = (best == variant).mean(axis=1)
    return found


def bounded(raw: Floats, floor: float, young: Sequence[bool]) -> Floats:
    """Shares a row: a young variant has an equal share, the others share the rest as `raw` says, none below `floor`."""
    variants = raw.shape[1]
    is_young = np.array(young, dtype=bool)
    equal = 1 / variants
    if is_young.all():
        return np.full_like(raw, equal)
    left = 1 - equal * is_young.sum()
    old = np.where(is_young, 0.0, raw)
    total = old.sum(axis=1, keepdims=True)
    old = np.where(total > 0, old / np.where(total > 0, total, 1), ~is_young / (~is_young).sum())
    least = min(floor, 0.5 * equal)
    old = least * ~is_young + (left - least * (~is_young).sum()) * old
    shares: Floats = np.where(is_young, equal, old)
    return shares


def towards(new: Floats, before: Floats, max_change: float) -> Floats:
    """`new`, or as far on the way there from `before` as no share changes by more than `max_change`."""
    far = np.abs(new - before).max(axis=1, keepdims=True)
    way = np.where(far > max_change, max_change / np.where(far > 0, far, 1), 1.0)
    return before + way * (new - before)


def rounded(shares: Floats) -> list[Shares]:
    """With few digits, so that snapshots stay small; what that loses or adds goes to the largest share."""
    found = []
    for row in shares:
        short = [round(float(share), _DIGITS) for share in row]
        largest = short.index(max(short))
        short[largest] = round(short[largest] + 1 - sum(short), _DIGITS)
        found.append(tuple(short))
    return found


def fixed(weights: Mapping[str, float], names: Sequence[str]) -> Shares | None:
    """Shares in proportion to the weights by name; None when none of the names has one above 0."""
    row = np.array([max(0.0, weights.get(name, 0.0)) for name in names])
    return rounded((row / row.sum())[None, :])[0] if row.sum() > 0 else None
