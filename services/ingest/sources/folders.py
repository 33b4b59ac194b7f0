"""A folder of event files, of whatever kind its source is: what every kind gives, and which kinds there are."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from fnmatch import fnmatchcase
from typing import Final, Protocol

from services.ingest.records import Listed, Listing, Source, SourceUnreachable

READ_BYTES: Final = 1 << 20
"""A block of a file that is read."""
MAX_ENTRIES: Final = 200_000
MAX_NAME_CHARS: Final = 32_000_000
"""In the paths of one listing, which is in memory as a whole: 160 for each of the most entries."""
LIST_TIMEOUT_S: Final = 120.0

# What the ledger can hold of a file, whatever its server tells. Path and tag are part of an index whose entries end at
# 2,700 bytes, and no file system or bucket has longer names.
_MOST_NAME_BYTES: Final = 1024
_MOST_PATH_BYTES: Final = 2048
_MOST_TAG_BYTES: Final = 200
_MOST_SIZE_BYTES: Final = 1 << 62

# What uploaders call a file that is not whole yet.
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")


class Folder(Protocol):
    """One source's folder, opened. Every call ends within its time limit (real seconds)."""

    async def list(self) -> Listing:
        """The regular files whose names fit; folders below are not searched. Raises SourceUnreachable."""

    async def look(self, path: str) -> Listed:
        """The file as it is now; a link is not followed. Raises Changed when it is no file any more."""

    def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Its bytes from `start` on, at most so many, in blocks of at most READ_BYTES. Raises Changed or Transient."""


class Opener(Protocol):
    """Opens the sources of one kind. `steps`: what has to work until a folder is open, named for people."""

    steps: tuple[str, ...]

    def open(self, source: Source) -> AbstractAsyncContextManager[Folder]:
        """Raises SourceRefused for what only a changed source can mend, else SourceUnreachable."""

    def reach(self, source: Source, done: Callable[[str], None]) -> AbstractAsyncContextManager[Folder]:
        """The same for somebody who looks on: `done` is told after each of `steps` what came of it. Raises Failure."""


class Folders:
    """Opens sources of every kind that is read here."""

    def __init__(self, kinds: Mapping[str, Opener]) -> None:
        self._kinds = kinds

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[Folder]:
        """The source's folder. Raises SourceRefused or SourceUnreachable."""
        async with self.opener(source).open(source) as folder:
            yield folder

    def opener(self, source: Source) -> Opener:
        """Of the source's kind. Raises SourceUnreachable."""
        opener = self._kinds.get(source.kind)
        if opener is None:
            # Not refused: the next release of this service may read it, and nobody would think of touching the source.
            raise SourceUnreachable(f"sources of kind {source.kind!r} are not read by this service", reason="no_kind")
        return opener


def fitting(raw: bytes | str, pattern: str) -> str | None:
    """The name of an entry if it is one of a file for us: printable, finished, not hidden, of at most 1,024 bytes, and
    fitting the pattern."""
    if len(raw) > _MOST_NAME_BYTES:  # before anything is made of it: a server may send megabytes
        return None
    try:
        name = raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None
    if not name or not name.isprintable() or "/" in name or name.startswith(".") or name.lower().endswith(_UNFINISHED):
        return None
    return name if fnmatchcase(name, pattern) else None


class Gathering:
    """A listing that grows entry by entry, within what may be listed of one folder. `where`: its name, for people."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._files: list[Listed] = []
        self._ignored = self._name_chars = 0

    def take(self, file: Listed | None) -> None:
        """None, or what the ledger cannot hold: not for us. Raises SourceUnreachable past what may be listed."""
        if file is None or not _storable(file):
            self.ignore(1)
            return
        self._files.append(file)
        self._name_chars += len(file.path)
        self._demand_few()

    def ignore(self, entries: int) -> None:
        """So many that are not for us. Raises SourceUnreachable past what may be listed."""
        self._ignored += entries
        self._demand_few()

    def listing(self) -> Listing:
        """What was gathered."""
        return Listing(self._files, self._ignored)

    def _demand_few(self) -> None:
        if len(self._files) + self._ignored > MAX_ENTRIES:
            raise SourceUnreachable(
                f"more than {MAX_ENTRIES} entries in {self._where}; have old files moved away",
                reason="too_many_entries",
            )
        if self._name_chars > MAX_NAME_CHARS:
            raise SourceUnreachable(
                f"the names in {self._where} have more than {MAX_NAME_CHARS} characters; have old files moved away",
                reason="too_many_entries",
            )


def _storable(file: Listed) -> bool:
    return (
        0 <= file.size <= _MOST_SIZE_BYTES
        and len(file.path.encode()) <= _MOST_PATH_BYTES
        and len(file.tag.encode()) <= _MOST_TAG_BYTES
    )
