"""All benchmarks, one after the other; what one of them does never keeps the next from running.

    make bench         each in its short form, together below 20 minutes: what is left by then is left out, and told
    make bench-full    each in the form whose figures its own page tells, some hours

Ends with docs/performance.md, in which a benchmark that did not end keeps the figures that it had. A missed figure is
told and is no error; a benchmark that did not end is one.
"""

import argparse
import signal
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
_ALL_SHORT_S = 20 * 60.0
_CLEAN_UP_S = 20.0  # servers are stopped, folders of gigabytes removed


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
    began, ends = time.monotonic(), dict[str, tuple[str, float]]()
    for one in wanted:
        ends[one.name] = _run(one, allowed_s(one, time.monotonic() - began, full=chosen.full), full=chosen.full)
    page.take(
        RESULTS, [name for name, (end, _) in ends.items() if end == "done"], form="full" if chosen.full else "short"
    )
    _tell(ends)
    if any(end != "done" for end, _ in ends.values()):
        sys.exit(1)


def allowed_s(one: Benchmark, spent_s: float, *, full: bool) -> float:
    """How long it may take when the others have taken so long; 0: there is no time left for it."""
    return _FULL_S if full else max(0.0, min(one.short_s, _ALL_SHORT_S - spent_s))


def _run(one: Benchmark, limit_s: float, *, full: bool) -> tuple[str, float]:
    if not limit_s:
        return f"left out: `make bench ARGS={one.name}`", 0.0
    command = [
        str(ROOT / one.environment / "bin" / "python"),
        "-m",
        f"bench.{one.name}",
        *(one.full if full else one.short),
    ]
    print(f"\n=== {' '.join(command[1:])}", flush=True)
    return ended_within(command, limit_s)


def ended_within(command: Sequence[str], limit_s: float) -> tuple[str, float]:
    """How it ended, and the seconds that it took."""
    began = time.monotonic()
    with started(command) as running:
        try:
            code = running.wait(limit_s)
        except subprocess.TimeoutExpired:
            interrupt(running)
            return "too slow", time.monotonic() - began
    return "done" if code == 0 else f"failed ({code})", time.monotonic() - began


def started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """It can be interrupted, also where a shell started us in the background, and had us ignore that: what is ignored
    is inherited, what is handled is not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, cwd=ROOT)


def interrupt(running: "subprocess.Popen[bytes]") -> None:
    """As by Ctrl-C, so that it takes its servers and folders away; killed if it does not."""
    running.send_signal(signal.SIGINT)
    try:
        running.wait(_CLEAN_UP_S)
    except subprocess.TimeoutExpired:
        running.kill()


def _tell(ends: dict[str, tuple[str, float]]) -> None:
    table = Table(title="All benchmarks", title_justify="left")
    for column in ("benchmark", "end", "s"):
        table.add_column(column)
    for name, (end, took_s) in ends.items():
        table.add_row(name, end, f"{took_s:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
