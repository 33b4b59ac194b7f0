"""Which variant one person gets: attrs → cell → probabilities → one draw. Pure, and blind to `fields` by type.

The draw needs no random source: it is a hash of the generation's id, so a repeated delivery draws the same, while
over many generations the draws are uniform and independent of everything that the id does not name.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID, uuid5

from shared.draw import drawn_index, fraction
from shared.schemas.attributes import folded
from shared.schemas.decisions import treatment_reason
from shared.schemas.jobs import Attrs

NO_ATTRS = ""
"""The cell of a request without a single usable attr."""

TOO_MANY_ATTRS = "~"
"""The cell of a request whose attrs are too many to name; no snapshot lists it, so it draws from `otherwise`."""

CELL_CHARS = 512
MOST_ATTRS = 64
"""What a gateway lets through, attrs and entries of one list; whatever brings more is no request of ours."""

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
    fallback: bool = False  # stands in for a stored policy that cannot be drawn from

    @property
    def reason(self) -> str:
        """What a draw from it is: shared/schemas/decisions.py."""
        return "fallback" if self.fallback else treatment_reason(self.model)


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
    return TOO_MANY_ATTRS if too_many(attrs) else named(texts(attrs))


def texts(attrs: Attrs) -> dict[str, str]:
    """Canonical names and values of attrs that are what they say."""
    pairs: dict[str, str] = {}
    for name, value in attrs.items():
        known, text = canonical(name), canonical(value) if isinstance(value, str) else _joined(map(canonical, value))
        if known and text:
            before = pairs.get(known)
            # The same name in another spelling; a comma inside a value is escaped, so these only part values.
            pairs[known] = text if before is None else _joined((*before.split(","), *text.split(",")))
    return pairs


def _joined(values: Iterable[str]) -> str:
    return ",".join(sorted({*values} - {""}))


def too_many(attrs: Attrs) -> bool:
    """Whether these are not worth reading. They cost the generation its ranking, and its neighbours no time."""
    if len(attrs) > MOST_ATTRS:
        return True
    for value in attrs.values():  # noqa: SIM110  # any() with a generator takes three times as long
        if isinstance(value, list) and len(value) > MOST_ATTRS:
            return True
    return False


def named(pairs: Mapping[str, str]) -> str:
    """The cell of these names and values, both canonical."""
    cell = "&".join(f"{name}={value}" for name, value in sorted(pairs.items()))
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


def choose(snapshot: Snapshot, cell: str, generation_id: UUID, avoid: UUID | None = None) -> Choice:
    """The variant of this generation, whose attrs are in this cell; not the one to avoid, where there is another."""
    probabilities = snapshot.cells.get(cell, snapshot.otherwise)
    if avoid is not None and avoid in snapshot.eligible:
        probabilities = _without(probabilities, snapshot.eligible.index(avoid))
    index = drawn_index(probabilities, fraction(generation_id.bytes, b"draw"))
    return Choice(snapshot.eligible[index], probabilities, probabilities[index])


@lru_cache(maxsize=4096)
def _without(probabilities: tuple[float, ...], index: int) -> tuple[float, ...]:
    """The same with this one at 0 and the others in their old proportions; as they were if the others are all 0."""
    others = (*probabilities[:index], 0.0, *probabilities[index + 1 :])
    left = math.fsum(others)
    return tuple(probability / left for probability in others) if left > 0 else probabilities


@lru_cache(maxsize=16_384)  # names and values come again and again; of most orgs there are a few dozen
def canonical(text: str) -> str:
    """A name or value as cells hold it: folded, and without the characters that part cells."""
    return escaped(folded(text))


def escaped(text: str) -> str:
    """Without the characters that part cells; different texts stay different."""
    return text.translate(_RESERVED)
