"""Nothing outlives whoever started it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import aio_pika
import asyncpg
import psutil
import pytest

from devstack import Endpoints
from devstack.guarded import GuardedProcess
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]

# A grandchild that has left session, group and parent, as epmd does.
DAEMON = "(setsid sh -c 'echo $$ > daemon.pid; exec sleep 300' &) ; echo $$ > main.pid; exec sleep 300"

START = """
import sys, time
from pathlib import Path
import devstack
stack = devstack.start(devstack.SERVERS, Path(sys.argv[1]), durable=True)
print(stack.endpoints.to_json(), flush=True)
time.sleep(300)
"""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def pids_in(folder: Path) -> list[int]:
    files = [folder / "main.pid", folder / "daemon.pid"]
    await eventually(lambda: all(file.exists() and file.read_text().strip() for file in files))
    return [int(file.read_text()) for file in files]


def guarded(folder: Path, shell: str) -> GuardedProcess:
    return GuardedProcess(["sh", "-c", shell], env=dict(os.environ), output=subprocess.DEVNULL, cwd=folder)


async def test_kill_takes_the_daemons_too(tmp_path: Path) -> None:
    process = guarded(tmp_path, DAEMON)
    pids = await pids_in(tmp_path)

    code = process.kill()

    assert code == 137
    assert [alive(pid) for pid in pids] == [False, False]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_reaches_the_command_and_daemons_do_not_outlive_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = guarded(tmp_path, DAEMON)
    pids = await pids_in(tmp_path)

    assert process.stop(number, within_s=5) == code
    assert [alive(pid) for pid in pids] == [False, False]


async def test_a_command_that_ends_by_itself_hands_on_its_code(tmp_path: Path) -> None:
    process = guarded(tmp_path, "exit 3")

    assert process.wait(timeout_s=5) == 3
    assert process.kill() == 3


async def test_a_command_that_ignores_the_signal_is_killed_after_its_time(tmp_path: Path) -> None:
    process = guarded(tmp_path, "trap '' TERM; echo $$ > main.pid; echo $$ > daemon.pid; while :; do sleep 0.1; done")
    await pids_in(tmp_path)

    assert process.stop(within_s=0.2) == 137


@pytest.mark.timeout(180)
async def test_a_killed_stack_leaves_no_process_and_starts_again_with_its_data(tmp_path: Path) -> None:
    with started(tmp_path) as parent:
        endpoints = endpoints_of(parent)
        await write(endpoints)
        await eventually(lambda: broker_finds_again("kept", tmp_path), within_s=10)
        below = psutil.Process(parent.pid).children(recursive=True)
        names = {process.name() for process in below}

        parent.send_signal(signal.SIGKILL)  # no handler, no finally, no atexit runs
        parent.wait()

        assert names >= {"beam.smp", "epmd", "postgres", "weed", "sshd"}
        await eventually(lambda: not [process for process in below if process.is_running()])

    with started(tmp_path) as parent:
        assert await read(endpoints_of(parent)) == ("kept", b"kept")


def started(data_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, str(data_dir)]
    return Killed(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


class Killed(subprocess.Popen[str]):
    """Killed on the way out, as the test is about."""

    def __exit__(self, *args: object) -> None:
        self.kill()
        super().__exit__(None, None, None)


def endpoints_of(parent: subprocess.Popen[str]) -> Endpoints:
    assert parent.stdout is not None
    return Endpoints.from_json(parent.stdout.readline())


async def write(endpoints: Endpoints) -> None:
    database = await asyncpg.connect(endpoints.database_url)
    await database.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    await database.close()
    async with await aio_pika.connect(endpoints.amqp_url) as broker:
        channel = await broker.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"}, timeout=10)
        await channel.default_exchange.publish(aio_pika.Message(b"kept"), "kept", timeout=10)


def broker_finds_again(queue: str, data_dir: Path) -> bool:
    """Whether the name of a quorum queue is on the disk.

    RabbitMQ 3.10 confirms a declaration up to a second before that. Killed in between, it starts again with a queue
    that takes no messages and gives none.
    """
    files = (data_dir / "rabbitmq" / "mnesia").glob("*/quorum/*/names.dets")
    return any(queue.encode() in file.read_bytes() for file in files)


async def read(endpoints: Endpoints) -> tuple[str, bytes]:
    database = await asyncpg.connect(endpoints.database_url)
    word = await database.fetchval("SELECT word FROM kept")
    await database.close()
    async with await aio_pika.connect(endpoints.amqp_url) as broker:
        channel = await broker.channel()
        queue = await channel.get_queue("kept")
        message = await queue.get(timeout=20)
        await message.ack()
    return word, message.body
