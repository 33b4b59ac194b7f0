"""API keys: `jai_live_` + 32 random base62 characters + 6 of checksum. Pure.

The checksum lets a mistyped key be refused without the database; the stored digest is an HMAC with a pepper, since
190 random bits need no slow hash (argon2 would cost 35 ms a request), only a second secret after a database leak.
"""

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable

PREFIX = "jai_live_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS, _CHECK_CHARS = 32, 6
KEY_CHARS = len(PREFIX) + _RANDOM_CHARS + _CHECK_CHARS


def mint(random_bytes: Callable[[int], bytes]) -> str:
    """A new key; shown once, never stored."""
    secret = _base62(int.from_bytes(random_bytes(32), "big"), _RANDOM_CHARS)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def well_formed(key: str) -> bool:
    """Whether this can be one of our keys at all."""
    if len(key) != KEY_CHARS or not key.startswith(PREFIX) or not key.isascii():
        return False
    secret, check = key[len(PREFIX) : -_CHECK_CHARS], key[-_CHECK_CHARS:]
    return hmac.compare_digest(_checksum(secret), check)


def shown(key: str) -> str:
    """What lists and logs may show of a key."""
    return f"{PREFIX}…{key[-4:]}"


class Peppers:
    """Digests of keys. New keys use the first pepper; a presented key is looked up under each."""

    def __init__(self, spec: str) -> None:
        """`spec`: `<number>:<32 bytes, base64>`, comma-separated. Raises ValueError."""
        self._peppers: dict[int, bytes] = {}
        for part in filter(None, (part.strip() for part in spec.split(","))):
            number, _, encoded = part.partition(":")
            self._peppers[int(number)] = base64.b64decode(encoded, validate=True)
        if not self._peppers or any(len(pepper) != 32 for pepper in self._peppers.values()):
            raise ValueError("a pepper is `<number>:<32 bytes, base64>`, and at least one is needed")

    @property
    def numbers(self) -> frozenset[int]:
        """The peppers that are known."""
        return frozenset(self._peppers)

    def digest(self, key: str) -> tuple[int, bytes]:
        """Pepper number and digest to store for a new key."""
        number = next(iter(self._peppers))
        return number, self._hmac(number, key)

    def digests(self, key: str) -> list[bytes]:
        """The digests under which a presented key may be stored."""
        return [self._hmac(number, key) for number in self._peppers]

    def _hmac(self, number: int, key: str) -> bytes:
        return hmac.new(self._peppers[number], key.encode(), hashlib.sha256).digest()


def _checksum(secret: str) -> str:
    return _base62(zlib.crc32(f"{PREFIX}{secret}".encode()), _CHECK_CHARS)


def _base62(value: int, chars: int) -> str:
    out = ""
    for _ in range(chars):
        value, digit = divmod(value, 62)
        out = _ALPHABET[digit] + out
    return out
