"""Does a variant drive people away? A test that may be looked at after every file, and says `pause` with its numbers.

Events (unsubscribes and complaints) are rare, so nothing here is approximately normal. Within a stratum (a day and a
cell of attrs) the number that fell on the variant is, given the number of all, binomial with the variant's share of
the sends, if its rate is the others'. The likelihood of a rate `q` times as high over that of the tolerated one is a
martingale over strata, whatever the ranker did to the shares; averaged over several q it still is, and by Ville's
inequality it reaches 1 / ALARM with a probability of at most ALARM. Strata keep a variant from being blamed for whom
the ranker sends it to, or for a bad day of everyone.

Klaviyo's own control branch tells no attrs, so nothing says which of its people a variant in a cell is to be compared
with. All of treatment, whoever was sent what, stands beside all of control within a day as the split drew them: that is
asked too, and answered of the template, for it blames no variant.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, NamedTuple
from uuid import UUID

TOLERATED = 1.2
"""A rate up to this many times the others' is nobody's business."""

ALARM = 0.01
"""How often a variant that is no worse than tolerated is ever called out."""

FEWEST = 5
"""Events of the variant before it may be called out, however unlikely they are."""

_EXCESSES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)  # times the tolerated rate


class Stratum(NamedTuple):
    """One day and cell: delivered sends of the variant and of whom it is compared with, and the events of both."""

    sends: int
    events: int
    other_sends: int
    other_events: int


@dataclass(frozen=True, slots=True)
class Guard:
    """`p` holds at every look. Rates are of strata in which both the variant and `against` were sent."""

    verdict: Literal["pause", "fine", "not enough yet"]
    against: Literal["control", "the other variants"]
    sends: int
    events: int
    rate: float
    other_rate: float
    p: float

    @property
    def said(self) -> str:
        """The numbers in words."""
        return (
            f"{self.events} unsubscribes and complaints in {self.sends:,} sends ({self.rate:.2%}), against "
            f"{self.other_rate:.2%} of {self.against}"
        )


Counts = Mapping[tuple[date, str], Mapping[UUID | None, tuple[int, int]]]
"""By day and cell: delivered sends and events of each variant, and of control (None), whose cell is `""` where it is
not known."""


def judge_variants(counts: Counts, copy_ids: Iterable[UUID]) -> dict[UUID, Guard]:
    """Each of these variants against control, where the cell of control is known, and against the others, day by day
    and cell by cell."""
    placed = _placed(counts)
    found = {}
    for copy_id in copy_ids:
        control, others = [], []
        for of in placed.values():
            if copy_id in of:
                control.append(Stratum(*of[copy_id], *of.get(None, (0, 0))))
                rest = [count for name, count in of.items() if name not in (copy_id, None)]
                others.append(Stratum(*of[copy_id], sum(sends for sends, _ in rest), sum(away for _, away in rest)))
        found[copy_id] = judge(control, others)
    return found


def judge_treatment(counts: Counts) -> Guard:
    """All variants together against control, day by day and whatever the cells."""
    of_days: dict[date, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (day, _), of in counts.items():
        for name, (sends, events) in of.items():
            at = 2 if name is None else 0
            of_days[day][at] += sends
            of_days[day][at + 1] += events
    return guard([Stratum(*one) for one in of_days.values()], "control")


def _placed(counts: Counts) -> Counts:
    """Control beside the variants that its people could have got: where treatment is all of one cell, control is too;
    where it is not, control of a day that tells no cell is left out."""
    treated = {cell for (_, cell), of in counts.items() if any(name is not None for name in of)}
    told = {day for (day, cell), of in counts.items() if cell and None in of}
    if treated <= {""}:
        return counts
    only = next(iter(treated)) if len(treated) == 1 else None
    placed = {key: dict(of) for key, of in counts.items()}
    for (day, cell), of in counts.items():
        if not cell and None in of and day not in told:
            control = placed[day, cell].pop(None)
            if only is not None:
                placed.setdefault((day, only), {})[None] = control
    return placed


def to_pause(guards: Mapping[UUID, Guard], approved: Iterable[UUID]) -> list[UUID]:
    """Those of the approved variants that are to be taken out, the surest first; one is always left to be sent."""
    left = [*approved]
    bad = [one for one in left if one in guards and guards[one].verdict == "pause"]
    return sorted(bad, key=lambda one: guards[one].p)[: max(0, len(left) - 1)]


def judge(control: Iterable[Stratum], others: Iterable[Stratum]) -> Guard:
    """Judge one variant against control and against the other variants; what says more counts, for twice its `p`."""
    both = (guard(control, "control", ALARM / 2), guard(others, "the other variants", ALARM / 2))
    found = min(both, key=lambda one: (one.p, one.verdict == "not enough yet"))
    return replace(found, p=min(1.0, 2 * found.p))


def guard(strata: Iterable[Stratum], against: Literal["control", "the other variants"], alarm: float = ALARM) -> Guard:
    """Judge one variant against one of them."""
    logs = [0.0] * len(_EXCESSES)
    sends = events = other_sends = other_events = 0
    for one in strata:
        if not one.sends or not one.other_sends:
            continue
        sends, events = sends + one.sends, events + one.events
        other_sends, other_events = other_sends + one.other_sends, other_events + one.other_events
        tolerated = _share(one, TOLERATED)
        for at, excess in enumerate(_EXCESSES):
            share = _share(one, TOLERATED * excess)
            logs[at] += one.events * math.log(share / tolerated)
            logs[at] += one.other_events * math.log((1 - share) / (1 - tolerated))
    highest = max(logs)
    evidence = highest + math.log(math.fsum(math.exp(log - highest) for log in logs) / len(logs))
    p = math.exp(min(0.0, -evidence))
    verdict: Literal["pause", "fine", "not enough yet"] = (
        "fine" if events + other_events >= FEWEST else "not enough yet"
    )
    if p < alarm and events >= FEWEST:
        verdict = "pause"
    return Guard(
        verdict, against, sends, events, events / sends if sends else 0.0,
        other_events / other_sends if other_sends else 0.0, p,
    )  # fmt: skip


def _share(one: Stratum, ratio: float) -> float:
    return ratio * one.sends / (ratio * one.sends + one.other_sends)
