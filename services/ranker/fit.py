"""Facts, policy and the snapshot before → the next snapshot. Pure: the same facts give the same bytes.

Nothing is learned by increments: each fit starts from all facts. So what came twice, late, out of order or corrected
has done no lasting harm as soon as the facts are right, and any snapshot can be made again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

import numpy as np

from services.ranker import shares as bounds
from services.ranker.change import Counts, changed_at
from services.ranker.facts import MOST_VARIANTS, NO_CLICK, Fact, Variant, canonical, edges_of, pack
from services.ranker.features import NO_ATTRS, Ints, design_of
from services.ranker.model import Floats, Rows, fit
from services.ranker.ripeness import curves, decayed, ripeness
from services.ranker.shares import Shares
from shared.schemas.policy import Policy

MOST_CELLS = 5_000
"""Cells that one snapshot lists, those with the most sends; the others draw from `otherwise`."""

_NO_SHARES = ("", "~")  # cells that say nothing of a person: they draw from `otherwise`
_DECAY_FROM = 5_000  # sends; fewer are too precious to forget
_BEFORE_CHANGE = 0.05  # what facts of before a change of tastes weigh


@dataclass(frozen=True, slots=True)
class Before:
    """The snapshot that is served now, as far as the next one follows from it."""

    snapshot_id: UUID
    model: str
    eligible: tuple[UUID, ...]
    otherwise: Shares
    cells: Mapping[str, Shares]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a fit arrived at. `eligible` is sorted, all shares are in its order."""

    snapshot_id: UUID
    model: str
    eligible: tuple[UUID, ...]
    otherwise: Shares
    cells: Mapping[str, Shares]
    facts_hash: str
    packed_facts: bytes
    previous_id: UUID | None
    diagnostics: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Task:
    """All that a snapshot follows from."""

    org_id: UUID
    template_id: str
    fitted_until: datetime
    policy: Policy
    variants: Sequence[Variant]
    facts: Sequence[Fact]
    before: Before | None = None
    known_until: datetime | None = None
    """The moment that the facts are of, where events are not known up to `fitted_until`."""


Learned = tuple[Shares, dict[str, Shares], dict[str, object]]


def next_snapshot(task: Task) -> Snapshot:
    """The snapshot of this task. Raises ValueError when no variant is eligible."""
    variants = known_variants(task.variants, task.facts)
    eligible = tuple(one.copy_id for one in variants if one.eligible)
    if not eligible:
        raise ValueError("no variant is approved")
    facts = canonical(task.facts)
    packed, facts_hash = pack(facts)
    before = task.before if task.before is not None and task.before.eligible == eligible else None
    match task.policy.model:
        case "uniform":
            learned: Learned = _equal(len(eligible)), {}, {}
        case "fixed":
            names = [one.name for one in variants if one.eligible]
            given = bounds.fixed(task.policy.shares, names)
            # Whoever has no share at all is given equal ones: somebody must be shown something.
            learned = given or _equal(len(eligible)), {}, {"no_share_fits": given is None}
        case _:
            learned = _learn(task, variants, facts, before)
    otherwise, cells, diagnostics = learned
    return Snapshot(
        snapshot_id=_id_of(task, facts_hash, before),
        model=task.policy.model,
        eligible=eligible,
        otherwise=otherwise,
        cells=cells,
        facts_hash=facts_hash,
        packed_facts=packed,
        previous_id=before.snapshot_id if before else None,
        diagnostics=diagnostics,
    )


def known_variants(variants: Sequence[Variant], facts: Sequence[Fact]) -> list[Variant]:
    """Those that a fit looks at, by copy id: all eligible ones, and of the others those that were sent most."""
    sends: dict[UUID, int] = defaultdict(int)
    for fact in facts:
        sends[fact.copy_id] += fact.sends
    others = sorted(
        (one for one in variants if not one.eligible and sends[one.copy_id]),
        key=lambda one: (-sends[one.copy_id], one.copy_id),
    )
    eligible = [one for one in variants if one.eligible]
    return sorted([*eligible, *others[: max(0, MOST_VARIANTS - len(eligible))]], key=lambda one: one.copy_id)


def seed_of(org_id: UUID, template_id: str) -> int:
    """One template draws the same numbers in every fit, so shares move only where the facts did."""
    return int.from_bytes(hashlib.blake2b(f"{org_id.hex} {template_id}".encode(), digest_size=8).digest(), "big")


def _equal(variants: int) -> Shares:
    return (1 / variants,) * variants


def _id_of(task: Task, facts_hash: str, before: Before | None) -> UUID:
    variants = sorted((one.copy_id.hex, one.name, one.theme, one.eligible) for one in task.variants)
    said = (
        "policy", task.template_id, task.fitted_until.isoformat(), task.policy.model_dump_json(), facts_hash,
        str(before and before.snapshot_id), str(variants),
    )  # fmt: skip
    return uuid5(task.org_id, " ".join(said))


def _learn(task: Task, variants: Sequence[Variant], facts: Sequence[Fact], before: Before | None) -> Learned:
    policy = task.policy
    sends: dict[UUID, int] = defaultdict(int)
    of_cells: dict[str, float] = defaultdict(float)
    for fact in facts:
        sends[fact.copy_id] += fact.sends
        of_cells[fact.cell] += fact.sends
    by_attrs = policy.model == "logistic"
    design = design_of(of_cells, len(variants)) if by_attrs else NO_ATTRS
    cell_names = sorted(of_cells)
    x = design.rows([*cell_names, ""])
    themes = sorted({one.theme for one in variants if one.theme})
    counts = _counted(task, variants, facts, {name: at for at, name in enumerate(cell_names)})
    # Whoever wants all facts for ever gets them.
    changed = changed_at(counts, cell_names) if policy.half_life_days is not None else None
    rows = _rows(counts, _weights(policy, sum(sends.values()), changed), variants, x, themes)
    posterior = fit(rows, design, len(themes))
    listed = sorted((c for c in of_cells if c not in _NO_SHARES), key=lambda c: (-of_cells[c], c))[:MOST_CELLS]
    listed = sorted(listed) if by_attrs else []
    asked = design.rows(["", *listed])
    eligible = np.array([at for at, one in enumerate(variants) if one.eligible], dtype=np.int64)
    raw = bounds.chance_of_best(posterior, asked, eligible, policy.temper, seed_of(task.org_id, task.template_id))
    young = [sends[variants[at].copy_id] < policy.burn_in for at in eligible]
    new = bounds.bounded(raw, policy.floor, young)
    if before is not None:
        served = np.array([before.otherwise, *(before.cells.get(cell, before.otherwise) for cell in listed)])
        new = bounds.towards(new, served, policy.max_change)
    otherwise, *of_listed = bounds.rounded(new)
    diagnostics: dict[str, object] = {
        "sends": sum(sends.values()),
        "clicks": sum(fact.sends for fact in facts if fact.delay != NO_CLICK),
        "values": len(design.values),
        "young": sum(young),
        "changed_days": edges_of(policy.window_h)[changed] / 86_400 if changed is not None else None,
        "variances": posterior.variances,
    }
    return otherwise, dict(zip(listed, of_listed, strict=True)), diagnostics


def _counted(task: Task, variants: Sequence[Variant], facts: Sequence[Fact], cells: Mapping[str, int]) -> Counts:
    """The facts of these variants as columns; what was not clicked yet counts as much as it is ripe."""
    edges = edges_of(task.policy.window_h)
    ripe_at = curves(facts, edges, task.policy.window_h * 3600.0)
    numbers = {one.copy_id: at for at, one in enumerate(variants)}
    known = [fact for fact in facts if fact.copy_id in numbers]
    clicks = [fact.successes if fact.delay != NO_CLICK else 0.0 for fact in known]
    ripe = [1.0 if fact.delay != NO_CLICK else ripeness(fact.age, ripe_at[fact.copy_id]) for fact in known]
    return Counts(
        variants=np.array([numbers[fact.copy_id] for fact in known], dtype=np.int64),
        cells=np.array([cells.get(fact.cell, 0) for fact in known], dtype=np.int64),
        ages=np.array([fact.age for fact in known], dtype=np.int64),
        n=np.array([fact.sends for fact in known], dtype=np.float64) * np.array(ripe, dtype=np.float64),
        clicks=np.array(clicks, dtype=np.float64),
    )


def _weights(policy: Policy, sends: int, changed: int | None) -> Floats:
    """What a fact of each age weighs: less by age, and hardly anything from before tastes changed."""
    edges = edges_of(policy.window_h)
    half_life = policy.half_life_days if sends >= _DECAY_FROM else None
    weights = np.array([decayed(age, edges, half_life) for age in range(len(edges))])
    if changed is not None:
        weights[changed:] *= _BEFORE_CHANGE
    return weights


def _rows(
    counts: Counts,
    weights: Floats,
    variants: Sequence[Variant],
    x: Ints,
    themes: Sequence[str],
) -> Rows:
    """The counts, weighed by age, a row for each variant and cell."""
    keys, row = np.unique(counts.cells * len(variants) + counts.variants, return_inverse=True)
    return Rows(
        x=x,
        cells=keys // len(variants),
        variants=keys % len(variants),
        n=np.bincount(row, counts.n * weights[counts.ages], len(keys)).astype(np.float64),
        clicks=np.bincount(row, counts.clicks * weights[counts.ages], len(keys)).astype(np.float64),
        themes=[themes.index(one.theme) if one.theme else -1 for one in variants],
    )
