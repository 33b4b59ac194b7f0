"""Generations from PostgreSQL to Parquet in a bucket. `make bench-egress`

Egress runs as it ships, one process, beside a durable PostgreSQL, RabbitMQ and a real S3 server, all on the same cores:
emails of 17 KB from eight variants, stored packed as the generator stores them. Clocked from the job of an hour until
the ledger tells that object and manifest are there. There are two limits. One is what pyarrow takes to write the same
rows, as Arrow in memory already, to the same server in the same form; the other what asyncpg takes to read what is
stored, and to do nothing with it; the slower one counts. Peers write the same columns in the same form of file, with
our codec for the copies, and read by the same plan; what they wrote is compared with ours. `as stored` packs off what
PostgreSQL has, which is less work. The arms take turns, so that noise hits all alike; ratios are medians over the
rounds. On a machine that does other work too, CPU seconds tell more than ratios of rates.

    --rows N      so many more in longer hours: memory must not grow
    --hours N     hours of a backfill whose command and exporter are killed three times (bench/egress_backfill.py)
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import pyarrow.parquet as pq

import devstack
from bench.egress_backfill import measure_backfill
from bench.egress_stage import BODY_BYTES, ROOT, VARIANTS, Shop, Stage, client, exporter_environment, running
from bench.peers.egress_given import SELECT_ROWS, Given
from bench.report import Report
from devstack.isolation import fresh_bucket, fresh_database
from services.egress.layout import object_key
from services.egress.rows import SELECT_ROWS as STORED_ROWS
from shared.schemas.ids import generation_day

ROUND_ROWS, ROUNDS, ROWS, HOUR_ROWS, HOURS = 100_000, 3, 400_000, 400_000, 720
START = datetime(2026, 11, 2, tzinfo=UTC)
ASKED = {
    "ratio_to_limit": ">= 0.7",
    "ratio_to_adbc": ">= 1",
    "ratio_to_pandas": ">= 5",
    "rss_mb": "< 400",
    "backfill_exact": ">= 1",
}
_OURS, _WRITE, _CURSOR, _COPY = "egress", "pyarrow writes", "asyncpg, cursor", "asyncpg, COPY"
_ADBC, _RAW, _PANDAS = "ADBC", "ADBC, as stored", "pandas"
_PEERS = {_WRITE: ("egress_limit",), _ADBC: ("egress_adbc",), _RAW: ("egress_adbc", "raw"), _PANDAS: ("egress_pandas",)}
_TIMEOUT_S, _CURSOR_ROWS, _FIRST_ROWS = 1800, 1000, 2000
# As text, so that the order of rows and of attrs is all that may differ.
HASH_OF_ROWS = """
    SELECT count(*), bit_xor(hash(event_timestamp, user_id, tracking_id, copy_id, template_id, vars, attrs::text))
    FROM read_parquet($1)
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """What one way did with one hour: rows a second, CPU µs a row of its process, bytes of the object, most memory in
    MB (0: not looked at)."""

    rate: float
    cpu_us: float = 0.0
    bytes: int = 0
    rss_mb: float = 0.0


class Bench:
    """One run's servers."""

    def __init__(self, servers: devstack.Endpoints, folder: Path, asked: argparse.Namespace) -> None:
        self._servers, self._folder, self._asked = servers, folder, asked

    async def run(self, report: Report) -> dict[str, float]:
        """Whatever was asked for."""
        figures: dict[str, float] = {}
        if self._asked.rounds:
            figures |= await self._compare(report)
        if self._asked.hours:
            figures |= await measure_backfill(report, self._servers, self._folder, self._asked.hours)
        return figures

    async def _compare(self, report: Report) -> dict[str, float]:
        async with fresh_database(self._servers.database_url) as url, fresh_bucket(self._servers) as bucket:
            env = exporter_environment(url, self._servers.amqp_url, self._folder)
            shop = Shop(url, self._servers, bucket)
            await shop.seed(env["JUSTAI_SEAL_KEYS"])
            rounds: list[dict[str, Arm]] = []
            async with running(shop, env, self._folder) as stage:
                # Rivals are clocked from after their imports; the exporter loads what S3 needs with its first hour.
                await shop.say(START - timedelta(hours=1), _FIRST_ROWS)
                await stage.export(self._servers.amqp_url, START - timedelta(hours=1))
                for number in range(self._asked.rounds):
                    rounds.append(await self._round(shop, stage, START + timedelta(hours=number)))
                    print(f"round {number + 1}: " + _line(rounds[-1]), flush=True)
                figures = _compared(report, rounds, self._asked.round_rows)
                return figures | (await self._long(report, shop, stage, figures["rss_mb"]) if self._asked.rows else {})

    async def _round(self, shop: Shop, stage: Stage, hour: datetime) -> dict[str, Arm]:
        """All arms on an hour of its own."""
        rows = self._asked.round_rows
        await shop.say(hour, rows)
        await shop.settle()
        await asyncio.sleep(self._asked.rest_s)
        measured = await stage.export(self._servers.amqp_url, hour)
        found = {_OURS: Arm(measured.rate, measured.cpu_s / rows * 1e6, measured.bytes, measured.rss_mb)}
        given = await self._given(shop, hour)
        asked = (generation_day(hour), shop.org_id, hour, hour + timedelta(hours=1))
        for arm, read in ((_CURSOR, by_cursor), (_COPY, by_copy)):
            began, cpu_s = time.perf_counter(), time.process_time()
            await read(planned(shop.database_url), *asked)
            cpu_us = (time.process_time() - cpu_s) / rows * 1e6
            found[arm] = Arm(rows / (time.perf_counter() - began), cpu_us)
        for arm, words in _PEERS.items():
            if arm != _WRITE and not self._asked.peers:
                continue
            told = await asyncio.to_thread(run_peer, words, given)
            if told is not None:
                found[arm] = Arm(rows / told["seconds"], told["cpu_s"] / rows * 1e6, int(told["bytes"]), told["rss_mb"])
                await self._demand_same(given, arm)
        return found

    async def _given(self, shop: Shop, hour: datetime) -> Given:
        """What the rivals need to know of this hour."""
        key, folder = object_key("", hour), self._folder / "ours.parquet"
        await self._fetch(shop.bucket, key, folder)
        statement = SELECT_ROWS.format(
            day=generation_day(hour), org_id=shop.org_id, start=hour.isoformat(),
            end=(hour + timedelta(hours=1)).isoformat(),
        )  # fmt: skip
        servers = self._servers
        return Given(
            planned(shop.database_url), statement, str(shop.org_id), servers.s3_endpoint, servers.s3_access_key,
            servers.s3_secret_key, shop.bucket, key, "rival.parquet", pq.read_metadata(folder).row_group(0).num_rows,
        )  # fmt: skip

    async def _demand_same(self, given: Given, arm: str) -> None:
        """Raise RuntimeError unless the rival wrote what we wrote."""
        if arm == _RAW:
            return
        theirs = self._folder / "theirs.parquet"
        await self._fetch(given.bucket, given.key, theirs)
        hashes = [await asyncio.to_thread(_hash, path) for path in (self._folder / "ours.parquet", theirs)]
        if hashes[0] != hashes[1]:
            raise RuntimeError(f"{arm} wrote something else: {hashes}")

    async def _fetch(self, bucket: str, key: str, path: Path) -> None:
        async with client(self._servers) as s3:
            answer = await s3.get_object(Bucket=bucket, Key=key)
            async with answer["Body"] as body:
                await asyncio.to_thread(path.write_bytes, await body.read())

    async def _long(self, report: Report, shop: Shop, stage: Stage, short_mb: float) -> dict[str, float]:
        """More rows, in longer hours."""
        lines, most_mb, seconds, left, hour = [], 0.0, 0.0, self._asked.rows, START + timedelta(days=1)
        while left > 0:
            rows = min(left, self._asked.hour_rows)
            await shop.say(hour, rows)
            await shop.settle()
            measured = await stage.export(self._servers.amqp_url, hour)
            lines.append((f"{rows:,}", f"{measured.rate:,.0f}", f"{measured.rss_mb:.0f}"))
            most_mb, seconds = max(most_mb, measured.rss_mb), seconds + measured.seconds
            left, hour = left - rows, hour + timedelta(hours=1)
        report.table("Longer hours", ("rows", "rows a second", "most resident MB"), lines)
        return {
            "long_rows": float(self._asked.rows),
            "long_rows_per_s": self._asked.rows / seconds,
            "rss_mb": max(most_mb, short_mb),
            "rss_growth_mb": most_mb - short_mb,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/egress.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds; 0: leave the comparison out")
    parser.add_argument("--round-rows", type=int, default=ROUND_ROWS, help="rows of one round")
    parser.add_argument("--rest-s", type=float, default=2.0, help="seconds for PostgreSQL to come to rest")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="only ours and the limits")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the longer hours; 0: leave them out")
    parser.add_argument("--hour-rows", type=int, default=HOUR_ROWS, help="rows of one longer hour")
    parser.add_argument("--hours", type=int, default=HOURS, help="hours of the backfill; 0: leave it out")
    asked = parser.parse_args(arguments)
    report = Report("egress")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="justai-bench-")))
        names: tuple[devstack.ServerName, ...] = ("postgres", "rabbitmq", "s3")
        servers = stack.enter_context(devstack.start(names, folder, durable=True)).endpoints
        _say_what_is_missing()
        figures = asyncio.run(Bench(servers, folder, asked).run(report))
    report.finish(figures, ASKED)


def _say_what_is_missing() -> None:
    try:
        with duckdb.connect() as db:
            db.execute("LOAD postgres")
    except duckdb.Error:
        print("DuckDB's reader of PostgreSQL is an extension that is not on this machine: left out")


def planned(url: str) -> str:
    """The URL by which everybody reads as the exporter does: by the index, which is quicker than what PostgreSQL would
    choose."""
    return f"{url}?options=-c%20enable_sort%3Doff%20-c%20jit%3Doff"


async def by_cursor(url: str, *values: Any) -> None:
    """Read all rows of the exporter's statement, as its driver makes them, and forget them."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            cursor = await connection.cursor(STORED_ROWS, *values)
            while await cursor.fetch(_CURSOR_ROWS):
                pass
    finally:
        await connection.close()


async def by_copy(url: str, *values: Any) -> None:
    """Read all rows of the exporter's statement as PostgreSQL sends them, and forget them."""

    async def forget(_: bytes) -> None:
        pass

    connection = await asyncpg.connect(url)
    try:
        await connection.copy_from_query(STORED_ROWS, *values, output=forget, format="binary", timeout=_TIMEOUT_S)
    finally:
        await connection.close()


def run_peer(words: Sequence[str], given: Given) -> dict[str, float] | None:
    """What the rival told; None where its packages are not in this environment."""
    module, *more = words
    done = subprocess.run(
        [sys.executable, "-m", f"bench.peers.{module}", json.dumps(asdict(given)), *more],
        capture_output=True, check=False, text=True, cwd=ROOT, timeout=_TIMEOUT_S,
    )  # fmt: skip
    if "ModuleNotFoundError" in done.stderr:
        print(f"{module}: {done.stderr.strip().splitlines()[-1]}: left out (`make bench-egress` has it)")
        return None
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr.strip()[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _hash(path: Path) -> tuple[int, int]:
    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB"}) as db:
        row = db.execute(HASH_OF_ROWS, [str(path)]).fetchone()
    assert row is not None  # an aggregate
    return row[0], row[1]


def limit_of(arms: Mapping[str, Arm]) -> float:
    """The slower of writing and the quickest reading."""
    return min(arms[_WRITE].rate, max(arms[_CURSOR].rate, arms[_COPY].rate))


def _line(arms: Mapping[str, Arm]) -> str:
    return ", ".join(f"{name} {arm.rate:,.0f}" for name, arm in arms.items())


def _compared(report: Report, rounds: Sequence[Mapping[str, Arm]], rows: int) -> dict[str, float]:
    limit = statistics.median(map(limit_of, rounds))
    lines = []
    for name in rounds[0]:
        rates = [arms[name].rate for arms in rounds]
        cpu_us = statistics.median(arms[name].cpu_us for arms in rounds)
        size, most_mb = rounds[0][name].bytes / rows, max(arms[name].rss_mb for arms in rounds)
        middle = statistics.median(rates)
        lines.append(
            (name, *(f"{one:,.0f}" for one in (middle, min(rates), max(rates))), f"{middle / limit:.3f}",
             f"{cpu_us:.1f}",             f"{size:.1f}" if size else "", f"{most_mb:,.0f}" if most_mb else "")
        )  # fmt: skip
    report.table(
        f"{rows:,} emails of {BODY_BYTES // 1000} KB from {VARIANTS} variants, rows a second",
        ("arm", "median", "least", "most", "of the limit", "CPU µs a row", "bytes a row", "most resident MB"),
        lines,
    )
    figures = {
        "rows_per_s": statistics.median(arms[_OURS].rate for arms in rounds),
        "ratio_to_limit": statistics.median(arms[_OURS].rate / limit_of(arms) for arms in rounds),
        "rss_mb": max(arms[_OURS].rss_mb for arms in rounds),
        "cpu_us_per_row": statistics.median(arms[_OURS].cpu_us for arms in rounds),
        "limit_cpu_us_per_row": statistics.median(arms[_WRITE].cpu_us for arms in rounds),
        "bytes_per_row": rounds[0][_OURS].bytes / rows,
    }
    for figure, peer in (("adbc", _ADBC), ("pandas", _PANDAS)):
        if all(peer in arms for arms in rounds):
            figures[f"ratio_to_{figure}"] = statistics.median(arms[_OURS].rate / arms[peer].rate for arms in rounds)
            figures[f"{figure}_bytes_per_row"] = rounds[0][peer].bytes / rows
            figures[f"{figure}_rss_mb"] = max(arms[peer].rss_mb for arms in rounds)
    return figures


if __name__ == "__main__":
    main()
