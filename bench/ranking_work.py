"""The simulated work of `bench.ranking`: people with attrs, variants with hidden effects, clicks that come late.

A round is a day. Everything follows from the column and the seed, so that all policies see the same people, and a click
of a person on a variant happens in all of them or in none.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["attrs", "flat", "switch", "tree", "delays", "duplicates"]

COLUMNS: dict[Kind, str] = {
    "attrs": "attrs matter",
    "flat": "attrs do not",
    "switch": "switch half-way",
    "tree": "not additive: trees",
    "delays": "slow and fast variants",
    "duplicates": "files come again",
}
ATTRS = {"persona": 6, "plan": 4, "country": 8}  # country never matters
VARIANTS = 6
LAG = 2  # rounds until a file with the feedback comes
WINDOW_ROUNDS = 3  # a click counts that comes within; ours is told 72 hours
_NEVER = np.inf

CELLS: list[str] = [
    f"country=c{country}&persona=p{persona}&plan=l{plan}"
    for persona, plan, country in product(*(range(size) for size in ATTRS.values()))
]
VALUES: Ints = np.array([*product(*(range(size) for size in ATTRS.values()))], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Work:
    """`chance[round, cell, variant]` of a click; `cells` of the people of each round; `luck` decides who clicks;
    `delay_days` of each person's click, should it come, by variant."""

    kind: Kind
    chance: Floats
    cells: Ints
    luck: Floats
    delay_days: Floats

    @property
    def slow(self) -> bool:
        return self.kind == "delays"

    def clicks_after(self, at: int, chosen: Ints) -> Floats:
        """For each person of a round: days until the click on the variant chosen, infinite for none."""
        people = np.arange(len(chosen))
        clicked = self.luck[at] < self.chance[at, self.cells[at], chosen]
        return np.where(clicked, self.delay_days[at, people, chosen], _NEVER)


def work_of(kind: Kind, seed: int, rounds: int, people: int) -> Work:
    """One column's work for one seed."""
    chance = np.random.Generator(np.random.PCG64([seed, [*COLUMNS].index(kind)]))
    first = _logits(kind, chance)
    second = _logits(kind, chance) if kind == "switch" else first
    halves = np.array([first if at < rounds / 2 else second for at in range(rounds)])
    weights = chance.dirichlet(np.full(len(CELLS), 2.0))
    cells = chance.choice(len(CELLS), size=(rounds, people), p=weights)
    if kind == "delays":
        medians = np.geomspace(0.02, 1.2, VARIANTS)[chance.permutation(VARIANTS)]  # half an hour to 29 hours
        delays = np.minimum(medians * np.exp(chance.normal(0, 0.8, (rounds, people, VARIANTS))), WINDOW_ROUNDS - 0.01)
    else:
        delays = chance.exponential(0.1, (rounds, people, VARIANTS)).clip(max=1.0)
    return Work(kind, 1 / (1 + np.exp(-halves)), cells, chance.random((rounds, people)), delays)


def _logits(kind: Kind, chance: np.random.Generator) -> Floats:
    """Cells × variants. 3–5 % of all people click on a variant chosen at random."""
    base = chance.uniform(-3.5, -3.0)
    variant = chance.normal(0, 0.25 if kind == "flat" else 0.15, VARIANTS)
    found = np.tile(base + variant, (len(CELLS), 1))
    persona, plan, _ = VALUES.T
    if kind == "tree":
        for number in range(VARIANTS):
            found[:, number] += _tree(chance, 3)
        found += chance.normal(0, 0.2, ATTRS["persona"])[persona][:, None]
    elif kind != "flat":
        found += chance.normal(0, 0.45, (ATTRS["persona"], VARIANTS))[persona]
        found += chance.normal(0, 0.25, (ATTRS["plan"], VARIANTS))[plan]
        found += chance.normal(0, 0.2, ATTRS["persona"])[persona][:, None]
    return found


def _tree(chance: np.random.Generator, depth: int) -> Floats:
    """Values of a random tree over persona and plan in every cell: what one split says depends on the one above."""
    found = chance.normal(0, 0.5) * np.ones(len(CELLS))
    if depth == 0:
        return found
    attr = int(chance.integers(0, 2))
    size = [*ATTRS.values()][attr]
    left = np.isin(VALUES[:, attr], chance.permutation(size)[: size // 2])
    return np.where(left, _tree(chance, depth - 1), _tree(chance, depth - 1))
