"""What a person might do about the results: suggestions. Whoever ships, pauses or archives does it by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from shared.inference.guardrail import Guard
from shared.inference.lift import Lift
from shared.inference.ratio import SampleRatio
from shared.inference.sequence import NotEnough
from shared.inference.variants import Estimate
from shared.schemas.policy import Reward

Kind = Literal["paused", "pause", "explain_alarm", "archive_template", "ship", "refresh_copy", "archive_variants"]

IN_REWARD: Final[Mapping[Reward, str]] = {"click": "", "conversion": " in conversions", "revenue": " in revenue"}
"""In what treatment does better, by what shipping and archiving go by; clicks go without saying."""

RATE: Final[Mapping[Reward, str]] = {"click": "rate", "conversion": "conversion rate", "revenue": "revenue a send"}
"""And what a variant's rate of it is called."""


class Row(Protocol):
    """What is needed of a variant's row."""

    @property
    def name(self) -> str: ...
    @property
    def compared(self) -> Estimate | NotEnough | None: ...
    @property
    def guard_now(self) -> Guard: ...
    @property
    def fits(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    @property
    def approved(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What might be done, to which variants, and why where numbers say it. For `ship`, `names` is who may be locked.
    `reward`: what shipping and archiving go by."""

    kind: Kind
    names: tuple[str, ...] = ()
    why: str = ""
    reward: Reward = "click"


def advice(
    lift: Lift | NotEnough,
    *,
    rows: Sequence[Row],
    alarms: Sequence[SampleRatio],
    state: str,
    worn_off: bool,
    reward: Reward,
) -> list[Suggestion]:
    """The most urgent first. The lift and what is compared of rows are in `reward`; `worn_off` is of clicks, and says
    nothing where these are not what is earned."""
    said = [
        Suggestion("paused", (one.name,)) if one.paused else Suggestion("pause", (one.name,), one.guard_now.said)
        for one in rows
        if one.paused or (one.approved and one.guard_now.verdict == "pause")
    ]
    if alarms or not all(one.fits for one in rows):
        return [*said, Suggestion("explain_alarm")]
    leading, trailing = _standing([one for one in rows if one.approved])
    if isinstance(lift, Lift) and lift.difference < 0:
        said.append(Suggestion("archive_template", reward=reward))
    elif isinstance(lift, Lift) and state != "shipped":
        said.append(Suggestion("ship", (leading,) if leading else (), reward=reward))
    elif state == "shipped" and worn_off and reward == "click":
        said.append(Suggestion("refresh_copy"))
    if trailing:
        said.append(Suggestion("archive_variants", tuple(trailing), reward=reward))
    return said


def _standing(rows: Sequence[Row]) -> tuple[str | None, list[str]]:
    """Who is above all others for sure, and who is below the best for sure: of rows of variants that serve now. One
    that is drawn no more is neither the best, nor anything to archive."""
    known = [(one.name, one.compared) for one in rows if isinstance(one.compared, Estimate)]
    if not known:
        return None, []
    best, rate = max(known, key=lambda one: one[1].within.low)
    below = [name for name, other in known if name != best and (other.within.high or 1.0) < rate.within.low]
    leads = len(rows) > 1 and len(below) == len(rows) - 1
    return (best if leads else None), below
