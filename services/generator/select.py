"""Which variant one person gets: attrs → cell → probabilities → one draw. Pure, and blind to `fields` by type.

The draw needs no random source: it is a hash of the generation's id, so a repeated delivery draws the same, while
over many generations the draws are uniform and independent of everything that the id does not name.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID, uuid5

from shared.schemas.jobs import Attrs

NO_ATTRS = ""
"""The cell of a request without a single usable attr."""

TOO_MANY_ATTRS = "~"
"""The cell of a request whose attrs are too many to name; no snapshot lists it, so it draws from `otherwise`."""

CELL_CHARS = 512
_VALUE_CHARS = 64
_SUM_TOLERANCE = 1e-9
_RESERVED = {ord(char): f"%{ord(char):02x}" for char in "\x00%&=,"}  # NUL: PostgreSQL refuses it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy at one moment: the probability of every eligible variant in each cell.

    `eligible` is sorted; every tuple of probabilities is in its order and sums to 1. `stored` says whether the row
    that logged snapshot ids point to exists.
    """

    snapshot_id: UUID
    model: str
    eligible: tuple[UUID, ...]
    otherwise: tuple[float, ...]
    cells: Mapping[str, tuple[float, ...]]
    stored: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One draw, with what off-policy estimates need of it later: the very probabilities drawn from, unrounded."""

    copy_id: UUID
    probabilities: tuple[float, ...]
    propensity: float


def cell_of(attrs: Attrs) -> str:
    """The canonical name of these attrs: the same whatever their order, case, spacing and Unicode form.

    `name=value` pairs sorted and joined by `&`; the values of a list are sorted and joined by `,`. A missing attr and
    one without a value are the same. Different canonical attrs have different names.
    """
    pairs: dict[str, set[str]] = {}
    for name, value in attrs.items():
        values = {_canonical(one) for one in (value if isinstance(value, list) else (value,))} - {""}
        if values and (known := _canonical(name)):
            pairs.setdefault(known, set()).update(values)
    cell = "&".join(f"{name}={','.join(sorted(values))}" for name, values in sorted(pairs.items()))
    return cell if len(cell) <= CELL_CHARS else TOO_MANY_ATTRS


def uniform(org_id: UUID, template_id: str, copy_ids: Sequence[UUID]) -> Snapshot:
    """Every variant alike. The id is a hash of what it says, so every process makes the same one."""
    eligible = tuple(sorted(copy_ids))
    name = " ".join(("uniform", template_id, *(copy_id.hex for copy_id in eligible)))
    share = (1 / len(eligible),) * len(eligible)
    return Snapshot(uuid5(org_id, name), "uniform", eligible, share, {}, stored=False)


def usable(snapshot: Snapshot, copy_ids: Sequence[UUID]) -> bool:
    """Whether this snapshot gives exactly these variants probabilities that can be drawn from."""
    return snapshot.eligible == tuple(sorted(copy_ids)) and all(
        len(probabilities) == len(snapshot.eligible)
        and all(0 <= probability <= 1 for probability in probabilities)
        and abs(math.fsum(probabilities) - 1) <= _SUM_TOLERANCE
        for probabilities in (snapshot.otherwise, *snapshot.cells.values())
    )


def choose(snapshot: Snapshot, cell: str, generation_id: UUID) -> Choice:
    """The variant of this generation, whose attrs are in this cell."""
    probabilities = snapshot.cells.get(cell, snapshot.otherwise)
    index = _draw(probabilities, _fraction(generation_id))
    return Choice(snapshot.eligible[index], probabilities, probabilities[index])


def _draw(probabilities: Sequence[float], fraction: float) -> int:
    """The index whose share of [0, 1) holds `fraction`; what rounding leaves over goes to the last possible one."""
    reached, last = 0.0, 0
    for index, probability in enumerate(probabilities):
        if probability <= 0:
            continue
        reached, last = reached + probability, index
        if fraction < reached:
            return index
    return last


def _fraction(generation_id: UUID) -> float:
    """Uniform in [0, 1), 53 bits. Hashed once more: the id has fixed bits, and its other uses must not correlate."""
    digest = blake2b(generation_id.bytes, digest_size=8, person=b"draw").digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@lru_cache(maxsize=16_384)  # names and values come again and again; of most orgs there are a few dozen
def _canonical(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(folded.split())[:_VALUE_CHARS].strip().translate(_RESERVED)
