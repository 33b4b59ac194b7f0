"""From a number of the results to the emails that it counts, and from an email to its events' files and lines."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from shared.admin.context import Context
from shared.admin.errors import NotFound, Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.outcomes.shown_store import SET_PLANNED_ANEW
from shared.admin.results.days import SELECT_CONTROL_MESSAGES, pairs, zone_of_org
from shared.admin.results.results import SELECT_TEMPLATE
from shared.admin.sources.tracing import OfSend
from shared.admin.templates.one import no_template
from shared.db.pool import Row
from shared.schemas.decisions import OUTSIDE, PLANNED_CONTROL
from shared.schemas.ids import generation_day
from shared.zones import begin_of, day_in

What = Literal["sent", "delivered", "opened", "machine_opened", "clicked", "bot_clicked", "unsubscribed", "spam"]

_FILTERS: Final[dict[str, str]] = {
    "sent": "true",
    "delivered": "s.delivered",
    "opened": "s.delivered AND s.human_opens > 0",
    "machine_opened": "s.delivered AND s.machine_opens > 0 AND s.human_opens = 0",
    "clicked": "s.delivered AND s.human_clicks > 0",
    "bot_clicked": "s.delivered AND s.bot_clicks > 0 AND s.human_clicks = 0",
    "unsubscribed": "s.delivered AND s.unsubscribed",
    "spam": "s.delivered AND s.spam",
}
"""As results count them (days.py)."""
MOST_DAYS: Final = 31
"""So many days are looked at for one answer."""

_FACTS: Final = """
    s.transmission_id, s.profile_id, s.message_id, s.sent_at, s.delivered, s.bounced, s.human_opens, s.machine_opens,
    s.human_clicks, s.bot_clicks, s.unsubscribed, s.spam, s.generation_id, s.copy_id, s.cell
""".strip()
# One day of decisions. Which of control's own branch were decided is not known: their day is that of sending. Each
# send's generation is looked up by itself: of a day that has just begun the planner knows nothing, and would read all
# of it for every send.
SELECT_DECIDED: Final = f"""
    SELECT {_FACTS}, g.accepted_at AS at, g.decision = 'control' AND g.reason = ANY ($9::text[]) AS control,
        false AS external
    FROM sends s CROSS JOIN LATERAL (
        SELECT g.accepted_at, g.decision, g.reason FROM generations g
        WHERE g.day = s.generation_day AND g.day BETWEEN $3 AND $4 AND g.generation_id = s.generation_id LIMIT 1) g
    WHERE s.org_id = $1 AND s.template_id = $2 AND s.generation_day BETWEEN $3 AND $4
      AND g.accepted_at >= $5 AND g.accepted_at < $6 AND s.transmission_id > $7
      AND g.decision IN ('treatment', 'control') AND NOT (g.decision = 'control' AND g.reason = ANY ($10::text[]))
      AND ($11::text[] IS NULL OR s.cell = ANY ($11))
      AND ($12::bool IS NULL OR (g.decision = 'control' AND g.reason = ANY ($9)) = $12)
      AND ($13::uuid IS NULL OR s.copy_id = $13) AND {{what}}
    ORDER BY s.transmission_id LIMIT $8
"""  # noqa: S608  # our own text
SELECT_EXTERNAL: Final = f"""
    SELECT {_FACTS}, s.sent_at AS at, true AS control, true AS external
    FROM sends s
    WHERE s.org_id = $1 AND s.template_id IS NULL AND s.message_id = ANY ($2::text[]) AND s.day BETWEEN $3 AND $4
      AND s.sent_at >= $5 AND s.sent_at < $6 AND s.transmission_id > $7 AND {{what}}
    ORDER BY s.transmission_id LIMIT $8
"""  # noqa: S608  # our own text
# Those of Klaviyo's own branch are told of days with decisions for treatment alone, as the counts are.
IS_COMPARED: Final = """
    SELECT EXISTS (
        SELECT FROM result_counts
        WHERE org_id = $1 AND template_id = $2 AND attr = '' AND NOT control AND day BETWEEN $3 AND $4
          AND day + shift = $5)
"""
SELECT_CELLS: Final = """
    SELECT DISTINCT cell FROM sends
    WHERE org_id = $1 AND template_id = $2 AND generation_day BETWEEN $3 AND $4
"""
SELECT_VARIANT: Final = """
    SELECT copy_id FROM variants WHERE org_id = $1 AND template_id = $2 AND (name = $3 OR copy_id::text = $3)
"""
SELECT_NAMES: Final = "SELECT copy_id, name FROM variants WHERE org_id = $1 AND template_id = $2"
SELECT_SEND: Final = f"""
    SELECT {_FACTS}, s.day, s.attribution, s.template_id, v.name AS variant
    FROM sends s LEFT JOIN variants v ON v.org_id = s.org_id AND v.copy_id = s.copy_id
    WHERE s.org_id = $1 AND s.transmission_id = $2
"""  # noqa: S608  # our own text
# An event that names no transmission is this email's as attribution has it: it follows it, or names its hand-over.
# None is days before the email, but that a refund may be told before its order (EARLY_DAYS of ingest's conversions);
# each day before is a partition to plan for and to look into.
SELECT_EVENTS: Final = """
    WITH mine AS (
        SELECT e.event_id, e.day, 'names it' AS why FROM events e
        WHERE e.org_id = $1 AND e.transmission_id = $2 AND e.day >= $6::date - 7
        UNION ALL
        SELECT e.event_id, e.day, 'follows it' FROM events e
        WHERE $4::text IS NOT NULL AND e.org_id = $1 AND e.transmission_id IS NULL AND e.profile_id = $3
          AND e.message_id = $4 AND e.day BETWEEN $6::date AND $6::date + 30
          AND e.event_at >= $5::timestamptz - interval '1 minute'
          AND CASE WHEN e.handoff_at IS NOT NULL THEN e.handoff_at = $5 ELSE NOT EXISTS (
              SELECT FROM sends later WHERE later.org_id = $1 AND later.profile_id = $3 AND later.message_id = $4
                AND later.sent_at > $5 AND later.sent_at <= e.event_at) END
        UNION ALL
        SELECT c.event_id, (c.at AT TIME ZONE 'UTC')::date, 'is an order after it' FROM conversions c
        WHERE c.org_id = $1 AND c.transmission_id = $2
    )
    SELECT DISTINCT ON (e.event_at, e.event_id) e.event_id, e.metric, e.event_at, e.machine_open, e.bot_click, e.url,
        m.why, o.name AS source, f.path, e.line, f.superseded_by IS NOT NULL AS replaced
    FROM mine m CROSS JOIN LATERAL (
        SELECT * FROM events e
        WHERE e.org_id = $1 AND e.event_id = m.event_id AND e.day = m.day AND e.day >= $6::date - 7 LIMIT 1) e
    LEFT JOIN ingest_files f ON f.file_id = e.file_id LEFT JOIN sources o ON o.source_id = f.source_id
    ORDER BY e.event_at, e.event_id LIMIT 200
"""


class AskedSends(AskedModel):
    """Emails of decisions of whole days of the org's zone, both ends included; the last 30 days where nothing is said.
    `arm`: treatment or control; `variant`: its name or id; `attr`, `value`: of people with this value, `attr` alone:
    who has none; `what`: which of them, as results count it; `after`: the `next` of the answer before."""

    template_id: str
    since: date | None = None
    until: date | None = None
    arm: Literal["treatment", "control"] | None = None
    variant: str | None = None
    attr: str | None = None
    value: str | None = None
    what: What = "delivered"
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50

    @model_validator(mode="after")
    def _make_sense(self) -> "AskedSends":
        if self.value is not None and self.attr is None:
            raise ValueError("value is of an attr, which is not said")
        if self.variant is not None and self.arm == "control":
            raise ValueError("variant is of treatment; control has none")
        return self


class Engagement(ResultModel):
    """What came of an email, beside its delivery."""

    bounced: bool
    human_opens: int
    machine_opens: int
    human_clicks: int
    bot_clicks: int
    unsubscribed: bool
    spam: bool


class ListedSend(Engagement):
    """An email. `day`: of its decision, in the org's zone; of Klaviyo's own control branch (`external`), of sending."""

    transmission_id: str
    profile_id: str
    day: date
    sent_at: datetime
    arm: str
    external: bool
    variant: str | None
    cell: str
    generation_id: UUID | None
    delivered: bool


class Sends(ResultModel):
    """Newest days first. `next`: where the list goes on; null: it does not. One answer looks at 31 days at most, so
    there may be a `next` though there are few."""

    time_zone: str
    since: date
    until: date
    sends: list[ListedSend]
    next: str | None


class SendEvent(ResultModel):
    """An event of the email, and the file and line that say so. `why`: it names the email, follows it, or is an order
    after it; `source` null: the file is forgotten; `replaced`: by a newer version of the file."""

    event_id: str
    metric: str
    event_at: datetime
    machine_open: bool | None
    bot_click: bool | None
    url: str | None
    why: str
    source: str | None
    path: str | None
    line: int
    replaced: bool


class OneSend(OfSend, Engagement):
    """An email as its events say it, oldest first."""

    profile_id: str
    message_id: str | None
    events: list[SendEvent]


class AskedSend(AskedModel):
    """`transmission_id`: Klaviyo's, or `bounce:…` of one that did not arrive."""

    transmission_id: Annotated[str, Field(min_length=1, max_length=500)]


class _Place(NamedTuple):
    """Where the list goes on: within a day, behind a transmission."""

    day: date
    after: str


# They name people, which who only looks at results has no need of.
@operation(
    "results.sends", "GET", "/templates/{template_id}/results/sends", "editor",
    "List the emails that a number of the results counts.",
)  # fmt: skip
async def list_sends(context: Context, asked: AskedSends) -> Sends:
    connection, org_id = context.connection, context.org_id
    await connection.execute(SET_PLANNED_ANEW)
    if await connection.fetchrow(SELECT_TEMPLATE, org_id, asked.template_id) is None:
        raise no_template(asked.template_id)
    zone = await zone_of_org(connection, org_id)
    until = asked.until or day_in(zone, context.now)
    since = asked.since or until - timedelta(days=29)
    if since > until:
        raise Refused(f"must not be after {until}", field="since")
    copy_id = await _variant(context, asked)
    names = {row["copy_id"]: row["name"] for row in await connection.fetch(SELECT_NAMES, org_id, asked.template_id)}
    place = _place_of(asked.after, since, until)
    sends: list[ListedSend] = []
    looked = 0
    while place.day >= since and looked < MOST_DAYS:
        missing = asked.limit - len(sends)
        rows = await _of_day(context, asked, place, zone, copy_id, missing)
        sends += [_send(row, place.day, names) for row in rows]
        if len(rows) == missing:
            place = _Place(place.day, rows[-1]["transmission_id"])
            break
        place, looked = _Place(place.day - timedelta(days=1), ""), looked + 1
    more = place.day >= since
    return Sends(
        time_zone=zone.key, since=since, until=until, sends=sends,
        next=f"{place.day.isoformat()}/{place.after}" if more else None,
    )  # fmt: skip


async def _of_day(
    context: Context, asked: AskedSends, place: _Place, zone: ZoneInfo, copy_id: UUID | None, limit: int
) -> Sequence[Row]:
    """Up to so many emails of one day, behind the place."""
    connection, org_id = context.connection, context.org_id
    begin, end = begin_of(place.day, zone), begin_of(place.day + timedelta(days=1), zone)
    # A repeated request counts for the day of its id, which is at most one off.
    first, last = generation_day(begin) - timedelta(days=1), generation_day(end) + timedelta(days=1)
    where, what = (first, last, begin, end, place.after, limit), _FILTERS[asked.what]
    cells = await _cells(context, asked, first, last)
    control = {"control": True, "treatment": False, None: False if copy_id else None}[asked.arm]
    rows = list(
        await connection.fetch(
            SELECT_DECIDED.format(what=what), org_id, asked.template_id, *where, sorted(PLANNED_CONTROL),
            sorted(OUTSIDE), cells, control, copy_id,
        )
    )  # fmt: skip
    if (
        control is not False
        and asked.attr is None
        and (messages := await _control_messages(context, asked.template_id))
        and await connection.fetchval(IS_COMPARED, org_id, asked.template_id, first, last, place.day)
    ):
        rows += await connection.fetch(SELECT_EXTERNAL.format(what=what), org_id, messages, *where)
    return sorted(rows, key=lambda row: row["transmission_id"])[:limit]


async def _control_messages(context: Context, template_id: str) -> list[str]:
    rows = await context.connection.fetch(SELECT_CONTROL_MESSAGES, context.org_id)
    return [row["message_id"] for row in rows if row["template_id"] == template_id]


async def _cells(context: Context, asked: AskedSends, first: date, last: date) -> list[str] | None:
    """The cells of people with the wanted value; null: all."""
    if asked.attr is None:
        return None
    rows = await context.connection.fetch(SELECT_CELLS, context.org_id, asked.template_id, first, last)
    return [row["cell"] for row in rows if dict(pairs(row["cell"])).get(asked.attr) == asked.value]


async def _variant(context: Context, asked: AskedSends) -> UUID | None:
    if asked.variant is None:
        return None
    found: UUID | None = await context.connection.fetchval(
        SELECT_VARIANT, context.org_id, asked.template_id, asked.variant
    )
    if found is None:
        raise NotFound(f"No variant {asked.variant!r} of {asked.template_id}", field="variant")
    return found


def _place_of(after: str | None, since: date, until: date) -> _Place:
    if after is None:
        return _Place(until, "")
    day, slash, transmission_id = after.partition("/")
    try:
        place = _Place(date.fromisoformat(day), transmission_id)
    except ValueError:
        raise Refused("is not what an answer said as its next", field="after") from None
    if not slash or not since <= place.day <= until:
        raise Refused("is not what an answer for these days said as its next", field="after")
    return place


def _send(row: Row, day: date, names: dict[UUID, str]) -> ListedSend:
    copy_id = None if row["control"] else row["copy_id"]
    return ListedSend(
        **{name: row[name] for name in ListedSend.model_fields if name in row.keys()},  # noqa: SIM118  # a record has values
        day=day, arm="control" if row["control"] else "treatment",
        variant=None if copy_id is None else names.get(copy_id, str(copy_id)),
    )  # fmt: skip


@operation(
    "sends.show", "GET", "/sends/{transmission_id}", "editor",
    "Show an email: what its events say together, and the file and line of each.",
)  # fmt: skip
async def show(context: Context, asked: AskedSend) -> OneSend:
    connection, org_id = context.connection, context.org_id
    await connection.execute(SET_PLANNED_ANEW)
    row = await connection.fetchrow(SELECT_SEND, org_id, asked.transmission_id)
    if row is None:
        raise NotFound(
            f"No email {asked.transmission_id!r}; an email is known once an event says that it was sent",
            field="transmission_id",
        )
    events = await connection.fetch(
        SELECT_EVENTS, org_id, row["transmission_id"], row["profile_id"], row["message_id"], row["sent_at"], row["day"]
    )
    return OneSend(**dict(row), events=[SendEvent(**dict(one)) for one in events])
