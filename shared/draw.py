"""The number that decides a draw. No random source: a repeated delivery draws the same, and a story can tell it."""

from hashlib import blake2b


def fraction(of: bytes, use: bytes) -> float:
    """Uniform in [0, 1), 53 bits. An id is hashed once more: it has fixed bits, and its uses must not correlate."""
    digest = blake2b(of, digest_size=8, person=use).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
