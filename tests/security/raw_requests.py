"""Requests as no client library would send them, byte by byte: more than 200, by what they try.

Each is a webhook that would be taken if it were sent properly, and most carry a second one behind or inside the first:
the one that a gateway executes which sees the end of a request elsewhere than whatever stands in front of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PATH: Final = b"/api/generate/acme"


@dataclass(frozen=True, slots=True)
class Raw:
    """One attempt. `taken`: it is HTTP as it should be, if a strange one, and may be answered 202."""

    name: str
    sent: bytes
    taken: bool = False


class Writing:
    """Writes requests with a key that is good and bodies that are good, numbered so that each is known again."""

    def __init__(self, key: str, body: bytes, smuggled: bytes) -> None:
        self.key, self.body, self.smuggled = key.encode(), body, smuggled

    def request(
        self,
        *headers: bytes,
        line: bytes = b"POST " + PATH + b" HTTP/1.1",
        host: bytes = b"Host: gateway",
        body: bytes | None = None,
        ends: bytes = b"\r\n",
        length: bool = True,
    ) -> bytes:
        """With these headers besides; `length`: and a Content-Length that is right."""
        body = self.body if body is None else body
        lines = [line, *([host] if host else []), b"X-Api-Key: " + self.key, *headers]
        if length:
            lines.append(b"Content-Length: %d" % len(body))
        return ends.join([*lines, b"", b""]) + body

    @property
    def second(self) -> bytes:
        """What must never be executed."""
        return self.request(body=self.smuggled)

    def chunked(self, body: bytes | None = None) -> bytes:
        body = self.body if body is None else body
        return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def all_of(writing: Writing) -> list[Raw]:
    """Every one, under a name of its own."""
    found = [
        *_two_lengths(writing), *_lengths(writing), *_chunks(writing), *_lines_and_ends(writing),
        *_request_lines(writing), *_headers(writing), *_hosts(writing), *_too_much(writing), *_upgrades(writing),
    ]  # fmt: skip
    assert len({one.name for one in found}) == len(found)
    return found


_CODINGS: Final = [
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"\x0bchunked", b"\x0cchunked",
    b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked", b"chunked,chunked", b"gzip, chunked",
    b"identity", b"gzip", b'"chunked"', b"chunked;q=1", b"chun\x00ked", b"chunked\x00", b"ch\xc3\xbcnked",
    b",chunked", b"",
]  # fmt: skip


def _two_lengths(writing: Writing) -> Iterator[Raw]:
    """A length and chunks: whoever believes the other one sees two requests."""
    for coding in _CODINGS:
        body = b"0\r\n\r\n" + writing.second
        header = b"Transfer-Encoding: " + coding
        yield Raw(f"length and coding {coding!r}", writing.request(header, body=body))
        # Without a length, one of these is how HTTP says that chunks come.
        sent = writing.request(header, length=False, body=writing.chunked())
        proper = coding.lower().rpartition(b",")[2].strip(b" \t") == b"chunked"  # the last one decides
        yield Raw(f"coding {coding!r} alone", sent, taken=proper)
    for written in (
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
        b"X: x\r\n Transfer-Encoding: chunked", b"X: x\nTransfer-Encoding: chunked",
        b"X: x\rTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding\x00: chunked", b"\x00Transfer-Encoding: chunked", b"Transfer-Encoding=chunked",
        b"Transfer-\x7fEncoding: chunked",
    ):  # fmt: skip
        yield Raw(f"length and {written!r}", writing.request(written, body=b"0\r\n\r\n" + writing.second))
    # Only a name that is none of HTTP's: the length is right, and holds a body that is no webhook.
    yield Raw("length and a name with an underscore", writing.request(b"Transfer_Encoding: chunked"), taken=True)


def _lengths(writing: Writing) -> Iterator[Raw]:
    size = len(writing.body)
    for text in (
        b"%d, %d" % (size, size), b"+%d" % size, b"-%d" % size, b"-1", b"-0", b"0x%x" % size, b"%d.0" % size,
        b"1e3", b"",
        b"99999999999999999999999999", b"18446744073709551616", b"9223372036854775808", b"4294967296",
        b"%d;" % size, b"%d x" % size, b"%d\x00" % size, b"\x0b%d" % size, b"1_0", b"\xef\xbc\x95", b"NaN",
        b"0,%d" % size,
    ):  # fmt: skip
        yield Raw(f"length {text!r}", writing.request(b"Content-Length: " + text, length=False))
    for first, second in ((size, size), (size, 0), (0, size), (size, size + 1), (5, size)):
        headers = (b"Content-Length: %d" % first, b"Content-Length: %d" % second)
        yield Raw(f"two lengths, {first} and {second}", writing.request(*headers, length=False) + writing.second)
    for name in (b"Content-Length ", b" Content-Length", b"Content-Length\t", b"Content\x00-Length"):
        yield Raw(f"length called {name!r}", writing.request(name + b": %d" % size, length=False))
    # Behind a request to tunnel there is no body, so what follows could be taken for a request of its own.
    for target in (b"gateway:443", PATH):
        tunnel = b"CONNECT " + target + b" HTTP/1.1\r\nHost: gateway\r\n\r\n"
        yield Raw(f"a tunnel to {target!r}", tunnel + writing.second)
    yield Raw("no length", writing.request(length=False))
    yield Raw("length in lower case", writing.request(b"content-length: %d" % size, length=False), taken=True)


def _chunks(writing: Writing) -> Iterator[Raw]:
    header, body = b"Transfer-Encoding: chunked", writing.body
    hexed = b"%x" % len(body)

    def case(name: str, chunks: bytes, *, taken: bool = False) -> Raw:
        return Raw(f"chunks: {name}", writing.request(header, length=False, body=chunks), taken)

    yield case("proper", writing.chunked(), taken=True)
    yield case("one byte each", b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n", taken=True)
    yield case("with an extension", hexed + b";a=b\r\n" + body + b"\r\n0\r\n\r\n", taken=True)
    yield case("with an extension that quotes", hexed + b';a="b;\\"c"\r\n' + body + b"\r\n0\r\n\r\n", taken=True)
    yield case("with a trailer", hexed + b"\r\n" + body + b"\r\n0\r\nX-More: 1\r\n\r\n", taken=True)
    yield case("size in capitals", hexed.upper() + b"\r\n" + body + b"\r\n0\r\n\r\n", taken=True)
    yield case("size with zeros", b"000" + hexed + b"\r\n" + body + b"\r\n0\r\n\r\n", taken=True)
    for name, size in (
        ("0x", b"0x" + hexed), ("a plus", b"+" + hexed), ("a minus", b"-" + hexed), ("an underscore", b"1_0"),
        ("blanks inside", b"1 0"), ("nothing", b""), ("no hex", b"xyz"), ("a NUL", hexed + b"\x00"),
        ("more than 64 bits", b"f" * 17), ("2^64", b"1" + b"0" * 16), ("a digit of unicode", b"\xef\xbc\x95"),
        ("a vertical tab", b"\x0b" + hexed),
    ):  # fmt: skip
        yield case(f"size with {name}", size + b"\r\n" + body + b"\r\n0\r\n\r\n" + writing.second)
    yield case("a bare newline behind the size", hexed + b"\n" + body + b"\r\n0\r\n\r\n" + writing.second)
    yield case("a bare newline behind the data", hexed + b"\r\n" + body + b"\n0\r\n\r\n" + writing.second)
    yield case("no end of the data", hexed + b"\r\n" + body + b"0\r\n\r\n" + writing.second)
    yield case("more data than said", b"2\r\n" + body + b"\r\n0\r\n\r\n" + writing.second)
    yield case("a newline in an extension", hexed + b";\n" + writing.second + b"\r\n" + body + b"\r\n0\r\n\r\n")
    yield case("an extension of 20 KB", hexed + b";" + b"a" * 20_000 + b"\r\n" + body + b"\r\n0\r\n\r\n", taken=True)
    yield case("trailers of 300 KB", b"0\r\n" + b"X-A: " + b"a" * 300_000 + b"\r\n\r\n")
    yield case("ten thousand trailers", b"0\r\n" + b"X-A: a\r\n" * 10_000 + b"\r\n")
    yield case("a trailer without a colon", hexed + b"\r\n" + body + b"\r\n0\r\nTrailer\r\n\r\n" + writing.second)
    for trailer in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X-Api-Key: jai_live_x", b"Host: x"):
        sent = hexed + b"\r\n" + body + b"\r\n0\r\n" + trailer + b"\r\n\r\n"
        yield case(f"a trailer {trailer!r}", sent, taken=True)  # a trailer decides nothing
    old = writing.request(header, line=b"POST " + PATH + b" HTTP/1.0", length=False, body=writing.chunked())
    yield Raw("chunks: in HTTP/1.0", old + writing.second)


def _lines_and_ends(writing: Writing) -> Iterator[Raw]:
    for name, ends in (
        ("bare newlines", b"\n"), ("bare returns", b"\r"), ("the other way round", b"\n\r"), ("two returns", b"\r\r\n"),
        ("a vertical tab", b"\x0b\n"), ("a NUL before", b"\x00\r\n"), ("a line separator", b"\xe2\x80\xa8"),
        ("next line", b"\x85"),
    ):  # fmt: skip
        yield Raw(f"lines end with {name}", writing.request(ends=ends))
    yield Raw("empty lines before it", b"\r\n\r\n" + writing.request(), taken=True)
    yield Raw("blanks before it", b"   " + writing.request())
    yield Raw("bytes before it", b"\x00\x01\x02" + writing.request())
    yield Raw("a TLS greeting", bytes.fromhex("16030100c8010000c40303") + b"\x00" * 200)
    yield Raw("an HTTP/2 greeting", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    yield Raw("an SSH greeting", b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    yield Raw("a PROXY header", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + writing.request())
    yield Raw("JSON alone", writing.body + b"\r\n\r\n")
    yield Raw("random bytes", bytes(range(256)) * 8 + b"\r\n\r\n")
    folded = writing.request(b"X-Folded: a\r\n b")
    yield Raw("a folded header", folded)
    yield Raw("a folded header with a tab", folded.replace(b"\r\n b", b"\r\n\tb"))
    yield Raw("a folded key", writing.request().replace(b"X-Api-Key: ", b"X-Api-Key:\r\n "))
    yield Raw("a blank line that is none", writing.request().replace(b"\r\n\r\n", b"\r\n \r\n", 1))


def _request_lines(writing: Writing) -> Iterator[Raw]:
    for line in (
        b"POST " + PATH, b"POST " + PATH + b" HTTP/0.9", b"POST " + PATH + b" HTTP/2.0", b"POST " + PATH + b" HTTP/3",
        b"POST " + PATH + b" HTTP/1", b"POST " + PATH + b" HTTP/1.1.1", b"POST " + PATH + b" HTTP/11",
        b"POST " + PATH + b" HTTP/1.10", b"POST " + PATH + b" http/1.1", b"POST " + PATH + b" HTTP /1.1",
        b"POST " + PATH + b" HTTP/1.1 x", b"POST " + PATH + b" HTTPS/1.1", b"POST " + PATH + b" ICE/1.1",
        b"POST " + PATH + b" HTTP/-1.1", b"POST " + PATH + b" HTTP/1.\xef\xbc\x91", b"POST", b"", b" ",
        b"POST  HTTP/1.1",
        b"PO\x00ST " + PATH + b" HTTP/1.1", b"PO ST " + PATH + b" HTTP/1.1", b"POST\x00 " + PATH + b" HTTP/1.1",
        b"POST(" + b" " + PATH + b" HTTP/1.1", b"P\xc3\x96ST " + PATH + b" HTTP/1.1", b"post " + PATH + b" HTTP/1.1",
        b"Post " + PATH + b" HTTP/1.1", b"A" * 9_000 + b" " + PATH + b" HTTP/1.1", b"PUT " + PATH + b" HTTP/1.1",
        b"DELETE " + PATH + b" HTTP/1.1", b"PATCH " + PATH + b" HTTP/1.1", b"TRACE " + PATH + b" HTTP/1.1",
        b"OPTIONS * HTTP/1.1", b"CONNECT gateway:443 HTTP/1.1", b"CONNECT " + PATH + b" HTTP/1.1",
        b"POST * HTTP/1.1", b"POST gateway HTTP/1.1", b"POST http:// HTTP/1.1", b"POST ://x HTTP/1.1",
        b"POST http://[::1 HTTP/1.1", b"POST http://x:99999" + PATH + b"/x HTTP/1.1",
        b"POST file://" + PATH + b"/x HTTP/1.1",
        b"POST " + PATH + b"\x00 HTTP/1.1", b"POST " + PATH + b"%00 HTTP/1.1", b"POST " + PATH + b"\x7f HTTP/1.1",
        b"POST " + PATH + b"\xff HTTP/1.1", b"POST " + PATH + b"%ff HTTP/1.1", b"POST " + PATH + b"%zz HTTP/1.1",
        b"POST " + PATH + b"%0d%0aX:x HTTP/1.1", b"POST " + PATH + b"/../../metrics HTTP/1.1",
        b"POST " + PATH + b"/%2e%2e/%2e%2e/metrics HTTP/1.1", b"POST /api/generate//acme HTTP/1.1",
        b"POST //api/generate/acme HTTP/1.1", b"POST \\api\\generate\\acme HTTP/1.1",
        b"POST /" + b"a" * 9_000 + b" HTTP/1.1",
        b"POST " + PATH + b"?" + b"a" * 9_000 + b" HTTP/1.1", b"POST /" + b"%61" * 2_700 + b" HTTP/1.1",
    ):  # fmt: skip
        yield Raw(f"request line {line[:60]!r} of {len(line)}", writing.request(line=line))
    for line in (
        b"POST  " + PATH + b" HTTP/1.1", b"POST " + PATH + b"  HTTP/1.1", b"POST\t" + PATH + b"\tHTTP/1.1",
        b"POST " + PATH + b"#part HTTP/1.1", b"POST http://elsewhere" + PATH + b" HTTP/1.1",
        b"POST http://u:p@elsewhere" + PATH + b" HTTP/1.1", b"POST " + PATH + b"?template_id=evil HTTP/1.1",
        b"POST " + PATH + b" HTTP/1.2", b"POST " + PATH + b" HTTP/1.0", b"POST " + PATH + b"\t HTTP/1.1",
    ):  # fmt: skip
        yield Raw(f"request line {line!r}", writing.request(line=line), taken=True)  # or refused: one request at most


def _headers(writing: Writing) -> Iterator[Raw]:
    for byte in (
        *range(0x20),
        0x20,
        0x22,
        0x28,
        0x29,
        0x2C,
        0x2F,
        0x3B,
        0x3C,
        0x3D,
        0x40,
        0x5B,
        0x5C,
        0x7B,
        0x7F,
        0x80,
        0xFF,
    ):
        if byte not in (0x0A, 0x0D):  # those are ends of lines, told above
            yield Raw(f"byte {byte:#04x} in a header's name", writing.request(b"X-A" + bytes([byte]) + b"B: x"))
    for byte in (*range(0x20), 0x7F):
        if byte not in (0x09, 0x0A, 0x0D):
            sent = writing.request(b"X-Odd: a" + bytes([byte]) + b"b")
            yield Raw(f"byte {byte:#04x} in a header's value", sent, taken=byte not in (0x00,))
    yield Raw("a header without a name", writing.request(b": x"))
    yield Raw("a header without a colon", writing.request(b"NoColon"))
    yield Raw("a bare return in a value", writing.request(b"X-A: a\rX-B: b"))
    yield Raw("a bare newline in a value", writing.request(b"X-A: a\nX-B: b"), taken=True)
    yield Raw("latin-1 in a value", writing.request(b"X-A: caf\xe9"), taken=True)
    yield Raw("a second key", writing.request(b"X-Api-Key: jai_live_other"))
    yield Raw("the key again", writing.request(b"X-Api-Key: " + writing.key))
    yield Raw("the key as a list", writing.request().replace(writing.key, writing.key + b", " + writing.key))
    yield Raw("the key with a NUL", writing.request().replace(writing.key, writing.key + b"\x00"))
    yield Raw("the key in two ways that differ", writing.request(b"Authorization: Bearer other"))
    yield Raw("a body that says it is compressed", writing.request(b"Content-Encoding: gzip"))
    yield Raw("a body compressed twice", writing.request(b"Content-Encoding: gzip, br"))
    yield Raw("an encoding that is none", writing.request(b"Content-Encoding: identity"))


def _hosts(writing: Writing) -> Iterator[Raw]:
    yield Raw("two hosts", writing.request(b"Host: other"))
    yield Raw("the same host twice", writing.request(b"Host: gateway"))
    yield Raw("no host", writing.request(host=b""))
    for host in (
        b"", b" ", b"a b", b"a,b", b"user@gateway", b"gateway/path", b"gateway:x", b"gateway:99999999",
        b"[::1", b"\xff",
        b"gateway#x", b"127.0.0.1:5432",
    ):  # fmt: skip
        # Which host it says decides nothing here, whatever it is.
        yield Raw(f"host {host!r}", writing.request(host=b"Host: " + host), taken=True)


def _too_much(writing: Writing) -> Iterator[Raw]:
    yield Raw("a header of 9 KB", writing.request(b"X-Big: " + b"a" * 9_000))
    yield Raw("a header of 1 MB", writing.request(b"X-Big: " + b"a" * 1_000_000))
    yield Raw("a header's name of 9 KB", writing.request(b"X-" + b"a" * 9_000 + b": 1"))
    yield Raw("129 headers", writing.request(*(b"X-%d: 1" % number for number in range(200))))
    yield Raw("ten thousand headers", writing.request(*(b"X-%d: 1" % number for number in range(10_000))))
    yield Raw("a body of 256 KiB and a byte", writing.request(body=b"x" * 262_145))
    yield Raw("a length of a terabyte", writing.request(b"Content-Length: 1099511627776", length=False))


def _upgrades(writing: Writing) -> Iterator[Raw]:
    for to in (b"websocket", b"h2c", b"TLS/1.0", b"HTTP/2.0", b"", b"x, websocket"):
        headers = (b"Connection: Upgrade", b"Upgrade: " + to, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                   b"Sec-WebSocket-Version: 13", b"HTTP2-Settings: AAMAAABkAAQAAP__")  # fmt: skip
        yield Raw(f"an upgrade to {to!r} with a body", writing.request(*headers), taken=True)
        # Asked by GET there is no body, and what follows is another request: a pipelined one, if anything.
        hidden = writing.request(*headers, b"Transfer-Encoding: chunked", length=False, body=b"0\r\n\r\n")
        yield Raw(f"an upgrade to {to!r} with chunks", hidden)
    yield Raw("100-continue in capitals", writing.request(b"Expect: 100-CONTINUE"), taken=True)
    yield Raw("an expectation of something else", writing.request(b"Expect: 200-ok"), taken=True)
    yield Raw(
        "a connection header that names the length", writing.request(b"Connection: close, content-length"), taken=True
    )
    yield Raw("a connection header that names the key", writing.request(b"Connection: x-api-key"), taken=True)
