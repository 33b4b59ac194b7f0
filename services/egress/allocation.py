"""Memory of one row group serves the next one."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT_BYTES = 48 << 20  # a group in the making, and one that is being written
_ARENAS = 2  # what one thread frees another one can use


def keep_freed_memory() -> None:
    """Have glibc keep what is freed. By itself it gives a group's texts back to the system and takes them anew for the
    next group: 4 page faults a row, which cost more than opening its copy. Elsewhere nothing happens."""
    with suppress(OSError, AttributeError):
        tune = ctypes.CDLL(None).mallopt
        tune(_M_ARENA_MAX, _ARENAS)
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tune(_M_MMAP_THRESHOLD, 32 << 20)
