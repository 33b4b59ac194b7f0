"""From cells to what the model adds up: values of attrs, numbered. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

MOST_VALUES = 300
"""Values of attrs that one model may know; the cost of a fit grows with their third power, …"""

MOST_EFFECTS = 6_000
"""… and with the number of variants: so many effects of variants with values, at most."""

MOST_PAIRS = 120
"""Pairs of values of two attrs that are added to them, where taste for one attr hangs on another."""

_LEAST_SENDS = 20  # of a value that is worth a number of its own


def values_of(cell: str) -> tuple[str, ...]:
    """`plan=free&tags=a,b` → `plan=free`, `tags=a`, `tags=b`. What names nothing gives nothing."""
    found: list[str] = []
    for pair in cell.split("&"):
        name, equals, values = pair.partition("=")
        if equals:
            found.extend(f"{name}={value}" for value in values.split(","))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Design:
    """Which numbers each cell adds up. 0 is everybody, then come values and pairs of values; `blank` adds nothing.

    `groups` says of each number 1… which attr, or which two, it belongs to, as an index into `attrs`."""

    values: Mapping[str, int]
    groups: Ints
    attrs: tuple[str, ...]
    paired: frozenset[str] = frozenset()  # attrs of which pairs are known

    @property
    def size(self) -> int:
        return len(self.values) + 1

    @property
    def blank(self) -> int:
        return self.size

    def rows(self, cells: Sequence[str]) -> Ints:
        """A row a cell, padded with `blank`; values that are not known add nothing."""
        numbers = [[0, *self._numbers(values_of(cell))] for cell in cells]
        width = max(map(len, numbers), default=1)
        padded = [row + [self.blank] * (width - len(row)) for row in numbers]
        return np.array(padded, dtype=np.int64).reshape(len(cells), width)

    def _numbers(self, values: Sequence[str]) -> list[int]:
        pairs = pairs_of([one for one in values if _attr(one) in self.paired])
        return [self.values[one] for one in (*values, *pairs) if one in self.values]


def pairs_of(values: Sequence[str]) -> list[str]:
    """`plan=free`, `tags=a` → `plan=free&tags=a`; values of one attr make no pair."""
    return [f"{a}&{b}" for a, b in combinations(sorted(values), 2) if _attr(a) != _attr(b)]


def design_of(sends: Mapping[str, float], variants: int = 1) -> Design:
    """A design that knows the values seen most in these cells, and all pairs of the attrs that have few of them."""
    room = MOST_EFFECTS // variants
    seen: dict[str, float] = defaultdict(float)
    for cell in sorted(sends):
        for value in values_of(cell):
            seen[value] += sends[cell]
    often = sorted((value for value in seen if seen[value] >= _LEAST_SENDS), key=lambda one: (-seen[one], one))
    known = sorted(often[: min(MOST_VALUES, room)])
    pairs = _known_pairs(sends, set(known), min(MOST_PAIRS, room - len(known)))
    known += pairs
    names = [" & ".join(map(_attr, value.split("&"))) for value in known]
    attrs = tuple(sorted(set(names)))
    numbers = {name: at for at, name in enumerate(attrs)}
    groups = np.array([numbers[name] for name in names], dtype=np.int64)
    paired = frozenset(_attr(value) for pair in pairs for value in pair.split("&"))
    return Design({value: number for number, value in enumerate(known, 1)}, groups, attrs, paired)


def _known_pairs(sends: Mapping[str, float], known: set[str], most: int) -> list[str]:
    """Pairs of attrs with few values, in whole groups, the smallest first: half of a group would favour that half."""
    seen: dict[str, float] = defaultdict(float)
    of_attr: dict[str, int] = defaultdict(int)
    for value in known:
        of_attr[_attr(value)] += 1
    few = {pair for pair in combinations(sorted(of_attr), 2) if of_attr[pair[0]] * of_attr[pair[1]] <= most}
    paired = {name for pair in few for name in pair}
    for cell in sorted(sends) if few else ():
        for pair in pairs_of([one for one in values_of(cell) if one in known and _attr(one) in paired]):
            seen[pair] += sends[cell]
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pair in sorted(seen):
        if seen[pair] >= _LEAST_SENDS and (names := tuple(map(_attr, pair.split("&")))) in few:
            groups[names].append(pair)
    found: list[str] = []
    for _, pairs in sorted(groups.items(), key=lambda one: (len(one[1]), one[0])):
        if len(found) + len(pairs) <= most:
            found += pairs
    return sorted(found)


def _attr(value: str) -> str:
    return value.partition("=")[0]


NO_ATTRS = design_of({})
"""Everybody is alike."""
