"""`justai results`: what the copy did, against control and variant by variant, and how surely."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click
import orjson

from cli import operations, results_counted
from cli.earnings_view import show_earnings
from cli.results_advice import sentence
from cli.results_view import show_results
from cli.session import Session, command, session
from shared.admin.errors import Refused
from shared.admin.results.as_json import earnings_json, results_json
from shared.admin.results.days import zone_of_org
from shared.admin.results.earned import judge_earned
from shared.admin.results.earned_store import read_earned
from shared.admin.results.judging import judge_results
from shared.admin.results.store import SELECT_TEMPLATE, Asked, read
from shared.inference.lift import WORTH

F = TypeVar("F", bound=Callable[..., Any])

THEME = "theme"
_BACK = timedelta(days=90)
SELECT_TEMPLATES = "SELECT template_id FROM templates WHERE org_id = $1 ORDER BY template_id LIMIT 20"
_MOMENTS = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def over_time(work: F) -> F:
    """The options that say which decisions."""
    until = click.option(
        "--until", type=_MOMENTS, help="Decisions before this moment in the org's zone.  [default: now]"
    )
    since = click.option(
        "--since", type=_MOMENTS, help="Decisions from this moment in the org's zone on.  [default: 90 days back]"
    )
    return since(until(work))


def moments(since: datetime | None, until: datetime | None, now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Both ends, said in the zone, in UTC. Raises when nothing lies between them."""
    end = until.replace(tzinfo=zone).astimezone(UTC) if until else now
    begin = since.replace(tzinfo=zone).astimezone(UTC) if since else end - _BACK
    if begin >= end:
        raise click.BadParameter(
            f"{begin:%Y-%m-%d %H:%M:%S} is not before {end:%Y-%m-%d %H:%M:%S}", param_hint="--since"
        )
    return begin, end


async def asked_for(
    s: Session, org_slug: str, template_id: str, since: datetime | None, until: datetime | None
) -> Asked:
    """What was asked for; raises with what there is when it is not there."""
    org_id = await s.org_id(org_slug)
    async with s.db.transaction(org_id) as connection:
        zone = await zone_of_org(connection, org_id)
        found = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
        known = [] if found else await connection.fetch(SELECT_TEMPLATES, org_id)
    if found is None:
        names = ", ".join(row["template_id"] for row in known) or "none yet; import one with `justai template import`"
        raise click.ClickException(f"There is no template {template_id!r} in {org_slug}. Templates: {names}.")
    return Asked(org_id, template_id, *moments(since, until, s.clock.now(), zone), zone)


@click.command()
@click.argument("org_slug")
@click.argument("template_id", required=False)
@over_time
@click.option(
    "--by",
    "by",
    metavar="ATTR|theme",
    help="Also one comparison for each value of this attr, or one line for each theme of variants. An attr that is "
    "called theme: attrs.theme.",
)
@click.option(
    "--control-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The share of control that was planned, like 0.1: raises an alarm when the split is another.  [default: what "
    "the template's own split says while it is active]",
)
@click.option(
    "--worth",
    type=click.FloatRange(0, 10, min_open=True),
    default=WORTH,
    show_default=True,
    help='The lift that you want to find; "about N more sends" is for this one.',
)
@click.option(
    "--counted",
    is_flag=True,
    help="From what is counted ahead by whole days, as the console shows it: at once, and some minutes old. --since "
    "and --until are days then.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the tables.")
@command
async def results(
    org_slug: str,
    template_id: str | None,
    since: datetime | None,
    until: datetime | None,
    by: str | None,
    control_share: float | None,
    worth: float,
    counted: bool,
    as_json: bool,
) -> None:
    """Show what a template's copy did, against control and variant by variant, and how surely.

    \b
    assigned     decisions; treatment is whoever was meant to get our copy, whatever was written (intention to treat)
    written      those whose copy was on the profile in time
    sent         those with a sent email; delivered: with a delivered one. Rates are of delivered
    opens        by people; opens by machines are not counted. clicks: by people, on content
    lift         treatment's click rate over control's, minus 1, compared day by day: a day on which one arm had nothing
                 delivered tells nothing. Its interval holds at every look, 95 times of 100
    click rate   of a variant: as if everyone had been sent it (weighted by one over the probability of each draw),
                 with an interval that holds at every look
    best         chance that no other variant's rate is higher, at this moment
    guardrail    `pause`: more unsubscribes and complaints than chance explains, 99 times of 100 at all looks together;
                 the ranker pauses such a variant, unless it is the last one
    conversions  and revenue, where the template counts them: of delivered sends, with lifts like that of clicks

    "At every look" is from one first day on: of a test that is older than 90 days choose --since, and stay with it,
    since the default begins a day later each day.

    What cannot be said yet is "not enough yet". docs/results.md defines every number. Nothing is shipped, paused or
    archived by this command: that is a person's decision.

    Without a template, all of them in one table, from what is counted ahead.
    """
    by_theme, attr = by == THEME, None if by is None or by == THEME else by.removeprefix("attrs.")
    if template_id is None or counted:
        results_counted.refuse_without_effect(click.get_current_context(), template_id, by_theme=by_theme)
        await results_counted.show(org_slug, template_id, since, until, attr, by_theme=by_theme, as_json=as_json)
        return
    async with session() as s:
        asked = await asked_for(s, org_slug, template_id, since, until)
        known = await read(s.db, asked)
        earned = await read_earned(s.db, asked)
    earnings = judge_earned(earned, worth) if earned is not None else None
    try:
        found = judge_results(known, asked, earnings, attr=attr, control_share=control_share, worth=worth)
    except Refused as error:
        raise operations.told(error, org_slug) from None
    if as_json:
        said = results_json(found, org_slug) | {
            "advice": [sentence(one) for one in found.advice],
            "conversions": earnings and earnings_json(earnings, known.names),
        }
        click.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
    else:
        show_earned = partial(show_earnings, earnings, known.names) if earnings else None
        show_results(found, org_slug, show_earned, by_theme=by_theme)
