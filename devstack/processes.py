"""Our own services as child processes, for the demo, benchmarks and end-to-end tests.

    async with supervise(commands, log_dir=run / "logs", echo=print) as processes:
        ...                                 # every service answers its /readyz here

Each process writes straight into `<log_dir>/<name>.log`, so a slow terminal never blocks a service; `echo` follows the
files. When one ends that nobody asked to end, the body is cancelled, all others are stopped, and `ProcessDied` says
which one it was, with its last lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

from devstack.guarded import GuardedProcess
from devstack.local import last_lines

_POLL_S = 0.05
_READY_S = 60.0
_PALETTE = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # ANSI foreground colours that read well on dark and on light
_LEVEL_COLOURS = {"warning": 33, "error": 31, "critical": 31}


class ProcessDied(Exception):
    """A process ended (or never became ready) although nobody asked it to. The text ends with its last lines."""


@dataclass(frozen=True, slots=True)
class Command:
    """One process to keep running."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)  # on top of our own environment
    ready_url: str | None = None  # answers 200 when the process can do its work
    stop_within_s: float = 30.0  # after SIGTERM; then it is killed
    cwd: Path | None = None  # None: where all of them run


def python(module: str) -> list[str]:
    """The command line of one of our modules, in this interpreter."""
    return [sys.executable, "-m", module]


class Processes:
    """The processes that are running now."""

    def __init__(self, log_dir: Path, *, echo: Callable[[str], None] | None, colour: bool, cwd: Path | None) -> None:
        self._log_dir, self._echo, self._colour, self._cwd = log_dir, echo, colour, cwd
        self._running: dict[str, tuple[Command, GuardedProcess]] = {}
        self._ending: set[str] = set()
        self._logs: dict[str, IO[bytes]] = {}
        log_dir.mkdir(parents=True, exist_ok=True)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the commands themselves (not of their guards), for measuring."""
        return {name: process.pid for name, (_, process) in self._running.items()}

    def exit_code(self, name: str) -> int | None:
        """Of one that has ended by itself (128 + signal); None while it runs. It stays until `end`."""
        return self._running[name][1].poll()

    def start(self, command: Command) -> None:
        """Start one more; does not wait for it (see `ready`). Its earlier log, if any, is replaced."""
        log = self._log_dir / f"{command.name}.log"
        self._close_log(command.name)
        with log.open("wb") as output:
            env = {**os.environ, "PYTHONUNBUFFERED": "1", **command.env}
            process = GuardedProcess(command.argv, env=env, output=output, cwd=command.cwd or self._cwd)
        self._running[command.name] = (command, process)
        self._logs[command.name] = log.open("rb")

    async def ready(self, *names: str, within_s: float = _READY_S) -> None:
        """Wait until these (all, if none is named) answer. Raises `ProcessDied` when one does not in time."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            for name in names or tuple(self._running):
                if url := self._running[name][0].ready_url:
                    try:
                        async with asyncio.timeout(within_s):
                            await _until_ready(http, url)
                    except TimeoutError:
                        raise ProcessDied(f"{name} was not ready within {within_s:g} s\n{self._tail(name)}") from None

    async def end(self, *names: str, kill: bool = False) -> dict[str, int]:
        """Stop these side by side, by SIGTERM or at once; returns their exit codes (128 + signal)."""
        self._ending.update(names)
        try:
            codes = await asyncio.gather(*(_end(*self._running[name], kill=kill) for name in names))
            for name in names:
                del self._running[name]
        finally:
            self._ending.difference_update(names)
        return dict(zip(names, codes, strict=True))

    async def watch(self) -> None:
        """Echo the logs until a process dies; then raise `ProcessDied`."""
        while True:
            self.echo_new_lines()
            for name, (_, process) in list(self._running.items()):
                code = process.poll()
                if code is not None and name not in self._ending:
                    del self._running[name]
                    process.kill()
                    self.echo_new_lines()
                    raise ProcessDied(f"{name} ended with code {code}\n{self._tail(name)}")
            await asyncio.sleep(_POLL_S)

    def echo_new_lines(self) -> None:
        if self._echo is None:
            return
        for number, (name, log) in enumerate(self._logs.items()):
            colour = _PALETTE[number % len(_PALETTE)] if self._colour else None
            while line := log.readline():
                if not line.endswith(b"\n"):  # still being written
                    log.seek(-len(line), os.SEEK_CUR)
                    break
                self._echo(readable(name, line.decode(errors="replace").rstrip(), colour=colour))

    def close(self) -> None:
        """Kill whatever still runs."""
        for _, process in self._running.values():
            process.kill()
        for name in list(self._logs):
            self._close_log(name)

    def _close_log(self, name: str) -> None:
        if (log := self._logs.pop(name, None)) is not None:
            log.close()

    def _tail(self, name: str) -> str:
        return last_lines(self._log_dir / f"{name}.log")


@asynccontextmanager
async def supervise(
    commands: Sequence[Command],
    *,
    log_dir: Path,
    echo: Callable[[str], None] | None = None,
    colour: bool = False,
    ready_within_s: float = _READY_S,
    cwd: Path | None = None,
) -> AsyncIterator[Processes]:
    """Run all commands, enter when each is ready, stop them on the way out. Raises `ProcessDied`."""
    processes = Processes(log_dir, echo=echo, colour=colour, cwd=cwd)
    try:
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(processes.watch())
            for command in commands:
                processes.start(command)
            await processes.ready(within_s=ready_within_s)
            yield processes
            watch.cancel()
    except BaseExceptionGroup as group:
        # The group is only our means of cancelling the body. Whoever wrote the body expects its own error, unless a
        # process died: then the body's error is a consequence of that.
        died, others = group.split(ProcessDied)
        error = (died or others or group).exceptions[0]
        raise error from error.__cause__
    finally:
        try:
            await processes.end(*processes.pids)
            processes.echo_new_lines()
        finally:
            processes.close()


async def _until_ready(http: aiohttp.ClientSession, url: str) -> None:
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with http.get(url) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(_POLL_S)


async def _end(command: Command, process: GuardedProcess, *, kill: bool) -> int:
    if not kill:
        process.ask_to_end(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(command.stop_within_s):
                await _until_ended(process)
    return process.kill()


async def _until_ended(process: GuardedProcess) -> None:
    while process.poll() is None:  # noqa: ASYNC110 - the state of a child process sets no event
        await asyncio.sleep(_POLL_S)


def readable(name: str, line: str, *, colour: int | None = None) -> str:
    """One log line for people: the process's name, then our JSON as time, level, event and fields; other text as is."""
    prefix = f"{name:<14}"
    try:
        fields = json.loads(line)
        text = f"{fields.pop('at')[11:23]} {fields.pop('level'):<7} {fields.pop('event')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_coloured(prefix, colour)} | {line}"
    level = _LEVEL_COLOURS.get(text.split()[1]) if colour is not None else None
    shown = " ".join(f"{key}={value}" for key, value in fields.items() if key not in ("service", "logger"))
    return f"{_coloured(prefix, colour)} | {_coloured(text, level)} {shown}".rstrip()


def _coloured(text: str, colour: int | None) -> str:
    return text if colour is None else f"\x1b[{colour}m{text}\x1b[0m"
