"""What a turn reads and writes of the second road of its account. Only where the setting is on."""

import asyncpg

from services.profile_writer.quota.budget import Budget
from services.profile_writer.quota.proof import Proof
from services.profile_writer.quota.standing import Standing
from services.profile_writer.turns.roads import SecondRoad
from services.profile_writer.turns.store import breaker_of, budget_of, phase_values
from shared.db.pool import Connection
from shared.klaviyo.limits import RateLimit


class RoadStore:
    """Works on the connection of a transaction that holds the account's row."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    SELECT_ROAD = """
        SELECT account_key, verdict, verdict_at, separate_votes, shared_votes, looks, looked_at, burst_limit,
               steady_limit, factor, factor_at, newest_slot, slots, phase_low_s, phase_width_s, phase_at, others_spent,
               others_at, others_per_s, others_burst, blocked_until, blocked_reason, failures, breaker_writes,
               calls_step, calls, calls_failed, advertised_limit, advertised_remaining, advertised_reset_s,
               advertised_at
        FROM klaviyo_roads
        WHERE account_key = $1 AND road = 'import'
    """

    async def read(self, account_key: str) -> SecondRoad:
        """The account's second road; as it is in the beginning when it was never tried."""
        row = await self._connection.fetchrow(self.SELECT_ROAD, account_key)
        if row is None:
            return SecondRoad(Standing(account_key, Budget(burst_limit=75, steady_limit=700, factor=1.0)))
        return _road(row)

    UPSERT_ROAD = """
        INSERT INTO klaviyo_roads (
            account_key, road, verdict, verdict_at, separate_votes, shared_votes, looks, looked_at, burst_limit,
            steady_limit, factor, factor_at, newest_slot, slots, others_spent, others_at, others_per_s, others_burst,
            blocked_until, blocked_reason, failures, advertised_limit, advertised_remaining, advertised_reset_s,
            advertised_at, phase_low_s, phase_width_s, phase_at, breaker_writes, calls_step, calls, calls_failed)
        VALUES ($1, 'import', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)
        ON CONFLICT (account_key, road) DO UPDATE SET
            verdict = excluded.verdict, verdict_at = excluded.verdict_at, separate_votes = excluded.separate_votes,
            shared_votes = excluded.shared_votes, looks = excluded.looks, looked_at = excluded.looked_at,
            steady_limit = excluded.steady_limit, factor = excluded.factor, factor_at = excluded.factor_at,
            newest_slot = excluded.newest_slot, slots = excluded.slots, others_spent = excluded.others_spent,
            others_at = excluded.others_at, others_per_s = excluded.others_per_s, others_burst = excluded.others_burst,
            blocked_until = excluded.blocked_until, blocked_reason = excluded.blocked_reason,
            failures = excluded.failures, advertised_limit = excluded.advertised_limit,
            advertised_remaining = excluded.advertised_remaining, advertised_reset_s = excluded.advertised_reset_s,
            advertised_at = excluded.advertised_at, phase_low_s = excluded.phase_low_s,
            phase_width_s = excluded.phase_width_s, phase_at = excluded.phase_at,
            breaker_writes = excluded.breaker_writes, calls_step = excluded.calls_step, calls = excluded.calls,
            calls_failed = excluded.calls_failed
    """

    async def save(self, road: SecondRoad) -> None:
        """Write it back, or down for the first time."""
        standing, proof, breaker = road.standing, road.proof, road.standing.breaker
        budget, others, told = standing.budget, standing.budget.others, standing.advertised
        await self._connection.execute(
            self.UPSERT_ROAD, standing.account_key, proof.verdict, proof.since, proof.separate, proof.shared,
            proof.looks, proof.looked_at, budget.burst_limit, budget.steady_limit, budget.factor, standing.factor_at,
            budget.newest, budget.slots, others.spent, others.at, others.per_s, others.burst, standing.blocked_until,
            standing.blocked_reason, breaker.failures, told.limit, told.remaining, told.reset_s,
            standing.advertised_at, *phase_values(budget.phase),
            breaker.writes, breaker.newest, breaker.calls, breaker.failed,
        )  # fmt: skip


def _road(row: asyncpg.Record) -> SecondRoad:
    standing = Standing(
        account_key=row["account_key"],
        budget=budget_of(row),
        factor_at=row["factor_at"],
        blocked_until=row["blocked_until"],
        blocked_reason=row["blocked_reason"],
        breaker=breaker_of(row),
        advertised=RateLimit(row["advertised_limit"], row["advertised_remaining"], row["advertised_reset_s"]),
        advertised_at=row["advertised_at"],
    )
    proof = Proof(
        row["verdict"], row["verdict_at"], row["separate_votes"], row["shared_votes"], row["looks"], row["looked_at"]
    )
    return SecondRoad(standing, proof)
