"""What compose.yaml and the kubernetes manifests say is started as they say it, and comes up.

Commands, variables, probes and secrets are read from the files, so that a service that is added there is met here.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml

from deploy import programs
from deploy.programs import SECRETS, Program
from devstack.isolation import fresh_name, fresh_virtual_host
from devstack.ports import free_ports
from devstack.processes import Command, supervise
from devstack.services import run_justai
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def empty_database(server_url: str) -> AsyncIterator[str]:
    """As a server has it before the first `migrate`."""
    name, admin = fresh_name("deployed"), await asyncpg.connect(server_url)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


def compose_secrets(folder: Path, addresses: dict[str, str]) -> Path:
    """As `deploy/make-secrets.sh` makes them, with the addresses of the servers that are here."""
    subprocess.run(["sh", ROOT / "deploy" / "make-secrets.sh", folder], check=True, capture_output=True)
    for name, address in addresses.items():
        assert (folder / "justai" / name).is_file()
        (folder / "justai" / name).write_text(address + "\n")
    return folder / "justai"


def kubernetes_secrets(folder: Path, addresses: dict[str, str]) -> Path:
    """The keys of secret.example.yaml as the kubelet lays them out: files that are links into one, itself a link."""
    example = yaml.safe_load((ROOT / "deploy" / "k8s" / "secret.example.yaml").read_text())["stringData"]
    made = compose_secrets(folder / "made", {})
    values = {name: (made / name).read_text() for name in example if (made / name).is_file()} | addresses
    assert set(example) - set(values) == {"rabbitmq_http_url"}
    mounted = folder / "mounted"
    mounted.mkdir()
    swap(mounted, values)
    for name in values:
        (mounted / name).symlink_to(Path("..data") / name)
    return mounted


def swap(mounted: Path, values: dict[str, str]) -> None:
    """A new version of a mounted secret, all of it at once."""
    version = mounted / f"..{fresh_name('v')}"
    version.mkdir()
    for name, value in values.items():
        (version / name).write_text(value)
    (mounted / "..new").symlink_to(version.name)
    (mounted / "..new").rename(mounted / "..data")


def commands(read: Sequence[Program], folder: Path, secrets: Path) -> list[Command]:
    """Each on ports of its own, with folders in place of its mounts."""
    made: list[Command] = []
    for one in read:
        mounts = {mount: str(folder / one.name / mount.lstrip("/")) for mount in one.folders}
        for mount in mounts.values():
            Path(mount).mkdir(parents=True)
        ports = dict(zip(one.ports, free_ports(len(one.ports)), strict=True))
        here = one.placed(ports, {**mounts, SECRETS: str(secrets)})
        assert here.argv[:2] == ("python", "-m")
        url = f"http://127.0.0.1:{here.ready[0]}{here.ready[1]}" if here.ready else None
        made.append(Command(one.name, [sys.executable, *here.argv[1:]], env=here.env, ready_url=url))
    return made


@asynccontextmanager
async def deployed(
    servers: Servers,
    folder: Path,
    read: Sequence[Program],
    secrets_in: Callable[[Path, dict[str, str]], Path],
) -> AsyncIterator[tuple[dict[str, str], Path, dict[str, int]]]:
    """Everything runs: a `justai` environment, the folder of secrets, the process ids."""
    endpoints = servers.need("postgres", "rabbitmq")
    async with empty_database(endpoints.database_url) as database_url, fresh_virtual_host(endpoints) as amqp_url:
        secrets = secrets_in(folder / "secrets", {"justai_database_url": database_url, "justai_amqp_url": amqp_url})
        made = commands(read, folder, secrets)
        once = [one for one in made if one.ready_url is None]
        assert [one.name for one in once] == ["migrate"]
        for one in once:
            await run(one)
        async with supervise([one for one in made if one.ready_url], log_dir=folder / "logs", cwd=ROOT) as processes:
            yield dict(once[0].env), secrets, processes.pids


async def run(command: Command) -> None:
    """To its end, which must be a good one."""
    env = {**os.environ, **command.env}
    done = await asyncio.to_thread(
        subprocess.run, command.argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def told(pids: dict[str, int], values: Sequence[str]) -> list[str]:
    """Processes in whose environment or command line one of these stands."""
    said = {
        name: Path(f"/proc/{pid}/environ").read_text() + Path(f"/proc/{pid}/cmdline").read_text()
        for name, pid in pids.items()
    }
    return [name for name, text in said.items() if any(value in text for value in values)]


async def test_all_that_compose_starts_becomes_ready_and_has_no_secret_in_its_environment(
    servers: Servers, tmp_path: Path
) -> None:
    read = programs.of_compose()
    async with deployed(servers, tmp_path, read, compose_secrets) as (env, secrets, pids):
        assert set(pids) == {one.name for one in read} - {"migrate"}
        values = [path.read_text().strip().partition(":")[2] for path in secrets.iterdir()]
        assert len(values) == 4
        assert told(pids, values) == []
        found = await run_justai(env, "doctor", "--json")
        assert '"bad"' not in found


async def test_all_that_kubernetes_starts_becomes_ready_and_takes_a_new_ring_without_a_restart(
    servers: Servers, tmp_path: Path
) -> None:
    read = programs.of_kubernetes()
    async with deployed(servers, tmp_path, read, kubernetes_secrets) as (env, mounted, pids):
        assert {one.replace("-", "_") for one in pids} | {"simulator", "migrate"} == {
            one.name for one in programs.of_compose()
        }
        ring = (mounted / "seal-ring").read_text().strip()
        new = (await run_justai(env, "keyring", "new", "k2")).strip()
        values = {path.name: path.read_text() for path in mounted.iterdir() if not path.name.startswith("..")}
        assert told(pids, [value.partition(":")[2].strip() for value in values.values()]) == []
        swap(mounted, {**values, "seal-ring": f"{new}\n{ring}\n"})

        async def taken() -> None:
            """By each process that has a ring."""
            lines = (await run_justai(env, "kek", "list")).splitlines()
            of_new = [line.split() for line in lines if line.startswith("k2")]
            assert len(of_new) == 1
            (words,) = of_new
            assert words[-3] == words[-1]
            assert int(words[-1]) >= 4

        await eventually(taken, within_s=40, every_s=1)
