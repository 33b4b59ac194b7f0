"""Puts the tables of docs/scale.md there: `python -m deploy.scale_page`. They are those of `make capacity` with the
committed costs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.capacity import A_DAY, USE, Costs, accounts_by_single, needs, parts

TARGET: Final = Path(__file__).parents[1] / "docs" / "scale.md"
PEAK, BULK = 0.15, 0.5  # as `make capacity` takes them without arguments
_PLACE: Final = re.compile(r"(<!-- (\w+) -->\n)(?:\|.*\n)*(<!-- end -->)")


def page(text: str) -> str:
    """The text with its tables as they should be."""
    costs = Costs()
    tables = {"carried": _carried(costs), "needs": _needs(costs), "scales": _scales(costs)}
    return _PLACE.sub(lambda found: found[1] + "".join(f"{line}\n" for line in tables[found[2]]) + found[3], text)


def carried(costs: Costs) -> Iterator[tuple[str, str, str]]:
    """What one core does, how often a second, and which benchmark says so."""
    rows = (
        ("gateway: webhooks", costs.gateway_us, "bench-pipeline"),
        ("generator: generations", costs.generator_us, "bench-pipeline"),
        ("profile_writer: writes sent one by one", costs.profile_writer_us + costs.single_write_us, "bench-writer"),
        ("profile_writer: writes by import", costs.profile_writer_us + costs.bulk_write_us, "bench-writer"),
        ("ingest: events", costs.event_us, "bench-ingest"),
        ("egress: rows", costs.row_us, "bench-egress"),
        ("RabbitMQ: webhooks", costs.rabbitmq_us, "bench-pipeline"),
        ("PostgreSQL: generations with their write", costs.postgres_us, "bench-pipeline"),
    )
    for name, us, source in rows:
        yield name, "not measured" if us is None else f"{USE * 1e6 / us:,.0f}", f"`make {source}`"


def _carried(costs: Costs) -> Iterator[str]:
    yield "| part | a second | printed by |"
    yield "|---|---:|---|"
    yield from (f"| {' | '.join(row)} |" for row in carried(costs))


def _scales(costs: Costs) -> Iterator[str]:
    yield "| part | scales by | gives out next |"
    yield "|---|---|---|"
    yield from (f"| {one.name} | {one.scales} | {one.gives_out} |" for one in parts(costs, BULK))


def _needs(costs: Costs) -> Iterator[str]:
    rates = [a_day * PEAK / 3600 for a_day in A_DAY]
    yield "| part | " + " | ".join(f"{a_day // 1_000_000} M a day: cores, nodes" for a_day in A_DAY) + " |"
    yield "|---|" + "---:|" * len(A_DAY)
    for row in zip(*(needs(costs, rate, BULK) for rate in rates), strict=True):
        cells = (f"{'?' if one.cores is None else f'{one.cores:.2f}'}, {one.nodes}" for one in row)
        yield f"| {row[0].part.name} | " + " | ".join(cells) + " |"
    for name, size in (("PostgreSQL", costs.generation_bytes), ("the bucket", costs.row_bytes)):
        yield f"| {name} grows, GB a day | " + " | ".join(f"{a_day * size / 1e9:,.2f}" for a_day in A_DAY) + " |"
    accounts = (f"{accounts_by_single(rate):,}" for rate in rates)
    yield "| Klaviyo accounts, if all is written one by one | " + " | ".join(accounts) + " |"


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text()))
