"""`justai what-if`: what another policy would have earned, from the log of the one in use."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import click
import orjson

from cli.display import printable
from cli.earnings import conversion_design, revenue_design, why_no_revenue
from cli.earnings_store import Earned, read_earned
from cli.results import moments, over_time
from cli.results_judging import arms_of, design_of
from cli.results_store import Read, asked_for, read, total
from cli.session import command, session
from shared.inference import policy
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws
from shared.schemas.policy import Reward

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """A policy as it was named, and who it would send."""

    name: str
    target: policy.Target
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


@click.command("what-if")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--policy", "text", required=True, metavar="uniform|best|fixed:A=0.5,B=0.5", help="What to send instead.")
@over_time
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
@command
async def what_if(
    org_slug: str, template_id: str, text: str, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Estimate what another policy would have earned.

    It is told in the reward of the template's own policy: its click rate, its conversion rate, or its revenue a send.

    \b
    uniform            every eligible variant alike
    best               always the variant with the highest weighted rate, chosen on one half of the sends and valued
                       on the other
    fixed:A=0.5,B=0.5  these shares, by the variants' names

    Nothing is sent: each delivered send of treatment counts with the policy's probability of its variant over the
    logged one. Refused below 300 effective sends, or where at half of them none of its variants could be sent.
    docs/results.md defines IPW, SNIPW, DR and the interval.
    """
    async with session() as s:
        begin, end = moments(since, until, s.clock.now())
        wanted = await asked_for(s, org_slug, template_id, begin, end)
        known = await read(s, wanted)
        log = rewarded(known, await read_earned(s, wanted))
    asked = parse_policy(text, known.names, log.draws)
    found = policy.value(log.draws, asked.target, log.design)
    if as_json:
        click.echo(orjson.dumps(_json(asked, found, log), option=orjson.OPT_INDENT_2).decode())
        return
    click.echo("\n".join(_lines(asked, found, log)))


def rewarded(known: Read, earned: Earned | None) -> Rewarded:
    """The log as the ranker is paid. Raises where sums of money would mean nothing."""
    if earned is None or earned.policy.reward == "click":
        control = total(fact for fact in known.facts if fact.control)
        rate = control.clicked / control.delivered if control.delivered else None
        return Rewarded("click", known.draws, design_of(*arms_of(known.facts), known.people), rate, control.delivered)
    arm, reward = earned.control, earned.policy.reward
    if reward == "conversion":
        rate = arm.converted / arm.sends if arm.sends else None
        return Rewarded(reward, earned.draws, conversion_design(earned), rate, arm.sends)
    if (why := why_no_revenue(earned)) or earned.cap is None:
        raise click.ClickException(f"Revenue cannot be valued: {why}.")
    mean = arm.revenue / arm.sends / earned.cap if arm.sends else None
    return Rewarded(
        reward, earned.revenue_draws, revenue_design(earned), mean, arm.sends, earned.cap, earned.currency
    )  # fmt: skip


def parse_policy(text: str, names: Mapping[UUID, str], draws: Sequence[Draws]) -> Asked:
    """The policy that `--policy` names. Raises with what is wrong with it."""
    kind, _, rest = text.partition(":")
    if text == "uniform":
        return Asked(text, policy.uniform, {})
    if text == "best":
        target, chosen = policy.best(draws)
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


def _bad(what: str) -> click.BadParameter:
    return click.BadParameter(what, param_hint="--policy")


_HAD = {
    "click": "would have had a click rate of", "conversion": "would have had a conversion rate of",
    "revenue": "would have earned, a send,",
}  # fmt: skip


def _lines(asked: Asked, found: policy.Value | NotEnough, log: Rewarded) -> list[str]:
    chosen = ", ".join(f"{name} {share:.0%}" for name, share in asked.shares.items())
    head = printable(f"Policy {asked.name}" + (f": {chosen}" if chosen and asked.name == "best" else ""))
    if isinstance(found, NotEnough):
        more = f"; needs about {found.more:,} more sends" if found.more else ""
        return [head, f"not enough yet: {found.why}{more}."]
    if found.left_out:
        head += f"; left out: {found.left_out:,} sends at which none of its variants could be sent"
    said = log.said
    lines = [
        head,
        f"{_HAD[log.reward]} {said(found.snipw)}, within {said(found.within.low)} … {said(found.within.high or 1.0)} "
        f"(SNIPW; IPW {said(found.ipw)}, DR {said(found.dr)})",
        f"what was sent had {said(found.logged)}, over {found.sends:,} sends, {found.ess:,.0f} of which, in effect, "
        "speak of this policy",
    ]
    if log.control is not None:
        lines.append(f"control had {said(log.control)}, over {log.control_sends:,} sends")
    if found.within.holds(found.logged):
        lines.append("not enough yet to tell the two apart")
    return lines


def _json(asked: Asked, found: policy.Value | NotEnough, log: Rewarded) -> dict[str, Any]:
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
