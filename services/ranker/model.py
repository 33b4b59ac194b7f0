"""Bayesian logistic regression of clicks on attrs and variants, a prior variance for every group of effects. Pure.

The logit of a click in cell c with variant v is

    shared · x_c  +  theme of v  +  own_v · x_c

where x_c is 1 for everybody and for each value of attrs of the cell. `own_v` holds the effect of the variant and those
of the variant with each value: what personalisation is made of. The prior of each group (variants; themes; each attr;
variants with each attr) has mean 0 and one variance, estimated from the facts (MacKay), so a group of effects that
does not show in the facts is held near 0 and costs nothing.

Variants meet only in `shared` and the themes, so the Hessian is an arrow: one small block a variant, and a border. That
makes 20 variants with 200 values, 4,222 effects, 20 blocks of 201 instead of a matrix of 4,222.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.ranker.features import Design, Ints

Floats = npt.NDArray[np.float64]

_ROUNDS = 14
_TOLERANCE = 1e-4
_STEPS_AT_ONCE = 20_000  # rows whose products are in memory together
_BASE_VARIANCE = 4.0  # of everybody's logit around the rate of all sends
_BOLD = 1.5  # power of MacKay's steps upwards: they creep away from small variances; the same downwards makes it swing
_LEAST_VARIANCE, _MOST_VARIANCE = 1e-5, 4.0


@dataclass(frozen=True, slots=True)
class Priors:
    """Where the variances start, and how many effects' worth of belief that is."""

    variant: float = 0.1
    variant_attr: float = 0.02
    attr: float = 0.1
    pair: float = 0.02
    variant_pair: float = 0.005
    theme: float = 0.02
    belief: float = 1.0


PRIORS = Priors()


@dataclass(frozen=True, slots=True)
class Rows:
    """Sends `n` (ripe ones; need not be whole) and clicks of variants in cells; three or four columns of one length.

    `cells` are rows of `x`; `variants` are numbers from 0; `themes` gives each variant's theme, -1 for none."""

    x: Ints
    cells: Ints
    variants: Ints
    n: Floats
    clicks: Floats
    themes: Sequence[int]


@dataclass(slots=True)
class _Block:
    """One variant's rows and, in a fit, its part of the Hessian."""

    x: Ints
    n: Floats
    clicks: Floats
    theme: int
    m: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    inverse: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    gradient: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True)
class Posterior:
    """A normal distribution of all effects. `variances` of the groups by name are for people."""

    design: Design
    themes: Sequence[int]
    shared: Floats
    own: Floats
    border: Floats  # lower Cholesky factor of the covariance of `shared` and the themes
    blocks: Sequence[tuple[Floats, Floats]]  # per variant: covariance given the border, and how it follows the border
    variances: dict[str, float]

    def draws(self, number: int, temper: float, chance: np.random.Generator) -> Floats:
        """How much better than the others each variant is, by number of x: variants × (size + 1 for blank) × draws.

        Deviations from the mean are scaled by `temper`. The same `chance` gives the same draws."""
        size = self.design.size
        own = np.zeros((len(self.themes), size + 1, number))
        shared = temper * (self.border @ chance.standard_normal((len(self.shared), number)))
        for at, (covariance, follows) in enumerate(self.blocks):
            z = chance.standard_normal((size, number))
            felt = _felt(shared, self.themes[at], size)
            own[at, :size] = self.own[at][:, None] + temper * (np.linalg.cholesky(covariance) @ z) - follows @ felt
            if self.themes[at] >= 0:
                own[at, 0] += self.shared[size + self.themes[at]] + shared[size + self.themes[at]]
        return own


def fit(rows: Rows, design: Design, theme_count: int, priors: Priors = PRIORS) -> Posterior:
    """The posterior of these rows, by Newton's method for the effects and MacKay's for the variances, in turn."""
    blocks = [*_blocks(rows)]
    size, wide = design.size, design.size + theme_count
    base = (rows.clicks.sum() + 1) / (rows.n.sum() + 30)
    shared, own = np.zeros(wide), np.zeros((len(blocks), size))
    shared[0] = mean = float(np.log(base / (1 - base)))
    groups = _Groups(design, theme_count, len(blocks), priors)
    border = np.zeros((wide, wide))
    for _ in range(_ROUNDS):
        wide_precision, own_precision = groups.precisions()
        pull = wide_precision * (shared - np.eye(1, wide)[0] * mean)
        schur, right = np.diag(wide_precision), -pull
        for at, block in enumerate(blocks):
            _weigh(block, shared, own[at], size)
            block.gradient -= own_precision * own[at]
            block.inverse = _inverse(block.m + np.diag(own_precision))
            # m - m·inverse·m, in the form that does not cancel
            seen = np.diag(own_precision) - own_precision[:, None] * block.inverse * own_precision[None, :]
            of_likelihood = block.gradient + own_precision * own[at]
            told = of_likelihood - block.m @ (block.inverse @ block.gradient)
            schur[:size, :size] += seen
            right[:size] += told
            if block.theme >= 0:
                at_theme = size + block.theme
                schur[:size, at_theme] += seen[:, 0]
                schur[at_theme, :size] += seen[0]
                schur[at_theme, at_theme] += seen[0, 0]
                right[at_theme] += told[0]
        covariance = _inverse(schur)
        step = _bounded(covariance @ right)
        shared = shared + step
        moved = float(np.abs(step).max())
        for at, block in enumerate(blocks):
            felt = block.m @ _felt(step, block.theme, size)
            own_step = _bounded(block.inverse @ (block.gradient - felt))
            own[at] += own_step
            moved = max(moved, float(np.abs(own_step).max()))
        change = groups.learn(shared, own, np.diag(covariance), _own_variances(blocks, covariance, own_precision, size))
        border = covariance
        if moved < _TOLERANCE and change < 0.01:
            break
    follows = [(block.inverse, block.inverse @ block.m) for block in blocks]
    factor = np.asarray(np.linalg.cholesky(border), dtype=np.float64)
    return Posterior(design, [block.theme for block in blocks], shared, own, factor, follows, groups.named())


class _Groups:
    """The prior variances and which effects share one."""

    def __init__(self, design: Design, theme_count: int, variants: int, priors: Priors) -> None:
        self._design, self._themes, self._variants, self._priors = design, theme_count, variants, priors
        pairs = ["&" in name for name in design.attrs]
        self._attr_start = np.where(pairs, priors.pair, priors.attr)
        self._variant_attr_start = np.where(pairs, priors.variant_pair, priors.variant_attr)
        self._attr, self._variant_attr = self._attr_start.copy(), self._variant_attr_start.copy()
        self._theme, self._variant = priors.theme, priors.variant

    def precisions(self) -> tuple[Floats, Floats]:
        """Of `shared` with the themes, and of each variant's own effects."""
        groups = self._design.groups
        themes = np.full(self._themes, self._theme)
        wide = np.concatenate(([_BASE_VARIANCE], self._attr[groups], themes))
        return 1 / wide, 1 / np.concatenate(([self._variant], self._variant_attr[groups]))

    def learn(self, shared: Floats, own: Floats, shared_variances: Floats, own_variances: Floats) -> float:
        """New variances from effects and their posterior variances; the largest relative change."""
        size, priors = self._design.size, self._priors
        before = np.concatenate((self._attr, self._variant_attr, [self._theme, self._variant]))
        for at in range(len(self._attr)):
            mine = np.flatnonzero(self._design.groups == at) + 1
            self._attr[at] = self._learned(self._attr[at], self._attr_start[at], shared[mine], shared_variances[mine])
            self._variant_attr[at] = self._learned(
                self._variant_attr[at], self._variant_attr_start[at], own[:, mine], own_variances[:, mine]
            )
        if self._themes:
            self._theme = self._learned(self._theme, priors.theme, shared[size:], shared_variances[size:])
        self._variant = self._learned(self._variant, priors.variant, own[:, 0], own_variances[:, 0])
        after = np.concatenate((self._attr, self._variant_attr, [self._theme, self._variant]))
        return float(np.abs(after / before - 1).max())

    def _learned(self, now: float, start: float, effects: Floats, variances: Floats) -> float:
        told = max(0.0, effects.size - float(variances.sum()) / now)  # effects' worth of facts
        learned = (self._priors.belief * start + float(np.square(effects).sum())) / (self._priors.belief + told)
        if learned > now:
            learned = now * (learned / now) ** _BOLD
        return min(max(learned, _LEAST_VARIANCE), _MOST_VARIANCE)

    def named(self) -> dict[str, float]:
        found = {"variant": self._variant}
        if self._themes:
            found["theme"] = self._theme
        for at, name in enumerate(self._design.attrs):
            found[name] = float(self._attr[at])
            found[f"variant x {name}"] = float(self._variant_attr[at])
        return {name: round(value, 6) for name, value in found.items()}


def _blocks(rows: Rows) -> Iterator[_Block]:
    for at, theme in enumerate(rows.themes):
        mine = np.flatnonzero(rows.variants == at)
        yield _Block(rows.x[rows.cells[mine]], rows.n[mine], rows.clicks[mine], theme)


def _weigh(block: _Block, shared: Floats, own: Floats, size: int) -> None:
    """The gradient and the weighted products of the block's rows, at these effects."""
    effects = np.append(shared[:size] + own, 0.0)
    theme = shared[size + block.theme] if block.theme >= 0 else 0.0
    flat, gradient = np.zeros((size + 1) ** 2), np.zeros(size + 1)
    for start in range(0, len(block.n), _STEPS_AT_ONCE):
        part = slice(start, start + _STEPS_AT_ONCE)
        x, n = block.x[part], block.n[part]
        chance = 1 / (1 + np.exp(-np.clip(effects[x].sum(axis=1) + theme, -30, 30)))
        width = x.shape[1]
        pairs = (x[:, :, None] * (size + 1) + x[:, None, :]).reshape(-1)
        flat += np.bincount(pairs, np.repeat(n * chance * (1 - chance), width * width), flat.size)
        gradient += np.bincount(x.reshape(-1), np.repeat(block.clicks[part] - n * chance, width), gradient.size)
    block.m = flat.reshape(size + 1, size + 1)[:size, :size]
    block.gradient = gradient[:size]


def _felt(step: Floats, theme: int, size: int) -> Floats:
    """What a step of `shared` and the themes is to a variant of this theme."""
    felt = step[:size].copy()
    if theme >= 0:
        felt[0] += step[size + theme]
    return felt


def _own_variances(blocks: Sequence[_Block], covariance: Floats, own_precision: Floats, size: int) -> Floats:
    """Posterior variances of every variant's own effects."""
    found = np.empty((len(blocks), size))
    for at, block in enumerate(blocks):
        follows = np.eye(size) - block.inverse * own_precision[None, :]
        border = covariance[:size, :size]
        if block.theme >= 0:
            border, at_theme = border.copy(), size + block.theme
            border[0] += covariance[at_theme, :size]
            border[:, 0] += covariance[:size, at_theme]
            border[0, 0] += covariance[at_theme, at_theme]
        found[at] = np.diag(block.inverse) + np.einsum("ij,ij->i", follows @ border, follows)
    return found


def _inverse(matrix: Floats) -> Floats:
    found = np.linalg.inv(matrix)
    return (found + found.T) / 2


def _bounded(step: Floats) -> Floats:
    """A Newton step from a poor start can shoot far beyond; logits do not move by more than 2 in earnest."""
    largest = float(np.abs(step).max(initial=0.0))
    return step if largest <= 2 else step * (2 / largest)
