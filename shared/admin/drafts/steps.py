"""What a run does next, and what its drafts may cost. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shared.admin.drafts.models import Outcome
from shared.drafting.brief import Brief
from shared.drafting.model import Model
from shared.drafting.prompt import Prompt
from shared.drafting.usage import Prices

MOST_CLAIMS = 3
"""Of one draft. Whoever worked at it so often did not come back, and the next would not either."""

_CUT_OFF_ENDS = 2  # in a row; each of them was paid for
_IN_THE_QUEUE = timedelta(hours=1)
_CHARS_A_TOKEN = 4  # of English; an estimate
_USUAL_TOKENS = 700  # of a draft, while the org has none that were counted
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is ours until its lease ends; `epoch` proves it. `claims`: how often the draft in hand was begun."""

    org_id: UUID
    run_id: UUID
    epoch: int
    template_id: str
    brief: Brief
    number: int
    asked_by: str
    deadline_at: datetime
    claims: int


@dataclass(frozen=True, slots=True)
class Tried:
    """A draft that came to its end, as far as the next one depends on it."""

    outcome: Outcome
    subject: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The draft of this number, from 1; themes take turns."""

    number: int
    theme: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ends. `reason` is for people, `code` for machines."""

    state: Literal["done", "failed"]
    code: str | None = None
    reason: str | None = None


TOO_LATE = Ended("failed", "too_late", "It was not through in time")
ARCHIVED = Ended("failed", "archived", "The template was archived meanwhile: nobody would see its drafts")
UNFORESEEN = Ended("failed", "unexpected", "Something broke on our side while a draft was read; the log says what")
_LEFT = Ended(
    "failed", "left", f"Whatever drafted it ended {MOST_CLAIMS} times without coming to the next draft; see its log"
)


def deadline_of(number: int, model: Model, now: datetime) -> datetime:
    """When a run has failed that is not through: so many drafts with all their tries, after an hour in the queue."""
    return now + _IN_THE_QUEUE + timedelta(seconds=number * model.limits.total_s)


def next_step(claim: Claim, tried: Sequence[Tried], template_state: str | None, now: datetime) -> Next | Ended:
    """What is done after these drafts."""
    last = tried[-_CUT_OFF_ENDS:]
    if len(last) == _CUT_OFF_ENDS and all(one.outcome == "cut_off" for one in last):
        return Ended("failed", "llm_cut_off", last[-1].fault)
    if len(tried) >= claim.number:
        return Ended("done")
    if now >= claim.deadline_at:
        return TOO_LATE
    if template_state in (None, "archived"):
        return ARCHIVED
    if claim.claims > MOST_CLAIMS:
        return _LEFT
    return Next(len(tried) + 1, theme_of(claim.brief, len(tried) + 1))


def theme_of(brief: Brief, number: int) -> str:
    """That of the draft of this number, from 1."""
    return brief.themes[(number - 1) % len(brief.themes)]


def estimate(
    prompt: Prompt, number: int, model: Model, prices: Prices, usual_tokens: float | None
) -> tuple[float, float]:
    """US dollars for so many drafts: about, and if each answer used its limit. Tries that fail come on top."""
    read = (len(prompt.system) + len(prompt.user) + len(str(prompt.schema))) / _CHARS_A_TOKEN

    def cost(written: float) -> float:
        return number * (read * prices.read + written * prices.written) / _MILLION

    most = model.limits.max_tokens
    return cost(min(usual_tokens or _USUAL_TOKENS, most)), cost(most)
