"""A folder in place of a bucket, for orgs that have none: the same promises, kept with the means of a file system.

An object is replaced by a rename, so readers see the old one or the new one. What is said about it lies in a tree of
its own, and names the very file that it is about: after a crash between the two nothing is believed of a file that is
not its own, and the hour is written once more. A lock of the folder makes looking and replacing one step for all
exporters that share it.
"""

import asyncio
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

import orjson

from services.egress.model import Found, Superseded
from shared.errors import Failure, Permanent, Transient

_NOT_OURS_TO_MEND = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ABOUT, _UPLOADS = "_about", "_uploads"  # readers of the whole folder skip names with an underscore


class Folder:
    """One org's folder; see s3.Bucket for what the methods promise. Raises Permanent for what only the operator can
    mend, else Transient."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def find(self, key: str) -> Found | None:
        """What lies at a key; None when nothing does."""
        return await asyncio.to_thread(self._find, key)

    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str:
        """Put `content` in place of `over`; the new ETag. A file system knows no `kind`."""
        return await asyncio.to_thread(self._replace, key, content, length, metadata, over)

    async def remove(self, key: str, over: Found) -> None:
        """Delete `over`, and folders that are empty then."""
        await asyncio.to_thread(self._remove, key, over)

    async def read(self, key: str, most: int) -> bytes:
        """The first `most` bytes of what lies at a key."""

        def read() -> bytes:
            with _named(), self._path(key).open("rb") as file:
                return file.read(most)

        return await asyncio.to_thread(read)

    async def begin_and_abort(self, key: str) -> None:
        """Begin to write, and leave it."""

        def begin() -> None:
            with _named():
                self._begin().unlink()

        await asyncio.to_thread(begin)

    async def sweep(self, prefix: str, ours: Callable[[str], bool], older_than_s: float) -> int:
        """Delete what a crash left half written; how many. All of it is ours."""
        return await asyncio.to_thread(self._sweep, older_than_s)

    def _path(self, key: str) -> Path:
        return self._root / key

    def _find(self, key: str) -> Found | None:
        with _named():
            try:
                there = self._path(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return Found(_etag(there), self._said_of(key, _etag(there)), there.st_size)

    def _said_of(self, key: str, etag: str) -> dict[str, str]:
        try:
            said = orjson.loads((self._root / _ABOUT / key).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return dict(said["metadata"]) if said["etag"] == etag else {}

    def _replace(
        self, key: str, content: IO[bytes], length: int, metadata: Mapping[str, str], over: Found | None
    ) -> str:
        with _named():
            new = self._begin()
            try:
                etag = _filled(new, content, length)
                about = self._begin(orjson.dumps({"etag": etag, "metadata": dict(metadata)}))
                try:
                    with self._locked():
                        self._demand(key, over)
                        _move(about, self._root / _ABOUT / key)
                        _move(new, self._path(key))
                finally:
                    about.unlink(missing_ok=True)
            finally:
                new.unlink(missing_ok=True)
        return etag

    def _remove(self, key: str, over: Found) -> None:
        with _named(), self._locked():
            self._demand(key, over)
            for path in (self._path(key), self._root / _ABOUT / key):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # the first one that is not empty
                    for parent in path.relative_to(self._root).parents:
                        (self._root / parent).rmdir()

    def _demand(self, key: str, over: Found | None) -> None:
        try:
            etag = _etag(self._path(key).stat())
        except (FileNotFoundError, NotADirectoryError):
            etag = None
        if etag != (over.etag if over else None):
            raise Superseded("something else lies there by now")

    def _begin(self, content: bytes = b"") -> Path:
        """A file that nobody reads yet."""
        (self._root / _UPLOADS).mkdir(parents=True, exist_ok=True)
        path = self._root / _UPLOADS / token_hex(12)
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return path

    def _sweep(self, older_than_s: float) -> int:
        swept, now = 0, time.time()  # the time of the files
        with _named():
            for path in (self._root / _UPLOADS).glob("[0-9a-f]*"):
                with suppress(FileNotFoundError):  # another replica was faster
                    if now - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        swept += 1
        return swept

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Held for the moment of a look and a rename."""
        (self._root / _UPLOADS).mkdir(parents=True, exist_ok=True)
        with (self._root / _UPLOADS / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _filled(path: Path, content: IO[bytes], length: int) -> str:
    """Writes the content into the file; its ETag."""
    content.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
        there = os.fstat(file.fileno())
    if there.st_size != length:
        raise Transient(f"{there.st_size} bytes of {length} were written", reason="folder_not_as_written")
    return _etag(there)


def _move(path: Path, to: Path) -> None:
    """In one step, and for good."""
    to.parent.mkdir(parents=True, exist_ok=True)
    path.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _etag(there: os.stat_result) -> str:
    """Of this very file: each replacement is another one."""
    return f'"{there.st_ino:x}-{there.st_mtime_ns:x}-{there.st_size:x}"'


@contextmanager
def _named() -> Iterator[None]:
    """What goes wrong, in our words."""
    try:
        yield
    except Failure:
        raise
    except OSError as error:
        said = f"the folder of exports: {error.strerror or type(error).__name__}"
        if error.errno in _NOT_OURS_TO_MEND:
            raise Permanent(said, reason="folder_not_writable") from error
        raise Transient(said, reason="folder_is_full" if error.errno in _FULL else "folder_failed") from error
