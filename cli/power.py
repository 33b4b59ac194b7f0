"""`justai power`: how long a test takes, before it is started."""

import click
import orjson

from cli.session import command, session
from shared.admin.results import results
from shared.inference import power
from shared.inference.lift import WORTH


@click.command("power")
@click.argument("org_slug", required=False)
@click.argument("template_id", required=False)
@click.option("--rate", type=float, help="Control's click rate, like 0.03.")
@click.option("--lift", type=float, default=WORTH, show_default=True, help="To be found, relative: 0.15 is 15 % more.")
@click.option("--control-share", type=float, default=0.1, show_default=True, help="Share of control among all sends.")
@click.option("--per-day", type=float, help="Delivered sends a day, control included.")
@click.option("--power", "chance", type=float, default=power.POWER, show_default=True, help="How often to find it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
@command
async def plan(
    org_slug: str | None, template_id: str | None, rate: float | None, lift: float, control_share: float,
    per_day: float | None, chance: float, as_json: bool,
) -> None:  # fmt: skip
    """Say how long a test takes, before it is started.

    Sends and days until the interval of `justai results`, looked at every day, leaves out "no lift" if there is one of
    this size; and what a single look at a day fixed beforehand would need. It needs no database.

    With an org and a template: at the rate, control share and volume that the template has at present.
    """
    if org_slug is not None:
        await _of_template(org_slug, template_id, lift, as_json=as_json)
        return
    if rate is None or per_day is None:
        raise click.UsageError(f"Missing option '{'--rate' if rate is None else '--per-day'}'.")
    if not 0 < chance < 1:
        raise click.BadParameter("must be between 0 and 1", param_hint="--power")
    try:
        found = power.plan(rate, lift, control_share, per_day, power=chance)
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        options = {"base": "--rate", "per_day": "--per-day", "control_share": "--control-share"}
        raise click.BadParameter(what, param_hint=options.get(name, f"--{name}")) from None
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS).decode())
    elif found is None:
        click.echo("No number of sends that anybody has would show this lift.")
    else:
        click.echo(
            f"A lift of {lift:+.0%} over {rate:.2%}, with {control_share:.0%} control, is found {chance:.0%} of the "
            f"time within\n  {found.sends:,} sends, {found.days:,} days, looked at as often as you like\n"
            f"  {found.sends_one_look:,} sends, {found.days_one_look:,} days, looked at once, at the end"
        )


async def _of_template(org_slug: str, template_id: str | None, lift: float, *, as_json: bool) -> None:
    if template_id is None:
        raise click.UsageError("Missing argument 'TEMPLATE_ID'.")
    async with session() as s:
        found = await s.run(results.how_long, results.AskedPower(template_id=template_id, lift=lift), org_slug)
    if as_json:
        click.echo(orjson.dumps(found.model_dump(mode="json"), option=orjson.OPT_INDENT_2).decode())
    elif found.sends is None or found.base_rate is None or found.control_share is None:
        click.echo(f"Nobody can tell yet: {found.why}.")
    else:
        click.echo(
            f"A lift of {lift:+.0%} over {found.base_rate:.2%}, with {found.control_share:.0%} control, is found "
            f"{power.POWER:.0%} of the time within {found.sends:,} sends; {found.sends_so_far:,} are there, the others "
            f"take about {found.days_left:,} days."
        )
