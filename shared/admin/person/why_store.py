"""SQL of a story: one generation, found by its id alone, and everything that refers to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import zstandard

from shared.admin.outcomes.meanings import Meaning, of_decision, of_write
from shared.admin.outcomes.outcomes import SELECT_ACCOUNT, SELECT_PAUSE, shows
from shared.admin.outcomes.shown_store import SET_PLANNED_ANEW, SET_PLANNED_ONCE
from shared.admin.person.story import (
    MOST_EVENTS,
    Account,
    Believed,
    Content,
    Decision,
    Ended,
    Event,
    Newer,
    Option,
    Send,
    Story,
    Waiting,
)
from shared.clock import Clock
from shared.db.pool import Connection, Database
from shared.draw import drawn_index, fraction
from shared.schemas.copy import VariantSource, Vars
from shared.snippet import properties
from shared.vars_codec import decode_vars
from shared.writes import LANES, lane_of

# The id does not say its day. Each partition is asked by its primary key, day by day: asked for a range of days the
# whole of its index would be read. Only as many as the days allow.
SELECT_BY_ID = """
    SELECT g.org_id, o.slug, g.day, g.generation_id
    FROM generate_series(0, $2::date - $1::date) n CROSS JOIN LATERAL (
        SELECT org_id, day, generation_id FROM generations
        WHERE day = $1::date + n AND day BETWEEN $1 AND $2 AND generation_id = $3 LIMIT 1) g
    LEFT JOIN orgs o ON o.org_id = g.org_id ORDER BY g.day DESC
"""
SELECT_BY_ALIAS = """
    SELECT g.org_id, o.slug, g.day, g.generation_id, a.seen_at
    FROM generation_aliases a JOIN generations g ON g.day = a.day AND g.generation_id = a.generation_id
    LEFT JOIN orgs o ON o.org_id = g.org_id
    WHERE a.alias_id = $1
"""
SELECT_OLDEST_DAY = """
    SELECT to_date(min(substring(c.relname FROM '[0-9]{8}$')), 'YYYYMMDD')
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'generations'::regclass
"""
SELECT_GENERATION = """
    SELECT g.day, g.generation_id, g.org_id, g.template_id, g.user_id, g.tracking_id, g.accepted_at, g.deadline_at,
           g.clean_at, g.decision, g.reason, g.copy_id, g.variant_version, g.property_prefix, g.written_for, g.cell,
           g.eligible, g.probabilities, g.propensity, g.attrs, g.repairs
    FROM generations g WHERE g.day = $1 AND g.generation_id = $2
"""
SELECT_NAMES = "SELECT copy_id, name FROM variants WHERE copy_id = ANY($1)"
SELECT_OUTCOME = "SELECT outcome, reason, at, attempts FROM write_outcomes WHERE day = $1 AND generation_id = $2"
SELECT_NEWER = """
    SELECT generation_id, template_id, decision, accepted_at FROM generations
    WHERE org_id = $1 AND user_id = $2 AND property_prefix = $3 AND accepted_at BETWEEN $4 AND $5
      AND day BETWEEN $6 AND $7 AND generation_id <> $8 AND reason <> 'unknown_template'
      AND decision <> 'preview'
    ORDER BY accepted_at LIMIT 1
"""
SELECT_SENDS = """
    SELECT transmission_id, message_id, sent_at, attribution, delivered, bounced, first_open_at, machine_opens::int,
           first_click_at, unsubscribed, spam
    FROM sends WHERE org_id = $1 AND profile_id = $2 AND sent_at >= $3 AND generation_id = $4 ORDER BY sent_at LIMIT 20
"""
# Those of the email, and those that name no more than its message and its person. An event may come a little before the
# hand-over that another one tells, never by days.
SELECT_EVENTS = """
    SELECT e.transmission_id, e.event_id, e.metric, e.event_at, e.url, e.line, s.name AS source, f.path AS file,
           CASE WHEN e.metric = 'Opened Email' THEN e.machine_open IS DISTINCT FROM false
                WHEN e.metric = 'Clicked Email' THEN e.bot_click IS TRUE END AS by_machine
    FROM (
        SELECT transmission_id, event_id, metric, event_at, url, machine_open, bot_click, file_id, line FROM events
        WHERE org_id = $1 AND transmission_id = ANY($2) AND day >= $5
        UNION ALL
        SELECT m.transmission_id, o.event_id, o.metric, o.event_at, o.url, o.machine_open, o.bot_click, o.file_id,
               o.line
        FROM unnest($2::text[], $3::text[]) m (transmission_id, message_id)
        JOIN events o ON o.org_id = $1 AND o.profile_id = $4 AND o.message_id = m.message_id
         AND o.transmission_id IS NULL AND o.day >= $5
    ) e LEFT JOIN ingest_files f USING (file_id) LEFT JOIN sources s USING (source_id)
    ORDER BY e.event_at, e.event_id LIMIT $6
"""
# By every account: rows in flight stay under the account that they were sent on when the org is connected to another.
SELECT_WAITING = f"""
    SELECT p.generation_id, p.action, {lane_of()} AS lane, p.next_attempt_at, p.attempt, p.last_reason,
           p.sent_generation_id, p.taken_by IS NOT NULL AS in_flight,
           (SELECT count(*) FROM pending_writes o
            WHERE o.account_key = p.account_key
              AND ({lane_of("o")}, o.deadline_at) < ({lane_of()}, p.deadline_at)) AS ahead
    FROM klaviyo_accounts a JOIN pending_writes p
      ON p.account_key = a.account_key AND p.profile_id = $1 AND p.prefix = $2
    WHERE p.generation_id = $3 OR p.sent_generation_id = $3
"""  # noqa: S608  # our own words
SELECT_HELD = """
    SELECT s.state, s.generation_id, s.written_for, s.older_for, s.clean_at
    FROM klaviyo_accounts a JOIN profile_state s
      ON s.account_key = a.account_key AND s.profile_id = $1 AND s.prefix = $2
    WHERE s.state <> 'clean'
      AND (s.org_id = $3 OR s.account_key = (SELECT account_key FROM integrations WHERE org_id = $3))
    LIMIT 1
"""
SELECT_ACCOUNT_KEY = "SELECT account_key FROM integrations WHERE org_id = $1"
SELECT_COPY = """
    SELECT g.written_for, g.user_id, g.vars, v.copy_id, v.version, v.subject, v.preheader, v.body
    FROM generations g JOIN variant_versions v ON v.copy_id = g.copy_id AND v.version = g.variant_version
    WHERE g.day = $1 AND g.generation_id = $2 AND g.vars IS NOT NULL
"""

_PLANNED_DAYS = timedelta(days=7)  # events of more days than these are planned once: for each day it takes longer


@dataclass(frozen=True, slots=True)
class Found:
    """Where a generation lies; `seen_at` where the id that was asked for is an alias of it."""

    org_id: UUID
    org: str
    day: date
    generation_id: UUID
    seen_at: datetime | None = None


class WhyStore:
    """Reads. With an org, row-level security shows that org's rows alone; accounts belong to none, so what waits on
    one is read as the worker that we are."""

    def __init__(self, database: Database, clock: Clock, org_id: UUID | None = None) -> None:
        self._database, self._clock, self._org_id = database, clock, org_id

    async def find(self, asked_id: UUID, days: int) -> list[Found]:
        """Generations of this id, the newest first: one, unless two orgs made up the same id on two days."""
        today = self._clock.now().date()
        first, last = today - timedelta(days=days), today + timedelta(days=1)
        async with self._database.transaction(self._org_id) as connection:
            await connection.execute(SET_PLANNED_ANEW)
            rows = await connection.fetch(SELECT_BY_ID, first, last, asked_id)
            rows = rows or await connection.fetch(SELECT_BY_ALIAS, asked_id)
        return [Found(row["org_id"], row["slug"], row["day"], row["generation_id"], row.get("seen_at")) for row in rows]

    async def oldest_day(self) -> date | None:
        """The first day of which generations are stored."""
        async with self._database.connection() as connection:
            day: date | None = await connection.fetchval(SELECT_OLDEST_DAY)
        return day

    async def story(self, found: Found, asked_id: UUID) -> Story:
        """Everything but what Klaviyo itself says."""
        now = self._clock.now()
        async with self._database.transaction(found.org_id) as connection:
            await connection.execute(SET_PLANNED_ANEW)
            row = await connection.fetchrow(SELECT_GENERATION, found.day, found.generation_id)
            assert row is not None  # noqa: S101  # it was found
            decided = await _decision(connection, row)
            ended = _ended(row, await connection.fetchrow(SELECT_OUTCOME, found.day, found.generation_id))
            newer = await _newer(connection, row)
            since = row["accepted_at"] - timedelta(days=1)
            content = await _content(connection, found)
            sends = await _sends(connection, row, since, now)
        async with self._database.transaction() as connection:
            await connection.execute(SET_PLANNED_ANEW)
            waiting = await _waiting(connection, row)
            believed = await _believed(connection, row)
            account = await _account(connection, found.org_id, now)
        return Story(
            generation_id=found.generation_id,
            asked_id=asked_id,
            alias_seen_at=found.seen_at,
            org=found.org,
            template_id=row["template_id"],
            user_id=row["user_id"],
            tracking_id=row["tracking_id"],
            accepted_at=row["accepted_at"],
            deadline_at=row["deadline_at"],
            clean_at=row["clean_at"],
            prefix=row["property_prefix"],
            written_for=row["written_for"],
            decided=decided,
            content=None if content is None else Content(*content[0]),
            waiting=waiting,
            ended=ended,
            not_there=None if ended or waiting else _not_there(row["reason"], row["deadline_at"], now),
            shows=shows(row["decision"], ended.outcome if ended else None, ended.reason if ended else None),
            believed=believed,
            account=account,
            newer=newer,
            sends=sends,
            read_back=None,
        )

    async def copy(self, found: Found, prefix: str) -> dict[str, str] | None:
        """The six properties that a generation writes; None where its stored copy cannot be read."""
        async with self._database.transaction(found.org_id) as connection:
            await connection.execute(SET_PLANNED_ANEW)
            content = await _content(connection, found)
        if content is None:
            return None
        copy, *whose = content
        return dict(zip(properties(prefix), (*copy, str(found.generation_id), *whose), strict=True))


async def _content(connection: Connection, found: Found) -> tuple[Vars, str, str] | None:
    """The three texts as they were rendered, for which message and for whom."""
    row = await connection.fetchrow(SELECT_COPY, found.day, found.generation_id)
    if row is None:
        return None
    source = VariantSource(row["copy_id"], row["version"], row["subject"], row["preheader"], row["body"])
    try:
        return decode_vars(row["vars"], source), row["written_for"], row["user_id"]
    except (zstandard.ZstdError, ValueError):
        return None


async def _sends(connection: Connection, row: asyncpg.Record, since: datetime, now: datetime) -> list[Send]:
    rows = await connection.fetch(SELECT_SENDS, row["org_id"], row["user_id"], since, row["generation_id"])
    if not rows:
        return []
    first = rows[0]["sent_at"].date() - timedelta(days=2)
    if first < now.date() - _PLANNED_DAYS:
        await connection.execute(SET_PLANNED_ONCE)
    events = await connection.fetch(
        SELECT_EVENTS, row["org_id"], [one["transmission_id"] for one in rows], [one["message_id"] for one in rows],
        row["user_id"], first, MOST_EVENTS,
    )  # fmt: skip
    told: dict[str, list[Event]] = {one["transmission_id"]: [] for one in rows}
    for event in map(dict, events):
        told[event.pop("transmission_id")].append(Event(**event))
    sends = ({name: value for name, value in one.items() if name != "message_id"} for one in rows)
    return [Send(**send, events=told[send["transmission_id"]]) for send in sends]


def draw_of(row: Mapping[str, Any]) -> float | None:
    """The number that was drawn, where it is what decided."""
    eligible, probabilities = row["eligible"], row["probabilities"]
    if not probabilities or len(eligible) != len(probabilities):
        return None
    drawn = fraction(row["generation_id"].bytes, b"draw")
    return drawn if eligible[drawn_index(probabilities, drawn)] == row["copy_id"] else None


async def _decision(connection: Connection, row: asyncpg.Record) -> Decision:
    copy_ids = {*row["eligible"], *([row["copy_id"]] if row["copy_id"] else [])}
    names = {one["copy_id"]: one["name"] for one in await connection.fetch(SELECT_NAMES, list(copy_ids))}
    return Decision(
        decision=row["decision"],
        reason=row["reason"],
        means=of_decision(row["decision"], row["reason"]),
        copy_id=row["copy_id"],
        variant=names.get(row["copy_id"]),
        version=row["variant_version"],
        propensity=row["propensity"],
        draw=draw_of(dict(row)),
        eligible=[
            Option(copy_id, names.get(copy_id), probability)
            for copy_id, probability in zip(row["eligible"], row["probabilities"], strict=False)
        ],
        cell=row["cell"],
        attrs=row["attrs"],
        repairs=row["repairs"],
    )


def _ended(row: asyncpg.Record, outcome: asyncpg.Record | None) -> Ended | None:
    if outcome is None:
        return None
    took_s = round((outcome["at"] - row["accepted_at"]).total_seconds(), 3)
    means = of_write(outcome["outcome"], outcome["reason"])
    return Ended(outcome["outcome"], outcome["reason"], outcome["at"], outcome["attempts"], took_s, means)


async def _newer(connection: Connection, row: asyncpg.Record) -> Newer | None:
    newer = await connection.fetchrow(
        SELECT_NEWER, row["org_id"], row["user_id"], row["property_prefix"], row["accepted_at"], row["clean_at"],
        row["day"], row["clean_at"].date(), row["generation_id"],
    )  # fmt: skip
    return None if newer is None else Newer(**dict(newer))


async def _waiting(connection: Connection, row: asyncpg.Record) -> Waiting | None:
    found = await connection.fetchrow(SELECT_WAITING, row["user_id"], row["property_prefix"], row["generation_id"])
    if found is None:
        return None
    return Waiting(
        action=found["action"],
        lane=LANES[found["lane"]],
        ahead=found["ahead"],
        attempts=found["attempt"],
        last_reason=found["last_reason"],
        next_attempt_at=found["next_attempt_at"],
        in_flight=found["in_flight"] and found["sent_generation_id"] == row["generation_id"],
        behind=None if found["generation_id"] == row["generation_id"] else found["generation_id"],
    )


async def _believed(connection: Connection, row: asyncpg.Record) -> Believed:
    held = await connection.fetchrow(SELECT_HELD, row["user_id"], row["property_prefix"], row["org_id"])
    return Believed("nothing") if held is None else Believed(**dict(held))


async def _account(connection: Connection, org_id: UUID, now: datetime) -> Account:
    account_key = await connection.fetchval(SELECT_ACCOUNT_KEY, org_id)
    pause: Any = await connection.fetchrow(SELECT_PAUSE, org_id) or {}
    account: Any = await connection.fetchrow(SELECT_ACCOUNT, org_id) or {}
    blocked_until = account.get("blocked_until")
    blocked = blocked_until is not None and blocked_until > now
    return Account(
        account_key, pause.get("paused_at"), pause.get("reason"), pause.get("message"),
        blocked_until if blocked else None, account.get("blocked_reason") if blocked else None,
    )  # fmt: skip


def _not_there(reason: str, deadline_at: datetime, now: datetime) -> Meaning:
    """Neither waiting nor ended."""
    if reason == "unknown_template":
        return Meaning("for a template that is not known nothing is written", "nothing")
    if now < deadline_at:
        return Meaning(
            "it has not reached the profile writer yet",
            "look again; if it stays so: is the write queue long, a profile writer down?",
        )
    return Meaning(
        "it never reached the profile writer",
        "`justai dead list` shows whether it was given up; is the write queue long, a profile writer down?",
    )
