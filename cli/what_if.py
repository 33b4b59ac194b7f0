"""`justai what-if`: what another policy would have earned, from the log of the one in use."""

from datetime import datetime

import click
import orjson

from cli.display import printable
from cli.results import asked_for, over_time
from cli.session import command, session
from shared.admin.errors import Refused
from shared.admin.results.earned_store import read_earned
from shared.admin.results.store import read
from shared.admin.results.what_if_log import Asked, Rewarded, parse_policy, rewarded, value_json, valued
from shared.inference import policy
from shared.inference.sequence import NotEnough


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
    best               always the variant with the highest weighted rate among those with 10 clicks to be expected,
                       chosen on one half of the sends and valued on the other
    fixed:A=0.5,B=0.5  these shares, by the variants' names

    Nothing is sent: each delivered send of treatment counts with the policy's probability of its variant over the
    logged one. Refused below 300 effective sends, or where at half of them none of its variants could be sent.
    docs/results.md defines IPW, SNIPW, DR and the interval.
    """
    async with session() as s:
        wanted = await asked_for(s, org_slug, template_id, since, until)
        known = await read(s.db, wanted)
        earned = await read_earned(s.db, wanted)
    try:
        log = rewarded(known, earned)
        asked = parse_policy(text, known.names, log)
    except Refused as error:
        raise _refused(error) from None
    found = valued(asked, log)
    if as_json:
        click.echo(orjson.dumps(value_json(asked, found, log), option=orjson.OPT_INDENT_2).decode())
        return
    click.echo("\n".join(_lines(asked, found, log)))


def _refused(error: Refused) -> click.ClickException:
    if error.field == "policy":
        return click.BadParameter(error.message, param_hint="--policy")
    return click.ClickException(error.message)


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
