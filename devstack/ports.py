"""Free loopback ports."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections import deque

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections (32768–60999), so that no connection of a
# neighbour can slip in between our look and the server's bind; and 10000 lower still leaves room for the S3 server,
# which also takes every port of its own plus 10000.
_FIRST, _LAST = 20000, 22700
S3_GRPC_OFFSET = 10000

_OURS_FOR_S = 120.0  # longer than any server takes from our look to its bind
_ours: deque[tuple[float, int]] = deque()
_lock = threading.Lock()


def free_ports(count: int, *, also: int = 0) -> tuple[int, ...]:
    """`count` different ports that nobody listens on; with `also`, each port + `also` is free too.

    Nobody else who asks here is given one of them for two minutes, in whatever process of this machine. Who does not
    ask may still take one before the server does: whoever starts a server tries again with other ports.
    """
    candidates = random.sample(range(_FIRST, _LAST), k=_LAST - _FIRST)
    found: list[int] = []
    with _lock:
        _give_back()
        for port in candidates:
            if len(found) == count:
                break
            if (name := _taken(port)) is None:
                continue
            if _is_free(port) and (not also or _is_free(port + also)):
                _ours.append((time.monotonic(), name))
                found.append(port)
            else:
                os.close(name)
    if len(found) < count:
        raise OSError(f"no {count} free ports between {_FIRST} and {_LAST}")
    return tuple(found)


def _taken(port: int) -> int | None:
    """The port's name among processes, as an open file: only one can have it. None: somebody has."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as name:
        try:
            name.bind(f"\0justai-port-{port}")
        except OSError:
            return None
        return name.detach()


def _give_back() -> None:
    while _ours and time.monotonic() - _ours[0][0] > _OURS_FOR_S:
        os.close(_ours.popleft()[1])


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
