"""A folder on a disk of ours, as a source: each org has one below the root that the operator lends, named by its slug,
and nothing leads out of it. Files are dropped there by our own SFTP server, or by whatever mounts the same volume."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from services.ingest.records import Changed, Listed, Listing, Source, SourceRefused, SourceUnreachable
from services.ingest.sources.folders import LIST_TIMEOUT_S, READ_BYTES, Gathering, fitting
from shared.errors import Transient

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a pipe that took a file's name after the listing must not hold up the thread.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Threads of their own: one that a silent mount holds is held for as long as it is silent, and what needs a thread
# elsewhere (names of servers, parsing) must not wait for it.
_DISK: Final = ThreadPoolExecutor(4, "folder")


class LocalFolder:
    """One source's folder, held by its descriptor: whoever renames folders afterwards does not lead us elsewhere."""

    def __init__(self, fd: int, source: Source, timeout_s: float) -> None:
        self._fd, self._source, self._timeout_s = fd, source, timeout_s

    async def list(self) -> Listing:
        """See Folder."""
        with _named(self._source):
            async with asyncio.timeout(LIST_TIMEOUT_S):
                return await _on_disk(self._list)

    def _list(self) -> Listing:
        gathered = Gathering(repr(self._source.path))
        with os.scandir(self._fd) as entries:
            for entry in entries:
                name = fitting(os.fsencode(entry.name), self._source.pattern)
                seen = _stat(self._fd, name) if name else None
                gathered.take(_listed(_path(self._source, name), seen) if name and seen else None)
        return gathered.listing()

    async def look(self, path: str) -> Listed:
        """See Folder."""
        seen = await self._within(path, lambda: _stat(self._fd, self._name(path)))
        if seen is None:
            raise Changed(f"{path} is not a regular file any more", reason="file_gone")
        return _listed(path, seen)

    async def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """See Folder."""
        with _reading(path):
            fd = await _opened(lambda: os.open(self._name(path), _FILE, dir_fd=self._fd), self._timeout_s)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Changed(f"{path} is not a regular file any more", reason="file_gone")
            offset, end = start, start + at_most
            while offset < end:
                size = min(READ_BYTES, end - offset)
                block = await self._within(path, partial(os.pread, fd, size, offset))
                if not block:
                    return
                offset += len(block)
                yield block
        finally:
            os.close(fd)

    async def _within(self, path: str, work: Callable[[], T]) -> T:
        with _reading(path):
            async with asyncio.timeout(self._timeout_s):
                return await _on_disk(work)

    def _name(self, path: str) -> str:
        name = path.rpartition("/")[2]
        if not fitting(name, "*") or path != _path(self._source, name):
            raise Changed(f"{path!r} is not in the source's folder", reason="file_gone")
        return name


class LocalFolders:
    """Opens sources of kind `folder`. `root` None: the operator lends none."""

    steps: tuple[str, ...] = ("Find the folder",)

    def __init__(self, root: Path | None, *, read_timeout_s: float) -> None:
        self._root, self._timeout_s = root, read_timeout_s

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[LocalFolder]:
        """The org's folder, or one in it. Raises SourceRefused or SourceUnreachable."""
        if self._root is None:
            raise SourceUnreachable(
                "no folder is lent to sources; the operator sets JUSTAI_INGEST_FOLDER_ROOT", reason="no_folder_root"
            )
        parts = [source.org_slug, *_parts(source.path)]
        with _named(source):
            fd = await _opened(partial(_descend, self._root, parts), self._timeout_s)
        try:
            yield LocalFolder(fd, source, self._timeout_s)
        finally:
            os.close(fd)

    @asynccontextmanager
    async def reach(self, source: Source, done: Callable[[str], None]) -> AsyncIterator[LocalFolder]:
        """See Opener."""
        async with self.open(source) as folder:
            done(f"{'/'.join([source.org_slug, *_parts(source.path)])} is there.")
            yield folder


def _parts(path: str) -> list[str]:
    """The folders of a path below the org's. Raises SourceRefused for one that leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or any(part == ".." or not part.isprintable() for part in parts):
        raise SourceRefused(
            f"{path!r} is no path in the org's folder: give it from there, without a leading slash and `..`",
            reason="bad_path",
        )
    return parts


def _descend(root: Path, parts: list[str]) -> int:
    """The descriptor of the innermost folder; no link is followed below the root."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            inner = os.open(part, _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _on_disk(work: Callable[[], T]) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(_DISK, work)


async def _opened(work: Callable[[], int], timeout_s: float) -> int:
    """The descriptor that a thread opens. When the disk gives it after nobody waits any more, it is closed."""
    opening = _on_disk(work)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(opening)
    except (TimeoutError, asyncio.CancelledError):
        opening.add_done_callback(_close_late)
        raise


def _close_late(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _path(source: Source, name: str) -> str:
    return "/".join([*_parts(source.path), name])


def _stat(fd: int, name: str) -> os.stat_result | None:
    """None for what is no regular file, or is gone."""
    try:
        seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return seen if stat.S_ISREG(seen.st_mode) else None


def _listed(path: str, seen: os.stat_result) -> Listed:
    """Its time to the microsecond: two versions of one second differ."""
    try:
        mtime = min(_LATEST, _EPOCH + timedelta(microseconds=seen.st_mtime_ns // 1000))
    except OverflowError:
        mtime = _LATEST if seen.st_mtime_ns > 0 else _EPOCH
    return Listed(path, seen.st_size, mtime)


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """What can go wrong with the folder, in a line that says what to do."""
    where = "/".join([source.org_slug, *_parts(source.path)])
    try:
        yield
    except FileNotFoundError:
        raise SourceUnreachable(
            f"no folder {where!r} below JUSTAI_INGEST_FOLDER_ROOT; make it, or correct the path", reason="no_folder"
        ) from None
    except NotADirectoryError:
        raise SourceUnreachable(
            f"{where!r} is no folder, or a link, which is not followed", reason="no_folder"
        ) from None
    except PermissionError:
        raise SourceUnreachable(
            f"the ingest service may not read {where!r}; let its user in", reason="folder_denied"
        ) from None
    except (TimeoutError, OSError) as error:
        raise SourceUnreachable(f"{where!r} cannot be read: {_why(error)}", reason="unreachable") from None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """What can go wrong with one file."""
    try:
        yield
    except FileNotFoundError:
        raise Changed(f"{path} is gone", reason="file_gone") from None
    except PermissionError:
        raise Transient(f"the ingest service may not read {path}; let its user in", reason="file_denied") from None
    except TimeoutError:
        raise Transient(f"the disk fell silent while we read {path}", reason="read_timeout") from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link took its place
            raise Changed(f"{path} is not a regular file any more", reason="file_gone") from None
        raise Transient(f"{path} cannot be read: {_why(error)}", reason="read_failed") from None


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
