"""`justai power`: how long a test takes, before it is started."""

import click
import orjson

from shared.inference import power
from shared.inference.lift import WORTH


@click.command("power")
@click.option("--rate", type=float, required=True, help="Control's click rate, like 0.03.")
@click.option("--lift", type=float, default=WORTH, show_default=True, help="To be found, relative: 0.15 is 15 % more.")
@click.option("--control-share", type=float, default=0.1, show_default=True, help="Share of control among all sends.")
@click.option("--per-day", type=float, required=True, help="Delivered sends a day, control included.")
@click.option("--power", "chance", type=float, default=power.POWER, show_default=True, help="How often to find it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
def plan(rate: float, lift: float, control_share: float, per_day: float, chance: float, as_json: bool) -> None:
    """Say how long a test takes, before it is started.

    Sends and days until the interval of `justai results`, looked at every day, leaves out "no lift" if there is one of
    this size; and what a single look at a day fixed beforehand would need. It needs no database.
    """
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
