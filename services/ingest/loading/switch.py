"""The transaction that brings what follows from an org's events to what they say, and its work tables.

`touched` says which transmissions, `loose` which events name none, `tallies` what the events of a transmission say
together (attribute.py); `cells` which rollups and reports that concerns, `decided` which days of decisions (rollups.py;
counting/results.py counts those anew); `bought` and `placed` are those of conversions.py.
"""

from uuid import UUID

from shared.db.pool import SCOPE_TO_ORG, SERVER_SOONER_S, Connection
from shared.event_lock import LOCK_ORG

LIMIT_S = 600  # the server's, of one statement over all that one file, or one day, touched
STATEMENT_TIMEOUT_S = float(LIMIT_S + SERVER_SOONER_S)
"""Ours of the same. The server's must strike first: it says that this statement takes too long, which is the file's
trouble and spends an attempt; ours says that the server does not answer, which is nobody's."""

CREATE_WORK_TABLES = """
    DROP TABLE IF EXISTS pg_temp.touched, pg_temp.loose, pg_temp.tallies, pg_temp.cells, pg_temp.decided,
        pg_temp.bought, pg_temp.placed;
    CREATE TEMP TABLE touched (transmission_id text, since date, n bigint) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE loose (
        profile_id text, message_id text, event_at timestamptz, handoff_at timestamptz
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE tallies (
        transmission_id text, profile_id text, message_id text, flow_id text, sent_at timestamptz, day date,
        delivered bool, bounced bool, unsubscribed bool, spam bool, first_open_at timestamptz, human_opens int,
        machine_opens int, first_click_at timestamptz, human_clicks int, bot_clicks int, loose int
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE cells (template_id text, copy_id uuid, cell text, day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE decided (day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE bought (event_id text, day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE placed (
        transmission_id text, profile_id text, sent_at timestamptz, template_id text, message_id text, delivered bool,
        sign int
    ) ON COMMIT DELETE ROWS;
"""
DROP_WORK_TABLES = """
    DROP TABLE IF EXISTS pg_temp.touched, pg_temp.loose, pg_temp.tallies, pg_temp.cells, pg_temp.decided,
        pg_temp.bought, pg_temp.placed
"""

# What we ANALYZE are work tables, of which the planner need only know how long they are.
BEGIN_LONG_WORK = f"""
    SET LOCAL statement_timeout = '{LIMIT_S}s'; SET LOCAL lock_timeout = '300s'; SET LOCAL work_mem = '64MB';
    SET LOCAL default_statistics_target = 10
"""

# No day of events goes while this is held (retention.py).
HOLD_DAYS = "LOCK TABLE ONLY events IN ACCESS SHARE MODE"
EVENTS_SINCE = "(SELECT since FROM events_kept)"
"""The first day whose events are kept; what was made of those before must not be computed anew."""


async def begin_switch(connection: Connection, org_id: UUID) -> None:
    """At the start of a transaction that changes what follows from events: this org only, one at a time."""
    await begin_long_work(connection, org_id)
    await connection.execute(LOCK_ORG, str(org_id), timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(HOLD_DAYS)


async def begin_long_work(connection: Connection, org_id: UUID) -> None:
    """At the start of a transaction of this org's that may take minutes."""
    await connection.execute(SCOPE_TO_ORG, str(org_id))
    await connection.execute(BEGIN_LONG_WORK)
