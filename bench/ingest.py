"""Event files from an SFTP server to sends and rollups, durable. `make bench-ingest`

Ingest runs as it ships, one process, beside a durable PostgreSQL, RabbitMQ and a real OpenSSH sshd, all on the same
cores; only what the console's pages read is counted later (JUSTAI_INGEST_COUNT_S). Clocked from the first queued file
until the ledger says that all are done; afterwards events, sends, attributions and rollups must be exactly those that
were made. The limit is what `psql \\copy` of the same files into a table without an index reaches; it knows no SFTP,
no duplicates and no sends. Peers: dlt, which fetches over the same SFTP and merges by id, and inserts in batches as a
tap's target does them. The arms take turns, so that noise hits all alike; ratios are medians over the rounds.

    --curve N     cost per million rows up to N million, in an org that grows
    --beside      p99 of webhooks to their copy while files are loaded, and without (bench/ingest_beside.py)
    --large MB    one file of this size: memory, and whether it stays flat
"""

import argparse
import asyncio
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import duckdb

import devstack
from bench.ingest_beside import measure_beside
from bench.ingest_files import Files, Maker
from bench.ingest_sftp import measure_transfer
from bench.ingest_stage import ROOT, Measured, Shop
from bench.report import Report
from devstack.isolation import fresh_database

ROWS, FILES, ROUNDS, PEER_ROWS, TRANSFER_MB = 400_000, 4, 3, 100_000, 256
START = datetime(2026, 11, 2, 6, tzinfo=UTC)
ASKED = {
    "ratio_to_copy": ">= 0.35",
    "ratio_to_dlt": ">= 5",
    "rss_mb": "< 300",
    "sftp_ratio_to_openssh": ">= 0.7",
    "beside_p99_ratio": "<= 1.5",
    "curve_last_to_first": "<= 1.2",
}
_OURS, _COPY, _DUCKDB, _DLT, _DLT_APPEND, _ROWS = "ingest", "psql \\copy", "DuckDB reads", "dlt", "dlt, append", "rows"
_TIMEOUT_S = 1800

CREATE_BARE = """
    CREATE TABLE bare (id text, metric text, profile_id text, datetime timestamptz, event_properties text)
"""
CREATE_KEYED = """
    CREATE TABLE keyed (
        id text PRIMARY KEY, metric text, profile_id text, datetime timestamptz, event_properties jsonb
    )
"""
INSERT_KEYED = "INSERT INTO keyed VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING"


class Bench:
    """One run's servers and files."""

    def __init__(self, servers: devstack.Endpoints, folder: Path, asked: argparse.Namespace) -> None:
        self._servers, self._folder, self._asked = servers, folder, asked
        self._maker = Maker()

    async def compare(self, report: Report) -> dict[str, float]:
        """All arms in turn."""
        rates: dict[str, list[float]] = {}
        rss_mb = 0.0
        cpu_us: list[tuple[float, float]] = []
        for number in range(self._asked.rounds):
            async with fresh_database(self._servers.database_url) as url:
                shop = Shop(url, self._servers, self._folder)
                await shop.seed()
                made = await shop.make(self._maker, f"round{number}", self._asked.rows, FILES, START)
                for arm, rate in (await asyncio.to_thread(self._limits, url, made)).items():
                    rates.setdefault(arm, []).append(rate)
                if number == 0 and self._asked.peer_rows:
                    rates |= {arm: [rate] for arm, rate in (await self._peers(url, shop)).items()}
                async with shop.running() as (stage, _):
                    ours = await stage.load([made])
                rates.setdefault(_OURS, []).append(ours.rate)
                rss_mb = max(rss_mb, ours.rss_mb)
                cpu_us.append((ours.cpu_s / ours.rows * 1e6, ours.postgres_cpu_s / ours.rows * 1e6))
        middle = {arm: statistics.median(found) for arm, found in rates.items()}
        report.table(
            f"{made.rows:,} rows of {made.bytes / made.rows:.0f} B in {FILES} files, rows a second",
            ("arm", "median", "least", "most", "of the limit"),
            [
                (arm, *(f"{one:,.0f}" for one in (middle[arm], min(found), max(found))),
                 f"{middle[arm] / middle[_COPY]:.3f}")
                for arm, found in rates.items()
            ],
        )  # fmt: skip
        pairs = zip(rates[_OURS], rates[_COPY], strict=True)
        figures = {
            "rows_per_s": middle[_OURS],
            "ratio_to_copy": statistics.median(ours / copy for ours, copy in pairs),
            "ratio_to_duckdb": middle[_OURS] / middle[_DUCKDB],
            "rss_mb": rss_mb,
            "cpu_us_per_row": statistics.median(service for service, _ in cpu_us),
            "postgres_cpu_us_per_row": statistics.median(postgres for _, postgres in cpu_us),
        }
        if _DLT in middle:
            figures["ratio_to_dlt"] = middle[_OURS] / middle[_DLT]
            figures["ratio_to_dlt_append"] = middle[_OURS] / middle[_DLT_APPEND]
        if _ROWS in middle:
            figures["ratio_to_rows"] = middle[_OURS] / middle[_ROWS]
        return figures

    def _limits(self, url: str, made: Files) -> dict[str, float]:
        copies = [f"\\copy bare FROM '{path}' WITH (FORMAT csv, HEADER)" for path in made.paths]
        psql(url, CREATE_BARE)
        copied_s = clocked(lambda: psql(url, *copies))
        psql(url, "DROP TABLE bare")
        read_s = clocked(lambda: read_all(made.paths))
        return {_COPY: made.rows / copied_s, _DUCKDB: made.rows / read_s}

    async def _peers(self, url: str, shop: Shop) -> dict[str, float]:
        """On fewer rows, as they are slow; a folder of their own on the same server."""
        made = await shop.make(self._maker, "peers", self._asked.peer_rows, FILES, START - timedelta(days=1))
        inbox = Path(self._servers.sftp_root) / "peers"
        inbox.mkdir()
        for path in made.paths:
            shutil.move(path, inbox / path.name)
        rates = {_ROWS: made.rows / await insert_rows(url, sorted(inbox.iterdir()))}
        if have_dlt():
            for arm, merge in ((_DLT, True), (_DLT_APPEND, False)):
                given = {
                    "host": self._servers.sftp_host, "port": self._servers.sftp_port, "user": self._servers.sftp_user,
                    "key": self._servers.sftp_client_key_path, "database_url": url, "merge": merge,
                    "folder": f"{self._servers.sftp_remote_root}/peers", "work": str(self._folder / f"dlt-{merge}"),
                }  # fmt: skip
                rates[arm] = made.rows / await asyncio.to_thread(run_dlt, given)
        shutil.rmtree(inbox)
        return rates

    async def large(self, report: Report) -> dict[str, float]:
        """One long file: memory must not grow with it."""
        async with fresh_database(self._servers.database_url) as url:
            shop = Shop(url, self._servers, self._folder)
            await shop.seed()
            rows = self._asked.large * 2_000
            small = await shop.make(self._maker, "small", rows // 8, 1, START - timedelta(days=1))
            made = await shop.make(self._maker, "large", rows, 1, START)
            async with shop.running() as (stage, _):
                first = await stage.load([small])
                measured = await stage.load([made])
        report.table(
            "One file",
            ("MB", "rows", "rows a second", "most resident MB"),
            [
                (f"{one.bytes / 1e6:,.0f}", f"{one.rows:,}", f"{found.rate:,.0f}", f"{found.rss_mb:.0f}")
                for one, found in ((small, first), (made, measured))
            ],
        )
        return {"large_rss_mb": measured.rss_mb, "large_rss_growth_mb": measured.rss_mb - first.rss_mb}

    async def curve(self, report: Report) -> dict[str, float]:
        """Another million each time, each of a day of its own, into the same org."""
        steps: list[Measured] = []
        async with fresh_database(self._servers.database_url) as url:
            shop = Shop(url, self._servers, self._folder)
            await shop.seed()
            async with shop.running() as (stage, _):
                for number in range(self._asked.curve):
                    start = datetime(2026, 1, 3, 6, tzinfo=UTC) + timedelta(days=6 * number)
                    made = await shop.make(self._maker, f"step{number}", self._asked.step_rows, FILES, start)
                    steps.append(await stage.load([made]))
                    print(f"step {number + 1}: {steps[-1].seconds:.1f} s, {steps[-1].rss_mb:.0f} MB", flush=True)
        cost = [step.seconds / step.rows * 1e6 for step in steps]
        report.table(
            f"{self._asked.step_rows:,} rows more each time, one org",
            ("steps before", "seconds a million", "most resident MB"),
            [
                (str(number), f"{each:.1f}", f"{step.rss_mb:.0f}")
                for number, (each, step) in enumerate(zip(cost, steps, strict=True))
            ],
        )
        third = max(1, len(cost) // 3)
        return {
            "curve_millions": sum(step.rows for step in steps) / 1e6,
            "curve_last_to_first": statistics.median(cost[-third:]) / statistics.median(cost[:third]),
            "curve_rss_mb": max(step.rss_mb for step in steps),
        }

    async def run(self, report: Report) -> dict[str, float]:
        """Whatever was asked for."""
        figures: dict[str, float] = {}
        if self._asked.rounds:
            figures |= await self.compare(report)
        if self._asked.transfer_mb:
            figures |= await measure_transfer(report, self._servers, self._folder, self._asked.transfer_mb)
        if self._asked.large:
            figures |= await self.large(report)
        if self._asked.curve:
            figures |= await self.curve(report)
        if self._asked.beside:
            figures |= await measure_beside(report, self._servers, self._folder, self._maker, self._asked.beside_rows)
        return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/ingest.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of one round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds; 0: leave the comparison out")
    parser.add_argument("--peer-rows", type=int, default=PEER_ROWS, help="rows for the peers; 0: leave them out")
    parser.add_argument("--transfer-mb", type=int, default=TRANSFER_MB, help="file to transfer; 0: leave it out")
    parser.add_argument("--large", type=int, default=0, help="MB of one long file")
    parser.add_argument("--curve", type=int, default=0, help="millions of rows, one after the other")
    parser.add_argument("--step-rows", type=int, default=1_000_000, help="rows of one step of the curve")
    parser.add_argument("--beside-rows", type=int, default=800_000, help="rows loaded beside the webhooks")
    parser.add_argument("--beside", action="store_true", help="webhooks while files are loaded")
    asked = parser.parse_args(arguments)
    report = Report("ingest")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="justai-bench-")))
        names: tuple[devstack.ServerName, ...] = ("postgres", "rabbitmq", "sshd")
        servers = stack.enter_context(devstack.start(names, folder, durable=True)).endpoints
        figures = asyncio.run(Bench(servers, folder, asked).run(report))
    report.finish(figures, ASKED)


def clocked(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def psql(url: str, *commands: str) -> None:
    """Each command, in one session."""
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, *words], check=True, timeout=_TIMEOUT_S)


def read_all(paths: Sequence[Path]) -> None:
    """Every value of every file, looked at by DuckDB."""
    with duckdb.connect(config={"threads": 2}) as db:
        files = [str(path) for path in paths]
        db.execute("SELECT bit_xor(hash(COLUMNS(*))) FROM read_csv($1)", [files]).fetchall()


async def insert_rows(url: str, paths: Sequence[Path]) -> float:
    """Seconds to insert the rows in batches, as a target of taps does."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(CREATE_KEYED)
        began = time.perf_counter()
        for path in paths:
            with path.open(newline="") as file:
                rows = csv.reader(file)
                next(rows)
                batch = []
                for row in rows:
                    batch.append((*row[:3], datetime.fromisoformat(row[3]), row[4]))
                    if len(batch) == 1_000:
                        await connection.executemany(INSERT_KEYED, batch)
                        batch.clear()
                await connection.executemany(INSERT_KEYED, batch)
        return time.perf_counter() - began
    finally:
        await connection.close()


def have_dlt() -> bool:
    """Whether this is the environment of the rivals."""
    found = subprocess.run([sys.executable, "-c", "import dlt"], capture_output=True, check=False).returncode == 0
    if not found:
        print("dlt is not in this environment: left out (`make bench-ingest` has it)")
    return found


def run_dlt(given: dict[str, object]) -> float:
    """Seconds that dlt says it took, without its imports."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers.dlt_sftp", json.dumps(given)],
        capture_output=True, check=False, text=True, cwd=ROOT, timeout=_TIMEOUT_S, env=dict(os.environ),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"dlt failed: {done.stderr.strip()[-2000:]}")
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


if __name__ == "__main__":
    main()
