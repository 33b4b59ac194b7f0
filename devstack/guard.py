"""Runs one command and makes sure that nothing of it outlives whoever started it.

    python -I -S guard.py <fd> <command> [argument ...]

The guard sits between us and a server (or a service). It is told to stop in three ways: SIGTERM or SIGINT, which it
hands on to the command; the end of the command itself; and end-of-file on `fd`, a socket whose other end only our
process holds, so that even a SIGKILL of ours is noticed at once. In each case it then kills and reaps everything that
is left below it.

Why not PR_SET_PDEATHSIG on the command: the kernel ties that signal to the *thread* that forked (servers start in
threads here), clears it when the command changes its user (`unshare -U`, `setpriv`), and grandchildren do not inherit
it (RabbitMQ's Erlang machine is a child of a shell). Why not a process group: epmd leaves it. A guard that has made
itself the "subreaper" inherits every orphan below it, epmd too, and reaps it at once, where process 1 of some machines
takes seconds.

The script imports nothing but the standard library's core, because one runs per process.
"""

import ctypes
import os
import select
import signal
import socket
import sys

_PR_SET_CHILD_SUBREAPER = 36
_STARTED = b"pid %d\n"


def main() -> int:
    channel = socket.socket(fileno=int(sys.argv[1]))
    command = sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    pid = os.fork()
    if pid == 0:
        _become(command)
    try:
        channel.sendall(_STARTED % pid)
        return _watch(pid, channel, wake_read)
    except OSError:  # our starter is gone already
        return 1
    finally:
        _kill_all_below()


def _become(command: list[str]) -> None:
    # The command must not be killed by the terminal's Ctrl-C: its starter decides how it ends.
    os.setsid()
    # Only the guard holds the socket and what it was told to keep open; a copy below it would hide its own death.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted: the command is a list
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        os._exit(127)


def _watch(pid: int, channel: socket.socket, wake_read: int) -> int:
    """Wait for the command or for the starter's death; return the exit code in the shell's convention."""
    events = select.poll()  # select() refuses the high numbers that a starter with many sockets hands over
    events.register(channel.fileno(), select.POLLIN)
    events.register(wake_read, select.POLLIN)
    while True:
        if channel.fileno() in dict(events.poll()):
            return 128 + signal.SIGKILL  # which is how the command ends now
        for number in os.read(wake_read, 64):
            if number == signal.SIGCHLD:
                status = _reap(pid)
                if status is not None:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
            elif number in (signal.SIGTERM, signal.SIGINT):
                os.kill(pid, number)


def _reap(pid: int) -> int | None:
    """Collect whatever ended, orphans included; the command's status if it was among them."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended == pid:
            return status
        if ended == 0:
            return None


def _kill_all_below() -> None:
    # Each round kills the direct children; what they leave behind becomes ours in the next one.
    while True:
        for child in _children(os.getpid()):
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children(parent: int) -> list[int]:
    # /proc/<pid>/task/<tid>/children is missing from some kernels, so the parent is read from every process's stat:
    # its fourth field, the second after the name, which stands in parentheses and may hold anything.
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the time to start
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123 - as above
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main())
