"""docs/api.md, done word by word, against a gateway, a generator and a console."""

import asyncio
import json
import os
import re
import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from devstack.services import run_justai
from tests.component.cli.rig import settings
from tests.component.gateway import rig as gateway_rig
from tests.component.generator import rig as generator_rig
from tests.support.console import KEY, console

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|json)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def fits(told: Any, given: Any) -> bool:
    """Whether what the page tells of an answer is in it: each name; codes as they are, other values by their kind."""
    match told:
        case None:
            return True
        case dict():
            return isinstance(given, dict) and all(name in given and fits(told[name], given[name]) for name in told)
        case list():
            return isinstance(given, list) and all(fits(*pair) for pair in zip(told, given, strict=bool(told)))
        case str() if re.fullmatch("[a-z_]+", told):
            return bool(told == given)
    return isinstance(given, type(told))


async def says(script: str, env: dict[str, str]) -> str:
    ran = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await ran.communicate()
    assert ran.returncode == 0, complaint.decode()
    return out.decode()


async def test_each_command_of_the_page_gets_the_answer_beside_it(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    told = [
        (text, json.loads(answer))
        for (kind, text), (then, answer) in pairwise(BLOCKS)
        if (kind, then) == ("sh", "json")
    ]
    keys, _, addresses = BLOCKS[0][1].rpartition("GATEWAY=")
    (tmp_path / "justai").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    (tmp_path / "justai").chmod(stat.S_IRWXU)
    ours = settings(database_url, amqp_url) | {"JUSTAI_SEAL_KEYS": f"k1:{KEY}", "JUSTAI_API_KEY_PEPPERS": f"1:{KEY}"}
    env = ours | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    async with (
        gateway_rig.rig(database_url, amqp_url, orgs=False) as gateway,
        generator_rig.rig(database_url, amqp_url) as generator,
        generator_rig.running(generator),
        console(database_url, amqp_url=amqp_url) as stage,
    ):
        await run_justai(ours, "template", "import", "acme", str(ROOT / "demo" / "shop" / "welcome.yaml"))
        minted = await says(f"set -a\n{keys}env", env)
        env |= dict(line.split("=", 1) for line in minted.splitlines() if re.match(r"(\w+_)?KEY=", line))
        env |= {"GATEWAY": gateway.url, "CONSOLE": stage.url}
        await gateway.listens()
        given = [json.loads(await says(command, env)) for command, _ in told]

    assert "CONSOLE=" in addresses
    assert len(told) == 9
    for (command, wanted), got in zip(told, given, strict=True):
        assert fits(wanted, got), f"{command}\n{got}"
