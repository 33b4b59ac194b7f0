"""`justai results --counted`: what the console shows, from counts that are kept by day."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import click
import orjson
from click.core import ParameterSource

from cli.display import moment, show_table
from cli.session import session
from shared.admin.results import results
from shared.admin.results.models import Arm, LiftInterval, LiftSaid, Rate, Results, Segments, TemplateResults, Themes
from shared.admin.run import as_json as as_json_of
from shared.admin.templates.one import OneTemplate

_COLUMNS = ("assigned", "written", "sent", "delivered", "opened", "machine_opened", "clicked", "bot_clicked")
_PAGE = 200
_FROM_THE_LOG = ("control_share", "worth")  # what is counted ahead is judged with neither
_OF_ONE_TEMPLATE = ("since", "until", "by")
_OF_DAYS = ("since", "until")


def refuse_without_effect(context: click.Context, template_id: str | None, *, by_theme: bool) -> None:
    """Raises where something was asked for that counts cannot say: numbers of something else are worse than none."""
    where = "from what is counted ahead"
    name_one = "without a template: name one" if template_id is None else f"{where}: leave --counted out"
    without = dict.fromkeys(_FROM_THE_LOG, name_one)
    if template_id is None:
        without |= dict.fromkeys(_OF_ONE_TEMPLATE, name_one)
    elif by_theme:
        without |= dict.fromkeys(_OF_DAYS, f"by theme {where}: that is about the last 90 days; leave --counted out")
    for name, why in without.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.BadParameter(f"it has no effect {why}", param_hint=f"--{name.replace('_', '-')}")


def whole_days(since: datetime | None, until: datetime | None) -> Mapping[str, date | None]:
    """The first and the last day of a time that is said as everywhere, up to a moment that belongs to it no more.
    Raises where it begins or ends within a day, or holds none."""
    for name, said in (("--since", since), ("--until", until)):
        if said is not None and said.time() != time():
            raise click.BadParameter("days are counted as a whole: say one without a time", param_hint=name)
    if since is not None and until is not None and since >= until:
        raise click.BadParameter(f"{since:%Y-%m-%d} is not before {until:%Y-%m-%d}", param_hint="--since")
    return {"since": since.date() if since else None, "until": until.date() - timedelta(days=1) if until else None}


async def show(
    org_slug: str, template_id: str | None, since: datetime | None, until: datetime | None, attr: str | None, *,
    by_theme: bool, as_json: bool,
) -> None:  # fmt: skip
    """One template, with `attr` by its values or by the themes of its variants; or all."""
    span = whole_days(since, until)
    async with session() as s:
        if template_id is None:
            lines: list[TemplateResults] = []
            while True:
                asked = results.AskedOverview(limit=_PAGE, offset=len(lines))
                more = (await s.run(results.overview, asked, org_slug)).templates
                lines += more
                if len(more) < _PAGE:
                    break
        elif by_theme:
            themes = await s.run(results.themes, OneTemplate(template_id=template_id), org_slug)
        elif attr is not None:
            segments = await s.run(
                results.segments, results.AskedSegments(template_id=template_id, by=attr, **span), org_slug
            )
        else:
            found = await s.run(results.show, results.AskedResults(template_id=template_id, **span), org_slug)
    if template_id is None:
        _say([as_json_of(one) for one in lines]) if as_json else _show_all(lines)
    elif by_theme:
        _say(as_json_of(themes)) if as_json else _show_themes(themes)
    elif attr is not None:
        _say(as_json_of(segments)) if as_json else _show_segments(segments)
    else:
        _say(as_json_of(found)) if as_json else _show_one(found)


def _say(value: object) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _show_all(lines: list[TemplateResults]) -> None:
    show_table(
        ("template", "state", "delivered", "clicks", "control delivered", "clicks", "lift"),
        (
            (one.template_id, one.state, one.treatment.delivered, one.treatment.clicked, one.control.delivered,
             one.control.clicked, "ALARM: sample ratio" if one.alarm else lift_in_words(one.lift))
            for one in lines
        ),
        empty="No templates yet.",
    )  # fmt: skip


def _show_one(found: Results) -> None:
    click.echo(
        f"Template {found.template_id} ({found.state}), decisions from {found.since} to {found.until} "
        f"({found.time_zone}), counted {moment(found.counted_at)}\n"
    )
    show_table(
        ("", *(name.replace("_", " ") for name in _COLUMNS)),
        [_arm("treatment", found.treatment), _arm("control", found.control)],
        empty="",
    )
    click.echo(f"\nLift, day by day: {lift_in_words(found.lift)}")
    if found.uncompared:
        click.echo(
            f"{found.uncompared:,} delivered sends of days on which the other arm had none count above, not for the "
            "lift."
        )


def _show_segments(found: Segments) -> None:
    show_table(
        (found.attr, "treatment", "control", "mostly sent", "lift"),
        (
            (one.value or "(none)", one.treatment.delivered, one.control.delivered,
             "–" if one.mostly is None else f"{one.mostly} {one.mostly_share:.0%}", lift_in_words(one.lift))
            for one in found.segments
        ),
        empty="No decisions.",
    )  # fmt: skip


def _show_themes(found: Themes) -> None:
    if found.as_of is not None:
        click.echo(f"As of {moment(found.as_of)}, 90 days back:\n")
    show_table(
        ("theme", "variants", "assigned", "delivered", "clicks", "share", "click rate"),
        (
            (one.theme or "(none)", one.variants, one.assigned, one.delivered, one.clicks, f"{one.share:.1%}",
             _rate(one.click_rate))
            for one in found.themes
        ),
        empty="No report yet: it is made some minutes after the first sends are counted.",
    )  # fmt: skip


def _rate(said: Rate) -> str:
    if said.rate is None or said.within is None:
        return f"not enough yet: {said.why}" + (f"; about {said.more_sends:,} more sends" if said.more_sends else "")
    return f"{said.rate:.2%}, within {said.within[0]:.2%} … {said.within[1]:.2%}"


def _arm(name: str, arm: Arm) -> tuple[object, ...]:
    return name, *(getattr(arm, column) for column in _COLUMNS)


def lift_in_words(said: LiftSaid) -> str:
    """The comparison in a few words."""
    if said.found is not None:
        return f"{_within(said.found)}: treatment is {said.outcome}"
    so_far = f"{_within(said.so_far)}; " if said.so_far else ""
    more = f"; about {said.more_sends:,} more sends" if said.more_sends else ""
    return f"not enough yet: {so_far}{said.why}{more}"


def _within(found: LiftInterval) -> str:
    low, high = found.lift_within
    return f"{found.lift:+.1%}, within {low:+.1%} … {'∞' if high is None else format(high, '+.1%')}"
