"""Starting a private server as a child process: log file, readiness, the reason when it does not come up."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.guarded import GuardedProcess

_POLL_S = 0.02
# As PostgreSQL, OpenSSH, SeaweedFS and Erlang say it. Erlang's node is without distribution when its name service did
# not answer as one: somebody else has that port.
_TAKEN = re.compile(r"addr(ess)?[ _]?(already )?in[ _]?use|port_already_used|nodistribution", re.IGNORECASE)


class ServerFailed(Exception):
    """A server cannot be started. The message names it, says why, and ends with its last lines.

    Some servers say why long before their last line: `port_was_taken` goes by all that they said.
    """

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        self._said = said or message

    @property
    def port_was_taken(self) -> bool:
        """Another process was faster; other ports may work."""
        return _TAKEN.search(self._said) is not None


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of one server, and what every start in it has in common."""

    path: Path
    durable: bool  # data must survive a restart of the machine; otherwise every shortcut is taken
    lock_fd: int  # kept open by whatever runs below the folder
    stopping: threading.Event  # set when nobody waits for the server any more

    def secret(self, name: str) -> str:
        """A password made at the first start and kept, because the server has kept it too."""
        file = self.path / f"{name}.secret"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text()


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    fields: Mapping[str, Any]  # its part of `Endpoints`
    stop: Callable[[], object]
    source: str  # how it was found, for people
    process: GuardedProcess | None = None  # of a private local one


def clean_env(**extra: str) -> dict[str, str]:
    """An environment with nothing of the caller's in it but the search path and the folder for temporary files."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {"LANG": "C.UTF-8", **kept, **extra}


def launch(
    name: str,
    command: Sequence[str | Path],
    ready: Callable[[], bool],
    *,
    folder: Folder,
    env: Mapping[str, str],
    within_s: float,
) -> GuardedProcess:
    """Start `command` and return when `ready()` is true; its output goes to `<name>.log` in the folder.

    `ready` may raise `OSError` while the server is not there yet. Raises `ServerFailed`; nothing is left running then.
    """
    log = folder.path / f"{name}.log"
    with log.open("wb") as output:
        process = GuardedProcess(
            [str(word) for word in command], env=env, output=output, cwd=folder.path, keep_open=[folder.lock_fd]
        )
    try:
        _wait_until(ready, process, folder.stopping, name=name, log=log, within_s=within_s)
    except BaseException:
        process.kill()
        raise
    return process


def _wait_until(
    ready: Callable[[], bool],
    process: GuardedProcess,
    stopping: threading.Event,
    *,
    name: str,
    log: Path,
    within_s: float,
) -> None:
    deadline = time.monotonic() + within_s
    while not stopping.wait(_POLL_S):
        code = process.poll()
        if code is not None:
            said = log.read_text(errors="replace")
            raise ServerFailed(f"{name} ended with code {code} while starting\n{last_lines(log)}", said=said)
        with suppress(OSError):
            if ready():
                return
        if time.monotonic() > deadline:
            raise ServerFailed(f"{name} did not answer within {within_s:g} s\n{last_lines(log)}")
    raise ServerFailed(f"{name} was stopped while starting")


def last_lines(log: Path, count: int = 15) -> str:
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(f"  | {line}" for line in lines)
