"""docs/performance.md and its picture, from `bench/measured.json`: what each benchmark measured last.

python -m bench.page           write both anew
python -m bench.page NAME …    take these from bench/results first, as a run in a form of its own
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from bench.report import RESULTS, is_met
from bench.words import bounded, figured, in_order, named

MEASURED = Path(__file__).parent / "measured.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "performance.svg"

ABOUT: Final[Mapping[str, str]] = {
    "render": "One rendered email, beside plain python-liquid; hostile templates are stopped.",
    "codec": "What a stored copy takes, beside plain zstd and rendering it again.",
    "inference": "How often the intervals of results are wrong, beside a z-test looked at daily.",
    "gateway": "Webhooks accepted a second, beside bare aiohttp with key and reader, FastStream and Celery.",
    "pipeline": "Webhook to stored generation and pending write, all services; what ranking costs.",
    "writer": "Profile writes at the edge of Klaviyo's quota, beside the official SDK.",
    "ranking": "Clicks won by the ranker, beside VowpalWabbit and MABWiser.",
    "ingest": "Event files from SFTP to rollups, beside psql's bare copy, DuckDB, dlt and OpenSSH's sftp.",
    "egress": "Generations to Parquet in a bucket, beside pyarrow from memory, ADBC and pandas.",
    "console": "Server time of the console's pages, with events behind them.",
}
_HEAD = """# Performance

Made by `make bench` (short forms) and `make bench-full` from what they measured last (`bench/measured.json`);
no figure here is written by hand. Limits and peers run in the same run as ours on the same machine, so ratios say more
than rates. A miss stands as a miss.

![Each asked figure as a share of what is asked; the line is what is asked](pictures/performance.svg)
"""
_NONE = "Not measured yet in any form that is kept here."


def take(results: Path, names: Sequence[str], form: str) -> None:
    """Keep the newest results of these benchmarks, and write the page."""
    kept = _kept()
    for name in names:
        kept[name] = {"form": form, **json.loads((results / f"{name}.json").read_text())}
    MEASURED.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    write()


def write() -> None:
    """Page and picture anew from what is kept."""
    kept = _kept()
    PAGE.write_text(page(kept))
    PICTURE.write_text(picture(kept))


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    return found


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """All benchmarks, measured or not."""
    parts = [_HEAD]
    for name, about in ABOUT.items():
        parts.append(f"\n## {name.capitalize()}\n\n{about} `make bench-{name}`\n")
        parts.append(_section(name, kept[name]) if name in kept else f"\n{_NONE}\n")
    return "".join(parts)


def _section(benchmark: str, one: Mapping[str, Any]) -> str:
    said = " ".join(one["arguments"]) or "no arguments"
    commit = f", commit {one['commit']}" if one["commit"] else ""
    lines = [
        f"\nForm: {one['form']} ({said}). {one['at'][:10]}{commit}, {one['machine']}.\n",
        "\n| | measured | asked | |\n|---|---:|---|---|\n",
    ]
    for name in in_order(benchmark, one["figures"]):
        value, asked = one["figures"][name], one["asked"].get(name)
        verdict = "" if asked is None else "met" if is_met(value, asked) else "**missed**"
        lines.append(
            f"| {named(benchmark, name)} | {figured(value)} | {bounded(asked) if asked else ''} | {verdict} |\n"
        )
    return "".join(lines)


# --- the picture: one bar for each figure that something is asked of

_ROW, _LEFT, _WIDE, _RIGHT, _TOP = 20, 420, 320, 170, 40
_MOST = 4.0  # times what is asked; longer bars are cut


def share(value: float, asked: str) -> float:
    """1.0 is just what is asked, more is better."""
    relation, _, bound_text = asked.partition(" ")
    bound = float(bound_text)
    if relation == ">=":
        return _MOST if bound <= 0 else max(0.0, value / bound)
    return _MOST if value <= 0 else bound / value


def _rows(kept: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float, bool, str]]:
    for name in ABOUT:
        one = kept.get(name, {"figures": {}, "asked": {}})
        for figure in in_order(name, one["figures"]):
            if asked := one["asked"].get(figure):
                value = one["figures"][figure]
                said = f"{figured(value)} ({bounded(asked)})"
                yield f"{name}: {named(name, figure)}", share(value, asked), is_met(value, asked), said


def picture(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """An SVG of bars, the ones that miss in another colour and with a word, for who does not see colours."""
    rows = list(_rows(kept))
    height, width = _TOP + _ROW * len(rows) + 20, _LEFT + _WIDE + _RIGHT
    line = _LEFT + _WIDE / _MOST
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11" fill="#333333"><rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{line:.0f}" y="24" text-anchor="middle">asked</text>',
    ]
    for number, (label, part, met, said) in enumerate(rows):
        y = _TOP + _ROW * number
        long = max(2.0, _WIDE * min(part, _MOST) / _MOST)
        colour = "#2f6b4f" if met else "#b3412e"
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LEFT}" y="{y + 3}" width="{long:.1f}" height="13" fill="{colour}"/>'
            f'<text x="{_LEFT + long + 6:.1f}" y="{y + 13}">{escape(said)}{"" if met else " missed"}</text>'
        )
    parts.append(
        f'<line x1="{line}" x2="{line}" y1="30" y2="{height - 14}" stroke="#333333" stroke-dasharray="3 3"/></svg>'
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    if sys.argv[1:]:
        take(RESULTS, sys.argv[1:], form="own")
    else:
        write()
