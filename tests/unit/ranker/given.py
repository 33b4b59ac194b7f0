"""Facts of made-up templates: people of two plans, variants with effects that are known."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from services.ranker.facts import NO_CLICK, Fact, Variant
from services.ranker.fit import Before, Snapshot, Task
from shared.schemas.policy import Policy

ORG = UUID("0b5e7d5c-0000-4000-8000-000000000001")
UNTIL = datetime(2026, 11, 23, 10, tzinfo=UTC)
COPIES = tuple(UUID(int=number) for number in range(1, 4))
VARIANTS = tuple(Variant(copy_id, f"v{at}", "", True) for at, copy_id in enumerate(COPIES))
RIPE = 24  # an age beyond the window of 72 h
FREE, PRO = "plan=free", "plan=pro"


def drawn(
    rate: Callable[[int, str], float], *, people: int = 12_000, cells: Sequence[str] = (FREE, PRO), seed: int = 1
) -> list[Fact]:
    """Ripe sends, variants and cells in turn, each clicked with its rate."""
    chance = Random(seed)
    counts: Counter[tuple[int, str, int]] = Counter()
    for number in range(people):
        variant, cell = number % len(COPIES), cells[number // len(COPIES) % len(cells)]
        counts[variant, cell, 2 if chance.random() < rate(variant, cell) else NO_CLICK] += 1
    return [Fact(COPIES[variant], cell, RIPE, delay, sends) for (variant, cell, delay), sends in counts.items()]


def task(
    facts: Sequence[Fact], *, before: Before | None = None, variants: Sequence[Variant] = VARIANTS, **policy: object
) -> Task:
    """A task of these facts; what is not said of the policy has its default."""
    return Task(ORG, "welcome", UNTIL, Policy.model_validate(policy), variants, facts, before)


def as_before(made: Snapshot) -> Before:
    return Before(made.snapshot_id, made.model, made.eligible, made.otherwise, made.cells)
