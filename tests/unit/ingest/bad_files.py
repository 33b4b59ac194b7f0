"""Event files that have hurt somebody, or would: what each is, and what must come of it, counted by hand."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.unit.ingest.given_files import (
    HEADER,
    METRIC,
    csv_text,
    event,
    klaviyo_event,
    page,
    parquet,
    parquet_events,
    row,
    zipped,
)


@dataclass(frozen=True)
class Bad:
    """`good` events and `bad` rejects; or a file that is held for `reason`, before anything else is known of it."""

    data: bytes
    good: int = 0
    bad: int = 0
    reason: str = ""


def rows(bad: str, good: int = 5, rejects: int = 1) -> Bad:
    """Bad lines between good rows."""
    text = HEADER + row(1) + row(2) + bad + "".join(row(number) for number in range(3, good + 1))
    return Bad(text.encode("utf-8", "surrogatepass"), good, rejects)


def at(moment: str) -> Bad:
    """A row with this time."""
    return rows(f"E9,Opened Email,P1,{moment},{{}}\n")


def objects(*bad: str, good: int = 2, rejects: int | None = None) -> Bad:
    """Bad lines between lines of JSON."""
    text = "\n".join([json.dumps(event(1)), *bad, *(json.dumps(event(number)) for number in range(2, good + 1))])
    return Bad(text.encode(), good, len(bad) if rejects is None else rejects)


def holds(data: bytes | str, reason: str) -> Bad:
    return Bad(data.encode() if isinstance(data, str) else data, reason=reason)


CSV: Final = csv_text(3).encode()
LINES: Final = "".join(json.dumps(event(number)) + "\n" for number in (1, 2, 3)).encode()


@cache
def gzip_bomb(size: int = 256 << 20) -> bytes:
    """A thousand to one."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join([pack.compress(CSV), *(pack.compress(b" " * (1 << 20)) for _ in range(size >> 20)), pack.flush()])


@cache
def zip_bomb(filler: bytes, size: int = 256 << 20) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open("a", "w") as member:
        member.write(CSV)
        for _ in range(size >> 20):
            member.write(filler * (1 << 20))
    return out.getvalue()


@cache
def zstd_bomb(size: int = 1 << 30) -> bytes:
    """Some ten thousand to one."""
    pack = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([pack.compress(CSV), *(pack.compress(bytes(1 << 20)) for _ in range(size >> 20)), pack.flush()])


@cache
def array_bomb() -> bytes:
    return gzip.compress(b"[" * (64 << 20))


@cache
def parquet_bomb() -> bytes:
    """A long text, told once and repeated in a few bytes."""
    count = 200_000
    note = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * (512 << 10)]))
    return parquet_events(count, event_properties=note)


@cache
def parquet_of_many_pages() -> bytes:
    """Small as a file, long as a table."""
    count = 3_000_000
    out = io.BytesIO()
    told = {"id": "E1", "profile_id": "P" * 200, "metric": "Opened Email", "datetime": "2026-11-23"}
    index = pa.array([0] * count, pa.int32())
    columns = {name: pa.DictionaryArray.from_arrays(index, pa.array([value])) for name, value in told.items()}
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def zip_of_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("events.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return out.getvalue()


def zip_that_says(pattern: str, offset: int, value: int, *, where: bytes = b"PK\x01\x02") -> bytes:
    """Another number in its directory than is true."""
    data = bytearray(zipped({"a.csv": CSV}))
    struct.pack_into(pattern, data, data.index(where) + offset, value)
    return bytes(data)


@cache
def zip_of_many() -> bytes:
    return zipped({f"{'x' * 100}{number}": b"" for number in range(12_000)}, zipfile.ZIP_STORED)


def flipped(data: bytes, at: int) -> bytes:
    """With one byte changed."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def wide_window() -> bytes:
    how = zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    pack = zstandard.ZstdCompressor(compression_params=how).compressobj()
    return pack.compress(CSV) + pack.flush()


_Q = '"{""a"":1}"'

BAD_FILES: Final[dict[str, Callable[[], Bad]]] = {
    # quotes
    "a quote that never closes": partial(rows, 'E9,Opened Email,P1,2026-11-23,"{""a"":1}\n'),
    "a quote that never closes, in the last row": lambda: Bad(CSV + b'E9,Opened Email,P1,2026-11-23,"{', 3, 1),
    "a quote that never closes, before a thousand lines": lambda: Bad(
        (HEADER + 'E0,Opened Email,P1,2026-11-23,"{\n' + "E1,Opened Email,P1,2026-11-23,\n" * 1500).encode(), 1500, 1
    ),
    "text after a closing quote": partial(rows, f"E9,Opened Email,P1,2026-11-23,{_Q}x\n"),
    "a lone quote": partial(rows, '"\n'),
    "quotes within a value without quotes": lambda: Bad((HEADER + 'E9,Opened "Email",P1,2026-11-23,\n').encode(), 1),
    "single quotes in place of double ones": lambda: Bad(
        b"'id','metric','profile_id','datetime'\n" + b"'E1','Opened Email','P1','2026-11-23'\n" * 3, 0, 3
    ),
    "quotes escaped in two ways": lambda: Bad(
        (HEADER + row(1) + 'E2,Opened Email,P1,2026-11-23,"{\\"a\\":\\"b, c\\"}"\n').encode(), 2
    ),
    # NULs
    "a NUL in an id": partial(rows, "E\x009,Opened Email,P1,2026-11-23,\n"),
    "a line of NULs": partial(rows, "\0\0\0\0\n"),
    "NULs where the disk ran full": lambda: Bad(CSV + b"\0" * 4096, 3, 1),
    "nothing but NULs": lambda: holds(b"\0" * 10_000, "unknown_layout"),
    "a NUL in a text": lambda: Bad((HEADER + 'E1,Opened Email,P1,2026-11-23,"{""a"":""\\u0000""}"\n').encode(), 1),
    "a NUL in the header": lambda: holds(
        b"i\0d,metric,profile_id,datetime\nE1,Opened Email,P1,2026-11-23\n", "unknown_layout"
    ),
    # ragged rows
    "a row with too few values": partial(rows, "E9,Opened Email,P1\n"),
    "a row with too many values": partial(rows, "E9,Opened Email,P1,2026-11-23,{},more\n"),
    "a delimiter behind every row but the header": lambda: Bad(
        b"id,metric,profile_id,datetime\n" + b"E1,Opened Email,P1,2026-11-23,\n" * 3, 0, 3
    ),
    "a delimiter behind every row": lambda: Bad(
        b"id,metric,profile_id,datetime,\n" + b"E1,Opened Email,P1,2026-11-23,\n" * 3, 3
    ),
    "a row of a million values": partial(rows, "," * 999_999 + "\n"),
    "a file cut off in a row": lambda: Bad(CSV[:-40], 2, 1),
    # line ends
    "line ends of three kinds": lambda: Bad(
        (HEADER + row(1).replace("\n", "\r") + row(2).replace("\n", "\r\n") + row(3)).encode(), 3
    ),
    "line ends of old Macs": lambda: Bad(CSV.replace(b"\n", b"\r"), 3),
    "line ends the wrong way round": lambda: Bad(CSV.replace(b"\n", b"\n\r"), 3),
    "line ends of Unicode": lambda: Bad(
        (HEADER + 'E1,Opened Email,P1,2026-11-23,"{""a"":""\u2028\x85""}"\n').encode(), 1
    ),
    "empty lines without an end": lambda: holds(CSV + b"\n" * 200_000, "empty_lines"),
    "empty lines without an end in JSON": lambda: holds(LINES + b" \n" * 200_000, "empty_lines"),
    "a hundred thousand empty lines": lambda: Bad(CSV + b"\n" * 100_000, 3),
    "empty lines everywhere": lambda: Bad(b"\n\n" + CSV.replace(b"\n", b"\n\n\n"), 3),
    # headers
    "another header": lambda: holds("a,b,c\n1,2,3\n", "unknown_layout"),
    "no header": lambda: holds(row(1) + row(2), "unknown_layout"),
    "only a header": lambda: Bad(HEADER.encode()),
    "a column twice": lambda: holds(
        "id,id,metric,profile_id,datetime\nE1,E1,Opened Email,P1,2026-11-23\n", "duplicate_column"
    ),
    "the header again, where two files were joined": partial(rows, HEADER),
    "the header again with a mark, where two files were joined": partial(rows, "\ufeff" + HEADER),
    "a header of a million columns": lambda: holds("," * 999_999 + "\n", "unknown_layout"),
    "a header of three thousand columns": lambda: holds(
        ",".join(f"c{number}" for number in range(3000)) + "\n", "too_many_columns"
    ),
    "a header that never ends": lambda: holds("id" * (1 << 20), "unknown_layout"),
    # nothing
    "no byte": lambda: Bad(b""),
    "only line ends": lambda: Bad(b"\r\n\n\n"),
    "only a mark": lambda: Bad(b"\xef\xbb\xbf"),
    "only spaces": lambda: Bad(b"   \t  "),
    "nothing in gzip": lambda: Bad(gzip.compress(b"", mtime=1)),
    "nothing in zstd": lambda: Bad(zstandard.compress(b"")),
    "nothing in the file in a zip": lambda: Bad(zipped({"a": b""})),
    "an empty array": lambda: Bad(b"[ ]\n"),
    # encodings
    "UTF-16": lambda: Bad(CSV.decode().encode("utf-16"), 3),
    "UTF-16 without a mark": lambda: Bad(CSV.decode().encode("utf-16-le"), 3),
    "UTF-16 the other way round, without a mark": lambda: Bad(LINES.decode().encode("utf-16-be"), 3),
    "UTF-16 with a byte too many": lambda: Bad(CSV.decode().encode("utf-16") + b"x", 3, 1),
    "UTF-16 cut off in a letter": lambda: Bad(CSV.decode().encode("utf-16")[:-1], 2, 1),
    "UTF-32": lambda: Bad(CSV.decode().encode("utf-32"), 3),
    "a text of Windows": lambda: Bad(
        HEADER.encode() + 'E1,Opened Email,P1,2026-11-23,"{""a"":""é€""}"\n'.encode("cp1252"), 1
    ),
    "an id of Windows": lambda: Bad(CSV + "é9,Opened Email,P1,2026-11-23,\n".encode("cp1252"), 3, 1),
    "half a pair of UTF-16 in UTF-8": partial(rows, "E\ud8009,Opened Email,P1,2026-11-23,\n"),
    "lines of UTF-16 in UTF-8": lambda: Bad(CSV + "E9,Opened Email,P1,2026-11-23,\n".encode("utf-16-le") + b"\n", 3, 2),
    "an old mainframe's letters": lambda: holds(CSV.decode().encode("cp500"), "unknown_layout"),
    # times
    "a time in a hundred years": partial(at, "2126-11-23T09:00:00Z"),
    "a time before computers": partial(at, "1899-12-31T00:00:00Z"),
    "a time below zero": partial(at, "-1"),
    "a time below zero of Unix": lambda: objects(json.dumps(event(9, datetime=-1795424400))),
    "a time beyond any clock": partial(at, "99999999999999999999999999"),
    "a time of Java's end": partial(at, "+292278994-08-17T07:12:55Z"),
    "a time that is no number": partial(at, "NaN"),
    "a time without an end": lambda: objects('{"id":"E9","metric":"Opened Email","profile_id":"P1","datetime":1e400}'),
    "a leap second": partial(at, "2026-11-23T23:59:60Z"),
    "a zone beyond the calendar": partial(at, "0001-01-01T00:00:00+14:00"),
    "a day before its month": partial(at, "23/11/2026 09:00"),
    "no time": partial(at, ""),
    "a time of NULs": partial(at, "\0\0\0\0"),
    # values
    "an id of a megabyte": partial(rows, "E" * 1_000_000 + ",Opened Email,P1,2026-11-23,\n"),
    "a line of two megabytes": partial(rows, "E" * 2_000_000 + ",Opened Email,P1,2026-11-23,\n"),
    "a number of five thousand digits": lambda: objects(json.dumps(event(9)).replace('"E9"', "9" * 5000)),
    "a number of twenty digits as id": lambda: objects(json.dumps(event(9, id=10**20))),
    "brackets a hundred thousand deep": lambda: objects("[" * 100_000 + "]" * 100_000),
    "properties a hundred thousand deep": partial(rows, f"E9,Opened Email,P1,2026-11-23,{'[' * 100_000}\n"),
    "properties that are a list": partial(rows, "E9,Opened Email,P1,2026-11-23,[]\n"),
    "properties that are no JSON": partial(rows, "E9,Opened Email,P1,2026-11-23,{a:1}\n"),
    "half a pair of UTF-16 in JSON": lambda: objects(
        '{"id":"\\ud800","metric":"m","profile_id":"P","datetime":1795424400}'
    ),
    # JSON
    "lines of JSON with commas behind them": lambda: objects(json.dumps(event(7)) + ",", json.dumps(event(8)) + ","),
    "a line of JSON that is cut off": lambda: Bad(LINES[:-30], 2, 1),
    "an object over many lines": lambda: Bad(json.dumps(event(1), indent=1).encode(), 0, 9),
    "an array that is cut off": lambda: holds(f"[{json.dumps(event(1))},", "damaged_json"),
    "an array that is cut off in a text": lambda: holds(f'[{json.dumps(event(1))},{{"a": "b', "damaged_json"),
    "an array without commas": lambda: holds(f"[{json.dumps(event(1))}{json.dumps(event(2))}]", "damaged_json"),
    "an array of brackets that do not fit": lambda: holds(f'[{json.dumps(event(1))},{{"a":[1}}]', "damaged_json"),
    "an array of anything": lambda: Bad(f'[{json.dumps(event(1))},1,null,"x",[[]],true,{{}}]'.encode(), 1, 6),
    "an array of other things": lambda: holds('[{"colour": "red"}]', "unknown_layout"),
    "a page without its metrics": lambda: holds(page([klaviyo_event(1)], []), "unknown_metric"),
    "a page of an error": lambda: holds('{"errors": [{"status": 401}]}', "unknown_layout"),
    "a page with strange events": lambda: Bad(
        page([klaviyo_event(1), {"type": "event"}, klaviyo_event(2) | {"id": None}, METRIC]).encode(), 1, 3
    ),
    # gzip
    "a bomb in gzip": lambda: holds(gzip_bomb(), "too_large_unpacked"),
    "gzip that is cut off": lambda: holds(gzip.compress(CSV * 50, mtime=0)[:-9], "damaged_gzip"),
    "gzip with a wrong sum": lambda: holds(flipped(gzip.compress(CSV, mtime=0), -5), "damaged_gzip"),
    "gzip with something behind it": lambda: holds(gzip.compress(CSV, mtime=0) + b"rubbish", "damaged_gzip"),
    "gzip in gzip": lambda: holds(gzip.compress(gzip.compress(CSV, mtime=0), mtime=0), "unknown_format"),
    "brackets without an end in gzip": lambda: holds(array_bomb(), "damaged_json"),
    # zip
    "a bomb in a zip": lambda: holds(zip_bomb(b" "), "too_large_unpacked"),
    "a bomb of lines in a zip": lambda: holds(zip_bomb(b"\n"), "empty_lines"),
    "a zip in a zip": lambda: holds(zipped({"a.zip": zipped({"a.csv": CSV})}), "unknown_format"),
    "a name in a zip that leads out": lambda: Bad(zipped({"../../../../etc/cron.d/x": CSV}), 3),
    "a name in a zip from the root": lambda: Bad(zipped({"/etc/passwd": LINES}), 3),
    "a link in a zip": lambda: holds(zip_of_link(), "many_in_zip"),
    "two files in a zip": lambda: holds(zipped({"a.csv": CSV, "b.csv": CSV}), "many_in_zip"),
    "twelve thousand files in a zip": lambda: holds(zip_of_many(), "many_in_zip"),
    "an empty zip": lambda: holds(zipped({}), "many_in_zip"),
    "a zip with a password": lambda: holds(zip_that_says("<H", 8, 1), "unknown_format"),
    "a zip that says it is small": lambda: holds(zip_that_says("<L", 24, 5), "damaged_zip"),
    "a zip that says it is elsewhere": lambda: holds(zip_that_says("<L", 42, 7), "damaged_zip"),
    "a zip with a wrong sum": lambda: holds(zip_that_says("<L", 16, 7), "damaged_zip"),
    "a zip that is cut off": lambda: holds(zipped({"a.csv": CSV})[:-30], "damaged_zip"),
    "a zip packed by something greedy": lambda: holds(zipped({"a.csv": CSV}, zipfile.ZIP_LZMA), "unknown_format"),
    # zstd
    "a bomb in zstd": lambda: holds(zstd_bomb(), "too_large_unpacked"),
    "zstd that is cut off": lambda: holds(zstandard.compress(CSV * 50)[:-9], "damaged_zstd"),
    "zstd with something behind it": lambda: holds(zstandard.compress(CSV) + b"rubbish", "damaged_zstd"),
    "zstd that wants half a gigabyte": lambda: holds(wide_window(), "damaged_zstd"),
    "zstd with a wrong sum": lambda: holds(
        flipped(zstandard.ZstdCompressor(write_checksum=True).compress(CSV), -2), "damaged_zstd"
    ),
    # Parquet
    "a bomb in Parquet": lambda: holds(parquet_bomb(), "too_large_unpacked"),
    "a long table in few bytes": lambda: holds(parquet_of_many_pages(), "too_large_unpacked"),
    "Parquet that is cut off": lambda: holds(parquet_events(100)[:-9], "damaged_parquet"),
    "Parquet with a footer beyond the file": lambda: holds(
        b"PAR1" + b"\0" * 90 + b"\xff\xff\xff\x7fPAR1", "damaged_parquet"
    ),
    "Parquet with broken pages": lambda: holds(flipped(flipped(parquet_events(100), 6), 9), "damaged_parquet"),
    "Parquet of another table": lambda: holds(parquet({"a": [1]}), "unknown_layout"),
    "Parquet without rows": lambda: Bad(parquet_events(0)),
    "Parquet with times that there are not": lambda: Bad(
        parquet_events(3, datetime=pa.array([1795424400000, 2**62, None], pa.timestamp("ms"))), 1, 2
    ),
    "Parquet in gzip": lambda: holds(gzip.compress(parquet_events(3), mtime=0), "unknown_format"),
    # other things
    "a web page": lambda: holds("<!DOCTYPE html><html><body>Sign in</body></html>\n", "unknown_layout"),
    "an answer of S3": lambda: holds('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "unknown_layout"),
    "a workbook": lambda: holds(zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}), "many_in_zip"),
    "a picture": lambda: holds(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "unknown_layout"),
    "a document": lambda: holds(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "unknown_format"),
    "any bytes": lambda: holds(bytes(range(255, -1, -1)) * 20, "unknown_layout"),
    "bzip2": lambda: holds(b"BZh91AY&SY" + bytes(30), "unknown_format"),
    "xz": lambda: holds(b"\xfd7zXZ\0" + bytes(30), "unknown_format"),
}


_FILL: Final = b"x" * (1 << 20)
_OBJECT: Final = json.dumps(event(1)).encode()
ENDLESS: Final[dict[str, tuple[bytes, bytes, bytes, int, int]]] = {
    # head, filler (1 MB), end, events, rejects
    "a line": (CSV, _FILL, b"\n" + row(4).encode(), 4, 1),
    "a line of quotes": (CSV, b'x"",' * (1 << 18), b"\n" + row(4).encode(), 4, 1),
    "a line of NULs": (CSV, bytes(1 << 20), b"\n" + row(4).encode(), 4, 1),
    "a line of JSON": (LINES + b'{"a":"', _FILL, b'"}\n' + _OBJECT, 4, 1),
    "a text in an array": (b"[" + _OBJECT + b',{"a":"', _FILL, b'"},' + _OBJECT + b"]", 2, 1),
    "a page's other member": (
        b'{"links":"', _FILL, b'","data":[' + _OBJECT + b"]}", 0, 1,
    ),  # too long to be told from lines
    "spaces in an array": (b"[" + _OBJECT, b" " * (1 << 20), b"," + _OBJECT + b"]", 2, 0),
    "empty lines": (CSV, b"\n" * (1 << 20), row(4).encode(), 0, 0),  # held
}  # fmt: skip
"""One thing, repeated until the file is as long as it is wanted."""

BRACKETS: Final = (b"[" + _OBJECT + b',{"a":[1', b",[2,{}]" * 150_000, b"]}," + _OBJECT + b"]", 2, 1)
"""The same of brackets: the dearest thing in an array, so there is less of it."""
