"""Bytes → text: gzip is told by its first bytes, the encoding by its byte order mark, and a file that unpacks to more
than is allowed ends with a clear word."""

import gzip
import io
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from services.ingest.records import Unreadable

_HEAD_BYTES = 64 * 1024

_MAGIC = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
GZIP = b"\x1f\x8b"
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),  # before UTF-16, whose mark it begins with
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask of us. Unpacked: at most `max_ratio` times the packed size (and `slack_bytes`)."""

    max_unpacked_bytes: int = 16 << 30
    max_ratio: int = 200
    slack_bytes: int = 16 << 20

    def unpacked(self, packed_bytes: int) -> int:
        """The most bytes that a file of this size may unpack to."""
        return min(self.max_unpacked_bytes, self.slack_bytes + self.max_ratio * packed_bytes)


class OpenedText(NamedTuple):
    """A file's text from its start, the first part of it, and its encoding."""

    text: io.TextIOWrapper
    head: str
    encoding: str


def open_text(stream: BinaryIO, size_bytes: int, limits: Limits) -> OpenedText:
    """The text of a file. A character that is not in the encoding becomes U+FFFD: it costs a record only where it
    stands in an id. Raises Unreadable."""
    packed = stream.read(len(GZIP)) == GZIP
    stream.seek(0)
    if packed:
        stream = gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[assignment]  # reads like any stream
    opened = _Bounded(stream, limits.unpacked(size_bytes))
    head = opened.peek_head()
    for magic, name in (*_MAGIC.items(), (GZIP, "gzip in gzip")):
        if head.startswith(magic):
            raise Unreadable(f"a {name} file; CSV and JSON lines are read, plain or gzip", reason="unknown_format")
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    text = io.TextIOWrapper(io.BufferedReader(opened, 1 << 18), encoding, errors="replace", newline="")
    return OpenedText(text, head.decode(encoding, errors="replace"), encoding)


class _Bounded(io.RawIOBase):
    """A stream that can be looked at, and that ends with a clear word when it is damaged or a bomb."""

    def __init__(self, stream: BinaryIO, most_bytes: int) -> None:
        self._stream, self._left, self._head = stream, most_bytes, b""

    def readable(self) -> bool:
        return True

    def peek_head(self) -> bytes:
        """The first _HEAD_BYTES, which will be read again."""
        parts = []
        missing = _HEAD_BYTES
        while missing and (part := self._take(missing)):
            parts.append(part)
            missing -= len(part)
        self._head = b"".join(parts)
        return self._head

    def readinto(self, buffer: Any) -> int:
        if self._head:
            data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        else:
            data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Unreadable(f"the gzip data is damaged or cut off: {error}", reason="damaged_gzip") from None
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("the file unpacks to more than is read", reason="too_large_unpacked")
        return data
