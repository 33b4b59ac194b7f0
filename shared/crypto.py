"""Secrets at rest: envelope encryption. Each secret has its own key, sealed by a key of the ring.

A sealed text is `v1.<ring key>.<wrapped data key>.<ciphertext>`, bound to where it stands (`place`): moved to
another row or org it does not open. Fernet was not chosen: it binds nothing.
"""

import base64
import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealError(Exception):
    """A sealed text does not open: wrong ring, wrong place, or damaged. Says which key it names, never the content."""


class KeyRing:
    """Seals with its first key, opens with any."""

    def __init__(self, spec: str, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """`spec`: `<name>:<32 bytes, base64>`, comma-separated. Raises ValueError."""
        self._keys = dict(_parse(part) for part in spec.split(",") if part.strip())
        if not self._keys:
            raise ValueError("a key ring needs at least one key")
        self._current = next(iter(self._keys))
        self._random = random_bytes

    def seal(self, secret: str, place: str) -> str:
        """`place` says what the secret is of, like `<org id>/klaviyo`; it must be the same to open."""
        data_key = self._random(_KEY_BYTES)
        wrapped = self._encrypt(self._keys[self._current], data_key, place)
        sealed = self._encrypt(data_key, secret.encode(), place)
        return ".".join(("v1", self._current, _b64(wrapped), _b64(sealed)))

    def open(self, sealed: str, place: str) -> str:
        """The secret; raises SealError. An empty text is one that is still to be set."""
        if not sealed:
            raise SealError("it is not set yet")
        try:
            version, name, wrapped, ciphertext = sealed.split(".")
        except ValueError:
            raise SealError("not a sealed text") from None
        if version != "v1" or name not in self._keys:
            raise SealError(f"sealed with key {name!r} ({version}), which is not in the ring")
        try:
            data_key = self._decrypt(self._keys[name], _unb64(wrapped), place)
            return self._decrypt(data_key, _unb64(ciphertext), place).decode()
        except (InvalidTag, ValueError):
            raise SealError(f"sealed with key {name!r}, but does not open here") from None

    def _encrypt(self, key: bytes, plain: bytes, place: str) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())

    @staticmethod
    def _decrypt(key: bytes, blob: bytes, place: str) -> bytes:
        return AESGCM(key).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], place.encode())


def _parse(part: str) -> tuple[str, bytes]:
    name, _, encoded = part.strip().partition(":")
    key = base64.b64decode(encoded, validate=True)
    if not name or "." in name or len(key) != _KEY_BYTES:
        raise ValueError("a ring key is `<name>:<32 bytes, base64>`, the name without dots")
    return name, key


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
