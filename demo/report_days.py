"""What the demo shows of the second act: the lift as it rises, and whom the ranker sends what, beside the truth."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.days import TEMPLATE, Days
from demo.shop.tastes import PERSONAS, TASTES, favourite

_MOST_SHOWN = 10.0
FAULTS = ("blank", "stale", "foreign", "broken")


def figures(days: Days) -> dict[str, Any]:
    """The named figures of the result file; `lift…` of all days, null where nothing can be said."""
    real, last = days.outcomes["real"], days.looks[-1]
    lift = last.lift or {"lift": None, "lift_within": [None, None]}
    return {
        "days": len(days.looks),
        "days_messages": days.outcomes["messages"],
        **{f"days_{kind}": real.get(kind, 0) for kind in ("right", "control_planned", "control_missed", *FAULTS)},
        "days_webhook_to_profile_p99_s": days.outcomes["webhook_to_profile_s"]["p99"],
        "event_files": days.event_files,
        "snapshots": days.snapshots,
        "lift": lift["lift"],
        "lift_low": lift["lift_within"][0],
        "lift_high": lift["lift_within"][1],
        "favourite_share_before": min(days.before[persona][favourite(persona)] for persona in PERSONAS),
        "favourite_share_after": min(last.shares[persona][favourite(persona)] for persona in PERSONAS),
    }


def passed(days: Days) -> bool:
    """Nothing wrong shown, nothing missed; each persona gets what it likes more often than before; lift above 0."""
    shown, last = figures(days), days.looks[-1]
    wrong = sum(shown[f"days_{kind}"] for kind in (*FAULTS, "control_missed"))
    grew = all(last.shares[it][favourite(it)] > days.before[it][favourite(it)] for it in PERSONAS)
    return wrong == 0 and shown["days_right"] > 0 and grew and (shown["lift"] or 0) > 0


def show(console: Console, days: Days) -> None:
    """The tables."""
    console.print(_lift(days))
    console.print(_shares(days))
    real = days.outcomes["real"]
    console.print(
        f"What the {days.outcomes['messages']} emails of these days showed: {real.get('right', 0)} right, "
        f"{real.get('control_planned', 0)} control by plan, {real.get('control_missed', 0)} missed, "
        f"{sum(real.get(kind, 0) for kind in FAULTS)} faults. Files read: {days.event_files}. "
        f"Snapshots fitted: {days.snapshots}."
    )


def _lift(days: Days) -> Table:
    table = Table(title=f"`justai results {TEMPLATE}` on the morning after each day", title_justify="left")
    for name in ("after day", "that day: clicks", "control's", "lift so far", "within, at all looks", ""):
        table.add_column(name, justify="right")
    table.columns[-1].justify = "left"
    before: Mapping[str, Any] = {arm: {"delivered": 0, "clicked": 0} for arm in ("treatment", "control")}
    for look in days.looks:
        funnel = look.results["funnel"]
        rates = [_rate(funnel[arm], before[arm]) for arm in ("treatment", "control")]
        lift, outcome = look.lift, look.results["lift"]["outcome"]
        said = ("-", "-") if lift is None else (f"{lift['lift']:+.0%}", _within(*lift["lift_within"]))
        colour = "green" if outcome == "above control" else "yellow"
        table.add_row(str(look.day), *rates, *said, f"[{colour}]{outcome}[/]")
        before = funnel
    return table


def _rate(now: Mapping[str, int], before: Mapping[str, int]) -> str:
    delivered, clicked = (now[name] - before[name] for name in ("delivered", "clicked"))
    return f"{clicked / delivered:.1%} of {delivered}" if delivered else "-"


def _within(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:+.0%} … ∞"
    return f"{low:+.0%} … {f'{high:+.0%}' if high < _MOST_SHOWN else f'more than {_MOST_SHOWN:+.0%}'}"


def _shares(days: Days) -> Table:
    table = Table(title="Whom the ranker sends what, beside what they like (hidden from it)", title_justify="left")
    for name in ("persona", "variant"):
        table.add_column(name)
    for name in ("true clicks", "before", *(f"day {look.day}" for look in days.looks)):
        table.add_column(name, justify="right")
    for persona in PERSONAS:
        for name, liking in TASTES[persona].items():
            best = name == favourite(persona)
            shares = [days.before, *(look.shares for look in days.looks)]
            table.add_row(
                persona, f"{name} ★" if best else name, f"{liking.content_clicks:.0%}",
                *(f"{of[persona][name]:.0%}" for of in shares), style="bold" if best else "dim",
            )  # fmt: skip
        table.add_section()
    return table
