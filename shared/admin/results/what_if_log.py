"""What another policy would have earned, from the log of the one in use: what is asked, and the log it is valued on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.admin.errors import Refused
from shared.admin.results.earned import conversion_design, revenue_design, why_no_revenue
from shared.admin.results.earned_store import Earned
from shared.admin.results.judging import arms_of, design_of
from shared.admin.results.store import Read, total
from shared.inference import policy
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws
from shared.schemas.policy import Reward

_SUM_TOLERANCE = 1e-6
_REWARDS: Mapping[Reward, str] = {"click": "clicks", "conversion": "conversions", "revenue": "rewards of the whole cap"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A policy as it was named, and who it would send; or why that cannot be told yet."""

    name: str
    target: policy.Target | NotEnough
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rewarded:
    """The log in the reward that the template's ranker is paid by. `worth`: of a whole reward, in `unit` where it is
    money; `control`: what its sends had on average, and how many they were."""

    reward: Reward
    draws: Sequence[Draws]
    design: float
    control: float | None
    control_sends: int
    worth: float = 1.0
    unit: str = ""

    def said(self, mean: float) -> str:
        """`1.20%`, or `0.8123 EUR`."""
        return f"{mean:.2%}" if self.reward != "revenue" else f"{mean * self.worth:,.4f} {self.unit}".rstrip()


def rewarded(known: Read, earned: Earned | None) -> Rewarded:
    """The log as the ranker is paid. Raises Refused where sums of money would mean nothing."""
    if earned is None or earned.policy.reward == "click":
        control = total(fact for fact in known.facts if fact.control)
        rate = control.clicked / control.delivered if control.delivered else None
        return Rewarded("click", known.draws, design_of(*arms_of(known.facts), known.people), rate, control.delivered)
    arm, reward = earned.control, earned.policy.reward
    if reward == "conversion":
        rate = arm.converted / arm.sends if arm.sends else None
        return Rewarded(reward, earned.draws, conversion_design(earned), rate, arm.sends)
    if (why := why_no_revenue(earned)) or earned.cap is None:
        raise Refused(f"Revenue cannot be valued: {why}.", code="no_revenue")
    mean = arm.revenue / arm.sends / earned.cap if arm.sends else None
    return Rewarded(
        reward, earned.revenue_draws, revenue_design(earned), mean, arm.sends, earned.cap, earned.currency
    )  # fmt: skip


def parse_policy(text: str, names: Mapping[UUID, str], log: Rewarded) -> Asked:
    """The policy that `--policy` names. Raises Refused with what is wrong with it."""
    kind, _, rest = text.partition(":")
    if text == "uniform":
        return Asked(text, policy.uniform, {})
    if text == "best":
        found = policy.best(log.draws, _REWARDS[log.reward])
        if isinstance(found, NotEnough):
            return Asked(text, found, {})
        target, chosen = found
        return Asked(text, target, {names.get(one, str(one)): share for one, share in chosen.items()})
    if kind != "fixed" or not rest:
        raise _bad(f"{text!r} is none of uniform, best, fixed:NAME=SHARE,…")
    ids = {name: copy_id for copy_id, name in names.items()}
    shares: dict[UUID, float] = {}
    for pair in rest.split(","):
        name, _, number = pair.rpartition("=")
        if name.strip() not in ids:
            raise _bad(f"there is no variant {name.strip()!r}; variants: {', '.join(sorted(ids)) or 'none'}")
        if ids[name.strip()] in shares:
            raise _bad(f"{name.strip()!r} is named twice")
        shares[ids[name.strip()]] = _share(name.strip(), number)
    if abs(math.fsum(shares.values()) - 1) > _SUM_TOLERANCE:
        raise _bad(f"the shares sum to {math.fsum(shares.values()):g}, not to 1")
    return Asked(text, policy.fixed(shares), {names[one]: share for one, share in shares.items()})


def _share(name: str, number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise _bad(f"the share of {name!r} is {number!r}, not a number from 0 to 1")
    return share


def _bad(what: str) -> Refused:
    return Refused(what, code="bad_policy", field="policy")


def valued(asked: Asked, log: Rewarded) -> policy.Value | NotEnough:
    """What the policy would have earned by this log."""
    return asked.target if isinstance(asked.target, NotEnough) else policy.value(log.draws, asked.target, log.design)


def value_json(asked: Asked, found: policy.Value | NotEnough, log: Rewarded) -> dict[str, Any]:
    """As documented in docs/results.md."""
    head = {"policy": asked.name, "shares": asked.shares, "reward": log.reward}
    if isinstance(found, NotEnough):
        return {**head, "outcome": "not enough yet", "why": found.why, "more_sends": found.more}
    worth = log.worth
    return {
        **head, "outcome": "estimated", "snipw": found.snipw * worth,
        "within": [found.within.low * worth, None if found.within.high is None else found.within.high * worth],
        "ipw": found.ipw * worth, "dr": found.dr * worth, "ess": found.ess, "sends": found.sends,
        "left_out": found.left_out, "logged": found.logged * worth,
        "control": None if log.control is None else log.control * worth,
    }  # fmt: skip
