"""Where the time of each service goes: its benchmark runs under a sampling profiler. `make profile`

Each sample of a running thread is counted for the deepest frame that is ours: what a library does is the cost of the
line of ours that asked for it. So a place's share is its own time with that of the libraries below it, and the shares
of a service are all of its time; of what has no frame of ours (the event loop, the HTTP parser, the driver's reader)
the name of the outermost package is told. A process that only waits is not sampled; `(start)` is its imports.

Keeps what was found in bench/profiled.json, writes docs/profiles.md.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.report import RESULTS, commit, machine

ROOT = Path(__file__).parents[1]
PROFILED = Path(__file__).parent / "profiled.json"
PAGE = ROOT / "docs" / "profiles.md"
RATE_PER_S = 200
SHOWN = 8  # places of a service

WORK: Final[Mapping[str, Sequence[str]]] = {
    "pipeline": ("--jobs=40000", "--pairs=0"),
    "writer": ("--acts=saturated", "--quick"),
    "ingest": ("--rows=200000", "--rounds=1", "--peer-rows=0", "--transfer-mb=0"),
    "egress": ("--rounds=1", "--no-peers", "--rows=0", "--hours=0"),
    "console": ("--events=200000", "--rounds=30"),
    "ranking": ("--seeds=2", "--rounds=8"),
}
"""What each benchmark is asked for: enough of ours to sample, none of the peers where they can be left out."""

OF: Final[Mapping[str, tuple[str, str]]] = {
    "gateway": ("pipeline", "Webhooks in bursts, accepted."),
    "generator": ("pipeline", "The same webhooks: chosen, rendered, stored."),
    "profile_writer": ("writer", "Writes at the edge of Klaviyo's quota; the simulator answers."),
    "ingest": ("ingest", "Event files from SFTP to rollups."),
    "egress": ("egress", "Hours of wide rows to a bucket."),
    "console": ("console", "Every page with events behind it."),
    "ranker": ("ranking", "Fits of a ranker that learns."),
}
"""By service: the benchmark that profiles it, and what that does."""

_PROCESS = re.compile(r'^process \d+:".* -m services\.(\w+)')
_FRAME = re.compile(r"^(?P<function>.*) \((?P<path>[^()]*?)(?::\d+)?\)$")
_OURS = ("services/", "shared/")
_TRUNK = ("shared/runtime.py", "/__main__.py")  # below everything, and the place of nothing
_LOOP = {"asyncio", "uvloop", "runpy", "<frozen runpy>", "threading", "concurrent"}
_IMPORTS = "<frozen importlib"


@dataclass(frozen=True, slots=True)
class Place:
    """Where time went: `at` is `file: function` of ours, or `(package)`; `below` the library that took most of it."""

    at: str
    below: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile the asked benchmarks, show, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="NAME", help="only these benchmarks: " + ", ".join(WORK))
    asked = parser.parse_args(arguments).only
    if unknown := set(asked) - WORK.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    for benchmark in asked or list(WORK):
        kept = _kept()
        samples = read(record(benchmark, WORK[benchmark]))
        for service, (source, _) in OF.items():
            if source == benchmark:
                kept[service] = _told(samples[service], benchmark)
                print(_table(kept[service]))
        PROFILED.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        PAGE.write_text(page(kept))


def record(benchmark: str, words: Sequence[str]) -> list[str]:
    """Run it under the profiler: one line a stack, outermost frame first, with how often it was seen. What it measured
    meanwhile is worth nothing and removed.

    Raises RuntimeError when the benchmark fails, of which the profiler says nothing.
    """
    spy, result = Path(sys.executable).with_name("py-spy"), RESULTS / f"{benchmark}.json"
    result.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="justai-profile-") as folder:
        stacks = Path(folder) / "stacks.txt"
        subprocess.run(
            [spy, "record", "--subprocesses", "--function", "--full-filenames", "--format=raw", "--nonblocking",
             f"--rate={RATE_PER_S}", f"--output={stacks}", "--", sys.executable, "-m", f"bench.{benchmark}", *words],
            cwd=ROOT, check=True,
        )  # fmt: skip
        if not result.exists():
            raise RuntimeError(f"bench.{benchmark} did not end well; try it without the profiler")
        result.unlink()
        return stacks.read_text().splitlines()


def read(lines: Iterable[str]) -> Mapping[str, Counter[Place]]:
    """Samples by service and place."""
    found: dict[str, Counter[Place]] = defaultdict(Counter)
    for line in lines:
        stack, _, times = line.rpartition(" ")
        frames = stack.split(";")
        running = [told[1] for name in frames if (told := _PROCESS.match(name))]
        calls = [(match["function"], _short(match["path"])) for name in frames if (match := _FRAME.match(name))]
        place, service = placed(calls)
        if service := (running[-1] if running else service):
            found[service][place] += int(times)
    return found


def placed(calls: Sequence[tuple[str, str]]) -> tuple[Place, str | None]:
    """Where a stack of (function, file) counts, and the service that its deepest frame of ours belongs to."""
    if any(path.startswith(_IMPORTS) for _, path in calls):
        return Place("(start)", ""), None
    ours = [number for number, (_, path) in enumerate(calls) if path.startswith(_OURS) and not path.endswith(_TRUNK)]
    if not ours:
        packages = [_package(path) for _, path in calls if not path.startswith(_OURS)]
        return Place(f"({next((one for one in packages if one not in _LOOP), 'event loop')})", ""), None
    function, path = calls[ours[-1]]
    below = [_package(path) for _, path in calls[ours[-1] + 1 :]]
    service = path.split("/")[1] if path.startswith("services/") else None
    return Place(f"{path}: {function}", below[0] if below else ""), service


def _short(path: str) -> str:
    """Of a file: from the root of the project, or from the folder of packages."""
    for start in (f"{ROOT}/", "site-packages/", f"python3.{sys.version_info.minor}/"):
        if start in path:
            path = path.split(start)[-1]
    return path


def _package(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def _told(samples: Counter[Place], benchmark: str) -> dict[str, Any]:
    """What is kept of a service: seconds of running, and the places that took most."""
    places: Counter[str] = Counter()
    below: dict[str, Counter[str]] = defaultdict(Counter)
    for place, times in samples.items():
        places[place.at] += times
        below[place.at][place.below] += times
    every = places.total() or 1
    return {
        "benchmark": " ".join((benchmark, *WORK[benchmark])),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit(),
        "machine": machine(),
        "seconds": round(places.total() / RATE_PER_S, 1),
        "places": [
            {"at": at, "share": round(times / every, 4), "below": below[at].most_common(1)[0][0]}
            for at, times in places.most_common(SHOWN)
        ],
    }


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PROFILED.read_text()) if PROFILED.exists() else {}
    return found


# --- the page

_HEAD = f"""# Profiles

Made by `make profile`; no figure here is written by hand. Each service's benchmark ran under a sampling profiler
(py-spy, {RATE_PER_S} samples a second). A place's share is its own time with that of the libraries it called;
`(package)` is time without any frame of ours, `(start)` imports. *Mostly in* names the library in Python that took most
of a place's time; nothing where that was the place's own Python, or C. What was taken stands under each table.
"""
TAKEN: Final[Mapping[str, str]] = {
    "gateway": "Taken: the 202 is one prepared write (`services/gateway/accepted.py`), jobs that come together are "
    "published together (`services/gateway/coalescer.py`), a publish makes none of aio-pika's objects "
    "(`shared/messaging/wire.py`). What is left is mostly the event loop and HTTP, which its limit has, too.",
    "generator": "Taken: a template's tags are rendered by a loop of our own (`shared/rendering/language.py`), copy is "
    "packed against its variant's source ([ADR 0004](adr/0004-rendered-copy-is-stored-against-its-source.md)), and "
    "generations are inserted by the batch. Its largest place is that loop, with what python-liquid does in it.",
    "profile_writer": "Taken: a turn is claimed, paid and saved as a whole "
    "([ADR 0005](adr/0005-postgresql-schedules-profile-writes.md)). Klaviyo's quota of an account is the limit long "
    "before this is.",
    "ingest": "Taken: columns in place of rows ([ADR 0022](adr/0022-a-quick-reader-beside-the-careful-one.md)), and "
    "what PostgreSQL does for a row, which is most of its cost and not on this page "
    "([ADR 0027](adr/0027-what-only-adds-is-added.md)).",
    "egress": "Taken: rows come by COPY and become columns without becoming rows "
    "([ADR 0026](adr/0026-hours-are-read-by-copy.md)). The largest place is Parquet's own writing.",
    "console": "Taken: what pages show is counted ahead "
    "([ADR 0021](adr/0021-what-emails-showed-is-counted-by-quarter-hours.md)), so that a page is a few statements "
    "and its template. What PostgreSQL takes is not on this page.",
    "ranker": "Taken: facts are weighed by cell, not by email, and only where an effect is there "
    "([ADR 0012](adr/0012-a-ranker-that-fits-from-facts.md)). What is left is the inverse of each variant's "
    "effects, which their variances need in every round.",
}
"""By service: what was done about its heaviest places, and where that is told."""


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """All services, profiled or not."""
    parts = [_HEAD]
    for service, (benchmark, about) in OF.items():
        parts.append(f"\n## {service}\n\n{about}\n\n")
        one = kept.get(service)
        parts.append(_table(one) if one else f"Not profiled yet: `make profile ARGS={benchmark}`\n")
        parts.append(f"\n{TAKEN[service]}\n")
    return "".join(parts)


def _table(one: Mapping[str, Any]) -> str:
    since = f", commit {one['commit']}" if one["commit"] else ""
    lines = [
        f"`{one['benchmark']}`, {one['at'][:10]}{since}, {one['machine']}: {one['seconds']:,.1f} s of running.\n",
        "\n| place | share | mostly in |\n|---|---:|---|\n",
        *(f"| `{place['at']}` | {place['share']:.1%} | {place['below']} |\n" for place in one["places"]),
    ]
    return "".join(lines)


if __name__ == "__main__":
    main()
