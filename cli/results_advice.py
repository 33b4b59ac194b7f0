"""What a person might do about the results. Words only: whoever ships, pauses or archives does it by hand."""

from collections.abc import Sequence
from typing import Protocol

from shared.inference.guardrail import Guard
from shared.inference.lift import Lift
from shared.inference.ratio import SampleRatio
from shared.inference.sequence import NotEnough
from shared.inference.variants import Estimate


class Row(Protocol):
    """What is needed of a variant's row."""

    @property
    def name(self) -> str: ...
    @property
    def rate(self) -> Estimate | NotEnough: ...
    @property
    def guard(self) -> Guard: ...
    @property
    def fits(self) -> bool: ...
    @property
    def paused(self) -> bool: ...


def advice(
    lift: Lift | NotEnough, *, rows: Sequence[Row], alarms: Sequence[SampleRatio], state: str, worn_off: bool
) -> list[str]:
    """Sentences, the most urgent first."""
    said = [
        f"{one.name!r} is paused; `justai variant history` says why, `justai variant resume` serves it again."
        if one.paused
        else f"Pause {one.name!r}: {one.guard.said}. The ranker does it by itself, unless it is the last one; "
        "`approved: false` in the template's file takes it out, `justai template stop` takes everything out."
        for one in rows
        if one.paused or one.guard.verdict == "pause"
    ]
    if alarms or not all(one.fits for one in rows):
        return [*said, "Do not ship or archive by these numbers before the alarm is explained (docs/results.md)."]
    leading, trailing = _standing(rows)
    if isinstance(lift, Lift) and lift.difference < 0:
        said.append("Treatment does worse than control: archive the template, or give it other copy.")
    elif isinstance(lift, Lift) and state != "shipped":
        said.append(
            "Treatment does better than control: it may be shipped (`state: shipped`). Ship & Iterate keeps all "
            "variants and the ranker at work"
            + (f"; Ship & Lock keeps {leading!r} alone, whose rate is above all others'." if leading else ".")
        )
    elif state == "shipped" and worn_off:
        said.append("The newest week shows less than half of the lift that was shipped: it is time for other copy.")
    if trailing and len(trailing) < len(rows):
        names = ", ".join(repr(name) for name in trailing)
        said.append(f"To archive: {names}, whose interval lies below that of the best.")
    return said


def _standing(rows: Sequence[Row]) -> tuple[str | None, list[str]]:
    """Who is above all others for sure, and who is below the best for sure."""
    known = [(one.name, one.rate) for one in rows if isinstance(one.rate, Estimate)]
    if not known:
        return None, []
    best, rate = max(known, key=lambda one: one[1].within.low)
    below = [name for name, other in known if name != best and (other.within.high or 1.0) < rate.within.low]
    leads = len(rows) > 1 and len(below) == len(rows) - 1
    return (best if leads else None), below
