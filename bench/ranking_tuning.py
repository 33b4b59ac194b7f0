"""The search for the settings that `bench.ranking` compares: rivals' and ours, on the same work, none of it a test's.

    .venv-bench/bin/python -m bench.ranking_tuning            # some hours of one core
    .venv-bench/bin/python -m bench.ranking_tuning --only "VW squarecb"

Every policy is searched in two steps: all its settings on the first tuning seed, then the `--best` of them on `--seeds`
seeds, 100 and on. A setting is judged by its mean gain over all columns, because one setting must serve them all. The
winners are what `RIVALS` in `bench/ranking_policies.py` and the product's defaults say; this program changes nothing.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from statistics import fmean
from typing import Any
from unittest.mock import patch

from bench.ranking_work import COLUMNS, Kind, work_of

_FIRST_SEED, _ROUNDS, _PEOPLE = 100, 40, 1_000
_COSTS = "--cb_min_cost -1 --cb_max_cost 0"

Setting = tuple[str, Mapping[str, Any]]
"""How it is shown, and what makes the policy."""


def _vw(options: str) -> Setting:
    return options, {"vw": options}


def _mab(name: str, **values: float) -> Setting:
    return " ".join(f"{key} {value:g}" for key, value in values.items()) or "as it is", {"mab": name, "values": values}


def _ours(policy: Mapping[str, float | None], priors: Mapping[str, float]) -> Setting:
    said = {**policy, **priors}
    return " ".join(f"{key} {value}" for key, value in said.items()) or "as shipped", {"ours": policy, "priors": priors}


GRID: dict[str, list[Setting]] = {
    "VW squarecb": [
        _vw(f"--squarecb --gamma_scale {scale} --gamma_exponent 0.5 -l {rate} {_COSTS}")
        for scale, rate in product((300, 1_000, 3_000, 10_000), (0.02, 0.1, 0.5))
    ]
    + [
        _vw(f"--squarecb --gamma_scale {scale} --gamma_exponent {exponent} -l 0.1 {_COSTS}")
        for scale, exponent in product((100, 1_000), (0.25, 0.75))
    ]
    + [
        _vw(f"--squarecb --gamma_scale {scale} --gamma_exponent 0.5 -l {rate} --power_t 0 {_COSTS}")
        for scale, rate in product((1_000, 3_000), (0.003, 0.01, 0.03))
    ],
    "VW regcb": [
        _vw(f"--{kind} --mellowness {mellowness} -l {rate} {_COSTS}")
        for kind, mellowness, rate in product(("regcb", "regcbopt"), (1e-5, 1e-4, 1e-3, 1e-2), (0.1, 0.5))
    ]
    + [
        _vw(f"--{kind} --mellowness {mellowness} -l 0.03 --power_t 0 {_COSTS}")
        for kind, mellowness in product(("regcb", "regcbopt"), (1e-5, 1e-4))
    ],
    "VW bag": [_vw(f"--bag {bags} --greedify -l {rate}") for bags, rate in product((5, 10, 20), (0.02, 0.05, 0.1, 0.5))]
    + [_vw(f"--bag 10 --greedify -l {rate} {_COSTS}") for rate in (0.05, 0.1, 0.5)],
    "MABWiser LinTS": [
        _mab("LinTS", alpha=alpha, l2_lambda=pull)
        for alpha, pull in product((0.02, 0.05, 0.1, 0.2), (1, 20, 60, 150, 400))
    ],
    "MABWiser LinUCB": [
        _mab("LinUCB", alpha=alpha, l2_lambda=pull)
        for alpha, pull in product((0.02, 0.05, 0.1, 0.2), (1, 20, 60, 150, 400))
    ],
    "MABWiser LinGreedy": [
        _mab("LinGreedy", epsilon=epsilon, l2_lambda=pull)
        for epsilon, pull in product((0.0, 0.01, 0.03), (20, 60, 150, 400))
    ],
    "MABWiser UCB1": [_mab("UCB1", alpha=alpha) for alpha in (0.02, 0.03, 0.05, 0.07, 0.1, 0.2)],
    "MABWiser TS": [_mab("ThompsonSampling")],
    "ours": [
        _ours({}, {}),
        _ours({"temper": 0.1}, {}),
        _ours({"temper": 0.5}, {}),
        _ours({"max_change": 0.25}, {}),
        _ours({"floor": 0.001}, {}),
        _ours({"half_life_days": None}, {}),
        _ours({}, {"variant": 0.04}),
        _ours({}, {"variant_attr": 0.01}),
        _ours({}, {"variant_attr": 0.03}),
        _ours({}, {"variant_attr": 0.005, "variant_pair": 0.002}),
        _ours({}, {"variant_pair": 0.01}),
        _ours({}, {"belief": 3.0}),
    ],
}


def gain(setting: Mapping[str, Any], kind: Kind, seed: int) -> float:
    """Of one setting on one column's work of one seed, percent."""
    from mabwiser.mab import LearningPolicy

    from bench.ranking import play
    from bench.ranking_policies import Chooser, MabWiser, Ours, Vowpal
    from services.ranker import model
    from shared.schemas.policy import Policy

    policy: Chooser
    if "vw" in setting:
        policy = Vowpal(seed, setting["vw"])
    elif "mab" in setting:
        name = setting["mab"]
        policy = MabWiser(seed, getattr(LearningPolicy, name)(**setting["values"]), contextual=name.startswith("Lin"))
    else:
        policy = Ours(seed, Policy(**setting["ours"]))
    # The product has one set of priors for everybody; only this search looks at others.
    priors = replace(model.PRIORS, **setting.get("priors", {}))
    with patch("services.ranker.fit.fit", partial(model.fit, priors=priors)):
        return play(work_of(kind, seed, _ROUNDS, _PEOPLE), policy, seed)


def search(
    pool: ProcessPoolExecutor, settings: Sequence[Setting], seeds: Sequence[int]
) -> list[tuple[Setting, dict[Kind, float]]]:
    """Mean gains by column of each setting, the best first."""
    asked = [
        [(kind, pool.submit(gain, setting, kind, seed)) for kind in COLUMNS for seed in seeds]
        for _, setting in settings
    ]
    found = []
    for (name, setting), futures in zip(settings, asked, strict=True):
        gains: dict[Kind, list[float]] = {kind: [] for kind in COLUMNS}
        for kind, future in futures:
            gains[kind].append(future.result())
        means = {kind: fmean(values) for kind, values in gains.items()}
        found.append(((name, setting), means))
        print(
            f"{fmean(means.values()):6.1f}  {' '.join(f'{mean:5.1f}' for mean in means.values())}  {name}", flush=True
        )
    return sorted(found, key=lambda one: -fmean(one[1].values()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Search and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="Tuning seeds of the second step, from 100 on.")
    parser.add_argument("--best", type=int, default=4, help="How many settings of a policy come to the second step.")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", action="append", choices=GRID, help="Search only this policy; may be repeated.")
    options = parser.parse_args(arguments)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for name in options.only or GRID:
            print(f"{name}, {len(GRID[name])} settings; mean, then {', '.join(COLUMNS.values())}", flush=True)
            first = search(pool, GRID[name], [_FIRST_SEED])
            best = [setting for setting, _ in first[: options.best]]
            print(f"{name}, the best {len(best)} on {options.seeds} seeds", flush=True)
            search(pool, best, range(_FIRST_SEED, _FIRST_SEED + options.seeds))


if __name__ == "__main__":
    main()
