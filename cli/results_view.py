"""The results as a person reads them."""

from collections.abc import Callable, Iterator

import click

from cli.display import moment, printable, show_table
from cli.results_advice import sentence as advised
from shared.admin.results.judging import Results, Segment, Variant
from shared.admin.results.store import Fact
from shared.admin.results.themes import Theme
from shared.inference.decay import Week
from shared.inference.lift import Lift, Undecided
from shared.inference.ratio import SampleRatio
from shared.inference.sequence import Interval, NotEnough
from shared.inference.variants import Estimate


def show_results(
    found: Results, org_slug: str, show_earned: Callable[[], None] | None = None, *, by_theme: bool = False
) -> None:
    """Funnel, lift, alarms, variants, what was earned, segments, weeks, and what might be done."""
    click.echo(
        f"{org_slug}, template {found.template_id} ({found.state}), "
        f"decisions from {moment(found.since)} to {moment(found.until)}\n"
    )
    show_table(
        ("", "assigned", "written", "sent", "delivered", "opens", "clicks", "click rate", "unsubscribes", "complaints"),
        [_funnel("treatment", found.treatment), _funnel("control", found.control)],
        empty="",
    )
    if found.external:
        click.echo(
            "Control is Klaviyo's own branch: its emails of days with decisions are counted, who was assigned to it is "
            "not known."
        )
    click.echo(f"\nLift: {sentence(found.lift)}")
    for line in (*_day_by_day(found), *_alarms(found)):
        click.echo(line)
    click.echo("")
    show_table(
        ("variant", "sends", "share", "click rate", "within", "best", "guardrail"),
        (_variant(one) for one in found.variants),
        empty="No variant has a delivered send with logged probabilities yet.",
    )
    if by_theme:
        click.echo("\nBy theme:")
        show_table(
            ("theme", "variants", "assigned", "delivered", "clicks", "share", "click rate", "within"),
            (_theme(one) for one in found.themes),
            empty="Nothing was decided for a variant.",
        )
    if show_earned is not None:
        show_earned()
    if found.attr is not None:
        click.echo(f"\nBy {printable(found.attr)}, {len(found.segments)} comparisons that hold together:")
        show_table(
            (found.attr, "treatment", "control", "mostly sent", "lift"), (_segment(one) for one in found.segments),
            empty="No decisions.",
        )  # fmt: skip
    if found.shipped_at is not None:
        click.echo(f"\nSince it was shipped, {moment(found.shipped_at)}:")
        show_table(
            ("week", "begins", "sends", "lift"), (_week(one) for one in found.weeks), empty="No delivered sends yet."
        )
    for one in found.advice:
        click.echo(f"\n{printable(advised(one))}")


def sentence(result: Lift | NotEnough, unit: str | None = None) -> str:
    """One comparison in words. `unit`: of amounts, like a currency; None: they are rates."""
    if isinstance(result, Lift):
        return f"{_lift(result, unit)}: treatment is {'above' if result.difference > 0 else 'below'} control."
    if isinstance(result, Undecided) and result.so_far is not None:
        if result.more:
            return f"not enough yet: {_lift(result.so_far, unit)}; {result.why} needs about {result.more:,} more sends."
        return f"not enough yet: {_lift(result.so_far, unit)}; {result.why}."
    needs = f"; needs about {result.more:,} more sends" if result.more else ""
    return f"not enough yet: {result.why}{needs}."


def _lift(found: Lift, unit: str | None) -> str:
    one, other = (
        f"{mean:.2%}" if unit is None else f"{mean:,.4f} {unit}".rstrip() for mean in (found.treatment, found.control)
    )
    return f"{found.lift:+.1%}, within {within(found.lift_within, signed=True)} ({one} against {other})"


def within(interval: Interval, *, signed: bool = False) -> str:
    """`1.20% … 3.40%`; `∞` where nothing bounds it."""
    form = "+.1%" if signed else ".2%"
    return f"{interval.low:{form}} … {'∞' if interval.high is None else format(interval.high, form)}"


def _funnel(name: str, fact: Fact) -> tuple[object, ...]:
    rate = f"{fact.clicked / fact.delivered:.2%}" if fact.delivered else "–"
    written: object = fact.written if name == "treatment" else "–"
    return (
        name, fact.assigned, written, fact.sent, fact.delivered, fact.opened, fact.clicked, rate, fact.unsubscribed,
        fact.spam,
    )  # fmt: skip


def _day_by_day(found: Results) -> Iterator[str]:
    """Why the lift is another than that of the rates in the table."""
    if found.uncompared:
        yield (
            f"{found.uncompared:,} delivered sends of days on which the other arm had none count in the table, not for "
            "the lift."
        )
    lift = found.lift.so_far if isinstance(found.lift, Undecided) else found.lift
    if isinstance(lift, Lift) and any(
        f"{fact.clicked / fact.delivered:.2%}" != f"{rate:.2%}"
        for fact, rate in ((found.treatment, lift.treatment), (found.control, lift.control))
    ):
        yield "The lift compares day by day; the rates of the table are of all days together."


def _alarms(found: Results) -> Iterator[str]:
    if found.split is None:
        yield "Sample ratio: not checked; say --control-share."
    else:
        yield f"Sample ratio, people assigned: {_ratio(found.split, 'planned')}"
    if found.delivery is not None:
        yield f"Sample ratio, people delivered to: {_ratio(found.delivery, 'of the assigned')}"
    for one in found.variants:
        if not one.fits:
            yield (
                f"ALARM: {printable(one.name)!r} was not drawn as often as its logged probabilities say; "
                "no weighted figure can be believed."
            )
    if found.unlogged:
        yield f"{found.unlogged:,} delivered sends of treatment without logged probabilities count for the lift alone."


def _ratio(ratio: SampleRatio, what: str) -> str:
    said = f"{ratio.found:.2%} control, {ratio.planned:.2%} {what}, p = {ratio.p_always:.2g} at all looks"
    if not ratio.alarm:
        return f"{said}: fine."
    return f"{said}. ALARM: the split is not what it should be; no comparison here can be believed."


def _rate(found: Estimate | NotEnough) -> tuple[str, str]:
    if isinstance(found, Estimate):
        return f"{found.rate:.2%}", within(found.within)
    more = f", about {found.more:,} more sends" if found.more else ""
    return "not enough yet", f"{found.why}{more}"


def _theme(one: Theme) -> tuple[object, ...]:
    counts = (one.variants, one.assigned, one.delivered, one.clicks)
    return one.name or "(none)", *counts, f"{one.share:.1%}", *_rate(one.rate)


def _variant(one: Variant) -> tuple[object, ...]:
    rate, interval = _rate(one.rate)
    guard = one.guard
    if one.paused:
        guardrail = f"paused; {guard.verdict} ({guard.events} of {guard.sends:,})"
    elif guard.verdict == "pause":
        guardrail = (
            f"pause: {guard.rate:.2%} unsubscribe or complain, {guard.other_rate:.2%} of {guard.against} "
            f"(p = {guard.p:.2g} at all looks)"
        )
    else:
        guardrail = f"{guard.verdict} ({guard.events} of {guard.sends:,})"
    best = "–" if one.best is None else f"{one.best:.0%}"
    return one.name, one.sends, f"{one.share:.1%}", rate, interval, best, guardrail


def _segment(one: Segment) -> tuple[object, ...]:
    mostly = f"{one.mostly[0]} {one.mostly[1]:.0%}" if one.mostly else "–"
    return one.value, one.treatment, one.control, mostly, sentence(one.result)


def _week(one: Week) -> tuple[object, ...]:
    return one.week + 1, one.begins, one.sends, sentence(one.result)
