"""Conversions and revenue as a person reads them, and for machines."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import click

from cli.display import printable, show_table
from cli.earnings import Earnings
from cli.earnings_store import Arm
from cli.results_json import estimate_json, result_json
from cli.results_view import sentence, within
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
        (_variant(names.get(one, str(one)), *rate) for one, rate in _sorted(found)),
        empty="No variant has a delivered send with logged probabilities yet.",
    )


def _sorted(found: Earnings) -> list[tuple[UUID, tuple[int, Estimate | NotEnough]]]:
    return sorted(found.rates.items(), key=lambda one: (-one[1][0], str(one[0])))


def _arm(name: str, arm: Arm, *, shown: bool) -> tuple[object, ...]:
    rate = f"{arm.converted / arm.sends:.2%}" if arm.sends else "–"
    money = (f"{arm.revenue:,.2f}", f"{arm.revenue / arm.sends:,.4f}" if arm.sends else "–") if shown else ()
    return name, arm.sends, arm.converted, rate, *money


def _variant(name: str, converted: int, rate: Estimate | NotEnough) -> tuple[object, ...]:
    if isinstance(rate, Estimate):
        return name, converted, f"{rate.rate:.2%}", within(rate.within)
    more = f", about {rate.more:,} more sends" if rate.more else ""
    return name, converted, "not enough yet", f"{rate.why}{more}"


def earnings_json(found: Earnings, names: Mapping[UUID, str]) -> dict[str, Any]:
    """As documented in docs/results.md."""
    known = found.known
    revenue = {"outcome": "not shown", "why": found.revenue} if isinstance(found.revenue, str) else None
    return {
        "metrics": known.defined.metrics, "window_h": known.defined.window_h, "counted_anew": known.stale,
        "revenue_cap": known.cap, "currency": known.currency or None,
        "treatment": _arm_json(known.treatment, shown=revenue is None),
        "control": _arm_json(known.control, shown=revenue is None),
        "lift": result_json(found.conversion),
        "revenue_lift": revenue or (None if isinstance(found.revenue, str) else result_json(found.revenue)),
        "variants": [
            {"copy_id": str(one), "name": names.get(one, str(one)), "conversions": rate[0],
             "conversion_rate": estimate_json(rate[1])} for one, rate in _sorted(found)
        ],
    }  # fmt: skip


def _arm_json(arm: Arm, *, shown: bool) -> dict[str, Any]:
    return {"delivered": arm.sends, "conversions": arm.converted, "revenue": arm.revenue if shown else None}
