"""SQL of the upkeep: forgotten accounts, pauses, the backlog."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from services.profile_writer.quota.budget import Budget
from services.profile_writer.quota.phase import MINUTE_S
from services.profile_writer.store import Store
from services.profile_writer.upkeep.live_view import LiveView, Quota, Waiting, live_view
from shared.db.pool import Database
from shared.klaviyo.bulk import SCOPES
from shared.schemas.ids import generation_day
from shared.writes import lane_of

LATE = timedelta(seconds=5)
"""A runnable account is served within a fraction of this, where there are writers enough."""

_LEFT_AFTER = timedelta(days=1)  # without a webhook an org whose key is refused is one that left


class UpkeepStore:
    """Reads whole tables, rarely."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

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

    # What waits came in before the key could take the bulk road, and nothing more may come in.
    WAKE_ROADS = """
        UPDATE klaviyo_accounts SET bulk_look_at = least(bulk_look_at, $1)
        WHERE account_key IN (
            SELECT a.account_key FROM klaviyo_accounts a
            WHERE a.account_key IN (SELECT i.account_key FROM integrations i
                                    WHERE i.scopes @> $3::text[] AND ($2::uuid IS NULL OR i.org_id = $2))
              AND EXISTS (SELECT FROM pending_writes p WHERE p.account_key = a.account_key AND p.lane < 3)
            ORDER BY a.account_key
            FOR UPDATE)
    """

    async def wake_roads(self, org_id: UUID | None, now: datetime) -> None:
        """Have the bulk roads looked at that the key of this org (None: of any) may take, where something waits."""
        async with self._store.free_desk() as desk:
            await desk.connection.execute(self.WAKE_ROADS, now, org_id, sorted(SCOPES))

    SELECT_BACKLOG = f"""
        SELECT account_key, {lane_of()} AS lane, count(*) AS waiting,
               min(deadline_at) FILTER (WHERE action = 'write' AND isfinite(deadline_at)) AS deadline_at
        FROM pending_writes p GROUP BY 1, 2
    """  # noqa: S608 - our own words
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

    COUNT_PAUSED = """
        SELECT count(*) FROM write_pauses p JOIN orgs c ON c.org_id = p.org_id
        LEFT JOIN integrations i ON i.org_id = p.org_id
        WHERE p.integration_at IS NOT DISTINCT FROM i.updated_at AND (
            EXISTS (SELECT FROM pending_writes w WHERE w.account_key = p.account_key AND w.lane = 0
                    AND w.org_id = p.org_id AND w.clean_at > $1)
            OR c.stopped_at IS NULL AND (
                EXISTS (SELECT FROM pending_writes w WHERE w.account_key = p.account_key AND w.lane < 3
                        AND w.org_id = p.org_id AND w.action = 'write')
                OR EXISTS (SELECT FROM generations g
                           WHERE g.org_id = p.org_id AND g.day >= $3 AND g.accepted_at > $2)))
    """

    async def paused(self, now: datetime) -> int:
        """How many orgs' writes wait for another key, of those that need one: emails may show what cannot be taken off,
        or webhooks come and nobody has stopped the org. A customer who left needs none."""
        since = now - _LEFT_AFTER
        async with self._db.connection() as connection:
            count: int = await connection.fetchval(self.COUNT_PAUSED, now, since, generation_day(since))
        return count

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
