"""What happened with the sends of a template, counted: the only thing a fit sees. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import zstandard

NO_CLICK = -1

_HOUR_S = 3600.0
_SUB_WINDOW_S = (
    300.0, 600.0, 1200.0, 1800.0, 2700.0,
    *(hours * _HOUR_S for hours in (1, 1.5, 2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, 96, 120, 168, 240, 336, 480)),
)  # fmt: skip
_DAYS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    14,
    17,
    20,
    24,
    28,
    34,
    40,
    48,
    56,
    68,
    80,
    96,
    112,
    136,
    160,
    192,
    224,
    272,
    320,
)

HORIZON = timedelta(days=366)
"""Sends that are older are not looked at: with any sensible half-life they weigh nothing."""


def edges_of(window_h: int) -> tuple[float, ...]:
    """Ages in seconds at which buckets begin, the first at 0. The window's end is one of them: from there on a send is
    ripe, and no later click counts. Delays share the buckets."""
    window_s = window_h * _HOUR_S
    inside = [edge for edge in _SUB_WINDOW_S if edge < window_s]
    beyond = [edge for days in _DAYS if (edge := days * 24 * _HOUR_S) > window_s]
    return (0.0, *inside, window_s, *beyond)


def bucket_of(seconds: float, edges: Sequence[float]) -> int:
    """The bucket of an age or a delay; what is below 0 (clocks differ) is 0."""
    return max(0, sum(1 for edge in edges if edge <= seconds) - 1)


@dataclass(frozen=True, slots=True)
class Fact:
    """`sends` emails of one variant to one cell, all of one age, all clicked after the same delay or not (yet) at all.

    Clicked, or converted, as the policy's reward says. `age` and `delay` are buckets of `edges_of` the policy's window,
    the age measured at the facts' moment. `worth`: what these successes are worth together, in thousandths of a full
    one; None: each is a full one."""

    copy_id: UUID
    cell: str
    age: int
    delay: int
    sends: int
    worth: int | None = None

    @property
    def successes(self) -> float:
        """At most one a send; a fraction of one where the reward is money below its cap."""
        if self.delay == NO_CLICK:
            return 0.0
        return float(self.sends) if self.worth is None else self.worth / 1000


@dataclass(frozen=True, slots=True)
class Variant:
    """One that facts may name. Only eligible ones get a share; the others still tell about attrs and themes."""

    copy_id: UUID
    name: str
    theme: str
    eligible: bool


MOST_VARIANTS = 60
"""Variants that one fit knows: all eligible ones, then those with the most sends."""


def canonical(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The same facts in their one order."""
    return tuple(
        sorted(facts, key=lambda one: (one.copy_id.int, one.cell, one.age, one.delay, one.sends, one.worth or 0))
    )


def pack(facts: Sequence[Fact]) -> tuple[bytes, str]:
    """Canonical facts as stored, and their hash."""
    text = "".join(map(_line, facts)).encode()
    return zstandard.ZstdCompressor(level=3).compress(text), hashlib.sha256(text).hexdigest()


def _line(one: Fact) -> str:
    """Without a worth as it was before there was one, so that older hashes stay right."""
    worth = "" if one.worth is None else f"\t{one.worth}"
    return f"{one.copy_id.hex}\t{one.cell}\t{one.age}\t{one.delay}\t{one.sends}{worth}\n"


def unpack(stored: bytes) -> tuple[Fact, ...]:
    """What `pack` made. Raises ValueError on anything else."""
    try:
        text = zstandard.ZstdDecompressor().decompress(stored).decode()
    except zstandard.ZstdError as error:
        raise ValueError("these are no stored facts") from error
    facts = []
    for line in text.split("\n")[:-1]:
        copy_id, cell, age, delay, sends, *worth = line.split("\t")
        facts.append(Fact(UUID(copy_id), cell, int(age), int(delay), int(sends), int(worth[0]) if worth else None))
    return tuple(facts)
