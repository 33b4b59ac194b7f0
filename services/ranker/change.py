"""Whether tastes changed, and since when: so that only then old facts are given up at once. Pure.

If nothing changed, the clicks of one variant in one cell fall on recent and on old sends as those sends do: each click
is recent with probability c·n_recent / (c·n_recent + n_old), where c is what moved all clicks alike (a season, a sale)
and tells nothing of tastes. This compares no cell with another, so it does not take a ranker that learned whom to send
what for a change of tastes. What clicks of a variant, or of a variant with one value of an attr, lie off that, is
weighed as a Bayes factor: a change of its logit, normal with variance `_SPREAD`, against none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.ranker.features import Ints

Floats = npt.NDArray[np.float64]

CERTAIN = float(np.log(100))
"""Log of the Bayes factor from which on a change is believed: one in a hundred templates that never change does so."""

_SPREAD = 0.25
_LEAST_CLICKS = 30  # recent ones, and old ones
_SCALINGS = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """Ripe sends `n` and `clicks` of variants in cells at ages (buckets, 0 the youngest); columns of one length."""

    variants: Ints
    cells: Ints
    ages: Ints
    n: Floats
    clicks: Floats


def changed_at(counts: Counts, cells: Sequence[str]) -> int | None:
    """The age, a bucket, from which on facts are of before the change; None when no change is certain.

    `cells` are the names of the numbers in `counts.cells`."""
    variants = int(counts.variants.max(initial=0)) + 1
    of_pair = counts.cells * variants + counts.variants
    met, stratum = np.unique(of_pair, return_inverse=True)
    parts = [part[met // variants] * variants + met % variants for part in _partitions(cells)]
    ages = [int(age) for age in np.unique(counts.ages)[1:]]
    told: dict[int, list[float]] = {}
    for age in ages:
        recent = counts.ages < age
        new_n, old_n = (_summed(stratum, side, counts.n, len(met)) for side in (recent, ~recent))
        new, old = (_summed(stratum, side, counts.clicks, len(met)) for side in (recent, ~recent))
        if min(new.sum(), old.sum()) >= _LEAST_CLICKS:
            off, spread = _off(new_n, old_n, new, new + old)
            told[age] = [_evidence(off, spread, part) for part in parts]
    if not told:
        return None
    # Every age and every part is as likely as the others to be the one.
    everything = np.array([*told.values()])
    top = float(everything.max())
    certainty = top + float(np.log(np.exp(everything - top).mean()))
    return max(told, key=lambda age: max(told[age])) if certainty >= CERTAIN else None


def _summed(stratum: Ints, side: npt.NDArray[np.bool_], values: Floats, strata: int) -> Floats:
    return np.bincount(stratum[side], values[side], strata).astype(np.float64)


def _off(recent: Floats, old: Floats, recent_clicks: Floats, clicks: Floats) -> tuple[Floats, Floats]:
    """By stratum: recent clicks beyond those expected, and their variance, when all strata share the factor c."""
    both = (recent > 0) & (old > 0)
    clicks = np.where(both, clicks, 0.0)
    recent_clicks = np.where(both, recent_clicks, 0.0)
    scale, total = 1.0, float(recent_clicks.sum())
    share = np.zeros_like(recent)
    for _ in range(_SCALINGS):
        share = np.where(both, scale * recent / np.where(both, scale * recent + old, 1.0), 0.0)
        expected, spread = float((clicks * share).sum()), float((clicks * share * (1 - share)).sum())
        if spread <= 0:
            break
        scale *= float(np.exp(np.clip((total - expected) / spread, -1, 1)))
    return recent_clicks - clicks * share, clicks * share * (1 - share)


def _evidence(off: Floats, spread: Floats, part: Ints) -> float:
    """Log Bayes factor of a change in some groups of this partition against no change in any."""
    total, variance = np.bincount(part, off), np.bincount(part, spread)
    gained = 1 + variance * _SPREAD
    return float((total**2 * _SPREAD / gained - np.log(gained)).sum() / 2)


def _partitions(cells: Sequence[str]) -> list[Ints]:
    """A number for each cell: all alike; then by what it says of the first attr, of the second …"""
    said = [dict(pair.split("=", 1) for pair in cell.split("&") if "=" in pair) for cell in cells]
    found = [np.zeros(len(cells), dtype=np.int64)]
    for attr in sorted({name for one in said for name in one}):
        values = [one.get(attr, "") for one in said]
        numbers = {value: number for number, value in enumerate(sorted(set(values)))}
        found.append(np.array([numbers[value] for value in values], dtype=np.int64))
    return found
