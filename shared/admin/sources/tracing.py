"""Where an event comes from and what it counts for: from any number of a page back to file and line."""

from datetime import date, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Next, NotFound
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.outcomes.shown_store import SET_PLANNED_ANEW
from shared.unmatched import KEPT_DAYS

# One per day; nearly always one day. Each partition is asked by its primary key.
SELECT_EVENTS = """
    SELECT day, event_id, metric, profile_id, event_at, message_id, flow_id, transmission_id, machine_open, bot_click,
        value, currency, order_id, file_id, line
    FROM events WHERE org_id = $1 AND event_id = $2 ORDER BY day
"""
# Who says it: the file in its row, others that repeat it, names of the same bytes, and later versions of these files.
SELECT_SIGHTINGS = """
    WITH said AS (
        SELECT $3::uuid AS file_id, $4::int AS line, 'row' AS how
        UNION ALL SELECT file_id, line, CASE WHEN said IS NULL THEN 'same' ELSE 'other' END FROM event_repeats
        WHERE org_id = $1 AND event_id = $2 AND day = $5 AND file_id <> $3
    )
    SELECT s.name AS source, f.path, f.file_id, t.line, f.mtime, f.settled_at, t.how,
        f.superseded_by IS NOT NULL AS replaced
    FROM (
        SELECT file_id, line, how FROM said
        UNION ALL SELECT c.file_id, said.line, 'copy' FROM said JOIN ingest_files c ON c.same_as = said.file_id
        UNION ALL SELECT v.file_id, NULL, 'version' FROM said JOIN ingest_files f ON f.file_id = said.file_id
            JOIN ingest_files v ON v.source_id = f.source_id AND v.path = f.path
        WHERE f.superseded_by IS NOT NULL AND v.state = 'done' AND v.superseded_by IS NULL AND v.same_as IS NULL
          AND v.file_id NOT IN (SELECT file_id FROM said)
    ) t JOIN ingest_files f USING (file_id) JOIN sources s USING (source_id)
    WHERE f.org_id = $1 ORDER BY t.how <> 'row', f.settled_at, f.path LIMIT 50
"""
# An event without transmission belongs to its order's send, or to the person's newest send of its message before it.
# Joined by its name: compared with what coalesce says, it would be looked for by no index under row-level security.
SELECT_SEND = """
    WITH named AS MATERIALIZED (
        SELECT coalesce($2,
            (SELECT transmission_id FROM conversions WHERE org_id = $1 AND event_id = $3 ORDER BY template_id LIMIT 1),
            (SELECT n.transmission_id FROM sends n WHERE n.org_id = $1 AND n.profile_id = $4 AND n.message_id = $5
                AND n.sent_at <= $6::timestamptz + interval '1 minute' ORDER BY n.sent_at DESC LIMIT 1)
        ) AS transmission_id
    )
    SELECT s.transmission_id, s.sent_at, s.day, s.attribution, s.generation_id, s.template_id, s.copy_id, s.cell,
        s.delivered, v.name AS variant
    FROM named JOIN sends s ON s.org_id = $1 AND s.transmission_id = named.transmission_id
    LEFT JOIN variants v ON v.org_id = s.org_id AND v.copy_id = s.copy_id
"""
SELECT_NEIGHBOURS = """
    SELECT event_id, metric, event_at FROM events
    WHERE org_id = $1 AND transmission_id = $2 ORDER BY event_at, event_id LIMIT 50
"""
COUNT_ROLLUP = """
    SELECT sends, delivered, human_opens, human_clicks FROM rollups
    WHERE org_id = $1 AND template_id = $2 AND day = $3 AND copy_id IS NOT DISTINCT FROM $4 AND cell = $5
"""

_SENDING: Final = ("Received Email", "Bounced Email", "Dropped Email")
_LEAVING: Final = ("Unsubscribed", "Unsubscribed from Email Marketing", "Marked Email as Spam")
_UNATTRIBUTED: Final = {
    "not_a_flow": "its email is of a campaign, which shows no generation",
    "no_generation": "the person has no generation that its email could have shown",
    "other_message": "the person's generations were made for other messages than this email",
    "preview": "its email showed a preview, which counts for nobody",
}
_TRIED_AGAIN: Final = ("no_generation", "other_message")


class OneEvent(AskedModel):
    """`event_id`: Klaviyo's."""

    event_id: Annotated[str, Field(min_length=1, max_length=200)]


class Sighting(ResultModel):
    """A file that says it. `how`: `row`: the stored event is its line, with what that leaves out from others; `same`:
    it says the same; `other`: it says less, or something else and is older; `copy`: it is another name for the bytes of
    one of these; `version`: it took the place of one of these, and has the event too. `line`: null where it is not
    known of that version."""

    source: str
    path: str
    file_id: UUID
    line: int | None
    mtime: datetime
    settled_at: datetime | None
    how: str
    replaced: bool


class OfSend(ResultModel):
    """The email that it belongs to, and what that showed."""

    transmission_id: str
    sent_at: datetime
    day: date
    attribution: str
    generation_id: UUID | None
    template_id: str | None
    copy_id: UUID | None
    variant: str | None
    cell: str
    delivered: bool


class Cell(ResultModel):
    """What the send's cell of the rollups counts."""

    sends: int
    delivered: int
    human_opens: int
    human_clicks: int


class Neighbour(ResultModel):
    """Another event of the same email."""

    event_id: str
    metric: str
    event_at: datetime


class Traced(ResultModel):
    """One event. `counts_as`: for what in its send's cell; null: for nothing, because of `why_not`."""

    event_id: str
    day: date
    metric: str
    profile_id: str
    event_at: datetime
    message_id: str | None
    flow_id: str | None
    transmission_id: str | None
    machine_open: bool | None
    bot_click: bool | None
    value: float | None
    currency: str | None
    order_id: str | None
    sightings: list[Sighting]
    send: OfSend | None
    cell: Cell | None
    counts_as: str | None
    why_not: str | None
    others: list[Neighbour]


class Traces(ResultModel):
    """Of one id, by day: a time that was corrected over midnight makes two."""

    events: list[Traced]


@operation(
    "events.show", "GET", "/events/{event_id}", "editor",
    "Trace an event: which files say it, on which line, and what it counts for.",
)  # fmt: skip
async def show(context: Context, asked: OneEvent) -> Traces:
    await context.connection.execute(SET_PLANNED_ANEW)
    rows = await context.connection.fetch(SELECT_EVENTS, context.org_id, asked.event_id)
    if not rows:
        raise NotFound(
            f"No event {asked.event_id!r}; a row that is no event, or older than events are kept, stands among its "
            "file's rejects",
            field="event_id", next=Next("sources.list"),
        )  # fmt: skip
    return Traces(events=[await _trace(context, dict(row)) for row in rows])


async def _trace(context: Context, row: dict[str, object]) -> Traced:
    connection, org_id = context.connection, context.org_id
    file_id, line = row.pop("file_id"), row.pop("line")
    sightings = await connection.fetch(SELECT_SIGHTINGS, org_id, row["event_id"], file_id, line, row["day"])
    found = await connection.fetchrow(
        SELECT_SEND, org_id, row["transmission_id"], row["event_id"], row["profile_id"], row["message_id"],
        row["event_at"],
    )  # fmt: skip
    send = None if found is None else OfSend(**dict(found))
    cell = others = None
    if send is not None:
        others = await connection.fetch(SELECT_NEIGHBOURS, org_id, send.transmission_id)
        cell = await connection.fetchrow(
            COUNT_ROLLUP, org_id, send.template_id, send.day, send.copy_id, send.cell
        )  # fmt: skip
    counts_as, why_not = _meaning(row, send, context.now.date())
    return Traced(
        **row, sightings=[Sighting(**dict(one)) for one in sightings], send=send,
        cell=None if cell is None else Cell(**dict(cell)), counts_as=counts_as, why_not=why_not,
        others=[Neighbour(**dict(one)) for one in others or () if one["event_id"] != row["event_id"]],
    )  # fmt: skip


def _meaning(row: dict[str, object], send: OfSend | None, today: date) -> tuple[str | None, str | None]:
    """For what it counts, or why for nothing."""
    metric = str(row["metric"])
    if send is None:
        if row["transmission_id"] is None and row["message_id"] is None:
            return None, "it names no email, and follows none that a template counts orders of"
        return None, "no event says that its email was sent; it waits for one"
    if send.template_id is None:
        return None, _UNATTRIBUTED.get(send.attribution, send.attribution) + _tried_until(send, today)
    if metric == "Opened Email":
        return ("an open by a person" if row["machine_open"] is False else "an open by a machine"), None
    if metric == "Clicked Email":
        return ("a click by a bot" if row["bot_click"] else "a click, unless its link only unsubscribes"), None
    if metric in _SENDING:
        return ("a delivery" if metric == "Received Email" else "a bounce"), None
    if metric in _LEAVING:
        return ("a complaint" if metric == "Marked Email as Spam" else "an unsubscribe"), None
    if row["transmission_id"] is None and row["message_id"] is None:
        return "an order or refund", None
    return None, f"{metric} is not counted"


def _tried_until(send: OfSend, today: date) -> str:
    """Its generation may be stored late, or its flow be synced late."""
    until = send.day + timedelta(days=KEPT_DAYS)
    return f"; it is tried again until {until}" if send.attribution in _TRIED_AGAIN and today <= until else ""
