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
from cli.results import moments, over_time
from cli.results_judging import arms_of, design_of
from cli.results_store import Read, asked_for, read, total
from cli.results_view import within
from cli.session import command, session
from shared.inference import policy
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Asked:
    """A policy as it was named, and who it would send."""

    name: str
    target: policy.Target
    shares: Mapping[str, float]


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
    """Estimate the click rate that another policy would have had.

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
        known = await read(s, await asked_for(s, org_slug, template_id, begin, end))
    asked = parse_policy(text, known.names, known.draws)
    design = design_of(*arms_of(known.facts), known.people)
    found = policy.value(known.draws, asked.target, design)
    if as_json:
        click.echo(orjson.dumps(_json(asked, found, known), option=orjson.OPT_INDENT_2).decode())
        return
    click.echo("\n".join(_lines(asked, found, known)))


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


def _lines(asked: Asked, found: policy.Value | NotEnough, known: Read) -> list[str]:
    chosen = ", ".join(f"{name} {share:.0%}" for name, share in asked.shares.items())
    head = printable(f"Policy {asked.name}" + (f": {chosen}" if chosen and asked.name == "best" else ""))
    if isinstance(found, NotEnough):
        more = f"; needs about {found.more:,} more sends" if found.more else ""
        return [head, f"not enough yet: {found.why}{more}."]
    control = total(fact for fact in known.facts if fact.control)
    if found.left_out:
        head += f"; left out: {found.left_out:,} sends at which none of its variants could be sent"
    lines = [
        head,
        f"would have had a click rate of {found.snipw:.2%}, within {within(found.within)} (SNIPW; "
        f"IPW {found.ipw:.2%}, DR {found.dr:.2%})",
        f"what was sent had {found.logged:.2%}, over {found.sends:,} sends, {found.ess:,.0f} of which, in effect, "
        "speak of this policy",
    ]
    if control.delivered:
        lines.append(f"control had {control.clicked / control.delivered:.2%}, over {control.delivered:,} sends")
    if found.within.holds(found.logged):
        lines.append("not enough yet to tell the two apart")
    return lines


def _json(asked: Asked, found: policy.Value | NotEnough, known: Read) -> dict[str, Any]:
    control = total(fact for fact in known.facts if fact.control)
    head = {"policy": asked.name, "shares": asked.shares}
    if isinstance(found, NotEnough):
        return {**head, "outcome": "not enough yet", "why": found.why, "more_sends": found.more}
    return {
        **head, "outcome": "estimated", "snipw": found.snipw, "within": [found.within.low, found.within.high],
        "ipw": found.ipw, "dr": found.dr, "ess": found.ess, "sends": found.sends, "left_out": found.left_out,
        "logged": found.logged,
        "control": control.clicked / control.delivered if control.delivered else None,
    }  # fmt: skip
