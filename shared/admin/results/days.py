"""One day of decisions of an org, counted: SQL, and how its rows are spread over attrs.

It says of a day what `store.py` says of a template over a time; a test holds the two together.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import unquote
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.db.pool import Connection
from shared.schemas.decisions import OUTSIDE, PLANNED_CONTROL
from shared.zones import begins, zone_of

COUNTS: Final = (
    "assigned", "written", "sent", "delivered", "opened", "machine_opened", "clicked", "bot_clicked", "unsubscribed",
    "spam", "driven_away",
)  # fmt: skip
"""The columns that are counts, in the order of the table."""

_TIMEOUT_S = 300.0
_AROUND: Final = timedelta(days=3)  # farther from its day in UTC no moment of a generation is anywhere

SELECT_CONTROL_MESSAGES = """
    SELECT t.template_id, m.message_id FROM templates t
    JOIN flow_messages m ON m.org_id = t.org_id AND m.action_id = t.control_action_id
    WHERE t.org_id = $1
"""
SELECT_DAY = """
    WITH decided AS (
        SELECT g.generation_id, g.template_id, g.cell, g.copy_id, g.accepted_at,
            g.decision = 'control' AND g.reason = ANY ($3::text[]) AS control
        FROM generations g
        WHERE g.org_id = $1 AND g.day = $2 AND g.decision IN ('treatment', 'control')
          AND NOT (g.decision = 'control' AND g.reason = ANY ($4::text[]))
    ), sent AS (
        SELECT s.generation_id, bool_or(s.delivered) AS delivered, bool_or(s.human_opens > 0) AS opened,
            bool_or(s.machine_opens > 0) AS machine_opened, bool_or(s.human_clicks > 0) AS clicked,
            bool_or(s.bot_clicks > 0) AS bot_clicked, bool_or(s.unsubscribed) AS unsubscribed, bool_or(s.spam) AS spam
        FROM sends s
        WHERE s.org_id = $1 AND s.generation_day = $2 AND s.template_id IS NOT NULL
        GROUP BY s.generation_id
    ), units AS (
        SELECT d.template_id, d.control, false AS external, CASE WHEN NOT d.control THEN d.copy_id END AS copy_id,
            d.cell, d.accepted_at AS at, w.outcome = 'written' AS written, s.generation_id IS NOT NULL AS sent,
            s.delivered, s.opened, s.machine_opened, s.clicked, s.bot_clicked, s.unsubscribed, s.spam
        FROM decided d
        LEFT JOIN write_outcomes w ON w.day = $2 AND w.generation_id = d.generation_id
        LEFT JOIN sent s ON s.generation_id = d.generation_id
        UNION ALL
        SELECT m.template_id, true, true, NULL, '', s.sent_at, false, true, s.delivered, s.human_opens > 0,
            s.machine_opens > 0, s.human_clicks > 0, s.bot_clicks > 0, s.unsubscribed, s.spam
        FROM unnest($5::text[], $6::text[]) m (template_id, message_id)
        JOIN sends s ON s.org_id = $1 AND s.template_id IS NULL AND s.message_id = m.message_id AND s.day = $2
    )
    SELECT template_id, control, external, copy_id, width_bucket(at, $7::timestamptz[]) - $8::int AS shift, cell,
        count(*) FILTER (WHERE NOT external) AS assigned, count(*) FILTER (WHERE written) AS written,
        count(*) FILTER (WHERE sent) AS sent, count(*) FILTER (WHERE delivered) AS delivered,
        count(*) FILTER (WHERE delivered AND opened) AS opened,
        count(*) FILTER (WHERE delivered AND machine_opened AND NOT opened) AS machine_opened,
        count(*) FILTER (WHERE delivered AND clicked) AS clicked,
        count(*) FILTER (WHERE delivered AND bot_clicked AND NOT clicked) AS bot_clicked,
        count(*) FILTER (WHERE delivered AND unsubscribed) AS unsubscribed,
        count(*) FILTER (WHERE delivered AND spam) AS spam,
        count(*) FILTER (WHERE delivered AND (spam OR unsubscribed)) AS driven_away
    FROM units GROUP BY 1, 2, 3, 4, 5, 6
"""
SELECT_ZONE = "SELECT time_zone FROM orgs WHERE org_id = $1"
SELECT_OPEN_UNTIL = "SELECT max(clean_at) FROM generations WHERE org_id = $1 AND day = $2"
# A nested loop over a day's sends, where the planner knows little of today, would be quadratic.
SET_FOR_COUNTS = (
    f"SET LOCAL statement_timeout = '{_TIMEOUT_S:.0f}s'; SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB'"
)
INSERT_COUNTS = f"""
    INSERT INTO result_counts (org_id, day, template_id, attr, value, control, external, copy_id, shift,
        {", ".join(COUNTS)})
    VALUES ({", ".join(f"${at}" for at in range(1, 10 + len(COUNTS)))})
"""  # noqa: S608  # the names above
SELECT_STORED = f"""
    SELECT template_id, attr, value, control, external, copy_id, shift, {", ".join(COUNTS)} FROM result_counts
    WHERE org_id = $1 AND day = $2
"""  # noqa: S608  # the names above
DELETE_DAY = "DELETE FROM result_counts WHERE org_id = $1 AND day = $2"


class Key(NamedTuple):
    """What is counted together. `shift`: by how many days the org's own day is from that in UTC."""

    template_id: str
    attr: str
    value: str
    control: bool
    external: bool
    copy_id: UUID | None
    shift: int


Counts = Mapping[Key, tuple[int, ...]]


async def count_day(connection: Connection, org_id: UUID, day: date) -> tuple[list[Any], datetime | None]:
    """The rows of SELECT_DAY, and until when the day's copy may still be on a profile; in a transaction of its own."""
    await connection.execute(SET_FOR_COUNTS)
    messages = await connection.fetch(SELECT_CONTROL_MESSAGES, org_id)
    around = begins(day - _AROUND, day + _AROUND, await zone_of_org(connection, org_id))
    rows = await connection.fetch(
        SELECT_DAY, org_id, day, sorted(PLANNED_CONTROL), sorted(OUTSIDE), [row["template_id"] for row in messages],
        [row["message_id"] for row in messages], around, _AROUND.days + 1, timeout=_TIMEOUT_S,
    )  # fmt: skip
    return list(rows), await connection.fetchval(SELECT_OPEN_UNTIL, org_id, day)


async def zone_of_org(connection: Connection, org_id: UUID) -> ZoneInfo:
    """Whose days results are told by."""
    return zone_of(await connection.fetchval(SELECT_ZONE, org_id))


def spread(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """The rows summed, for everybody and once for each attr of their cell. Pure."""
    found: dict[Key, list[int]] = {}
    for row in rows:
        for attr, value in pairs(row["cell"]):
            key = Key(row["template_id"], attr, value, row["control"], row["external"], row["copy_id"], row["shift"])
            sums = found.setdefault(key, [0] * len(COUNTS))
            for at, name in enumerate(COUNTS):
                sums[at] += row[name]
    return {key: tuple(sums) for key, sums in found.items()}


def pairs(cell: str) -> Iterator[tuple[str, str]]:
    """Everybody, then each attr of a canonical cell with its value, as people read them."""
    yield "", ""
    for pair in cell.split("&"):
        name, _, value = pair.partition("=")
        if name and value:
            yield unquote(name), unquote(value)


async def store_day(connection: Connection, org_id: UUID, day: date, counts: Counts) -> set[str]:
    """In place of what was stored of the day; the templates of which something is new."""
    stored = {Key(*row[:7]): tuple(row[7:]) for row in await connection.fetch(SELECT_STORED, org_id, day)}
    differing = {key.template_id for key in {*stored, *counts} if stored.get(key) != counts.get(key)}
    if differing:
        await connection.execute(DELETE_DAY, org_id, day)
        rows = [(org_id, day, *key, *sums) for key, sums in counts.items()]
        await connection.executemany(INSERT_COUNTS, rows, timeout=_TIMEOUT_S)
    return differing
