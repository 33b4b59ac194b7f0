"""`make capacity`: what it takes to carry so many generations a day, part by part, and what gives out first.

Arithmetic over measured costs, so that anyone can put other numbers in. A part needs `rate x cost` cores at the
busiest second that lasts; it is given that at 60 %, so that a lost node and a burst find room. The costs are CPU
microseconds that the benchmarks printed on two cores of a shared machine; `bench/results/*.json` of this machine, where
they are, take their place.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parents[1] / "bench" / "results"
A_DAY: Final = (1_000_000, 10_000_000, 100_000_000)
USE: Final = 0.6  # of a core that is planned with
SINGLE_PER_MIN, BULK_SHARE = 750, 0.96  # Klaviyo's limit of an account; of a burst, what goes by import (bench-writer)
REPLICAS_AT_LEAST: Final = 2  # where one may be lost without a gap


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU microseconds, bytes and ratios; the comment names what prints each. None: nothing prints it yet."""

    gateway_us: float = 119.2  # of a webhook: make bench-pipeline
    generator_us: float = 222.1  # of a generation: the same
    profile_writer_us: float = 80.5  # of taking a write in: the same
    postgres_us: float = 129.9  # of a generation and its pending write: the same; sending comes on top
    rabbitmq_us: float = 52.1  # of a webhook's two jobs: the same
    single_write_us: float = 1303.0  # of one write sent alone: make bench-writer, cpu_us_per_write
    bulk_write_us: float = 285.0  # of one by import: the same, cpu_us_per_profile_bulk
    event_us: float | None = 20.6  # of an event, file to rollup: make bench-ingest, cpu_us_per_row
    event_postgres_us: float = 48.6  # what PostgreSQL does for it: the same, postgres_cpu_us_per_row
    row_us: float | None = 38.5  # of an exported row: make bench-egress, cpu_us_per_row
    generation_bytes: float = 1003.0  # in PostgreSQL, indexes included: make bench-pipeline
    row_bytes: float = 51.0  # in Parquet: ADR 0008
    events_a_generation: float = 3.2  # delivered, opened, clicked, …: as the console's benchmark is staged
    measured_rate: float = 2831.0  # generations a second that two cores carried, load included: make bench-pipeline
    load_us: float = 38.3  # what the load itself took of them


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the system. `most_cores`: what one of it may have, before it must be split otherwise."""

    name: str
    us: float | None  # CPU of one generation; None: not measured
    most_cores: float
    scales: str
    gives_out: str


@dataclass(frozen=True, slots=True)
class Need:
    """`cores` are busy ones at the peak; `nodes` are processes (services) or machines (servers)."""

    part: Part
    cores: float | None
    nodes: int

    @property
    def used(self) -> float | None:
        """Of the most that can be had without another design."""
        return None if self.cores is None else self.cores / self.part.most_cores


def parts(costs: Costs, bulk: float) -> list[Part]:
    """`bulk`: the share of writes that leave by import."""
    write_us = (1 - bulk) * costs.single_write_us + bulk * costs.bulk_write_us
    events_us = None if costs.event_us is None else costs.events_a_generation * costs.event_us
    postgres_us = costs.postgres_us + costs.events_a_generation * costs.event_postgres_us
    return [
        Part("gateway", costs.gateway_us, 500, "replicas behind a load balancer", "nothing: it keeps no state"),
        Part("generator", costs.generator_us, 500, "replicas; jobs are sharded by org",
             "one org beyond a shard's consumer: more shards"),
        Part("profile_writer", costs.profile_writer_us + write_us, 200, "replicas; accounts are shared out",
             "Klaviyo's quota of each account, long before"),
        Part("ingest", events_us, 64, "replicas share files; history by Spark",
             "one org's switch: its files wait in turn"),
        Part("egress", costs.row_us, 64, "replicas share hours", "one hour of one org: one process"),
        Part("RabbitMQ", costs.rabbitmq_us, 3 * 16, "three nodes, quorum queues, shards of generate",
             "a queue's leader: more shards; then a cluster per region"),
        Part("PostgreSQL", postgres_us, 64, "a larger primary, then orgs apart",
             "one primary's cores and WAL: orgs split over installations"),
    ]  # fmt: skip


def needs(costs: Costs, rate: float, bulk: float) -> list[Need]:
    """At so many generations a second."""
    found = []
    for part in parts(costs, bulk):
        cores = None if part.us is None else rate * part.us / 1e6
        least = 1 if part.name == "PostgreSQL" else 3 if part.name == "RabbitMQ" else REPLICAS_AT_LEAST
        per_node = 16.0 if part.name == "RabbitMQ" else part.most_cores if part.name == "PostgreSQL" else 1.0
        found.append(Need(part, cores, max(least, math.ceil((cores or 0) / USE / per_node))))
    return found


def first_to_give_out(found: Sequence[Need]) -> Need:
    """Which of the measured parts comes nearest to the most it can have."""
    return max(found, key=lambda need: need.used or 0.0)


def accounts_by_single(rate: float) -> int:
    """How many Klaviyo accounts must share the load where every write goes alone."""
    return math.ceil(rate * 60 / SINGLE_PER_MIN)


def predicted_rate(costs: Costs, cores: float) -> float:
    """Generations a second that so many cores carry, stored and pending, with all servers and the load on them."""
    us = (costs.gateway_us + costs.generator_us + costs.profile_writer_us + costs.postgres_us + costs.rabbitmq_us
          + costs.load_us)  # fmt: skip
    return cores * 1e6 / us


def measured_here(costs: Costs, folder: Path = RESULTS) -> tuple[Costs, list[str]]:
    """The costs with this machine's own figures in place, and which files they came from."""
    wanted: Mapping[str, Mapping[str, str]] = {
        "pipeline": {
            "gateway_us": "gateway_cpu_us", "generator_us": "generator_cpu_us",
            "profile_writer_us": "profile_writer_cpu_us", "postgres_us": "postgres_cpu_us",
            "rabbitmq_us": "rabbitmq_cpu_us", "load_us": "load_cpu_us", "measured_rate": "generations_per_s",
            "generation_bytes": "db_bytes_per_generation",
        },
        "writer": {"single_write_us": "cpu_us_per_write", "bulk_write_us": "cpu_us_per_profile_bulk"},
        "ingest": {"event_us": "cpu_us_per_row", "event_postgres_us": "postgres_cpu_us_per_row"},
        "egress": {"row_us": "cpu_us_per_row"},
    }  # fmt: skip
    used = []
    for name, fields in wanted.items():
        path = folder / f"{name}.json"
        figures = json.loads(path.read_text())["figures"] if path.is_file() else {}
        new = {field: float(figures[figure]) for field, figure in fields.items() if figure in figures}
        if new:
            costs = replace(costs, **new)
            used.append(path.name)
    return costs, used


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--a-day", type=int, nargs="+", default=list(A_DAY), help="generations a day")
    parser.add_argument("--peak", type=float, default=0.15, help="share of a day that comes in its busiest hour")
    parser.add_argument("--bulk", type=float, default=0.5, help="share of writes that leave by import")
    asked = parser.parse_args(arguments)
    console = Console()
    costs, used = measured_here(Costs())
    console.print(f"Costs: {'this machine, ' + ', '.join(used) if used else 'as committed'}.")
    for a_day in asked.a_day:
        rate = a_day * asked.peak / 3600
        _show(console, costs, a_day, rate, asked.bulk)
    console.print("How each scales, and what gives out then:")
    for part in parts(costs, asked.bulk):
        console.print(f"  {part.name:<15} {part.scales}; {part.gives_out}.")
    if costs.measured_rate:
        expected = predicted_rate(costs, 2)
        console.print(
            f"\nCheck: two cores should carry {expected:,.0f} generations a second with the load beside; "
            f"make bench-pipeline measured {costs.measured_rate:,.0f}, {costs.measured_rate / expected:.0%} of it."
        )


def _show(console: Console, costs: Costs, a_day: int, rate: float, bulk: float) -> None:
    found = needs(costs, rate, bulk)
    table = Table(title=f"{a_day:,} generations a day, {rate:,.0f} a second in the busiest hour", title_justify="left")
    for column in ("part", "busy cores", "nodes", "of its most"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for need in found:
        figures = ("not measured", "–") if need.cores is None else (f"{need.cores:.2f}", f"{need.used:.2%}")
        table.add_row(need.part.name, figures[0], str(need.nodes), figures[1])
    console.print(table)
    worst = first_to_give_out(found)
    console.print(
        f"Nearest to its most, of what is measured: {worst.part.name}. PostgreSQL's work for sending and pages is "
        "not, and it is one machine: look at it first. "
        f"PostgreSQL grows by {a_day * costs.generation_bytes / 1e9:,.1f} GB a day, the bucket by "
        f"{a_day * costs.row_bytes / 1e9:,.2f} GB. Written one by one, this needs "
        f"{accounts_by_single(rate):,} Klaviyo accounts; imports carry {BULK_SHARE:.0%} of a burst of one.\n"
    )


if __name__ == "__main__":
    main()
