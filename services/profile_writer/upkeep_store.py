"""SQL of the upkeep: rows under the quota of an earlier key, forgotten accounts, the backlog."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from services.profile_writer.budget import Budget
from services.profile_writer.live_view import LiveView, Quota, Waiting, live_view
from services.profile_writer.phase import MINUTE_S
from services.profile_writer.store import Store
from shared.db.pool import Connection, Database

LATE = timedelta(seconds=5)
"""A runnable account is served within a fraction of this, where there are writers enough."""


class UpkeepStore:
    """Reads whole tables, rarely."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

    SELECT_MOVED = """
        SELECT DISTINCT i.org_id, found.account_key AS was, i.account_key AS becomes
        FROM integrations i
        JOIN (SELECT org_id, account_key FROM pending_writes UNION SELECT org_id, account_key FROM profile_state) found
          ON found.org_id = i.org_id AND found.account_key <> i.account_key
        WHERE $1::uuid IS NULL OR i.org_id = $1
    """

    async def follow_accounts(self, org_id: UUID | None, now: datetime) -> int:
        """Bring the rows of orgs (None: all) whose integration names another quota now under that one, so that what
        their profiles hold stays known. What is in flight stays behind; returns how many rows did."""
        async with self._db.connection() as connection:
            moves = await connection.fetch(self.SELECT_MOVED, org_id)
        left = 0
        for move in moves:
            async with self._store.desk({move["was"], move["becomes"]}) as desk:
                left += await _move(desk.connection, move["org_id"], move["was"], move["becomes"], now)
                await desk.wake({move["becomes"]}, now)
        return left

    WAKE_FORGOTTEN = """
        UPDATE klaviyo_accounts SET runnable_at = $1
        WHERE account_key IN (
            SELECT a.account_key FROM klaviyo_accounts a
            WHERE (a.runnable_at IS NULL OR a.runnable_at > $1)
              AND (EXISTS (SELECT FROM pending_writes p
                           WHERE p.account_key = a.account_key AND p.lane < 3 AND p.next_attempt_at <= $1)
                OR EXISTS (SELECT FROM pending_writes p
                           WHERE p.account_key = a.account_key AND p.lane = 3 AND p.next_attempt_at <= $1)
                OR EXISTS (SELECT FROM profile_state s
                           WHERE s.account_key = a.account_key AND NOT s.clean_queued AND s.clean_at <= $1))
            ORDER BY a.account_key
            FOR UPDATE SKIP LOCKED)
    """

    async def wake_forgotten(self, now: datetime) -> None:
        """Have accounts looked at that have something due and do not say so: a clock that was wrong for a moment may
        have put them off for long."""
        async with self._store.free_desk() as desk:
            await desk.connection.execute(self.WAKE_FORGOTTEN, now)

    WAKE_PAUSED = """
        UPDATE klaviyo_accounts SET runnable_at = least(runnable_at, $1), bulk_look_at = least(bulk_look_at, $1)
        WHERE account_key IN (
            SELECT a.account_key FROM klaviyo_accounts a
            WHERE a.account_key IN (SELECT p.account_key FROM write_pauses p)
            ORDER BY a.account_key
            FOR UPDATE)
    """
    # Where the integration is another one now, the pause has ended by itself; the row is only what people see.
    DELETE_ENDED_PAUSES = """
        DELETE FROM write_pauses p USING integrations i
        WHERE i.org_id = p.org_id AND p.integration_at IS DISTINCT FROM i.updated_at
    """

    async def end_pauses(self, now: datetime) -> None:
        """Have paused accounts looked at, and forget the pauses that a new key has ended."""
        async with self._store.free_desk() as desk:
            await desk.connection.execute(self.WAKE_PAUSED, now)
            await desk.connection.execute(self.DELETE_ENDED_PAUSES)

    SELECT_BACKLOG = """
        SELECT account_key, lane, count(*) AS waiting, min(deadline_at) FILTER (WHERE action = 'write') AS deadline_at
        FROM pending_writes GROUP BY account_key, lane
    """
    SELECT_QUOTAS = """
        SELECT account_key, steady_limit, factor, newest_slot, slots, others_per_s FROM klaviyo_accounts
        WHERE last_served_at > $1
    """

    SELECT_SECOND_ROADS = """
        SELECT account_key, greatest(0, steady_limit * factor - coalesce(others_per_s, 0) * 60) AS carried_per_min
        FROM klaviyo_roads WHERE verdict = 'separate'
    """

    async def live_view(self, now: datetime, *, second_road: bool = False) -> LiveView:
        """How much waits of all orgs, and how the accounts that were served lately stand. `second_road`: what is proved
        separate carries too."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(self.SELECT_BACKLOG)
            quotas = await connection.fetch(self.SELECT_QUOTAS, now - timedelta(minutes=5))
            roads = await connection.fetch(self.SELECT_SECOND_ROADS) if second_road else []
        by_road: dict[str, float] = {road["account_key"]: road["carried_per_min"] for road in roads}
        return live_view(
            [Waiting(row["account_key"], row["lane"], row["waiting"], row["deadline_at"]) for row in rows],
            [
                Quota(
                    row["account_key"],
                    Budget(75, row["steady_limit"], row["factor"], row["newest_slot"], tuple(row["slots"]))
                    .at(now)
                    .spent,
                    row["steady_limit"],
                    row["steady_limit"] * row["factor"]
                    - (row["others_per_s"] or 0.0) * MINUTE_S
                    + by_road.get(row["account_key"], 0.0),
                )
                for row in quotas
            ],
        )

    SELECT_BREAKERS = """
        SELECT CASE WHEN breaker_writes IS NULL THEN 'closed' WHEN blocked_until > $1 THEN 'open' ELSE 'probing' END
               AS state, count(*) AS accounts
        FROM klaviyo_accounts GROUP BY 1
    """

    async def breakers(self, now: datetime) -> Mapping[str, int]:
        """How many accounts there are, by the state of their breaker: closed, open, or probing."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(self.SELECT_BREAKERS, now)
        return {"closed": 0, "open": 0, "probing": 0} | {row["state"]: row["accounts"] for row in rows}

    COUNT_RUNNABLE = "SELECT count(*) FROM klaviyo_accounts WHERE runnable_at <= $1"

    async def runnable(self, now: datetime) -> int:
        """How many accounts have something due, and quota for it, and have not been served for a while: what another
        replica would take. What waits for Klaviyo's next minute is not among them."""
        async with self._db.connection() as connection:
            count: int = await connection.fetchval(self.COUNT_RUNNABLE, now - LATE)
        return count

    SELECT_VERDICTS = """
        SELECT known.verdict, count(r.account_key) AS accounts
        FROM unnest('{separate,shared,refused,open}'::text[]) AS known (verdict)
        LEFT JOIN klaviyo_roads r ON coalesce(r.verdict, 'open') = known.verdict
        GROUP BY known.verdict
    """

    async def verdicts(self) -> dict[str, int]:
        """How many accounts have which verdict about their second road; open: it is being tried."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(self.SELECT_VERDICTS)
        return {row["verdict"]: row["accounts"] for row in rows}


# One transaction that holds both accounts. A key that is under both quotas is one profile; what came in under the new
# one is newer. Rows in flight stay, and so does what their profiles hold.
END_OVERTAKEN = """
    WITH gone AS (
        DELETE FROM pending_writes o USING pending_writes n
        WHERE o.org_id = $1 AND o.account_key = $2 AND o.taken_by IS NULL
          AND n.account_key = $3 AND n.profile_id = o.profile_id AND n.prefix = o.prefix
        RETURNING o.day, o.generation_id, o.org_id, o.attempt)
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts)
    SELECT day, generation_id, org_id, 'superseded', 'account_changed', $4, attempt FROM gone
    ON CONFLICT (day, generation_id) DO NOTHING
"""
MERGE_HELD = """
    UPDATE profile_state n SET older_for = n.older_for || o.older_for || o.written_for,
        stale_for = n.stale_for || o.stale_for
    FROM profile_state o
    WHERE o.org_id = $1 AND o.account_key = $2 AND o.state <> 'clean'
      AND n.account_key = $3 AND n.profile_id = o.profile_id AND n.prefix = o.prefix AND n.state = 'unknown'
"""
DELETE_MERGED_HELD = """
    DELETE FROM profile_state o USING profile_state n
    WHERE o.org_id = $1 AND o.account_key = $2
      AND n.account_key = $3 AND n.profile_id = o.profile_id AND n.prefix = o.prefix AND n.state <> 'clean'
"""
DELETE_CLEAN = """
    DELETE FROM profile_state n USING profile_state o
    WHERE o.org_id = $1 AND o.account_key = $2
      AND n.account_key = $3 AND n.profile_id = o.profile_id AND n.prefix = o.prefix AND n.state = 'clean'
"""
MOVE_HELD = """
    UPDATE profile_state o SET account_key = $3
    WHERE o.org_id = $1 AND o.account_key = $2
      AND NOT EXISTS (SELECT FROM pending_writes p
                      WHERE p.account_key = $2 AND p.profile_id = o.profile_id AND p.prefix = o.prefix
                        AND p.taken_by IS NOT NULL)
"""
MOVE_PENDING = """
    UPDATE pending_writes SET account_key = $3 WHERE org_id = $1 AND account_key = $2 AND taken_by IS NULL
"""
COUNT_LEFT = "SELECT count(*) FROM pending_writes WHERE org_id = $1 AND account_key = $2"


async def _move(connection: Connection, org_id: UUID, was: str, becomes: str, now: datetime) -> int:
    await connection.execute(END_OVERTAKEN, org_id, was, becomes, now)
    for statement in (MERGE_HELD, DELETE_MERGED_HELD, DELETE_CLEAN, MOVE_HELD, MOVE_PENDING):
        await connection.execute(statement, org_id, was, becomes)
    left: int = await connection.fetchval(COUNT_LEFT, org_id, was)
    return left
