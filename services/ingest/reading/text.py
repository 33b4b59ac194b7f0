"""Bytes → text: what it is packed in is told by its first bytes, the encoding by its byte order mark or its NULs, and a
file that unpacks to more than is allowed ends with a clear word."""

import io
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from services.ingest.reading.unpack import DAMAGE, Packing, damaged, packing_of, unpacked
from services.ingest.records import Unreadable

_HEAD_BYTES = 64 * 1024

_OTHERS = {
    b"PAR1": "Parquet",
    b"PARE": "encrypted Parquet",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"%PDF": "PDF",
    b"\xd0\xcf\x11\xe0": "old Office",
    b"Obj\x01": "Avro",
}
READ = "CSV, JSON and Parquet are read, text also packed by gzip, zstd or zip"
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),  # before UTF-16, whose mark it begins with
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_UNMARKED = (("utf-32-le", 4, 0), ("utf-32-be", 4, 3), ("utf-16-le", 2, 0), ("utf-16-be", 2, 1))
_SURE_BYTES = 16
"""So much of a text of ASCII tells UTF-16 and UTF-32 without a mark by where its NULs are: no file of ours begins with
other letters."""
FEW_REJECTS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask of us. Unpacked: at most `max_ratio` times the packed size (and `slack_bytes`).
    `max_rejects`: the share of its rows that may be no events; see `forgives`."""

    max_unpacked_bytes: int = 16 << 30
    max_ratio: int = 200
    slack_bytes: int = 16 << 20
    max_rejects: float = 0.05

    def unpacked(self, packed_bytes: int) -> int:
        """The most bytes that a file of this size may unpack to."""
        return min(self.max_unpacked_bytes, self.slack_bytes + self.max_ratio * packed_bytes)

    def forgives(self, rejects: int, rows: int) -> bool:
        """Whether the good ones among so many rows may count. A handful of bad rows is no share of anything: up to
        FEW_REJECTS of them are forgiven while they are not more than the good ones."""
        share = max(self.max_rejects, 0.5) if rejects <= FEW_REJECTS else self.max_rejects
        return rejects <= share * rows


class OpenedText(NamedTuple):
    """A file's text from its start, the first part of it, its encoding, and what it was packed in."""

    text: io.TextIOWrapper
    head: str
    encoding: str
    packing: Packing = ""


def open_text(stream: BinaryIO, size_bytes: int, limits: Limits) -> OpenedText:
    """The text of a file. A character that is not in the encoding becomes U+FFFD: it costs a record only where it
    stands in an id. Raises Unreadable."""
    stream.seek(0)
    packing = packing_of(stream.read(4))
    opened = _Bounded(unpacked(stream, packing), limits.unpacked(size_bytes), packing)
    head = opened.peek_head()
    if strange := _strange(head, packing):
        raise Unreadable(f"a {strange} file; {READ}", reason="unknown_format")
    encoding = _encoding_of(head)
    text = io.TextIOWrapper(io.BufferedReader(opened, 1 << 18), encoding, errors="replace", newline="")
    return OpenedText(text, head.decode(encoding, errors="replace"), encoding, packing)


def _strange(head: bytes, packing: Packing) -> str:
    """What it is, if it is no text."""
    name: str = packing_of(head) or next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")
    return f"{name} in {packing}" if name and packing else name


def _encoding_of(head: bytes) -> str:
    if marked := next((name for mark, name in _MARKS if head.startswith(mark)), None):
        return marked
    first = head[:_SURE_BYTES]
    nuls = [not byte for byte in first]
    if len(first) == _SURE_BYTES:
        for encoding, width, letter in _UNMARKED:
            if all(nul == (at % width != letter) for at, nul in enumerate(nuls)):
                return encoding
    return "utf-8"


class _Bounded(io.RawIOBase):
    """A stream that can be looked at, and that ends with a clear word when it is damaged or a bomb."""

    def __init__(self, stream: BinaryIO, most_bytes: int, packing: Packing) -> None:
        self._stream, self._left, self._packing, self._head = stream, most_bytes, packing, b""

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
        except DAMAGE as error:
            raise damaged(self._packing, error) from None
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("the file unpacks to more than is read", reason="too_large_unpacked")
        return data
