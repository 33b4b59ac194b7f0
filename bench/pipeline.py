"""One burst the whole way: webhooks in, generations stored, profile writes pending. `make bench-pipeline`

gateway, generator and profile_writer run as they ship, one process each, beside a durable PostgreSQL and RabbitMQ and
beside the load itself, all on the same cores. The accounts are paused, so that writes wait and none is sent:
Klaviyo's quota would be the limit otherwise. Clocked from the first acceptance until every webhook is a stored
generation and a pending write, as the database shows it to somebody who looks five times a second.

After it, on the same services, what ranking costs: bench/pipeline_ranking.py.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

import devstack
from bench import pipeline_ranking as ranking
from bench.cpu import SERVERS
from bench.pipeline_stage import (
    BODY_BYTES,
    ORGS,
    SERVICES,
    WEBHOOK_BYTES,
    Measured,
    Org,
    Stage,
    seed,
    webhooks,
)
from bench.report import Report
from devstack.processes import supervise
from devstack.services import environment, services
from shared.api_keys import Peppers
from shared.db.migrate import migrate

JOBS = 100_000
ASKED = {"generations_per_s": ">= 2000", "rss_mb_max": "< 200", "ranking_ratio": ">= 0.9"}
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Size:
    """Webhooks of the burst; of each short burst, and how many pairs of those."""

    jobs: int
    short_jobs: int
    pairs: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/pipeline.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help="webhooks of the long burst; 0: leave it out")
    parser.add_argument("--short-jobs", type=int, default=ranking.JOBS, help="webhooks of each short burst")
    parser.add_argument("--pairs", type=int, default=ranking.PAIRS, help="pairs of short bursts; 0: leave them out")
    asked = parser.parse_args(arguments)
    report = Report("pipeline")
    with (
        tempfile.TemporaryDirectory(prefix="justai-bench-") as folder,
        devstack.start(("postgres", "rabbitmq"), Path(folder), durable=True) as servers,
    ):
        size = Size(asked.jobs, asked.short_jobs, asked.pairs)
        measured, pairs = asyncio.run(_measure(servers.endpoints, Path(folder), size))
    figures = _burst(report, measured) if measured else {}
    report.finish(figures | (_ranking(report, pairs) if pairs else {}), ASKED)


async def _measure(
    servers: devstack.Endpoints, folder: Path, size: Size
) -> tuple[Measured | None, list[ranking.Pair]]:  # fmt: skip
    await migrate(servers.database_url)
    env = environment(database_url=servers.database_url, amqp_url=servers.amqp_url, log_level="WARNING")
    connection = await asyncpg.connect(servers.database_url)
    try:
        peppers = Peppers(env["JUSTAI_API_KEY_PEPPERS"])
        plain = await seed(connection, peppers, "org")
        arms: dict[str, list[Org]] = {}
        for arm in ranking.ARMS:
            arms[arm] = await seed(connection, peppers, arm)
            await ranking.prepare(connection, arm, arms[arm])
        running = services(env, SERVICES)
        port = int(running.gateway_url.rpartition(":")[2])
        async with supervise(running.commands, log_dir=folder / "logs", echo=print, cwd=ROOT) as processes:
            stage = Stage(connection, port, processes.pids)
            measured = await stage.burst(webhooks(plain, range(size.jobs), port)) if size.jobs else None
            pairs = await ranking.measure(stage, arms, size.short_jobs, size.pairs) if size.pairs else []
            return measured, pairs
    finally:
        await connection.close()


def _burst(report: Report, measured: Measured) -> dict[str, float]:
    looks, last, jobs = measured.looks, measured.looks[-1], measured.jobs
    half = looks[len(looks) // 2]
    stored = next(look for look in looks if look.stored >= jobs)
    report.table(
        f"{jobs:,} webhooks of {WEBHOOK_BYTES} B, bodies of {BODY_BYTES // 1000} KB, {ORGS} orgs",
        ("stage", "seconds", "per s"),
        [
            (stage, f"{took_s:.1f}", f"{jobs / took_s:,.0f}")
            for stage, took_s in (
                ("accepted", measured.sent.seconds),
                ("stored", measured.seconds(stored)),
                ("pending", measured.seconds(last)),
            )
        ],
    )
    most = {name: max(look.rss_mb[name] for look in looks) for name in SERVICES}
    growth = {name: last.rss_mb[name] - half.rss_mb[name] for name in SERVICES}
    report.table(
        "Resident memory, MB, and CPU",
        ("service", "first", "half-way", "end", "most", "µs a webhook"),
        [
            (
                name,
                *(f"{look.rss_mb[name]:.0f}" for look in (looks[0], half, last)),
                f"{most[name]:.0f}",
                f"{measured.cpu_us(name):.0f}",
            )
            for name in SERVICES
        ]
        + [(name, "", "", "", "", f"{measured.cpu_us(name):.0f}") for name in (*SERVERS.values(), "load")],
    )
    return {
        "generations_per_s": measured.rate,
        "rss_mb_max": max(most.values()),
        "rss_mb_growth_second_half": max(growth.values()),
        "services_cpu_us": sum(map(measured.cpu_us, SERVICES)),
        **{f"{name}_cpu_us": measured.cpu_us(name) for name in (*SERVICES, *SERVERS.values(), "load")},
        "db_bytes_per_generation": measured.db_bytes / jobs,
        "accepted_per_s": measured.sent.rate,
        "accept_p99_ms": measured.sent.p99_ms,
    }


def _ranking(report: Report, pairs: Sequence[ranking.Pair]) -> dict[str, float]:
    report.table(
        f"Pairs of {pairs[0].uniform.jobs:,} webhooks: uniform choice and ranking",
        ("pair", "uniform, per s", "ranked, per s", "kept", "generator µs, uniform", "ranked"),
        [
            (
                str(number),
                f"{pair.uniform.rate:,.0f}",
                f"{pair.ranked.rate:,.0f}",
                f"{pair.ratio:.3f}",
                f"{pair.uniform.cpu_us('generator'):.0f}",
                f"{pair.ranked.cpu_us('generator'):.0f}",
            )
            for number, pair in enumerate(pairs, start=1)
        ],
    )
    return {"ranking_ratio": ranking.ranking_ratio(pairs)}


if __name__ == "__main__":
    main()
