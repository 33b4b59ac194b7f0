"""Results of templates, from counts that are kept by day, and from the log where sums of days do not do."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from shared.admin.context import Context
from shared.admin.errors import Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.results import counted as results_counted
from shared.admin.results.days import COUNTS, zone_of_org
from shared.admin.results.judging import refuse_without_attrs
from shared.admin.results.models import (
    GuardEvent,
    Overview,
    Report,
    Results,
    Segments,
    TemplateResults,
    Themes,
    VariantName,
)
from shared.admin.templates.one import OneTemplate, no_template
from shared.inference import power
from shared.inference.lift import WORTH
from shared.schemas.ids import generation_day
from shared.zones import begin_of, day_in

_BACK_DAYS, _MOST_DAYS = 90, 800
_SUMS = ", ".join(f"sum({name})::int AS {name}" for name in COUNTS)

SELECT_TEMPLATE = """
    SELECT template_id, name, state, shipped_at FROM templates WHERE org_id = $1 AND template_id = $2
"""
# Rows are found by their day in UTC, and told by the org's own, which is at most two days from it.
IN_SPAN = "day BETWEEN $3::date - 2 AND $4::date + 2 AND day + shift BETWEEN $3 AND $4"
# Counted are all emails of Klaviyo's own branch, told those of days with decisions for treatment: see store.py.
_TOLD = """
    (NOT external OR EXISTS (
        SELECT FROM result_counts t
        WHERE t.org_id = c.org_id AND t.template_id = c.template_id AND t.attr = '' AND NOT t.control
          AND t.day BETWEEN c.day - 4 AND c.day + 4 AND t.day + t.shift = c.day + c.shift))
"""
SELECT_DAYS = f"""
    SELECT day + shift AS day, control, external, copy_id, {_SUMS} FROM result_counts c
    WHERE org_id = $1 AND template_id = $2 AND attr = '' AND {IN_SPAN} AND {_TOLD} GROUP BY 1, 2, 3, 4
"""  # noqa: S608  # the names above
SELECT_ARMS = f"""
    SELECT DISTINCT control, external FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr = '' AND {IN_SPAN}
"""  # noqa: S608  # the names above
SELECT_VALUES = f"""
    SELECT value, control, copy_id, {_SUMS} FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr = $5 AND NOT external AND {IN_SPAN} GROUP BY 1, 2, 3
"""  # noqa: S608  # the names above
SELECT_EVERYBODY = f"""
    SELECT control, copy_id, {_SUMS} FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr = '' AND NOT external AND {IN_SPAN} GROUP BY 1, 2
"""  # noqa: S608  # the names above
# Each value that is told by itself, all others together, and everybody: few rows, however many values there are.
SELECT_DAYS_OF_VALUES = f"""
    SELECT attr = '' AS everybody, CASE WHEN value = ANY ($6::text[]) AND attr > '' THEN value END AS value,
        day + shift AS day, control, sum(delivered)::int AS delivered, sum(clicked)::int AS clicked
    FROM result_counts
    WHERE org_id = $1 AND template_id = $2 AND attr IN ('', $5) AND NOT external AND {IN_SPAN} GROUP BY 1, 2, 3, 4
"""  # noqa: S608  # the names above
# From one attr to the next: there are few of them and many rows of each.
SELECT_ATTRS = """
    WITH RECURSIVE known AS (
        SELECT min(attr) AS attr FROM result_counts WHERE org_id = $1 AND template_id = $2 AND attr > ''
        UNION ALL
        SELECT (SELECT min(c.attr) FROM result_counts c
            WHERE c.org_id = $1 AND c.template_id = $2 AND c.attr > known.attr)
        FROM known WHERE known.attr IS NOT NULL
    )
    SELECT attr FROM known WHERE attr IS NOT NULL LIMIT 100
"""
SELECT_COUNTED = """
    SELECT max(counted_at) AS counted_at, count(*) FILTER (WHERE counted < revision) AS waiting
    FROM result_days WHERE org_id = $1 AND day BETWEEN $2 AND $3
"""
SELECT_REPORT = "SELECT as_of, report, error FROM result_reports WHERE org_id = $1 AND template_id = $2"
SELECT_VARIANTS = "SELECT copy_id, name, state FROM variants WHERE org_id = $1 AND template_id = $2 ORDER BY name"
SELECT_GUARD_EVENTS = """
    SELECT e.created_at AS at, v.name, e.event, e.actor, e.comment
    FROM variants v JOIN variant_events e ON e.org_id = v.org_id AND e.copy_id = v.copy_id
    WHERE v.org_id = $1 AND v.template_id = $2 AND e.event IN ('paused', 'resumed')
    ORDER BY e.event_id DESC LIMIT 50
"""
SELECT_TEMPLATES = """
    SELECT template_id, name, state FROM templates WHERE org_id = $1
    ORDER BY array_position(ARRAY['active', 'shipped', 'draft', 'archived'], state), template_id LIMIT $2 OFFSET $3
"""
# Each template by itself: all at once the planner reads everybody's. A row an arm, with what is compared of its days.
SELECT_TOTALS = f"""
    SELECT o.template_id, d.control, {_SUMS}, array_agg(d.day) AS days, array_agg(d.delivered) AS delivered_of_days,
        array_agg(d.clicked) AS clicked_of_days
    FROM unnest($2::text[]) o (template_id) CROSS JOIN LATERAL (
        SELECT day + shift AS day, control, {_SUMS} FROM result_counts c
        WHERE org_id = $1 AND template_id = o.template_id AND attr = '' AND {IN_SPAN} AND {_TOLD} GROUP BY 1, 2) d
    GROUP BY 1, 2
"""  # noqa: S608  # the names above
SELECT_DESIGNS = """
    SELECT template_id, (report->>'design')::float8 AS design,
        coalesce((report->'sample_ratio'->'assigned'->>'alarm')::bool, false)
            OR coalesce((report->'sample_ratio'->'delivered'->>'alarm')::bool, false) AS alarm
    FROM result_reports WHERE org_id = $1 AND template_id = ANY ($2::text[]) AND report IS NOT NULL
"""


class AskedResults(AskedModel):
    """Decisions of whole days of the org's zone, both ends included; the last 90 days where nothing is said."""

    template_id: str
    since: date | None = None
    until: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "AskedResults":
        if self.since and self.until and not 0 <= (self.until - self.since).days <= _MOST_DAYS:
            raise ValueError(f"since must not be after until, nor more than {_MOST_DAYS} days before it")
        return self

    def span(self, today: date) -> tuple[date, date]:
        """Both days. Raises Refused where the one that was said is in no order with the other one's default."""
        until = self.until or today
        since = self.since or until - timedelta(days=_BACK_DAYS - 1)
        if not 0 <= (until - since).days <= _MOST_DAYS:
            raise Refused(f"must not be after {until}, nor more than {_MOST_DAYS} days before it", field="since")
        return since, until


class AskedSegments(AskedResults):
    """`by`: the attr whose values are compared."""

    by: str


class AskedPower(AskedModel):
    """`lift`: the one to be found, relative: 0.15 is 15 % more clicks."""

    template_id: str
    lift: Annotated[float, Field(gt=-1, le=10)] = WORTH


class AskedOverview(AskedModel):
    """A part of the list."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class HowLong(ResultModel):
    """Until the interval has left out "no lift" four times of five, looked at as often as one likes. `why`: what is not
    known yet, or that no number of sends would do; then there are no numbers. By what the last 90 days saw, at the
    pace and with control's share of the last two weeks. `sends_so_far`: with that share so many would tell as much."""

    lift: float
    base_rate: float | None = None
    control_share: float | None = None
    per_day: float | None = None
    sends: int | None = None
    days: int | None = None
    sends_so_far: int = 0
    days_left: int | None = None
    why: str | None = None


@operation(
    "results.show", "GET", "/templates/{template_id}/results", "viewer",
    "Show what a template's copy did, day by day, against control, with intervals that hold at every look.",
)  # fmt: skip
async def show(context: Context, asked: AskedResults) -> Results:
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    zone = await zone_of_org(connection, org_id)
    since, until = asked.span(day_in(zone, context.now))
    template = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
    if template is None:
        raise no_template(template_id)
    rows: list[Any] = await connection.fetch(SELECT_DAYS, org_id, template_id, since, until)
    counted = await connection.fetchrow(SELECT_COUNTED, org_id, *_in_utc(since, until, zone))
    variants = [VariantName(**dict(row)) for row in await connection.fetch(SELECT_VARIANTS, org_id, template_id)]
    attrs = await connection.fetch(SELECT_ATTRS, org_id, template_id)
    events = await connection.fetch(SELECT_GUARD_EVENTS, org_id, template_id)
    report, error = await _report(context, template_id)
    design = report.design if report else 1.0
    days = results_counted.days_of(rows, [one.copy_id for one in variants], design)
    strata = results_counted.strata_of(rows)
    return Results(
        **dict(template),
        time_zone=zone.key,
        since=since,
        until=until,
        counted_at=counted and counted["counted_at"],
        waiting=counted["waiting"] if counted else 0,
        treatment=results_counted.arm_of(rows, control=False),
        control=results_counted.arm_of(rows, control=True),
        external=any(row["external"] for row in rows),
        lift=results_counted.lift_of(strata, design),
        uncompared=strata.uncompared,
        days=days,
        variants=variants,
        attrs=[row["attr"] for row in attrs],
        report=report,
        report_error=error,
        guard_events=[GuardEvent(**dict(row)) for row in events],
    )


@operation(
    "results.segments", "GET", "/templates/{template_id}/results/segments", "viewer",
    "Compare treatment with control within each value of an attr.",
)  # fmt: skip
async def segments(context: Context, asked: AskedSegments) -> Segments:
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    since, until = asked.span(day_in(await zone_of_org(connection, org_id), context.now))
    if await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id) is None:
        raise no_template(template_id)
    here = org_id, template_id, since, until
    refuse_without_attrs([tuple(row) for row in await connection.fetch(SELECT_ARMS, *here)])
    rows: list[Any] = await connection.fetch(SELECT_VALUES, *here, asked.by)
    everybody: list[Any] = await connection.fetch(SELECT_EVERYBODY, *here)
    values, largest = results_counted.largest_of(rows, everybody)
    named = [value for value in largest if value is not None]
    days: list[Any] = await connection.fetch(SELECT_DAYS_OF_VALUES, *here, asked.by, named)
    names = await _names(context, template_id)
    report, _ = await _report(context, template_id)
    found = results_counted.segments_of(largest, days, names, report.design if report else 1.0)
    return Segments(attr=asked.by, values=values, segments=found)


@operation(
    "results.themes", "GET", "/templates/{template_id}/results/themes", "viewer",
    "Compare the themes of a template's variants, with intervals that hold at every look.",
)  # fmt: skip
async def themes(context: Context, asked: OneTemplate) -> Themes:
    if await context.connection.fetchrow(SELECT_TEMPLATE, context.org_id, asked.template_id) is None:
        raise no_template(asked.template_id)
    report, _ = await _report(context, asked.template_id)
    return Themes(as_of=report and report.as_of, themes=report.themes if report else [])


@operation(
    "results.power", "GET", "/templates/{template_id}/results/power", "viewer",
    "Say how long it takes until a lift would show, at a template's present rate and volume.",
)  # fmt: skip
async def how_long(context: Context, asked: AskedPower) -> HowLong:
    results = await show.work(context, AskedResults(template_id=asked.template_id), None)
    return how_long_of(results, asked.lift)


def how_long_of(results: Results, lift: float) -> HowLong:
    """By what these results saw. Raises Refused for a lift that no rate can have."""
    control, (daily, share) = results.control, results_counted.pace(results.days, results.until)
    if not control.clicked or not 0 < share < 1:
        why = "control has no clicks yet, or nothing was delivered lately in one of the arms"
        return HowLong(lift=lift, why=why)
    so_far = round(results_counted.worth(results.days, share))
    known: dict[str, Any] = {"lift": lift, "sends_so_far": so_far, "control_share": share, "per_day": daily}
    known["base_rate"] = control.clicked / control.delivered
    try:
        found = power.plan(known["base_rate"], lift, known["control_share"], daily)
    except ValueError as error:
        raise Refused(str(error).partition(": ")[2], field="lift") from None
    if found is None:
        return HowLong(**known, why="no number of sends that anybody has would show this lift")
    design = results.report.design if results.report else 1.0
    sends = round(found.sends * design)
    left = max(0, sends - so_far)
    return HowLong(**known, sends=sends, days=-int(-sends // daily), days_left=-int(-left // daily))


@operation("results.overview", "GET", "/results", "viewer", "List the templates with what their copy did lately.")
async def overview(context: Context, asked: AskedOverview) -> Overview:
    connection, org_id = context.connection, context.org_id
    templates: list[Any] = await connection.fetch(SELECT_TEMPLATES, org_id, asked.limit, asked.offset)
    ids = [row["template_id"] for row in templates]
    since, until = AskedResults(template_id="").span(day_in(await zone_of_org(connection, org_id), context.now))
    totals: dict[str, list[Any]] = {}
    for row in await connection.fetch(SELECT_TOTALS, org_id, ids, since, until):
        totals.setdefault(row["template_id"], []).append(row)
    reports = {row["template_id"]: row for row in await connection.fetch(SELECT_DESIGNS, org_id, ids)}
    return Overview(templates=[_line(row, totals.get(row["template_id"], []), reports) for row in templates])


def _in_utc(since: date, until: date, zone: ZoneInfo) -> tuple[date, date]:
    """The days of UTC that decisions of these days may be kept under."""
    return generation_day(begin_of(since, zone)), generation_day(begin_of(until + timedelta(days=1), zone))


def _line(template: Mapping[str, Any], rows: list[Any], reports: Mapping[str, Any]) -> TemplateResults:
    treatment, control = (results_counted.arm_of(rows, control=arm) for arm in (False, True))
    strata = results_counted.strata_of(
        {"day": day, "control": row["control"], "delivered": delivered, "clicked": clicked}
        for row in rows
        for day, delivered, clicked in zip(
            row["days"], row["delivered_of_days"], row["clicked_of_days"], strict=True
        )
    )  # fmt: skip
    report = reports.get(template["template_id"])
    return TemplateResults(
        **dict(template), treatment=treatment, control=control,
        lift=results_counted.interval_of(strata, report["design"] if report else 1.0),
        alarm=bool(report and report["alarm"]),
    )  # fmt: skip


async def _names(context: Context, template_id: str) -> dict[UUID, str]:
    rows = await context.connection.fetch(SELECT_VARIANTS, context.org_id, template_id)
    return {row["copy_id"]: row["name"] for row in rows}


async def _report(context: Context, template_id: str) -> tuple[Report | None, str | None]:
    row = await context.connection.fetchrow(SELECT_REPORT, context.org_id, template_id)
    if row is None:
        return None, None
    report = results_counted.report_of(row["report"], row["as_of"]) if row["report"] is not None else None
    return report, row["error"]
