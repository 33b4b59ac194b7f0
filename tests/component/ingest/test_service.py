"""The process as it ships: killed, stopped, and next to others."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import RING, Rig
from tests.support.waiting import eventually

FACTOR = 60  # virtual seconds a second
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = $1"


@pytest.fixture
def environment(database_url: str, amqp_url: str) -> dict[str, str]:
    """Settings under which a minute takes a second; one origin, so that a second start goes on in the same time."""
    settings = {
        "database_url": database_url,
        "amqp_url": amqp_url,
        "seal_keys": RING,
        "api_key_peppers": "1:" + "A" * 43 + "=",
        "clock": f"scaled:{FACTOR}:{time.time()}:{SENT.isoformat()}",
        "allow_private_hosts": "true",
        "ingest_lease_s": "5",
        "drain_s": "10",
    }
    return {f"JUSTAI_{name.upper()}": value for name, value in settings.items()}


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.ingest`; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.ingest", env={"PATH": os.environ["PATH"], **environment},
        cwd=Path(__file__).parents[3], stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def switch_blocked(database_url: str, rig: Rig) -> AsyncIterator[asyncpg.Connection]:
    """Nobody can switch a file of the org: rows can be staged, not become facts."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended('ingest:' || $1, 0))", str(rig.org_id))
        yield connection
    finally:
        await connection.close()


async def somebody_waits(connection: asyncpg.Connection, rig: Rig) -> None:
    database = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    waiting = await connection.fetchval(WAITING, database)
    assert waiting, await rig.rows("SELECT path, state, error FROM ingest_files")


async def all_done(rig: Rig, count: int) -> None:
    files = await rig.rows("SELECT path, state, error FROM ingest_files")
    assert [file["state"] for file in files] == ["done"] * count, files


async def test_files_in_a_folder_become_rollups(rig: Rig, folder: Path, environment: dict[str, str]) -> None:
    await rig.add_generation(copy_id=uuid4())
    mail = Mail("T1")
    async with running(environment) as process:
        for number, row in enumerate([mail.received(), mail.opened(), mail.clicked()]):
            (folder / f"{number}.csv").write_bytes(nested_csv([row]))
        (folder / "bad.csv").write_bytes(b"no,such\nlayout,here\n")

        await eventually(lambda: all_done_but_bad(rig), within_s=30)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0

    rollup = await rig.one("SELECT delivered, human_opens, human_clicks FROM rollups")
    assert rollup == {"delivered": 1, "human_opens": 1, "human_clicks": 1}


async def all_done_but_bad(rig: Rig) -> None:
    assert await rig.files() == {"0.csv": "done", "1.csv": "done", "2.csv": "done", "bad.csv": "held"}


async def test_a_kill_between_staging_and_switching_repeats_harmlessly(
    rig: Rig, folder: Path, environment: dict[str, str], database_url: str
) -> None:
    rows = [Mail(f"T{number}", f"P{number}").received() for number in range(50)]
    (folder / "events.csv").write_bytes(nested_csv(rows))
    async with switch_blocked(database_url, rig) as blocker:
        async with running(environment) as process:
            await eventually(lambda: somebody_waits(blocker, rig), within_s=30)
            process.kill()
            await process.wait()
        assert await rig.event_ids() == []

    async with running(environment):
        await eventually(lambda: all_done(rig, 1), within_s=60)

    assert await rig.event_ids() == sorted(row.event_id for row in rows)
    file = await rig.one("SELECT rows, fresh, attempts FROM ingest_files")
    assert file == {"rows": 50, "fresh": 50, "attempts": 0}

    async def nothing_is_left() -> None:  # they go a moment after the switch, or with their connection
        assert await rig.rows("SELECT FROM pg_class WHERE relname IN ('staged', 'touched', 'tallies')") == []

    await eventually(nothing_is_left, within_s=30)


async def is_loading(rig: Rig, name: str) -> None:
    """Or was loaded before anybody looked: on a machine that stood still meanwhile."""
    rows = await rig.rows("SELECT state FROM ingest_files WHERE path LIKE '%' || $1", name)
    states = [row["state"] for row in rows]
    assert "loading" in states or states == ["done"] * 2, states


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds_in", [0, 0.5, 1.5])
async def test_a_kill_at_any_moment_of_a_replacing_file_leaves_exactly_its_rows(
    rig: Rig, folder: Path, environment: dict[str, str], seconds_in: float
) -> None:
    old = [Mail(f"T{number}", f"P{number}").received(Subject="x" * 500) for number in range(5_000)]
    new = [*old[1_500:], *(Mail(f"N{number}", f"P{number}").received() for number in range(100))]
    (folder / "a.csv").write_bytes(nested_csv(old))

    async with running(environment) as process:
        await eventually(lambda: all_done(rig, 1), within_s=60)
        (folder / "a.csv").write_bytes(nested_csv(new))
        await eventually(lambda: is_loading(rig, "a.csv"), within_s=60)
        await asyncio.sleep(seconds_in)  # a moment of its work, whichever that is on this machine
        process.kill()
        await process.wait()
    assert await rig.event_ids() in (sorted(row.event_id for row in old), sorted(row.event_id for row in new))

    async with running(environment):
        await eventually(lambda: all_done(rig, 2), within_s=90)

    assert await rig.event_ids() == sorted(row.event_id for row in new)
    assert await rig.one("SELECT count(*)::int AS n FROM sends") == {"n": len(new)}


async def test_a_worker_told_to_stop_gives_its_file_back_at_once(
    rig: Rig, folder: Path, environment: dict[str, str], database_url: str
) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))
    async with switch_blocked(database_url, rig) as blocker:
        async with running(environment | {"JUSTAI_DRAIN_S": "0.5", "JUSTAI_INGEST_LEASE_S": "36000"}) as process:
            await eventually(lambda: somebody_waits(blocker, rig), within_s=30)
            process.terminate()
            async with asyncio.timeout(15):
                await process.wait()
        assert await rig.files() == {"events.csv": "queued"}

    async with running(environment):
        await eventually(lambda: all_done(rig, 1), within_s=30)

    assert len(await rig.event_ids()) == 1


async def test_replicas_and_files_that_share_rows_store_each_once(
    rig: Rig, folder: Path, environment: dict[str, str]
) -> None:
    await rig.add_generation("P0", copy_id=uuid4())
    rows = [Mail(f"T{number}", "P0").received() for number in range(60)]
    for number in range(12):
        (folder / f"{number}.csv").write_bytes(nested_csv(rows[number * 4 : number * 4 + 16]))

    async with running(environment), running(environment):
        await eventually(lambda: all_done(rig, 12), within_s=60)

    assert await rig.event_ids() == sorted(row.event_id for row in rows)
    assert await rig.one("SELECT sum(sends)::int AS n FROM rollups") == {"n": 60}
    assert await rig.one("SELECT sum(fresh)::int AS n FROM ingest_files") == {"n": 60}
