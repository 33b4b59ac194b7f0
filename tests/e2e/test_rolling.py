"""Every service is restarted, one after the other, under a light load: nobody who calls or reads an email notices.

Once with the same release on both sides, once from an older one to this, and once the seal key is another afterwards.
"""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from demo.box import FlowIds
from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, Processes, supervise
from devstack.services import SERVICES, services
from shared.messaging import topology
from shared.snippet import Snippet
from tests.e2e.balancer import Balancer, balancing
from tests.e2e.in_hand import InHand
from tests.e2e.stage import FACTOR, ORG, ROOT, Stage, _template, staged
from tests.support.measured import say
from tests.support.servers import Servers
from tests.support.waiting import eventually

_PER_S = 6.0  # people who enter, real
_MOST_PEOPLE = 1500


@dataclass
class Rolling:
    """The shop with its services behind a balancer, and the people who entered until now."""

    stage: Stage
    balancer: Balancer
    processes: Processes
    commands: dict[str, Command]
    flow: FlowIds
    people: list[str]
    entered: list[str]
    complaints: list[str]
    in_hand: InHand

    async def load(self, stop: asyncio.Event) -> None:
        """People enter the flow, each once, until it is enough."""
        while not stop.is_set():
            person = self.people[len(self.entered)]
            await self.stage.enter(self.flow, person)
            self.entered.append(person)
            await asyncio.sleep(1 / _PER_S)

    async def restart(self, name: str, command: Command | None = None) -> float:
        """As an orchestrator does it without a spare replica; how long the old process took to end, real seconds."""
        before, began = await self.in_hand.passed(), time.monotonic()
        codes = await self.processes.end(name)
        took = time.monotonic() - began
        self.in_hand.ended(name, before, await self.in_hand.passed())
        assert codes == {name: 0}
        self.complaints += complaints(self.stage.folder / "logs" / f"{name}.log")  # the next one's takes its place
        self.processes.start(command or self.commands[name])
        await self.processes.ready(name)
        return took

    async def judged(self, delay_s: float) -> dict[str, int]:
        """What the emails of all who entered showed, once they have left."""
        entries = [self.stage.entries(person)[-1] for person in self.entered]
        await eventually(lambda: all(one.finished for one in entries), within_s=delay_s / FACTOR + 40, every_s=0.5)
        return dict((await self.stage.box.outcomes())["real"])


@asynccontextmanager
async def rolling(
    servers: Servers, folder: Path, names: Sequence[str], *, delay_min: int, tree: Path = ROOT, ring: Path | None = None
) -> AsyncIterator[Rolling]:
    """These services and a second gateway, from `tree`; a flow whose email leaves `delay_min` virtual minutes later.
    `ring`: a file that the seal keys are moved to."""
    endpoints = servers.need("postgres", "rabbitmq")
    async with staged(endpoints, folder) as stage, balancing() as balancer:
        [console_port] = free_ports(1)
        env = {
            **stage.env,
            "JUSTAI_CONSOLE_LISTEN": f"{LOOPBACK}:{console_port}",
            "JUSTAI_CONSOLE_URL": f"http://{LOOPBACK}:{console_port}",
            "JUSTAI_CONSOLE_PLAIN_COOKIES": "true",
            "JUSTAI_GATEWAY_LINGER_S": "1",
        }
        if ring is not None:
            write(ring, env["JUSTAI_SEAL_KEYS"])
            env["JUSTAI_SEAL_KEYS"] = f"file:{ring}"
            stage.env = {**stage.env, "JUSTAI_SEAL_KEYS": f"file:{ring}"}
        first, second = services(env, names), services(env, ["gateway"])
        [gateway] = second.commands
        commands = {one.name: replace(one, cwd=tree) for one in first.commands}
        commands["gateway-2"] = replace(gateway, name="gateway-2", cwd=tree)
        balancer.gateways = (first.gateway_url, second.gateway_url)
        async with supervise(list(commands.values()), log_dir=folder / "logs", cwd=ROOT) as processes:
            flow = await _flow(stage, balancer.url, delay_min)
            people = await stage.box.add_people(
                [{"email": f"{n}@people.example", "first_name": f"Ann-{n} & Co"} for n in range(_MOST_PEOPLE)]
            )
            in_hand = InHand(endpoints, stage.env, balancer.answers)
            yield Rolling(stage, balancer, processes, commands, flow, people, [], [], in_hand)


async def _flow(stage: Stage, url: str, delay_min: int) -> FlowIds:
    api_key = stage.api_key
    ids = await stage.box.add_flow("Welcome", "welcome", url, ORG, api_key, delay_min=delay_min)
    path = stage.folder / "welcome.yaml"
    write(path, yaml.safe_dump({**_template("welcome", ids, "jai"), "delay_s": 60 * delay_min}))
    await stage.justai("template", "import", ORG, str(path))
    await stage.box.paste(ids, Snippet(**json.loads(await stage.justai("snippet", ORG, "welcome", "--json"))))
    stage.prefixes.add("jai")
    return ids


async def all_right(run: Rolling, delay_min: int) -> None:
    """Every webhook was answered 202, nothing was buried, and every email showed its own copy."""
    assert set(run.balancer.answers) == {202}
    shown = await run.judged(60 * delay_min)
    assert shown == {"right": len(run.entered)}
    assert "No dead letters" in await run.stage.justai("dead", "list")
    logs = (run.stage.folder / "logs").glob("*.log")
    assert [*run.complaints, *(line for log in logs for line in complaints(log))] == []


def complaints(log: Path) -> list[str]:
    """What a service said of things that should not be."""
    return [line for line in read(log).splitlines() if '"level":"error"' in line or '"job.failed"' in line]


def read(path: Path) -> str:
    return path.read_text().strip()


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")


async def roll(run: Rolling, commands: dict[str, Command]) -> dict[str, float]:
    """Restart each under load; how long each took to end."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run.load(stop))
        await eventually(lambda: len(run.entered) > 10, within_s=20)
        took = {name: await run.restart(name, command) for name, command in commands.items()}
        enough = len(run.entered) + 10
        await eventually(lambda: len(run.entered) > enough, within_s=20)
        stop.set()
    return took


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_a_rolling_restart_of_everything_is_seen_by_nobody(servers: Servers, tmp_path: Path) -> None:
    async with rolling(servers, tmp_path, (*SERVICES, "console"), delay_min=8) as run:
        took = await roll(run, run.commands)

        assert {name: seconds for name, seconds in took.items() if seconds > 25} == {}
        assert run.balancer.turned > 0  # the restarts of gateways were met by somebody
        await run.in_hand.bounded()
        await all_right(run, 15)
        again = await redelivered(servers.need("rabbitmq").amqp_management_url, run.stage.env["JUSTAI_AMQP_URL"])
        print(f"\n{len(run.entered)} webhooks, {again} messages delivered again;", end=" ")  # noqa: T201  # a figure for who reads the run
        print(f"seconds to end: { ({n: round(s, 1) for n, s in took.items()}) }")  # noqa: T201  # a figure for who reads the run
        assert again <= sum(spec.prefetch for spec in topology.ALL)  # of one shard each; what was in hand, at most


async def redelivered(management_url: str, amqp_url: str) -> int:
    """How many messages of this virtual host were given to somebody a second time, by the broker's own count."""
    parts = urlsplit(management_url)
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    url = f"http://{parts.hostname}:{parts.port}/api/queues{urlsplit(amqp_url).path}"
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as http, http.get(url) as response:
        queues = await response.json()
    assert any(one.get("message_stats", {}).get("deliver_get") for one in queues)
    return sum(one.get("message_stats", {}).get("redeliver", 0) for one in queues)


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_an_upgrade_from_the_release_before_is_seen_by_nobody(
    servers: Servers, tmp_path: Path, older: Path
) -> None:
    """On today's schema, as after `justai migrate`: first everything is the older one's, then one by one today's, so
    that each meets the other release on both its sides."""
    names = SERVICES  # of the console's assets the older tree has none
    async with rolling(servers, tmp_path, names, delay_min=8, tree=older) as run:
        took = await roll(run, {name: replace(one, cwd=ROOT) for name, one in run.commands.items()})

        assert {name: seconds for name, seconds in took.items() if seconds > 25} == {}
        await all_right(run, 15)
        commit = _git("-C", str(older), "rev-parse", "--short", "HEAD")
        say(older=commit, webhooks=len(run.entered), slowest_end_s=round(max(took.values()), 1))


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Path]:
    """The tree of the commit in OLDER_RELEASE; else of the newest tag before this commit; else of the commit before the
    newest migration: the last whose code does not know all of today's schema."""
    migration = _git("log", "-1", "--format=%H", "--diff-filter=A", "--", "shared/db/migrations")
    commit = os.environ.get("OLDER_RELEASE") or _git("describe", "--tags", "--abbrev=0", "HEAD^") or f"{migration}^"
    if not _git("rev-parse", "--verify", f"{commit}^{{commit}}"):  # as in a shallow clone
        pytest.skip(f"the history here holds no older release ({commit}): name a commit in OLDER_RELEASE")
    tree = tmp_path / "older"
    _git("worktree", "add", "--detach", str(tree), commit)
    yield tree
    _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.mark.long
@pytest.mark.timeout(420)
async def test_the_seal_key_becomes_another_one_while_everything_runs(servers: Servers, tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    names = ("gateway", "generator", "profile_writer")
    async with rolling(servers, tmp_path, names, delay_min=2, ring=ring) as run:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run.load(stop))
            await _rotate(run, ring)
            enough = len(run.entered) + 10
            await eventually(lambda: len(run.entered) > enough, within_s=20)
            stop.set()
        await all_right(run, 4)
        sealed = await run.stage.justai("kek", "list", "--secrets")
        assert "k2" in sealed
        assert "k1" not in sealed


async def _rotate(run: Rolling, ring: Path) -> None:
    """As docs/runbooks/rotate-keys.md says."""
    old, new = read(ring), (await run.stage.justai("keyring", "new", "k2")).strip()
    write(ring, old, new)

    async def known() -> None:
        lines = (await run.stage.justai("kek", "list")).splitlines()
        of_new = [line.split()[-3:] for line in lines if line.startswith("k2")]
        assert of_new == [["3", "of", "3"]]

    await eventually(known, within_s=20)
    write(ring, new, old)
    assert "Sealed 1 secret again with k2." in await run.stage.justai("kek", "rotate")
    write(ring, new)
    logs = [run.stage.folder / "logs" / f"{name}.log" for name in ("gateway", "gateway-2", "profile_writer")]
    await eventually(lambda: all('"names":["k2"]' in read(log) for log in logs), within_s=20)
