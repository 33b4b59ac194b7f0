"""A backfill of many small hours whose command and exporter are killed three times: nothing twice, nothing missing.

Both processes end by SIGKILL, at a moment that nobody chose with care: whatever the exporter was doing is half done. A
new exporter takes what was left, `justai export backfill --resume` watches it. Afterwards the bucket is compared with
what was told to whom.
"""

import asyncio
import io
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pyarrow.parquet as pq

from bench.egress_stage import ROOT, SLUG, Shop, client, exporter_environment
from bench.report import Report
from devstack import Endpoints
from devstack.isolation import fresh_bucket, fresh_database, fresh_virtual_host
from devstack.processes import supervise
from devstack.services import justai, services
from services.egress.layout import manifest_key, object_key

KILLS, ROWS_AN_HOUR, TOO_SLOW_S = 3, 40, 900.0
START = datetime(2026, 10, 1, tzinfo=UTC)
_LOOK_EVERY_S = 0.02
_LEASE_S = "3"  # so long nobody takes up the hour that the killed exporter had in hand

SELECT_PROGRESS = """
    SELECT count(*) FILTER (WHERE state = 'exported') AS exported, coalesce(sum(epoch), 0)::int AS claims
    FROM export_hours
"""
SELECT_TOLD = "SELECT user_id, tracking_id, floor(extract(epoch FROM accepted_at))::bigint FROM generations"


class Backfill:
    """One org's hours, and the two processes that bring them into its bucket."""

    def __init__(self, shop: Shop, env: dict[str, str], folder: Path, hours: int) -> None:
        self._shop, self._env, self._folder, self._hours = shop, env, folder, hours
        self._said = folder / "backfill.log"
        self._range = ("--from", START.isoformat(), "--to", (START + timedelta(hours=hours)).isoformat())

    async def run(self, connection: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
        """How many hours were exported at each kill, and at the end."""
        reached, began = list[int](), time.perf_counter()
        for number in range(KILLS + 1):
            until = self._hours * (number + 1) // (KILLS + 1) if number < KILLS else self._hours
            async with self._exporter(), self._command(*(("--resume",) if number else ())) as command:
                reached.append(await self._wait(connection, until, command))
                print(f"{reached[-1]} hours exported, {time.perf_counter() - began:.0f} s", flush=True)
                if number == KILLS:
                    async with asyncio.timeout(TOO_SLOW_S):
                        if await command.wait():
                            raise RuntimeError(f"the command did not succeed: {self._said.read_text()[-2000:]}")
        return reached

    async def _wait(
        self, connection: "asyncpg.Connection[asyncpg.Record]", until: int, command: asyncio.subprocess.Process
    ) -> int:
        gives_up_at = time.monotonic() + TOO_SLOW_S
        while time.monotonic() < gives_up_at:
            row = await connection.fetchrow(SELECT_PROGRESS)
            if row and row["exported"] >= until:
                return int(row["exported"])
            if command.returncode:
                raise RuntimeError(f"the command did not succeed: {self._said.read_text()[-2000:]}")
            await asyncio.sleep(_LOOK_EVERY_S)
        raise RuntimeError(f"only {row and row['exported']} hours were exported")

    @asynccontextmanager
    async def _exporter(self) -> AsyncIterator[None]:
        """Killed at the end."""
        command = services(self._env, ("egress",)).commands
        async with supervise(command, log_dir=self._folder / "logs", echo=print, cwd=ROOT) as processes:
            yield
            await processes.end("egress", kill=True)

    @asynccontextmanager
    async def _command(self, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Killed at the end, where it still runs."""
        with self._said.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *justai("export", "backfill", SLUG, *self._range, *more), env={**os.environ, **self._env},
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def right(self, connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[int, int]:
        """Hours whose object and manifest hold exactly their rows; objects in the bucket that nobody asked for."""
        told: dict[datetime, Counter[tuple[Any, ...]]] = {}
        for row in await connection.fetch(SELECT_TOLD):
            hour = datetime.fromtimestamp(row[2] // 3600 * 3600, UTC)
            told.setdefault(hour, Counter())[tuple(row)] += 1
        async with client(self._shop.servers) as s3:
            names: set[str] = set()
            async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self._shop.bucket):
                names |= {item["Key"] for item in page.get("Contents", ())}
            right = 0
            for hour, rows in told.items():
                keys = object_key("", hour), manifest_key("", hour)
                if names.issuperset(keys):
                    names -= set(keys)
                    content, manifest = [await _content(s3, self._shop.bucket, key) for key in keys]
                    right += Counter(_rows(content)) == rows and _vouches(manifest, content, rows.total())
        return right, len(names)


async def measure_backfill(report: Report, servers: Endpoints, folder: Path, hours: int) -> dict[str, float]:
    """1 when every hour is right, nothing else lies there, and what a kill cut off alone was begun anew."""
    async with (
        fresh_database(servers.database_url) as url,
        fresh_bucket(servers) as bucket,
        fresh_virtual_host(servers) as amqp_url,
    ):
        env = exporter_environment(url, amqp_url, folder, egress_lease_s=_LEASE_S, log_level="ERROR")
        shop = Shop(url, servers, bucket, people=50)
        await shop.seed(env["JUSTAI_SEAL_KEYS"])
        for number in range(hours):
            await shop.say(START + timedelta(hours=number), ROWS_AN_HOUR)
        connection = await asyncpg.connect(url)
        try:
            backfill = Backfill(shop, env, folder, hours)
            began = time.perf_counter()
            reached = await backfill.run(connection)
            seconds = time.perf_counter() - began
            row = await connection.fetchrow(SELECT_PROGRESS)
            claims = row["claims"] if row else 0
            right, others = await backfill.right(connection)
        finally:
            await connection.close()
    _show(report, hours, reached, right, others, claims - hours)
    exact = right / hours if not others and claims - hours <= KILLS else 0.0
    return {"backfill_exact": exact, "backfill_hours": float(hours), "backfill_s": seconds}


def _show(report: Report, hours: int, reached: Sequence[int], right: int, others: int, again: int) -> None:
    report.table(
        f"A backfill of {hours} hours of {ROWS_AN_HOUR} rows, killed {KILLS} times",
        ("", "hours"),
        [
            ("exported at each kill", ", ".join(map(str, reached[:-1]))),
            ("exactly their rows", str(right)),
            ("objects that nobody asked for", str(others)),
            ("begun again", str(again)),
        ],
    )


async def _content(s3: Any, bucket: str, key: str) -> bytes:
    answer = await s3.get_object(Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        return bytes(await body.read())


def _rows(content: bytes) -> list[tuple[Any, ...]]:
    read = pq.read_table(io.BytesIO(content), columns=["user_id", "tracking_id", "event_timestamp"])
    return list(zip(*(column.to_pylist() for column in read.columns), strict=True))


def _vouches(manifest: bytes, content: bytes, rows: int) -> bool:
    said = orjson.loads(manifest)
    return bool(said["rows"] == rows and said["files"][0]["bytes"] == len(content))
