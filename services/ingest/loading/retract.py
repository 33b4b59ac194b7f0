"""Who says what of an event, in SQL: a replaced file takes back what it no longer says; the newest file is right.

`events` holds each event once, with a file and line that say so. Each value is what the newest of the files says that
say one: a file that has no such column, or a webhook without `$internal`, corrects nothing by its silence.
`event_repeats` notes who else says the event, and what, where that differs. All versions of one path stand for each
other: after a switch, what is left of the older ones is in the newest too, so a file that only grows changes no row of
its beginning.

| what comes | what is done |
|---|---|
| a row that is known, and alike | noted as a repeat, unless an older version of its own file brought it |
| … and unlike | the newest file by modification time is right; of two that are alike old, the one read last |
| … and says less, otherwise the same | what it says is noted; the event stays as it is |
| … and less here, more there | both together are the event, in the newer one's name; its own words are noted, too |
| a version without a row that an older version had | the row goes to whoever else says it, else it is deleted |
| … of a source whose files are windows of time | nothing: an API that leaves an event out does not take it back |
| a version of a file whose bytes another name has too | first, each of its rows is noted for that name |

What changes is noted in attribute.py's and conversions.py's tables, which compute anew exactly that. An event is one
per UTC day: a row that moves over midnight is another event, unless its own file is replaced.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from services.ingest.attribution.conversions import Orders
from services.ingest.attribution.unsent import drop_unsent
from services.ingest.loading.copies import let_copies_speak
from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from services.ingest.records import Changed, Claimed, Loaded
from shared.db.pool import Connection

KEEPS_MISSING: Final = frozenset({"klaviyo", "webhook"})
"""Kinds of source of whose files a later version need not have every row of an earlier one."""

_COLUMNS: Final = (
    "metric", "profile_id", "event_at", "message_id", "flow_id", "transmission_id", "handoff_at", "machine_open",
    "bot_click", "url", "value", "currency", "order_id",
)  # fmt: skip


def _row(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in _COLUMNS)


def _said(table: str) -> str:
    """What it says, without what it does not."""
    return f"jsonb_strip_nulls(to_jsonb((SELECT content FROM (SELECT {_row(table)}) content)))"  # noqa: S608  # our own


def _loaded(file: str) -> str:
    """Whether its rows count: also while it is read again, and where it was held when it was."""
    return f"({file}.state = 'done' OR {file}.held IS NOT NULL OR {file}.same_as IS NOT NULL)"


SELECT_VERSIONS = f"""
    SELECT f.file_id, f.held, f.fresh, {_loaded("f")} AND f.superseded_by IS NULL AND f.file_id <> $2 AS newest,
        f.first_seen_at > n.first_seen_at AS later, s.kind, f.same_as
    FROM ingest_files n JOIN ingest_files f ON f.source_id = n.source_id AND f.path = n.path
    JOIN sources s ON s.source_id = n.source_id
    WHERE n.org_id = $1 AND n.file_id = $2
      AND (f.file_id = n.file_id OR {_loaded("f")} OR f.superseded_by IS NOT NULL)
"""  # noqa: S608  # our own words
SUPERSEDE = f"""
    UPDATE ingest_files f SET superseded_by = nullif($2, f.file_id)
    FROM ingest_files n
    WHERE n.org_id = $1 AND n.file_id = $2 AND f.source_id = n.source_id AND f.path = n.path
      AND (f.file_id = n.file_id OR {_loaded("f")} AND f.superseded_by IS NULL)
"""  # noqa: S608  # the same

# --- What the file says of events that were known before it. Of one file the last row is right.

CREATE_TABLES = """
    CREATE TEMP TABLE known (
        event_id text, day date, line int, held_by uuid, differs bool, said jsonb
    ) ON COMMIT DROP;
    CREATE TEMP TABLE doubtful (event_id text, day date) ON COMMIT DROP;
    CREATE TEMP TABLE verdicts (
        event_id text, day date, old_file uuid, old_line int, still bool, file_id uuid, line int, whole bool,
        said jsonb
    ) ON COMMIT DROP;
"""
INDEX_KNOWN = "CREATE INDEX ON known (event_id, day); ANALYZE known"
NOTE_KNOWN = f"""
    INSERT INTO known
    SELECT DISTINCT ON (s.event_id, s.day) s.event_id, s.day, s.line, e.file_id, d.differs,
        CASE WHEN d.differs THEN {_said("s")} END
    FROM again s CROSS JOIN LATERAL (
        SELECT * FROM events e WHERE e.org_id = $1 AND e.event_id = s.event_id AND e.day = s.day OFFSET 0
    ) e
    CROSS JOIN LATERAL (SELECT ({_row("e")}) IS DISTINCT FROM ({_row("s")}) AS differs) d
    WHERE e.file_id <> $2 OR e.line < s.line OR $3
    ORDER BY s.event_id, s.day, s.line DESC
"""  # noqa: S608  # our own words
COUNT_KNOWN = "SELECT count(*) FROM known WHERE held_by = ANY ($1::uuid[])"
NOTE_GONE = """
    INSERT INTO doubtful
    SELECT e.event_id, e.day FROM events e
    LEFT JOIN (
        SELECT event_id, day FROM staged UNION ALL SELECT event_id, day FROM again
    ) s USING (event_id, day)
    WHERE e.org_id = $1 AND e.file_id = ANY ($2::uuid[]) AND s.event_id IS NULL
"""
# What older versions of the file said otherwise, or no longer say.
FORGET_REPEATS = """
    WITH forgotten AS (
        DELETE FROM event_repeats r
        WHERE r.org_id = $1 AND r.file_id = ANY ($2::uuid[]) AND CASE
            WHEN EXISTS (SELECT FROM known k WHERE k.event_id = r.event_id AND k.day = r.day)
            THEN r.said IS NOT NULL OR EXISTS (
                SELECT FROM known k WHERE k.event_id = r.event_id AND k.day = r.day AND k.differs)
            ELSE $3 END
        RETURNING r.event_id, r.day
    )
    INSERT INTO doubtful SELECT event_id, day FROM forgotten
"""
NOTE_REPEATS = """
    INSERT INTO event_repeats (org_id, day, event_id, file_id, line, said)
    SELECT $1, k.day, k.event_id, $2, k.line, k.said FROM known k
    WHERE k.differs OR k.held_by <> ALL ($3::uuid[]) AND NOT EXISTS (
        SELECT FROM event_repeats r
        WHERE r.org_id = $1 AND r.event_id = k.event_id AND r.day = k.day AND r.file_id = ANY ($3))
      AND ($4 OR NOT EXISTS (  -- a source that takes nothing back needs no second word of its own
        SELECT FROM ingest_files h JOIN ingest_files f ON f.file_id = $2 AND f.source_id = h.source_id
        WHERE h.file_id = k.held_by))
"""
NOTE_DIFFERING = "INSERT INTO doubtful SELECT event_id, day FROM known WHERE differs"

# Whose words have lost, and may win now that a newer version of this file does not speak against them any more.
NOTE_UNBACKED = """
    WITH backing AS MATERIALIZED (
        SELECT v.file_id FROM ingest_files f JOIN ingest_files v ON v.source_id = f.source_id AND v.path = f.path
        WHERE f.org_id = $1 AND f.file_id = ANY ($2::uuid[])
    )
    INSERT INTO doubtful
    SELECT r.event_id, r.day FROM event_repeats r
    JOIN events e ON e.org_id = $1 AND e.event_id = r.event_id AND e.day = r.day
    WHERE r.org_id = $1 AND r.said IS NOT NULL AND (e.file_id IN (SELECT file_id FROM backing) OR EXISTS (
        SELECT FROM event_repeats o WHERE o.org_id = $1 AND o.event_id = r.event_id AND o.day = r.day
          AND o.file_id IN (SELECT file_id FROM backing)))
"""

# --- Who is right. Whoever is in the row says it still, unless it is an older version of this file that has it no more,
# or says it otherwise; of a source that takes nothing back, only the latter.

_MOMENT = """
    SELECT t.*, row_number() OVER (
        ORDER BY m.mtime DESC NULLS LAST, m.settled_at DESC, t.holds DESC, t.line DESC) AS nth
    FROM ({tellers}) t LEFT JOIN LATERAL (
        SELECT v.mtime, CASE WHEN v.file_id = $2 THEN 'infinity' ELSE v.settled_at END AS settled_at
        FROM ingest_files f JOIN ingest_files v ON v.org_id = $1
            AND (v.source_id = f.source_id AND v.path = f.path OR v.same_as = f.file_id)
            AND (v.file_id = $2 OR {loaded} AND v.superseded_by IS NULL)
        WHERE f.file_id = t.file_id AND (f.file_id <> ALL ($3::uuid[]) OR v.file_id = $2)
        ORDER BY v.mtime DESC, 2 DESC LIMIT 1
    ) m ON true
"""
_TELLERS = """
    SELECT r.file_id, r.line, coalesce(jsonb_strip_nulls(r.said), was.said) AS words, r.file_id = e.file_id AS holds
    FROM event_repeats r WHERE r.org_id = $1 AND r.event_id = e.event_id AND r.day = e.day
    UNION ALL SELECT e.file_id, e.line, was.said, true WHERE still.said AND NOT EXISTS (
        SELECT FROM event_repeats o
        WHERE o.org_id = $1 AND o.event_id = e.event_id AND o.day = e.day AND o.file_id = e.file_id)
"""
# `said`: each value as the newest says it that says one. In the name of who says all of that, else of the newest.
_RIGHT = f"""
    WITH judged AS MATERIALIZED ({_MOMENT.format(tellers=_TELLERS, loaded=_loaded("v"))}),
    together AS (
        SELECT jsonb_object_agg(word.key, word.value ORDER BY j.nth DESC) AS said  -- of one key the last is kept
        FROM judged j CROSS JOIN LATERAL jsonb_each(j.words) word
    )
    SELECT j.file_id, j.line, j.words = t.said AS whole, t.said FROM judged j CROSS JOIN together t
    ORDER BY 3 DESC, j.nth LIMIT 1
"""  # noqa: S608  # our own words
JUDGE = f"""
    INSERT INTO verdicts
    SELECT e.event_id, e.day, e.file_id, e.line, still.said, w.file_id, w.line, w.whole, nullif(w.said, was.said)
    FROM (SELECT DISTINCT event_id, day FROM doubtful) d
    JOIN events e ON e.org_id = $1 AND e.event_id = d.event_id AND e.day = d.day
    CROSS JOIN LATERAL (SELECT {_said("e")} AS said) was
    CROSS JOIN LATERAL (SELECT e.file_id <> ALL ($3::uuid[]) OR coalesce((
        SELECT NOT k.differs FROM known k WHERE k.event_id = e.event_id AND k.day = e.day), NOT $4) AS said) still
    LEFT JOIN LATERAL ({_RIGHT}) w ON true
    WHERE NOT still.said OR w.said <> was.said
"""  # noqa: S608  # our own words

# Those who agreed with what the row said so far go on saying that.
KEEP_SAID = f"""
    UPDATE event_repeats r SET said = {_said("e")} FROM verdicts v
    JOIN events e ON e.org_id = $1 AND e.event_id = v.event_id AND e.day = v.day
    WHERE v.said IS NOT NULL AND r.org_id = $1 AND r.event_id = v.event_id AND r.day = v.day AND r.said IS NULL
"""  # noqa: S608  # our own words
# Unless its own words are noted already.
KEEP_FORMER = f"""
    INSERT INTO event_repeats (org_id, day, event_id, file_id, line, said)
    SELECT $1, v.day, v.event_id, v.old_file, v.old_line, {_said("e")} FROM verdicts v
    JOIN events e ON e.org_id = $1 AND e.event_id = v.event_id AND e.day = v.day
    WHERE v.still ON CONFLICT DO NOTHING
"""  # noqa: S608  # our own words
DELETE_HEIRS = """
    DELETE FROM event_repeats r USING verdicts v
    WHERE r.org_id = $1 AND r.event_id = v.event_id AND r.day = v.day AND r.file_id = v.file_id AND v.whole
"""
COUNT_HELD = """
    UPDATE ingest_files f SET held = f.held + d.n FROM (
        SELECT file_id, sum(n) AS n FROM (
            SELECT file_id, 1 AS n FROM verdicts UNION ALL SELECT old_file, -1 FROM verdicts
        ) moves WHERE file_id IS NOT NULL GROUP BY file_id
    ) d WHERE f.org_id = $1 AND f.file_id = d.file_id
"""
# Before events change, and after: what they are part of. An order's refunds follow it.
_CHANGED = """
    verdicts v JOIN events e ON e.org_id = $1 AND e.event_id = v.event_id AND e.day = v.day
    WHERE (v.said IS NOT NULL OR v.file_id IS NULL)
"""
NOTE_TOUCHED = f"""
    INSERT INTO touched
    SELECT e.transmission_id, min(least(e.day, (e.handoff_at AT TIME ZONE 'UTC')::date)), 0 FROM {_CHANGED}
      AND e.transmission_id IS NOT NULL GROUP BY e.transmission_id
"""  # noqa: S608  # our own words
NOTE_LOOSE = f"""
    INSERT INTO loose
    SELECT e.profile_id, e.message_id, e.event_at, e.handoff_at FROM {_CHANGED}
      AND e.transmission_id IS NULL AND e.message_id IS NOT NULL
"""  # noqa: S608  # our own words
NOTE_BOUGHT = f"""
    INSERT INTO bought
    SELECT e.event_id, e.day FROM {_CHANGED} AND e.transmission_id IS NULL AND lower(e.metric) = ANY ($2::text[])
    UNION
    SELECT r.event_id, (r.at AT TIME ZONE 'UTC')::date FROM {_CHANGED.split("WHERE")[0]}
    JOIN conversions c ON c.org_id = $1 AND c.event_id = e.event_id
    JOIN conversions r ON r.org_id = $1 AND r.transmission_id = c.transmission_id AND r.order_event_id = c.event_id
    WHERE v.said IS NOT NULL OR v.file_id IS NULL
"""  # noqa: S608  # our own words
CORRECT = f"""
    UPDATE events e SET file_id = v.file_id, line = v.line,
        {", ".join(f"{column} = CASE WHEN v.said IS NULL THEN e.{column} ELSE s.{column} END" for column in _COLUMNS)}
    FROM verdicts v CROSS JOIN LATERAL jsonb_populate_record(NULL::events, coalesce(v.said, '{{}}')) s
    WHERE v.file_id IS NOT NULL AND e.org_id = $1 AND e.event_id = v.event_id AND e.day = v.day
"""  # noqa: S608  # our own words
RETRACT = """
    DELETE FROM events e USING verdicts v
    WHERE v.file_id IS NULL AND e.org_id = $1 AND e.event_id = v.event_id AND e.day = v.day
"""
COUNT_VERDICTS = """
    SELECT count(*) FILTER (WHERE file_id IS NULL) AS gone, count(*) FILTER (WHERE said IS NOT NULL) AS corrected
    FROM verdicts
"""
# Where it was not known, or people's rows were deleted meanwhile.
RECOUNT_HELD = """
    UPDATE ingest_files f SET held = (SELECT count(*) FROM events e WHERE e.org_id = $1 AND e.file_id = f.file_id)
    WHERE f.org_id = $1 AND f.file_id = ANY ($2::uuid[])
"""
SET_HELD = "UPDATE ingest_files SET held = coalesce(held, 0) + $3 WHERE org_id = $1 AND file_id = $2"


class Tellers:
    """The versions of one file around its switch, within the switch's transaction, which holds LOCK_ORG."""

    def __init__(self, connection: Connection, file: Claimed, rows: Sequence[Any]) -> None:
        self._connection, self._org_id, self._file_id = connection, file.source.org_id, file.file_id
        self._retracts = not any(row["kind"] in KEEPS_MISSING for row in rows)
        self._versions = [row["file_id"] for row in rows]
        self._backing = [*self._versions, *(row["same_as"] for row in rows if row["newest"] and row["same_as"])]
        # Read once before: it was put back, or somebody has it read again.
        self._anew = any(row["file_id"] == file.file_id and (row["held"] or row["fresh"]) for row in rows)
        self._older = [row["file_id"] for row in rows if self._anew or row["file_id"] != file.file_id]
        counted = not self._anew and all(row["held"] is not None for row in rows if row["file_id"] in self._older)
        self._held = sum(row["held"] for row in rows if row["file_id"] in self._older) if counted else None

    @classmethod
    async def look(cls, connection: Connection, file: Claimed) -> "Tellers":
        """Before events are inserted. Raises Changed when a later version was loaded meanwhile."""
        rows = await connection.fetch(SELECT_VERSIONS, file.source.org_id, file.file_id)
        if any(row["newest"] and row["later"] for row in rows):
            raise Changed("a later version of it was loaded meanwhile", reason="file_superseded")
        tellers = cls(connection, file, rows)
        if tellers._older:
            await let_copies_speak(connection, file.source.org_id, tellers._versions)
        return tellers

    async def take_over(self, orders: Orders, loaded: Loaded) -> Loaded:
        """After events were inserted: bring those that were known, or are gone, to what the newest files say."""
        await self._run(SUPERSEDE, self._file_id)
        await self._run(SET_HELD, self._file_id, loaded.fresh)
        if loaded.fresh == loaded.rows - loaded.rejects and not self._older:
            return loaded
        await self._connection.execute(CREATE_TABLES)
        await self._run(NOTE_KNOWN, self._file_id, self._anew)
        await self._connection.execute(INDEX_KNOWN, timeout=STATEMENT_TIMEOUT_S)
        searched = await self._note_doubtful()
        await self._connection.execute("ANALYZE doubtful")
        await self._run(JUDGE, self._file_id, self._versions, self._retracts)
        loaded = await self._carry_out(orders, loaded)
        if searched:
            await self._run(RECOUNT_HELD, self._versions)
        return loaded

    async def _note_doubtful(self) -> bool:
        """Whether the rows of older versions had to be looked for: all that a file has which only grew is known, and
        counted is soon."""
        still = await self._connection.fetchval(COUNT_KNOWN, self._older, timeout=STATEMENT_TIMEOUT_S)
        if searched := self._retracts and still != self._held:
            await self._run(NOTE_GONE, self._older)
        await self._run(FORGET_REPEATS, self._versions, self._retracts)
        await self._run(NOTE_REPEATS, self._file_id, self._versions, self._retracts)
        await self._connection.execute(NOTE_DIFFERING, timeout=STATEMENT_TIMEOUT_S)
        if self._older:
            await self._run(NOTE_UNBACKED, self._backing)
        return searched

    async def _carry_out(self, orders: Orders, loaded: Loaded) -> Loaded:
        counts = await self._connection.fetchrow(COUNT_VERDICTS, timeout=STATEMENT_TIMEOUT_S)
        assert counts is not None  # noqa: S101  # an aggregate has one row
        await self._connection.execute("ANALYZE verdicts")
        await self._note_changed(orders)
        for statement in (KEEP_SAID, KEEP_FORMER, DELETE_HEIRS, CORRECT):
            await self._run(statement)
        await self._note_changed(orders)
        await self._run(RETRACT)
        await self._run(COUNT_HELD)
        await drop_unsent(self._connection, orders, self._org_id)
        return replace(loaded, gone=counts["gone"], corrected=counts["corrected"])

    async def _note_changed(self, orders: Orders) -> None:
        await self._run(NOTE_TOUCHED)
        await self._run(NOTE_LOOSE)
        await self._run(NOTE_BOUGHT, orders.metrics)

    async def _run(self, statement: str, *arguments: object) -> None:
        await self._connection.execute(statement, self._org_id, *arguments, timeout=STATEMENT_TIMEOUT_S)
