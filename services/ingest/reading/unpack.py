"""Packed bytes → plain bytes: gzip, zstd and a zip with one file in it. Told by the first bytes, never by a name; what
is damaged, cut off or packed in another way ends with a clear word. Nothing is unpacked twice."""

import io
import stat
import struct
import zipfile
import zlib
from gzip import BadGzipFile, GzipFile
from typing import BinaryIO, Final, Literal

import zstandard

from services.ingest.records import Unreadable

Packing = Literal["", "gzip", "zstd", "zip"]

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPED: Final = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))  # frames without content
_MOST_WINDOW_BYTES: Final = 1 << 27  # what every zstd tool writes without `--long`; so much memory it may take
_BLOCK_HEADER, _CHECKSUM_BYTES, _RUN_BLOCK, _NO_BLOCK = 3, 4, 1, 3

_MOST_DIRECTORY_BYTES: Final = 1 << 20  # read into memory as a whole, by the directory's own word
_END, _END_64_AT, _END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_ELSEWHERE = 0xFFFFFFFF
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others ask for as much memory as the file likes
_ENCRYPTED = 1

DAMAGE = (EOFError, zlib.error, BadGzipFile, zstandard.ZstdError, zipfile.BadZipFile, NotImplementedError, struct.error)
"""What reading damaged data raises."""


def packing_of(first: bytes) -> Packing:
    """From the first four bytes."""
    if first.startswith(b"\x1f\x8b"):
        return "gzip"
    if first[:4] == _ZSTD or first[:4] in _SKIPPED:
        return "zstd"
    return "zip" if first[:4] in (b"PK\x03\x04", b"PK\x05\x06") else ""


def unpacked(stream: BinaryIO, packing: Packing, *, whole: bool = True) -> BinaryIO:
    """What is packed in a seekable stream, from its start. `whole`: it must not end before its end. Raises Unreadable,
    reading it one of DAMAGE."""
    stream.seek(0)
    match packing:
        case "gzip":
            return GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]  # reads like any stream
        case "zstd":
            if whole:
                _demand_whole_frames(stream)
                stream.seek(0)
            reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
            return reader.stream_reader(stream, read_across_frames=True, closefd=False)
        case "zip":
            archive, member = the_member(stream)
            try:
                return archive.open(member)  # type: ignore[return-value]  # the same
            except (*DAMAGE, ValueError) as error:
                raise damaged("zip", error) from None
    return stream


def damaged(packing: Packing, error: Exception) -> Unreadable:
    """What to say of an error of DAMAGE."""
    return Unreadable(f"the {packing} data is damaged or cut off: {error}", reason=f"damaged_{packing}")


# --- zstd


def _demand_whole_frames(stream: BinaryIO) -> None:
    """zstandard's reader ends without a word where the data does: only the frames tell whether it is all there."""
    end = stream.seek(0, io.SEEK_END)
    at = 0
    while at < end:
        stream.seek(at)
        head = stream.read(18)
        at += _skipped_bytes(head) if head[:4] in _SKIPPED else _frame_bytes(stream, at, head)
    if at > end:
        raise _cut_off()


def _skipped_bytes(head: bytes) -> int:
    if len(head) < 8:
        raise _cut_off()
    return 8 + int.from_bytes(head[4:8], "little")


def _frame_bytes(stream: BinaryIO, at: int, head: bytes) -> int:
    """How long the frame at `at` is by its headers."""
    if not head.startswith(_ZSTD):
        raise Unreadable("the zstd data is damaged: something else follows it", reason="damaged_zstd")
    try:
        header_bytes = zstandard.frame_header_size(head)
        checksum = zstandard.get_frame_parameters(head).has_checksum
    except zstandard.ZstdError as error:
        raise damaged("zstd", error) from None
    start, last = at, False
    at += header_bytes
    while not last:
        stream.seek(at)
        block = stream.read(_BLOCK_HEADER)
        if len(block) < _BLOCK_HEADER:
            raise _cut_off()
        said = int.from_bytes(block, "little")
        last, kind, size = bool(said & 1), said >> 1 & 3, said >> 3
        if kind == _NO_BLOCK:
            raise Unreadable("the zstd data is damaged: a block of no kind", reason="damaged_zstd")
        at += _BLOCK_HEADER + (1 if kind == _RUN_BLOCK else size)
    return at - start + (_CHECKSUM_BYTES if checksum else 0)


def _cut_off() -> Unreadable:
    return Unreadable("the zstd data is damaged or cut off: it ends within a frame", reason="damaged_zstd")


# --- zip


def the_member(stream: BinaryIO) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    """The one file in a zip. Its name is never used. Raises Unreadable."""
    if directory_bytes(stream) > _MOST_DIRECTORY_BYTES:
        raise Unreadable("a zip with too many files; put one event file in each", reason="many_in_zip")
    try:
        archive = zipfile.ZipFile(stream)
    except (*DAMAGE, ValueError, OSError) as error:
        raise damaged("zip", error) from None
    members = [member for member in archive.infolist() if _is_file(member)]
    if len(members) != 1:
        held = f"{len(members)} files" if members else "no file"
        raise Unreadable(f"a zip with {held} in it; put one event file in each", reason="many_in_zip")
    if members[0].flag_bits & _ENCRYPTED:
        raise Unreadable("a zip with a password", reason="unknown_format")
    if members[0].compress_type not in _METHODS:
        raise Unreadable("a zip packed otherwise than by deflate", reason="unknown_format")
    return archive, members[0]


def directory_bytes(stream: BinaryIO) -> int:
    """How much a zip's directory takes, from its start to the file's end; 0: there is none."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - _END.size - 0xFFFF))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return 0
    directory: int = _END.unpack_from(tail, at)[5]
    locator = at - _END_64_AT.size
    if locator >= 0 and tail[locator:at].startswith(b"PK\x06\x07"):
        stream.seek(min(_END_64_AT.unpack_from(tail, locator)[2], size))
        record = stream.read(_END_64.size)
        if len(record) == _END_64.size and record.startswith(b"PK\x06\x06"):
            directory = max(directory if directory != _ELSEWHERE else 0, _END_64.unpack(record)[8])
    return directory + len(tail) - at


def _is_file(member: zipfile.ZipInfo) -> bool:
    """Neither a folder nor a link, nor what a Mac adds about files."""
    mode = stat.S_IFMT(member.external_attr >> 16)
    name = member.filename.rpartition("/")[2]
    about_files = member.filename.startswith("__MACOSX/") or name == ".DS_Store"
    named = bool(member.filename)  # of a name that begins with a NUL nothing is left, and the library trips over it
    return named and not member.is_dir() and mode in (0, stat.S_IFREG) and not about_files
