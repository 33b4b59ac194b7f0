"""Clicks won by the ranker beside VowpalWabbit and MABWiser, on the same people. `make bench-ranking`

A column is a kind of work (`bench/ranking_work.py`): 40 days of 1,000 people with three attrs (6 × 4 × 8 values, the
last never matters), 6 variants, 3–5 % clicks, feedback in files two days later.

    attrs matter            taste depends on persona and plan, additively in the logit
    attrs do not            one variant is best for everybody
    switch half-way         as the first, and all tastes change on day 20
    not additive: trees     taste is a random tree of depth 3 over persona and plan, another for each variant
    slow and fast variants  as the first; clicks come after half an hour or after a day, files come at once. Rivals
                            get a day's feedback when its window of three days is over
    files come again        as the first; on 3 of 10 days four old files are delivered once more. Ours is fitted from
                            facts without duplicates, as ingest makes them; rivals learn what they are given

`gain` is the share of the clicks between uniform choice and the best variant for each person that was won, in percent,
learning included. Differences to the best rival of the column (by its mean, which favours it) are paired by seed; ours
is `not_worse` unless it is more than 2 standard errors below, and `wins` when it is more than 2 above.

Tuning: test seeds are 0–19, nothing was chosen on them. Everybody has one setting for all columns: ours the defaults of
the product, each rival the best that `bench/ranking_tuning.py` found for it on seeds from 100 on (docs/ranking.md).

`decision_us`: `services/generator/select.choose` for one request with 50 variants in a snapshot of 5,000 cells.
`fit_s` (of one core), `fit_mb`: one fit of 20 variants with 200 values of attrs from 100,000 sends, in a process of
its own.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from bench.ranking_work import COLUMNS, LAG, WINDOW_ROUNDS, Floats, Ints, Kind, Work, work_of
from bench.report import Report
from services.generator import select
from services.ranker.facts import NO_CLICK, Fact, Variant
from services.ranker.fit import Task, next_snapshot
from shared.schemas.jobs import Attrs
from shared.schemas.policy import Policy

if TYPE_CHECKING:
    from bench.ranking_policies import Chooser

_PROCESSES = 2
_PEOPLE = 1_000
_OURS = "ours"
_DECISIONS = 20_000
_ASKED = {
    "not_worse": f">= {len(COLUMNS)}", "wins": f">= {len(COLUMNS) / 2:g}", "decision_us_p50": "<= 15",
    "decision_us_p99": "<= 40", "fit_s": "< 10", "fit_mb": "< 500",
}  # fmt: skip

Gains = dict[str, float]
"""By policy, percent, of one column and seed."""


def play_all(kind: Kind, seed: int, rounds: int) -> Gains:
    """All policies on one column's work of one seed."""
    from bench.ranking_policies import (
        OURS,
        RIVALS,
        Chooser,
        Ours,
        Uniform,
    )  # loads the rivals, here and not in the parent

    work = work_of(kind, seed, rounds, _PEOPLE)
    makers: dict[str, Callable[[int], Chooser]] = {_OURS: lambda seed: Ours(seed, OURS), "uniform": Uniform, **RIVALS}
    return {name: play(work, make(seed), seed) for name, make in makers.items()}


def play(work: Work, policy: "Chooser", seed: int) -> float:
    """One policy's gain on this work, percent."""
    again = np.random.default_rng([seed, 9])
    lag = WINDOW_ROUNDS if work.slow else LAG
    sent: list[tuple[Ints, Ints, Floats]] = []
    files: list[tuple[Ints, Ints, Floats, Ints]] = []
    got = best = even = 0.0
    for at, cells in enumerate(work.cells):
        chosen, chances = policy.choose(cells)
        truth = work.chance[at][cells]
        got += float(truth[np.arange(len(cells)), chosen].sum())
        best += float(truth.max(axis=1).sum())
        even += float(truth.mean(axis=1).sum())
        days = work.clicks_after(at, chosen)
        sent.append((cells, chosen, days))
        files.append((cells, chosen, chances, np.isfinite(days).astype(np.int64)))
        if at >= lag:
            policy.learn(*files[at - lag])
            if work.kind == "duplicates" and again.random() < 0.3:
                for old in again.integers(0, at - lag + 1, 4).tolist():
                    policy.learn(*files[old])
        known = sent if work.slow else sent[: max(0, at - LAG + 1)]
        if known:
            policy.refit(at, known, work.slow)
    return (got - even) / (best - even) * 100


def decision_us(variants: int = 50, cells: int = 5_000) -> tuple[float, float]:
    """Microseconds of one choice, median and 99th percentile."""
    chance = np.random.default_rng(1)
    shares = [tuple(row) for row in chance.dirichlet(np.ones(variants), cells).tolist()]
    copies = tuple(UUID(int=number + 1) for number in range(variants))
    names = [f"country=c{number % 50}&plan=p{number // 50}" for number in range(cells)]
    snapshot = select.Snapshot(UUID(int=9), "logistic", copies, shares[0], dict(zip(names, shares, strict=True)), True)
    attrs: list[Attrs] = [{"country": f"C{number % 50}", "plan": f"P{number // 50}"} for number in range(cells)]
    ids = [UUID(bytes=chance.bytes(16)) for _ in range(_DECISIONS)]
    took = []
    for number, generation_id in enumerate(ids):
        given = attrs[number * 7 % cells]
        began = time.perf_counter_ns()
        select.choose(snapshot, select.cell_of(given), generation_id)
        took.append((time.perf_counter_ns() - began) / 1e3)
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def large_fit() -> tuple[float, float]:
    """Processor seconds, and the most memory that the process has held, MB."""
    chance = np.random.default_rng(2)
    variants, attrs, values, people = 20, 4, 50, 100_000
    effects = chance.normal(0, 0.2, (variants, attrs, values))
    given, shown = chance.integers(0, values, (people, attrs)), chance.integers(0, variants, people)
    logits = -3.2 + effects[shown[:, None], np.arange(attrs), given].sum(axis=1)
    clicked = chance.random(people) < 1 / (1 + np.exp(-logits))
    copies = [UUID(int=number + 1) for number in range(variants)]
    facts = [
        Fact(copies[v], "&".join(f"a{at}=v{value:02}" for at, value in enumerate(row)), 24, 2 if c else NO_CLICK, 1)
        for v, row, c in zip(shown.tolist(), given.tolist(), clicked.tolist(), strict=True)
    ]
    known = [Variant(copy_id, copy_id.hex, f"theme {copy_id.int % 3}", True) for copy_id in copies]
    began = time.process_time()
    next_snapshot(Task(UUID(int=7), "large", datetime(2026, 11, 23, tzinfo=UTC), Policy(), known, facts))
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/ranking.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=20, help="Test seeds, from 0 on; 20 take some 40 minutes of one core."
    )
    parser.add_argument("--rounds", type=int, default=40, help="Days; fewer are quicker and say less.")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.rounds < 8:
        parser.error("2 seeds and 8 rounds are the least that can be compared")
    report = Report("ranking")
    p50, p99 = decision_us()
    context = get_context("spawn")  # what a process holds is its own, and VW's threads are not forked
    with ProcessPoolExecutor(1, mp_context=context) as alone:
        fit_s, fit_mb = alone.submit(large_fit).result()
    print(f"decision {p50:.1f} / {p99:.1f} µs, large fit {fit_s:.1f} s, {fit_mb:.0f} MB", flush=True)
    gains = _all_gains(options.seeds, options.rounds, context)
    not_worse, wins = _show(report, gains)
    figures = {
        "columns": len(COLUMNS), "not_worse": not_worse, "wins": wins, "decision_us_p50": p50, "decision_us_p99": p99,
        "fit_s": fit_s, "fit_mb": fit_mb, "seeds": options.seeds, "rounds": options.rounds,
    }  # fmt: skip
    report.finish(figures, _ASKED)


def _all_gains(seeds: int, rounds: int, context: SpawnContext) -> dict[Kind, list[Gains]]:
    found: dict[Kind, dict[int, Gains]] = {kind: {} for kind in COLUMNS}
    with ProcessPoolExecutor(_PROCESSES, mp_context=context) as pool:
        asked = {pool.submit(play_all, kind, seed, rounds): (kind, seed) for seed in range(seeds) for kind in COLUMNS}
        for done, future in enumerate(as_completed(asked), 1):
            kind, seed = asked[future]
            found[kind][seed] = future.result()
            gains = ", ".join(f"{name} {gain:.1f}" for name, gain in found[kind][seed].items())
            print(f"{done}/{len(asked)} {kind}, seed {seed}: {gains}", flush=True)
    return {kind: [by_seed[seed] for seed in sorted(by_seed)] for kind, by_seed in found.items()}


def _show(report: Report, gains: dict[Kind, list[Gains]]) -> tuple[int, int]:
    """The tables; in how many columns ours is not worse, and in how many it wins."""
    policies = [*next(iter(gains.values()))[0]]
    cells = {(name, kind): _mean([one[name] for one in runs]) for kind, runs in gains.items() for name in policies}
    rows = [(name, *(f"{cells[name, kind][0]:.1f} ±{cells[name, kind][1]:.1f}" for kind in gains)) for name in policies]
    report.table("Gain, % (mean ± standard error)", ("policy", *(COLUMNS[kind] for kind in gains)), rows)
    not_worse = wins = 0
    verdicts = []
    for kind, runs in gains.items():
        rival = max((name for name in policies if name != _OURS), key=lambda name: cells[name, kind][0])
        mean, error = _mean([one[_OURS] - one[rival] for one in runs])
        not_worse += mean >= -2 * error
        wins += mean > 2 * error
        verdict = "wins" if mean > 2 * error else "not worse" if mean >= -2 * error else "WORSE"
        verdicts.append((COLUMNS[kind], rival, f"{mean:+.1f} ±{error:.1f}", verdict))
    report.table("Ours minus the best rival, paired by seed", ("column", "best rival", "difference", ""), verdicts)
    return not_worse, wins


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


if __name__ == "__main__":
    main()
