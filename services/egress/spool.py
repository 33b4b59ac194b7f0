"""The file of the hour in hand, on a disk of ours."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from shared.errors import Transient


@contextmanager
def spooling(folder: str | None) -> Iterator[IO[bytes]]:
    """It has no name: a kill leaves nothing. Raises Transient, saying what to do, where the disk does not take it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            yield file
    except (TimeoutError, ConnectionError):  # which are operating system errors to Python, and none of a disk's
        raise
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise Transient(
            f"the spool folder {where} does not take the hour's file: {error.strerror or type(error).__name__}; make "
            "room there, or name another one in JUSTAI_EGRESS_SPOOL_DIR",
            reason="spool_full",
        ) from error
