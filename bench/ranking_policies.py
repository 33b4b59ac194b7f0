"""The policies of `bench.ranking`: ours as it is shipped, VowpalWabbit and MABWiser as their documents use them.

Rivals learn each round's feedback once it is whole. Ours fits a snapshot from all facts after each round, as its
service does.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import numpy as np
import vowpalwabbit
from mabwiser.mab import MAB, LearningPolicy

from bench.ranking_work import ATTRS, CELLS, VALUES, VARIANTS, Floats, Ints
from services.ranker.facts import NO_CLICK, Fact, Variant, bucket_of, edges_of
from services.ranker.fit import Before, Task, next_snapshot
from shared.schemas.policy import Policy

COPIES = tuple(UUID(int=number + 1) for number in range(VARIANTS))
ORG = UUID(int=77)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_CONTEXTS: Floats = np.concatenate(
    [np.ones((len(CELLS), 1)), *(np.eye(size)[VALUES[:, at]] for at, size in enumerate(ATTRS.values()))], axis=1
)


class Chooser(Protocol):
    """What the benchmark asks of a policy."""

    def choose(self, cells: Ints) -> tuple[Ints, Floats]:
        """The variant of each person, and the probability it was chosen with."""

    def learn(self, cells: Ints, chosen: Ints, chances: Floats, clicked: Ints) -> None:
        """The whole feedback of one round. May come twice."""

    def refit(self, at: int, sent: list[tuple[Ints, Ints, Floats]], half_day: bool) -> None:
        """After round `at`: all rounds whose files have come, (cells, chosen, days until the click). No duplicates:
        those are taken out before the facts."""


class Uniform:
    """Nothing is learned."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)

    def choose(self, cells: Ints) -> tuple[Ints, Floats]:
        return self._chance.integers(0, VARIANTS, len(cells)), np.full(len(cells), 1 / VARIANTS)

    def learn(self, cells: Ints, chosen: Ints, chances: Floats, clicked: Ints) -> None:
        pass

    def refit(self, at: int, sent: list[tuple[Ints, Ints, Floats]], half_day: bool) -> None:
        pass


class Ours(Uniform):
    """The fit of services/ranker, drawn from as the generator draws."""

    def __init__(self, seed: int, policy: Policy) -> None:
        super().__init__(seed)
        self._policy, self._edges = policy, edges_of(policy.window_h)
        self._variants = [Variant(copy_id, str(at), "", True) for at, copy_id in enumerate(COPIES)]
        self._before: Before | None = None
        self._shares: Floats = np.full((len(CELLS), VARIANTS), 1 / VARIANTS)

    def choose(self, cells: Ints) -> tuple[Ints, Floats]:
        upto = self._shares[cells].cumsum(axis=1)
        chosen = (self._chance.random(len(cells))[:, None] >= upto).sum(axis=1).clip(max=VARIANTS - 1)
        return chosen, self._shares[cells, chosen]

    def refit(self, at: int, sent: list[tuple[Ints, Ints, Floats]], half_day: bool) -> None:
        task = Task(
            ORG, "t", _START + timedelta(days=at), self._policy, self._variants, self._facts(at, sent, half_day),
            self._before,
        )  # fmt: skip
        made = next_snapshot(task)
        self._before = Before(made.snapshot_id, made.model, made.eligible, made.otherwise, made.cells)
        self._shares = np.array([made.cells.get(cell, made.otherwise) for cell in CELLS])

    def _facts(self, at: int, sent: list[tuple[Ints, Ints, Floats]], half_day: bool) -> list[Fact]:
        buckets = len(self._edges) + 1
        counts: dict[tuple[int, int], int] = {}
        for back, (cells, chosen, days) in enumerate(sent):
            age_days = at - back + (0.5 if half_day else 1.0)
            age = bucket_of(age_days * 86_400, self._edges)
            seen = (days <= age_days) & (days * 24 < self._policy.window_h)
            delays = np.where(seen, np.searchsorted(self._edges, days * 86_400, side="right") - 1, NO_CLICK)
            flat = (cells * VARIANTS + chosen) * buckets + delays + 1
            keys, numbers = np.unique(flat, return_counts=True)
            for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
                counts[key, age] = counts.get((key, age), 0) + number
        return [
            Fact(COPIES[key // buckets % VARIANTS], CELLS[key // buckets // VARIANTS], age, key % buckets - 1, number)
            for (key, age), number in counts.items()
        ]


class Vowpal(Uniform):
    """Contextual bandit with action-dependent features; attrs and variant meet by `--interactions`."""

    def __init__(self, seed: int, options: str, quadratic: bool = True) -> None:
        super().__init__(seed)
        crossed = "--interactions ax --interactions ay --interactions az" if quadratic else ""
        self._model = vowpalwabbit.Workspace(f"--cb_explore_adf {options} {crossed} --random_seed {seed} --quiet")
        self._shared = [f"shared |x p{p} |y l{plan} |z c{country}" for p, plan, country in VALUES.tolist()]
        self._actions = [f"|a v{number}" for number in range(VARIANTS)]

    def choose(self, cells: Ints) -> tuple[Ints, Floats]:
        chosen, chances = np.empty(len(cells), dtype=np.int64), np.empty(len(cells))
        luck = self._chance.random(len(cells))
        known: dict[int, tuple[Floats, Floats]] = {}  # between two updates a cell's distribution does not change
        for at, cell in enumerate(cells.tolist()):
            if cell not in known:
                shares = np.array(self._model.predict([self._shared[cell], *self._actions]))
                known[cell] = shares, (shares / shares.sum()).cumsum()
            shares, upto = known[cell]
            chosen[at] = min(int(np.searchsorted(upto, luck[at], side="right")), VARIANTS - 1)
            chances[at] = shares[chosen[at]]
        return chosen, chances

    def learn(self, cells: Ints, chosen: Ints, chances: Floats, clicked: Ints) -> None:
        for cell, variant, chance, click in zip(
            cells.tolist(), chosen.tolist(), chances.tolist(), clicked.tolist(), strict=True
        ):
            actions = [*self._actions]
            actions[variant] = f"0:{-click}:{chance:.6f} {actions[variant]}"
            self._model.learn([self._shared[cell], *actions])


class MabWiser(Uniform):
    """A MABWiser policy, fed round by round with `partial_fit`."""

    def __init__(self, seed: int, policy: object, contextual: bool) -> None:
        super().__init__(seed)
        self._mab = MAB([*range(VARIANTS)], policy, seed=seed)
        self._contextual, self._started = contextual, False

    def choose(self, cells: Ints) -> tuple[Ints, Floats]:
        if not self._started:
            return super().choose(cells)
        chosen = self._mab.predict(_CONTEXTS[cells]) if self._contextual else [self._mab.predict() for _ in cells]
        return np.array(chosen, dtype=np.int64), np.ones(len(cells))

    def learn(self, cells: Ints, chosen: Ints, chances: Floats, clicked: Ints) -> None:
        feed = self._mab.partial_fit if self._started else self._mab.fit
        feed(chosen, clicked, *([_CONTEXTS[cells]] if self._contextual else []))
        self._started = True


OURS = Policy()
_COSTS = "--cb_min_cost -1 --cb_max_cost 0"
RIVALS: Mapping[str, Callable[[int], Chooser]] = {
    "VW squarecb": lambda seed: Vowpal(
        seed, f"--squarecb --gamma_scale 3000 --gamma_exponent 0.5 -l 0.03 --power_t 0 {_COSTS}"
    ),
    "VW regcb": lambda seed: Vowpal(seed, f"--regcb --mellowness 0.00001 -l 0.03 --power_t 0 {_COSTS}"),
    "VW bag": lambda seed: Vowpal(seed, "--bag 10 --greedify -l 0.1"),
    "MABWiser LinTS": lambda seed: MabWiser(seed, LearningPolicy.LinTS(alpha=0.05, l2_lambda=150), contextual=True),
    "MABWiser LinUCB": lambda seed: MabWiser(seed, LearningPolicy.LinUCB(alpha=0.1, l2_lambda=150), contextual=True),
    "MABWiser UCB1": lambda seed: MabWiser(seed, LearningPolicy.UCB1(alpha=0.05), contextual=False),
    "MABWiser TS": lambda seed: MabWiser(seed, LearningPolicy.ThompsonSampling(), contextual=False),
}
"""Each with the one setting that won the most over all columns on the tuning seeds (`bench.ranking_tuning`)."""
