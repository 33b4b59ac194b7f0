"""Microseconds per rendered email, and how soon a hostile template is stopped. `make bench-render`

    ours         subject, preheader and body: escaped, limited, links checked, one-line headers
    the limit    plain python-liquid on the same three texts: no limits, no checks, values escaped

The body is an HTML email of about 20 KB with ten values; every person has other values. Times are of one core. The
hostile templates are those of tests/corpus/content: each is refused when it is compiled, or stopped while it renders.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from liquid import Environment

from bench.copy import email, people
from bench.report import Report
from shared.rendering.copy import RenderError, compile_copy
from shared.schemas.copy import VariantSource
from shared.schemas.jobs import Fields

_BODY_BYTES = 20_000
_PEOPLE = 1_000
_ROUNDS = 5
_STOPS = 5
_LONG = "a" * 2_000
_TEMPLATES = Path(__file__).parent.parent / "tests" / "corpus" / "content" / "templates"
_ASKED = {"hostile_worst_ms": "< 10", "hostile_rendered": "<= 0"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/render.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    report = Report("render")
    source, fields = email(UUID(int=1), _BODY_BYTES), people(_PEOPLE)
    ours = compile_copy(source).render
    plain = _plain(source)
    times = {"ours": _times_us(ours, fields), "python-liquid": _times_us(plain, fields)}
    rows = [
        (how, *(f"{_percentile(taken, share):.1f}" for share in (0.5, 0.99)), f"{sum(taken) / len(taken):.1f}")
        for how, taken in times.items()
    ]
    report.table(f"One email, {len(source.body.encode()):,} bytes", ("how", "p50 µs", "p99 µs", "mean µs"), rows)
    stops = {path.stem: _stopped(path.read_text()) for path in sorted(_TEMPLATES.glob("*.liquid"))}
    worst = sorted(stops.items(), key=lambda one: -one[1][0])
    report.table("Hostile templates, the slowest", ("template", "ms", "why"), [
        (name, f"{took_s * 1e3:.2f}", why) for name, (took_s, why) in worst[:8]
    ])  # fmt: skip
    half = {how: _percentile(taken, 0.5) for how, taken in times.items()}
    report.finish(
        {
            "body_bytes": len(source.body.encode()),
            "render_us_p50": half["ours"],
            "render_us_p99": _percentile(times["ours"], 0.99),
            "liquid_us_p50": half["python-liquid"],
            "ratio_to_liquid": half["ours"] / half["python-liquid"],
            "hostile_templates": len(stops),
            "hostile_worst_ms": worst[0][1][0] * 1e3,
            "hostile_rendered": sum(why == "rendered" for _, why in stops.values()),
        },
        _ASKED,
    )


def _plain(source: VariantSource) -> Callable[[Fields], object]:
    """The library by itself, as its documentation shows it."""
    body = Environment(autoescape=True).from_string(source.body)
    headers = [Environment().from_string(text) for text in (source.subject, source.preheader)]
    return lambda fields: (*(header.render(**fields) for header in headers), body.render(**fields))


def _times_us(render: Callable[[Fields], object], fields: Sequence[Fields]) -> list[float]:
    """For each person the best of several rounds, since other work only ever makes them longer."""
    best = [float("inf")] * len(fields)
    for _ in range(_ROUNDS):
        for number, one in enumerate(fields):
            began_ns = time.perf_counter_ns()
            render(one)
            best[number] = min(best[number], (time.perf_counter_ns() - began_ns) / 1e3)
    return best


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _stopped(body: str) -> tuple[float, str]:
    """Seconds of processor time until this template was refused, or once compiled was stopped, and why."""
    best, why = float("inf"), "rendered"
    for _ in range(_STOPS):
        began = time.process_time()
        try:
            copy = compile_copy(VariantSource(UUID(int=2), 1, "Hello", "", body))
            began = time.process_time()
            copy.render({"long": _LONG})
        except RenderError as error:
            why = error.reason
        best = min(best, time.process_time() - began)
    return best, why


if __name__ == "__main__":
    main()
