"""Conversions and revenue as a person reads them."""

from collections.abc import Mapping
from uuid import UUID

import click

from cli.display import printable, show_table
from cli.results_view import sentence, within
from shared.admin.results.as_json import by_conversions
from shared.admin.results.earned import Earnings
from shared.admin.results.earned_store import Arm
from shared.inference.sequence import NotEnough
from shared.inference.variants import Estimate


def show_earnings(found: Earnings, names: Mapping[UUID, str]) -> None:
    """Both arms, both lifts, and each variant's conversions."""
    known = found.known
    metrics = printable(", ".join(known.defined.metrics))
    click.echo(f"\nConversions: {metrics}, within {known.defined.window_h} h of the newest delivered send.")
    if known.stale:
        click.echo("They are being counted anew, because their definition has changed; look again in a minute.")
    shown = not isinstance(found.revenue, str)
    show_table(
        ("", "delivered", "conversions", "rate", *(["revenue", "a send"] if shown else [])),
        [_arm("treatment", known.treatment, shown=shown), _arm("control", known.control, shown=shown)],
        empty="",
    )
    click.echo(f"Lift of conversions: {sentence(found.conversion)}")
    if isinstance(found.revenue, str):
        click.echo(f"Lift of revenue: not shown; {printable(found.revenue)}.")
    else:
        cap = f"{known.cap:,g} {known.currency}".rstrip()
        click.echo(f"Lift of revenue, a send counted as {cap} at most: {sentence(found.revenue, known.currency)}")
    click.echo("")
    show_table(
        ("variant", "conversions", "conversion rate", "within"),
        (_variant(names.get(one, str(one)), *rate) for one, rate in by_conversions(found)),
        empty="No variant has a delivered send with logged probabilities yet.",
    )


def _arm(name: str, arm: Arm, *, shown: bool) -> tuple[object, ...]:
    rate = f"{arm.converted / arm.sends:.2%}" if arm.sends else "–"
    money = (f"{arm.revenue:,.2f}", f"{arm.revenue / arm.sends:,.4f}" if arm.sends else "–") if shown else ()
    return name, arm.sends, arm.converted, rate, *money


def _variant(name: str, converted: int, rate: Estimate | NotEnough) -> tuple[object, ...]:
    if isinstance(rate, Estimate):
        return name, converted, f"{rate.rate:.2%}", within(rate.within)
    more = f", about {rate.more:,} more sends" if rate.more else ""
    return name, converted, "not enough yet", f"{rate.why}{more}"
