"""Free loopback ports."""

from __future__ import annotations

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections (32768–60999), so that no connection of a
# neighbour can slip in between our look and the server's bind; and 10000 lower still leaves room for the S3 server,
# which also takes every port of its own plus 10000.
_FIRST, _LAST = 20000, 22700
S3_GRPC_OFFSET = 10000


def free_ports(count: int, *, also: int = 0) -> tuple[int, ...]:
    """`count` different ports that nobody listens on; with `also`, each port + `also` is free too.

    A neighbour may still take one before the server does: whoever starts a server tries again with other ports.
    """
    candidates = random.sample(range(_FIRST, _LAST), k=_LAST - _FIRST)
    found: list[int] = []
    for port in candidates:
        if _is_free(port) and (not also or _is_free(port + also)):
            found.append(port)
            if len(found) == count:
                return tuple(found)
    raise OSError(f"no {count} free ports between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
