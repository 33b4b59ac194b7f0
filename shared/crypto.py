"""Secrets at rest: envelope encryption. Each secret has its own key, sealed by a key of the ring.

A sealed text is `v1.<ring key>.<wrapped data key>.<ciphertext>`, bound to where it stands (`place`): moved to
another row or org it does not open. Fernet was not chosen: it binds nothing.
"""

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
KEY_BYTES = 32
_SHAPE = "a ring key is `<name>:<32 bytes, base64>` or `<name>:kms:<key ARN>#<wrapped, base64>`, the name without dots"


class SealError(Exception):
    """A sealed text does not open: wrong ring, wrong place, or damaged. Says which key it names, never the content."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A ring key that only AWS KMS can unwrap. `kms_key`: the ARN of the key there that wrapped it."""

    kms_key: str
    blob: bytes

    def __str__(self) -> str:
        return f"kms:{self.kms_key}#{base64.b64encode(self.blob).decode()}"


def parse_ring(spec: str) -> dict[str, "bytes | Wrapped"]:
    """Ring keys by their names, the one that seals first. They stand apart by commas or lines; a line that begins with
    # says nothing. Raises ValueError, whose text shows no key."""
    lines = (line for line in spec.splitlines() if not line.lstrip().startswith("#"))
    keys: dict[str, bytes | Wrapped] = {}
    for part in (part.strip() for line in lines for part in line.split(",")):
        if part:
            name, key = _parse(part)
            if name in keys:
                raise ValueError(f"the ring has two keys named {name!r}")
            keys[name] = key
    if not keys:
        raise ValueError("a key ring needs at least one key")
    return keys


class KeyRing:
    """Seals with its first key, opens with any."""

    def __init__(self, keys: str | Mapping[str, bytes], *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """`keys`: as `parse_ring` reads them, or read already. Raises ValueError, also for keys that are wrapped."""
        self._random = random_bytes
        self.replace(_unwrapped(parse_ring(keys)) if isinstance(keys, str) else keys)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its keys; the first one seals."""
        return tuple(self._keys)

    def replace(self, keys: Mapping[str, bytes]) -> None:
        """Other keys from now on, for everybody who holds this ring."""
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(_SHAPE)
        self._keys = dict(keys)

    def seal(self, secret: str, place: str) -> str:
        """`place` says what the secret is of, like `<org id>/klaviyo`; it must be the same to open."""
        data_key = self._random(KEY_BYTES)
        return self._sealed(data_key, _b64(self._encrypt(data_key, secret.encode(), place)), place)

    def open(self, sealed: str, place: str) -> str:
        """The secret; raises SealError. An empty text is one that is still to be set."""
        name, data_key, ciphertext = self._data_key(sealed, place)
        try:
            return self._decrypt(data_key, _unb64(ciphertext), place).decode()
        except (InvalidTag, ValueError):
            raise _shut(name) from None

    def rewrap(self, sealed: str, place: str) -> str:
        """The same secret under the first key: its data key is wrapped anew, its ciphertext stays as it is, and the
        secret itself is never seen. Raises SealError."""
        _, data_key, ciphertext = self._data_key(sealed, place)
        return self._sealed(data_key, ciphertext, place)

    def _sealed(self, data_key: bytes, ciphertext: str, place: str) -> str:
        name, key = next(iter(self._keys.items()))
        return ".".join(("v1", name, _b64(self._encrypt(key, data_key, place)), ciphertext))

    def _data_key(self, sealed: str, place: str) -> tuple[str, bytes, str]:
        if not sealed:
            raise SealError("it is not set yet")
        try:
            version, name, wrapped, ciphertext = sealed.split(".")
        except ValueError:
            raise SealError("not a sealed text") from None
        key = self._keys.get(name)
        if version != "v1" or key is None:
            raise SealError(f"sealed with key {name!r} ({version}), which is not in the ring")
        try:
            return name, self._decrypt(key, _unb64(wrapped), place), ciphertext
        except (InvalidTag, ValueError):
            raise _shut(name) from None

    def _encrypt(self, key: bytes, plain: bytes, place: str) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())

    @staticmethod
    def _decrypt(key: bytes, blob: bytes, place: str) -> bytes:
        return AESGCM(key).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], place.encode())


def key_name(sealed: str) -> str:
    """A sealed text names its key: `v1.<name>.…`."""
    return sealed.split(".")[1] if sealed.count(".") == 3 else "?"


def _shut(name: str) -> SealError:
    return SealError(f"sealed with key {name!r}, but does not open here")


def _unwrapped(keys: Mapping[str, bytes | Wrapped]) -> dict[str, bytes]:
    for name, key in keys.items():
        if isinstance(key, Wrapped):
            raise ValueError(f"key {name!r} is still wrapped")
    return {name: key for name, key in keys.items() if isinstance(key, bytes)}


def _parse(part: str) -> tuple[str, bytes | Wrapped]:
    name, _, encoded = part.partition(":")
    if not name or "." in name:
        raise ValueError(_SHAPE)
    if encoded.startswith("kms:"):
        kms_key, _, blob = encoded.removeprefix("kms:").rpartition("#")
        wrapped = _decoded(blob)
        if not kms_key.startswith("arn:") or len(kms_key.split(":")) < 6 or not wrapped:
            raise ValueError(_SHAPE)
        return name, Wrapped(kms_key, wrapped)
    key = _decoded(encoded)
    if len(key) != KEY_BYTES:
        raise ValueError(_SHAPE)
    return name, key


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError(_SHAPE) from None


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
