"""What the demo shows at the end, and the figures it writes."""

from typing import Any

from rich.console import Console
from rich.table import Table

from demo import report_days
from demo.story import Results

KINDS = ("right", "control_planned", "control_missed", "blank", "stale", "foreign", "broken")
_MEANING = {
    "right": "the newest generation's copy",
    "control_planned": "control, by plan",
    "control_missed": "control, because the write did not come in time",
    "blank": "nothing",
    "stale": "an older generation's copy",
    "foreign": "another template's copy",
    "broken": "an unfilled tag or an unescaped value",
}


def figures(results: Results) -> dict[str, Any]:
    """The named figures of the result file."""
    real, waits = results.outcomes["real"], results.outcomes["webhook_to_profile_s"]
    return {
        "messages": results.outcomes["messages"],
        **{kind: real.get(kind, 0) for kind in KINDS},
        "webhook_to_profile_p50_s": waits["p50"],
        "webhook_to_profile_p99_s": waits["p99"],
        "events": results.events,
        "rows_exported": results.exported_rows,
        **{f"literal_{kind}": results.outcomes["literal"].get(kind, 0) for kind in KINDS},
        "profiles_left_unclean": results.still_on_profiles,
        **report_days.figures(results.days),
    }


def passed(results: Results) -> bool:
    """Nothing wrong shown, nothing missed, everything else done, and something learned."""
    shown = figures(results)
    wrong = sum(shown[kind] for kind in report_days.FAULTS) + shown["control_missed"] + shown["profiles_left_unclean"]
    done = shown["right"] > 0 and results.events > 0 and results.exported_rows > 0
    return wrong == 0 and done and report_days.passed(results.days)


def show(console: Console, results: Results, *, factor: float) -> None:
    """The tables."""
    shown = figures(results)
    number = Table(title=f"What {shown['messages']} emails of the first day showed", title_justify="left")
    number.add_column("outcome")
    number.add_column("our snippet", justify="right")
    number.add_column("the page's literal snippet", justify="right")
    number.add_column("", style="dim")
    for kind in KINDS:
        ours, literal = shown[kind], shown[f"literal_{kind}"]
        bad = kind in (*report_days.FAULTS, "control_missed")
        number.add_row(
            kind, _coloured(ours, bad=bad), _coloured(literal, bad=bad), _MEANING[kind],
        )  # fmt: skip
    console.print(number)
    for what in ("real_reasons", "literal_reasons"):
        for reason, count in sorted(results.outcomes[what].items()):
            console.print(f"[dim]{'ours' if what == 'real_reasons' else 'literal'}: {reason}: {count}[/]")
    console.print(_rollups(results))
    console.print(
        f"Webhook to profile: p50 {_seconds(shown['webhook_to_profile_p50_s'])}, "
        f"p99 {_seconds(shown['webhook_to_profile_p99_s'])} on the story's clock, which runs {factor:g} times as fast "
        f"as real time (Klaviyo's delay: 120 s)."
    )
    console.print(
        f"Events ingested: {shown['events']}, each once. Rows exported and read back: {shown['rows_exported']}."
    )
    for subject, count in results.exported_copies:
        console.print(f"  [dim]{count:4} × {subject}[/]")
    console.print(
        f"Exported to {results.export_path}; profiles that still carry our copy: {results.still_on_profiles}."
    )
    report_days.show(console, results.days)


def _rollups(results: Results) -> Table:
    table = Table(title="What people did, per variant", title_justify="left")
    table.add_column("template")
    table.add_column("variant")
    for name in ("delivered", "opens", "clicks", "machine opens", "bot clicks"):
        table.add_column(name, justify="right")
    for row in results.rollups:
        table.add_row(
            row["template_id"], row["variant"],
            *(str(row[name]) for name in ("delivered", "opens", "clicks", "machine_opens", "bot_clicks")),
        )  # fmt: skip
    return table


def _coloured(count: int, *, bad: bool) -> str:
    if not count:
        return "[dim]0[/]"
    return f"[red]{count}[/]" if bad else f"[green]{count}[/]"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
