"""A child process that cannot outlive us (see `guard`)."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).with_name("guard.py")
_GUARD_START_S = 20.0  # an interpreter without site packages needs 15 ms; a crowded machine much more


class GuardedProcess:
    """One command under a guard. Thread-safe to start; `stop` and `kill` may be called more than once.

    `keep_open` are file descriptors that the guard (not the command) keeps open until everything below it has ended,
    such as the lock of a data folder.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        output: int | IO[bytes],
        cwd: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        with theirs:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(theirs.fileno()), *command],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), *keep_open),
                start_new_session=True,
            )
        try:
            self.pid = self._read_pid()
        except BaseException:
            self.kill()
            raise

    def _read_pid(self) -> int:
        self._channel.settimeout(_GUARD_START_S)
        line = self._channel.recv(64)
        match = re.fullmatch(rb"pid (\d+)\n", line)
        if match is None:
            raise OSError("the guard of a child process did not start")
        return int(match[1])

    @property
    def stdout(self) -> IO[bytes] | None:
        """The command's output, if it was asked for with `subprocess.PIPE`."""
        return self._guard.stdout

    def poll(self) -> int | None:
        """The exit code in the shell's convention (128 + signal), or None while the command runs."""
        return self._guard.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end; raises `subprocess.TimeoutExpired`."""
        return self._guard.wait(timeout_s)

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the command to end with SIGTERM or SIGINT; does not wait."""
        self._guard.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float) -> int:
        """Ask the command to end and wait; kill it after `within_s`. Returns the exit code."""
        self.ask_to_end(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(within_s)
        return self.kill()

    def kill(self) -> int:
        """End the command and all its descendants now; returns when they are gone. Needed after `wait`, too."""
        self._channel.close()  # the guard reads end-of-file, kills what is below it and reaps it
        code = self._guard.wait(_GUARD_START_S)
        if self._guard.stdout is not None:
            self._guard.stdout.close()
        return code
