"""Do the intervals keep what they promise, looked at every day and under a ranker that learns? `make bench-inference`

    fp_rate        tests of two groups alike in which any of 60 daily looks says otherwise (control 10 %, 1,000 sends a
                   day, 3 % click): at most 5 % is promised; fp_rate_z: the z-test of 95 % looked at as often, the peer
    fp_rate_shares the same where control's share falls from 50 % to 2 % or rises back after 30 days while the rate
                   falls from 4 % to 2 %, the worse of both; fp_rate_shares_z: the z-test at the end of all days pooled
    power_15       a lift of 15 % found within these 60 days; power_15_z_end: by the z-test that is looked at once
    coverage_min   of the variants' intervals, the worst variant of the worst scenario: the share of runs in which it
                   holds the truth at every one of 30 daily looks; coverage_naive: the worst of plain 95 % intervals at
                   the end alone
    bias_naive     mean of the plain rates of six variants alike, at the end, against the truth; bias_weighted: ours
    guard_fp       runs in which a variant no worse than tolerated is ever called out, of 60 daily looks; guard_power:
                   in which one with three times the unsubscribes is
    obd_held       of `obd_told` estimates on the Open Bandit logs, those whose interval holds what was really earned

The ranker is Thompson's with a beta posterior per variant (and per segment where there are two), refitted daily on all
sends, shares floored as the product's are. Seeds are fixed. With --quick a tenth of the runs.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.open_bandit import report_open_bandit
from bench.report import Report
from shared.inference.guardrail import Stratum, guard
from shared.inference.lift import Lift, measure
from shared.inference.power import plan
from shared.inference.sequence import NotEnough
from shared.inference.strata import Day, Strata
from shared.inference.variants import Sums, estimate
from shared.schemas.policy import Policy

Array = npt.NDArray[Any]
_PER_DAY, _CONTROL, _BASE, _LOOKS = 1_000, 0.1, 0.03, 60
_TESTS, _POWER_TESTS, _RUNS, _GUARDS = 3_000, 1_000, 300, 1_000
_DAYS, _FLOOR, _POSTERIOR_DRAWS = 30, Policy().floor, 400
_Z = NormalDist().inv_cdf(0.975)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, show, write `bench/results/inference.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    part = 10 if parser.parse_args(arguments).quick else 1
    report = Report("inference")
    figures = {**_lift_figures(report, part), **_variant_figures(report, part), **_guard_figures(report, part)}
    _power_table(report)
    figures |= report_open_bandit(report)
    report.finish(
        figures,
        {
            "fp_rate": "<= 0.05", "fp_rate_shares": "<= 0.05", "coverage_min": ">= 0.95", "guard_fp": "<= 0.01",
        },
    )  # fmt: skip


# --- treatment against control ---------------------------------------------------------------------------------------


@dataclass
class _Looks:
    """In how many tests something was found: by us at any look, by z at any look, by z at the end."""

    tests: int
    ours: float
    z_any: float
    z_end: float
    half_width: float


@dataclass(frozen=True)
class _Course:
    """Control's share and the rate without any lift, of each day."""

    name: str
    shares: Sequence[float]
    rates: Sequence[float]


_STEADY = _Course("none", [_CONTROL] * _LOOKS, [_BASE] * _LOOKS)
_HALF = _LOOKS // 2
_SEASON = [0.04] * _HALF + [0.02] * _HALF
_SHIPPED = _Course("none; control 50 % to 2 %, season 4 % to 2 %", [0.5] * _HALF + [0.02] * _HALF, _SEASON)
_RISING = _Course("none; control 2 % to 50 %, season 4 % to 2 %", [0.02] * _HALF + [0.5] * _HALF, _SEASON)


def _looks(course: _Course, lift: float, tests: int, seed: int) -> _Looks:
    rng = np.random.default_rng(seed)
    ours = z_any = z_end = 0
    widths: list[float] = []
    for number in range(tests):
        _progress(f"{course.name}, lift {lift:+.0%}", number, tests)
        controls = rng.binomial(_PER_DAY, course.shares)
        clicks = rng.binomial(controls, course.rates)
        treated = _PER_DAY - controls
        treated_clicks = rng.binomial(treated, np.array(course.rates) * (1 + lift))
        days = list(
            zip(treated.tolist(), treated_clicks.tolist(), controls.tolist(), clicks.tolist(), strict=True)
        )  # fmt: skip
        results = _measured_daily(days)
        ours += any(isinstance(result, Lift) and result.decided for result in results)
        last = results[-1]
        if isinstance(last, Lift):
            widths.append(last.difference - last.difference_within.low)
        significant = [_z_test(*counts) for counts in np.cumsum(days, axis=0).tolist()]
        z_any, z_end = z_any + any(significant), z_end + significant[-1]
    return _Looks(tests, ours / tests, z_any / tests, z_end / tests, float(np.mean(widths)))


def _measured_daily(days: Sequence[tuple[int, int, int, int]]) -> list[Lift | NotEnough]:
    strata = Strata()
    found: list[Lift | NotEnough] = []
    for number, (treated, treated_clicks, controls, clicks) in enumerate(days, 1):
        day = date.fromordinal(number)
        strata.add([Day.of_events(day, False, treated, treated_clicks), Day.of_events(day, True, controls, clicks)])
        found.append(measure(strata))
    return found


def _z_test(n1: int, k1: int, n0: int, k0: int) -> bool:
    pooled = (k1 + k0) / (n1 + n0)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    return error > 0 and abs(k1 / n1 - k0 / n0) > _Z * error


def _lift_figures(report: Report, part: int) -> dict[str, float]:
    alike = _looks(_STEADY, 0.0, _TESTS // part, 1)
    rows = [("none", alike)]
    rows += [(f"{lift:+.0%}", _looks(_STEADY, lift, _POWER_TESTS // part, 2)) for lift in (0.15, 0.3)]
    moved = [(one.name, _looks(one, 0.0, _TESTS // part, 5)) for one in (_SHIPPED, _RISING)]
    report.table(
        f"Found within {_LOOKS} daily looks: {_PER_DAY:,} sends a day, control {_CONTROL:.0%}, base {_BASE:.0%}",
        ("true lift", "tests", "ours, any look", "z, any look", "z, end only", "± at the end, points"),
        [
            (name, f"{one.tests:,}", *(f"{share:.1%}" for share in (one.ours, one.z_any, one.z_end)),
             f"{one.half_width * 100:.2f}")
            for name, one in (*rows, *moved)
        ],
    )  # fmt: skip
    return {
        "fp_rate": alike.ours, "fp_rate_z": alike.z_any,
        "fp_rate_shares": max(one.ours for _, one in moved), "fp_rate_shares_z": max(one.z_end for _, one in moved),
        "power_15": rows[1][1].ours, "power_15_z_end": rows[1][1].z_end,
    }  # fmt: skip


def _power_table(report: Report) -> None:
    rows = []
    for base in (0.01, 0.03):
        for lift in (0.1, 0.15, 0.3):
            for control in (0.1, 0.5):
                found = plan(base, lift, control, _PER_DAY)
                assert found is not None
                rows.append(
                    (f"{base:.0%}", f"{lift:+.0%}", f"{control:.0%}", f"{found.sends:,}", f"{found.days:,}",
                     f"{found.sends_one_look:,}")
                )  # fmt: skip
    report.table(
        f"Sends for a power of 80 % (justai power), {_PER_DAY:,} sends a day",
        ("base rate", "lift", "control", "sends, any look", "days", "sends, one look"),
        rows,
    )


# --- variants under a ranker -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scenario:
    """`rates[segment][variant]`; `drift` multiplies all of them on a day."""

    name: str
    rates: Sequence[Sequence[float]]
    drift: Callable[[int], float] = lambda day: 1.0


_SCENARIOS = (
    _Scenario("six alike", [[0.03] * 6]),
    _Scenario("six unlike", [[0.02, 0.025, 0.03, 0.03, 0.035, 0.05]]),
    _Scenario("two segments, opposite tastes", [[0.05, 0.03, 0.01], [0.01, 0.03, 0.05]]),
    _Scenario("six unlike, all falling to a half", [[0.02, 0.025, 0.03, 0.03, 0.035, 0.05]], lambda d: 1 - d / 60),
)


@dataclass
class _Coverage:
    always: list[float]
    naive_at_end: list[float]
    bias_naive: float
    bias_weighted: float
    width: float


def _cover(scenario: _Scenario, runs: int, seed: int) -> _Coverage:
    rng = np.random.default_rng(seed)
    rates = np.array(scenario.rates)
    segments, variants = rates.shape
    sends, clicks = np.zeros((runs, segments, variants)), np.zeros((runs, segments, variants))
    sums = [[Sums() for _ in range(variants)] for _ in range(runs)]
    held = np.ones((runs, variants), dtype=bool)
    truth = np.zeros(variants)
    for day in range(_DAYS):
        _progress(scenario.name, day, _DAYS)
        today = rates * scenario.drift(day)
        truth += (today.mean(axis=0) - truth) / (day + 1)
        shares = _shares(rng, sends, clicks)
        drawn = rng.multinomial(_PER_DAY // segments, shares)
        clicked = rng.binomial(drawn, today)
        sends, clicks = sends + drawn, clicks + clicked
        for run in range(runs):
            for variant in range(variants):
                one = sums[run][variant]
                for segment in range(segments):
                    p = float(shares[run, segment, variant])
                    one.expose(p, _PER_DAY // segments)
                    one.draw(p, int(drawn[run, segment, variant]), int(clicked[run, segment, variant]))
                found = estimate(one)
                held[run, variant] &= found is None or found.within.holds(float(truth[variant]))
    n, k = sends.sum(axis=1), clicks.sum(axis=1)
    naive, weighted = k / np.maximum(n, 1), np.array([[one.rate for one in run] for run in sums])
    close = np.abs(naive - truth) <= _Z * np.sqrt(naive * (1 - naive) / np.maximum(n, 1))
    ends = [found.within for run in sums for one in run if (found := estimate(one)) is not None]
    return _Coverage(
        held.mean(axis=0).tolist(),
        close.mean(axis=0).tolist(),
        float((naive / truth - 1).mean()),
        float((weighted / truth - 1).mean()),
        float(np.mean([(one.high or 1.0) - one.low for one in ends])) / 2,
    )


def _shares(rng: np.random.Generator, sends: Array, clicks: Array) -> Array:
    """Probability that each variant has the highest rate, floored; shape of `sends`."""
    variants = sends.shape[-1]
    posterior = rng.beta(
        (1 + clicks)[..., None, :], (30 + sends - clicks)[..., None, :], (*sends.shape[:-1], _POSTERIOR_DRAWS, variants)
    )
    best = np.eye(variants)[posterior.argmax(axis=-1)].mean(axis=-2)
    floored = _FLOOR + (1 - variants * _FLOOR) * best
    return np.asarray(floored / floored.sum(axis=-1, keepdims=True))


def _variant_figures(report: Report, part: int) -> dict[str, float]:
    found = [(one, _cover(one, _RUNS // part, 3)) for one in _SCENARIOS]
    report.table(
        f"Intervals of variants under Thompson sampling: {_DAYS} days of {_PER_DAY:,} sends, {_RUNS // part} runs",
        ("scenario", "ours, all looks", "naive, at the end", "bias ours", "bias naive", "± at the end, points"),
        [
            (scenario.name, f"{min(one.always):.1%}", f"{min(one.naive_at_end):.1%}", f"{one.bias_weighted:+.1%}",
             f"{one.bias_naive:+.1%}", f"{one.width * 100:.2f}")
            for scenario, one in found
        ],
    )  # fmt: skip
    alike = found[0][1]
    return {
        "coverage_min": min(min(one.always) for _, one in found),
        "coverage_naive": min(min(one.naive_at_end) for _, one in found),
        "bias_naive": alike.bias_naive,
        "bias_weighted": alike.bias_weighted,
    }


# --- the guardrail ---------------------------------------------------------------------------------------------------


def _guard_figures(report: Report, part: int) -> dict[str, float]:
    """A variant with 15 % of 1,000 sends a day against control with 10 %; 0.2 % unsubscribe."""
    rows, figures = [], {}
    for name, ratio in (("guard_fp", 1.2), ("guard_power", 3.0)):
        rng = np.random.default_rng(4)
        called, days = 0, []
        for _ in range(_GUARDS // part):
            strata: list[Stratum] = []
            events = rng.binomial(150, 0.002 * ratio, _LOOKS).tolist()
            others = rng.binomial(100, 0.002, _LOOKS).tolist()
            for day in range(_LOOKS):
                strata.append(Stratum(150, events[day], 100, others[day]))
                if guard(strata, "control").verdict == "pause":
                    called += 1
                    days.append(day + 1)
                    break
        figures[name] = called / (_GUARDS // part)
        rows.append((f"{ratio:g}", f"{figures[name]:.1%}", f"{np.median(days):.0f}" if days else ""))
    report.table("Guardrail, 60 daily looks", ("unsubscribes, times control's", "called out", "day, median"), rows)
    return figures


def _progress(what: str, done: int, of: int) -> None:
    if done % max(1, of // 10) == 0:
        print(f"  {time.strftime('%H:%M:%S')}  {what}: {done:,} of {of:,}", flush=True)


if __name__ == "__main__":
    main()
