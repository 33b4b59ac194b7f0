"""The page about exports, done word by word: its commands and its Python, with the service, the broker and a bucket."""

import asyncio
import os
import re
import stat
import sys
import time
from datetime import timedelta
from pathlib import Path

from tests.component.cli.rig import settings
from tests.component.egress.shop import HOUR, SEAL_KEYS, World, people
from tests.component.egress.test_service import is_exported, running
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


def blocks_below(title: str) -> list[str]:
    """The fenced blocks of a section of the page."""
    page = (ROOT / "docs/egress.md").read_text(encoding="utf-8")
    section = page.split(f"### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(r"```(?:sh|python)\n(.*?)```", section, re.DOTALL)


def commands_in(folder: Path) -> Path:
    """`justai` and `python` of this tree; `pip`, which looks whether what it shall install is there."""
    does = {
        "justai": f'exec {sys.executable} -m cli "$@"',
        "python": f'exec {sys.executable} -W error "$@"',
        "pip": f'shift; for name; do {sys.executable} -c "import $name"; done',
    }
    folder.mkdir()
    for name, what in does.items():
        (folder / name).write_text(f"#!/bin/sh\n{what}\n")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


async def test_a_month_into_duckdb_counts_right_after_a_day_was_overwritten(
    world: World, amqp_url: str, tmp_path: Path
) -> None:
    shop, now = await world.shop("acme", prefix="jai"), HOUR + timedelta(days=1)
    await world.say(shop, people(30) + people(4, hour=HOUR + timedelta(hours=3), name="next"))
    desk, bin = tmp_path / "desk", commands_in(tmp_path / "bin")
    desk.mkdir()
    env = settings(world.database_url, amqp_url) | {
        "JUSTAI_SEAL_KEYS": SEAL_KEYS,
        "JUSTAI_CLOCK": f"scaled:1:{time.time()}:{now.isoformat()}",
        "AWS_ACCESS_KEY_ID": world.endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": world.endpoints.s3_secret_key,
        "PATH": f"{bin}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    async def says(block: str) -> list[str]:
        ran = await asyncio.create_subprocess_exec(
            "bash", "-euc", block, cwd=desk, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, complaint = await ran.communicate()
        assert ran.returncode == 0, complaint.decode()
        return out.decode().splitlines()

    load, count, reload = blocks_below("A month into DuckDB")
    count = f"python - <<'PAGE'\n{count}PAGE"
    async with running(world, amqp_url, now=now):
        await eventually(lambda: is_exported(world, shop, 14), within_s=20)
        loaded, counted = await says(load), await says(count)
        await world.say(shop, people(3, hour=HOUR + timedelta(hours=3), name="late"))
        reloaded, counted_again = await says(reload), await says(count)

    assert loaded[-1] == "generations: 34 rows"
    assert counted == ["(34, 34)"]
    assert reloaded[-1] == "generations: 37 rows"
    assert "1 of them new, 1 loaded." in reloaded[-2]
    assert counted_again == ["(37, 37)"]
