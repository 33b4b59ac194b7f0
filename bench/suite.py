"""All benchmarks, one after the other; what one of them does never keeps the next from running.

    make bench         each in its short form, together below 20 minutes on 2 cores
    make bench-full    each in the form whose figures its own page tells, some hours

Ends with docs/performance.md. A missed figure is told and is no error; a benchmark that did not end is one.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import page
from bench.report import RESULTS

ROOT = Path(__file__).parents[1]
OURS, BESIDE_RIVALS = ".venv", ".venv-bench"  # environments: the second one has the rivals' packages


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One `bench.NAME`. `short` and `full`: its arguments in either form; `short_s`: how long the short form may take
    before it is ended."""

    name: str
    environment: str
    short: Sequence[str] = ()
    full: Sequence[str] = ()
    short_s: float = 180


BENCHMARKS = (
    Benchmark("render", OURS),
    Benchmark("codec", OURS),
    Benchmark("inference", OURS, short_s=300),  # whole: a tenth of its runs tells a coverage of 95 % to 5 points
    Benchmark("gateway", BESIDE_RIVALS),
    Benchmark("pipeline", OURS, short=["--jobs=30000", "--short-jobs=5000", "--pairs=2"]),
    Benchmark("writer", OURS, short=["--quick"], short_s=480),
    Benchmark("ranking", BESIDE_RIVALS, short=["--seeds=2", "--rounds=8"], short_s=240),
    Benchmark(
        "ingest", BESIDE_RIVALS, short=["--rows=100000", "--rounds=1", "--peer-rows=20000", "--transfer-mb=64"],
        full=["--curve=50", "--beside", "--large=2000"], short_s=240,
    ),
    Benchmark(
        "egress", BESIDE_RIVALS, short=["--rounds=1", "--rows=0", "--hours=0"],
        full=["--rows=2000000"], short_s=240,
    ),
    Benchmark("console", OURS, short=["--events=500000", "--rounds=30"], short_s=300),
)  # fmt: skip
_FULL_S = 2 * 3600.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, tell, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the long forms")
    parser.add_argument(
        "only", nargs="*", metavar="NAME", help="only these: " + ", ".join(one.name for one in BENCHMARKS)
    )
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.only) - {one.name for one in BENCHMARKS}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    wanted = [one for one in BENCHMARKS if not chosen.only or one.name in chosen.only]
    ends = {one.name: _run(one, full=chosen.full) for one in wanted}
    page.take(
        RESULTS, [name for name, (end, _) in ends.items() if end == "done"], form="full" if chosen.full else "short"
    )
    _tell(ends)
    if any(end != "done" for end, _ in ends.values()):
        sys.exit(1)


def _run(one: Benchmark, *, full: bool) -> tuple[str, float]:
    began = time.monotonic()
    command = [
        str(ROOT / one.environment / "bin" / "python"),
        "-m",
        f"bench.{one.name}",
        *(one.full if full else one.short),
    ]
    print(f"\n=== {' '.join(command[1:])}", flush=True)
    try:
        end = subprocess.run(command, cwd=ROOT, timeout=_FULL_S if full else one.short_s, check=False).returncode
    except subprocess.TimeoutExpired:
        return "too slow", time.monotonic() - began
    return "done" if end == 0 else f"failed ({end})", time.monotonic() - began


def _tell(ends: dict[str, tuple[str, float]]) -> None:
    table = Table(title="All benchmarks", title_justify="left")
    for column in ("benchmark", "end", "s"):
        table.add_column(column)
    for name, (end, took_s) in ends.items():
        table.add_row(name, end, f"{took_s:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
