"""The number that decides a draw. No random source: a repeated delivery draws the same, and a story can tell it."""

from collections.abc import Sequence
from hashlib import blake2b


def fraction(of: bytes, use: bytes) -> float:
    """Uniform in [0, 1), 53 bits. An id is hashed once more: it has fixed bits, and its uses must not correlate."""
    digest = blake2b(of, digest_size=8, person=use).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def drawn_index(probabilities: Sequence[float], drawn: float) -> int:
    """The index whose share of [0, 1) holds `drawn`; what rounding leaves over goes to the last possible one."""
    reached, last = 0.0, 0
    for index, probability in enumerate(probabilities):
        if probability <= 0:
            continue
        reached, last = reached + probability, index
        if drawn < reached:
            return index
    return last
