"""What a turn reads and writes of its account's row."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.profile_writer.quota.breaker import Breaker
from services.profile_writer.quota.budget import Budget, Others
from services.profile_writer.quota.phase import Phase
from services.profile_writer.quota.standing import Standing
from shared.db.pool import Connection
from shared.klaviyo.limits import RateLimit

_ASK_FIRST = timedelta(seconds=5)
"""After so long a refused key is tried again by one write, and then each time after twice as long."""

_ASK_AT_LEAST_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Claim:
    """The account whose turn it is. `paused`: its orgs whose key is refused; `asked`: those of them whose key one write
    is to try again, the next one at `ask_at`; `open`: there is one that may send."""

    standing: Standing
    paused: tuple[UUID, ...]
    open: bool
    asked: tuple[UUID, ...] = ()
    ask_at: datetime | None = None


class TurnStore:
    """Works on the connection of a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # The least recently served account that has something to do and that nobody else holds. A few thousand accounts
    # are read in a millisecond; an index would have to be kept up at each of many updates a second.
    CLAIM_ACCOUNT = """
        SELECT account_key, burst_limit, steady_limit, factor, factor_at, newest_slot, slots, phase_low_s,
               phase_width_s, phase_at, others_spent, others_at, others_per_s, others_burst, busy_until, busy_by,
               blocked_until, blocked_reason, failures, breaker_writes, calls_step, calls, calls_failed,
               advertised_limit, advertised_remaining, advertised_reset_s, advertised_at, last_served_at, runnable_at
        FROM klaviyo_accounts
        WHERE runnable_at <= $1
        ORDER BY last_served_at NULLS FIRST, account_key
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    """
    # A pause holds for the integration that was refused; a newer one ends it.
    SELECT_PAUSED = """
        SELECT p.org_id, coalesce(p.ask_at, p.paused_at) AS ask_at
        FROM write_pauses p LEFT JOIN integrations i ON i.org_id = p.org_id
        WHERE p.account_key = $1 AND p.integration_at IS NOT DISTINCT FROM i.updated_at
    """
    SELECT_OPEN = """
        SELECT EXISTS (SELECT FROM integrations WHERE account_key = $1 AND org_id <> ALL($2::uuid[]))
    """

    async def claim(self, now: datetime) -> Claim | None:
        """The account whose turn it is, held until the transaction ends; None when none has anything to do."""
        row = await self._connection.fetchrow(self.CLAIM_ACCOUNT, now)
        if row is None:
            return None
        account_key = row["account_key"]
        ask_at = {
            found["org_id"]: found["ask_at"] for found in await self._connection.fetch(self.SELECT_PAUSED, account_key)
        }
        paused = tuple(org_id for org_id, at in ask_at.items() if at > now)
        asked = tuple(org_id for org_id, at in ask_at.items() if at <= now)
        is_open = not paused or await self._connection.fetchval(self.SELECT_OPEN, account_key, paused)
        next_at = min((at for at in ask_at.values() if at > now), default=None)
        return Claim(_standing(row), paused, is_open, asked, next_at)

    SELECT_ACCOUNT = """
        SELECT account_key, burst_limit, steady_limit, factor, factor_at, newest_slot, slots, phase_low_s,
               phase_width_s, phase_at, others_spent, others_at, others_per_s, others_burst, busy_until, busy_by,
               blocked_until, blocked_reason, failures, breaker_writes, calls_step, calls, calls_failed,
               advertised_limit, advertised_remaining, advertised_reset_s, advertised_at, last_served_at, runnable_at
        FROM klaviyo_accounts
        WHERE account_key = $1
    """

    async def standing(self, account_key: str) -> Standing:
        """The row of an account that this transaction holds already."""
        (row,) = await self._connection.fetch(self.SELECT_ACCOUNT, account_key)
        return _standing(row)

    UPDATE_ACCOUNT = """
        UPDATE klaviyo_accounts SET
            steady_limit = $2, factor = $3, factor_at = $4, newest_slot = $5, slots = $6, busy_until = $7, busy_by = $8,
            blocked_until = $9, blocked_reason = $10, failures = $11, advertised_limit = $12,
            advertised_remaining = $13, advertised_reset_s = $14, advertised_at = $15, last_served_at = $16,
            runnable_at = $17, phase_low_s = $18, phase_width_s = $19, phase_at = $20, others_spent = $21,
            others_at = $22, others_per_s = $23, others_burst = $24, breaker_writes = $25, calls_step = $26,
            calls = $27, calls_failed = $28
        WHERE account_key = $1
    """

    async def save(self, standing: Standing) -> None:
        """Write the account's row back."""
        budget, told, breaker = standing.budget, standing.advertised, standing.breaker
        await self._connection.execute(
            self.UPDATE_ACCOUNT, standing.account_key, budget.steady_limit, budget.factor, standing.factor_at,
            budget.newest, budget.slots, standing.busy_until, standing.busy_by, standing.blocked_until,
            standing.blocked_reason, breaker.failures, told.limit, told.remaining, told.reset_s,
            standing.advertised_at, standing.last_served_at, standing.runnable_at, *phase_values(budget.phase),
            budget.others.spent, budget.others.at, budget.others.per_s, budget.others.burst,
            breaker.writes, breaker.newest, breaker.calls, breaker.failed,
        )  # fmt: skip

    PUT_OFF = "UPDATE klaviyo_accounts SET last_served_at = $2, runnable_at = $3 WHERE account_key = $1"

    async def put_off(self, account_key: str, now: datetime, until: datetime) -> None:
        """Behind all others, and not before then unless something comes in for it."""
        await self._connection.execute(self.PUT_OFF, account_key, now, until)

    SELECT_NEXT_LOOK = "SELECT min(runnable_at) FROM klaviyo_accounts"

    async def next_look(self) -> datetime | None:
        """When any account is to be looked at next."""
        moment: datetime | None = await self._connection.fetchval(self.SELECT_NEXT_LOOK)
        return moment

    # Refused again, it is paused since the first time, and asked when it would have been.
    UPSERT_PAUSES = """
        INSERT INTO write_pauses AS p (org_id, account_key, reason, message, paused_at, integration_at, ask_at)
        SELECT org_id, $2, $3, $4, $5, $6, $7 FROM orgs WHERE org_id = $1
        ON CONFLICT (org_id) DO UPDATE SET
            account_key = excluded.account_key, reason = excluded.reason, message = excluded.message,
            integration_at = excluded.integration_at,
            paused_at = CASE WHEN p.integration_at IS NOT DISTINCT FROM excluded.integration_at
                             THEN p.paused_at ELSE excluded.paused_at END,
            ask_at = CASE WHEN p.integration_at IS NOT DISTINCT FROM excluded.integration_at
                          THEN coalesce(p.ask_at, excluded.ask_at) ELSE excluded.ask_at END
    """

    async def pause(
        self, org_id: UUID, account_key: str, reason: str, message: str, now: datetime, integration_at: datetime | None
    ) -> None:
        """Let this org's writes wait until it has another integration than the one of `integration_at`, or that one's
        key is accepted again."""
        await self._connection.execute(
            self.UPSERT_PAUSES, org_id, account_key, reason, message, now, integration_at, now + _ASK_FIRST
        )

    UPDATE_ASKED = """
        UPDATE write_pauses SET ask_at = $2::timestamptz + least(greatest($2 - paused_at, $3::interval), $4::interval)
        WHERE org_id = ANY($1)
    """

    async def asking(self, org_ids: Collection[UUID], now: datetime) -> None:
        """One write of each of these leaves to try its key; whatever comes of it, the next one does so later."""
        await self._connection.execute(self.UPDATE_ASKED, list(org_ids), now, _ASK_FIRST, _ASK_AT_LEAST_EVERY)

    DELETE_PAUSES = "DELETE FROM write_pauses WHERE org_id = ANY($1)"

    async def accepted(self, org_ids: Collection[UUID]) -> None:
        """The keys of these are accepted again."""
        await self._connection.execute(self.DELETE_PAUSES, list(org_ids))


def budget_of(row: asyncpg.Record) -> Budget:
    """The columns of a budget, which accounts and second roads have in common."""
    return Budget(
        row["burst_limit"], row["steady_limit"], row["factor"], row["newest_slot"], tuple(row["slots"]),
        phase=None if row["phase_at"] is None else Phase(row["phase_low_s"], row["phase_width_s"], row["phase_at"]),
        others=Others(row["others_spent"], row["others_at"], row["others_per_s"], row["others_burst"]),
    )  # fmt: skip


def breaker_of(row: asyncpg.Record) -> Breaker:
    """The same of a breaker."""
    return Breaker(
        row["failures"], row["breaker_writes"], row["calls_step"], tuple(row["calls"]), tuple(row["calls_failed"])
    )


def _standing(row: asyncpg.Record) -> Standing:
    return Standing(
        account_key=row["account_key"],
        budget=budget_of(row),
        factor_at=row["factor_at"],
        busy_until=row["busy_until"],
        busy_by=row["busy_by"],
        blocked_until=row["blocked_until"],
        blocked_reason=row["blocked_reason"],
        breaker=breaker_of(row),
        advertised=RateLimit(row["advertised_limit"], row["advertised_remaining"], row["advertised_reset_s"]),
        advertised_at=row["advertised_at"],
        last_served_at=row["last_served_at"],
        runnable_at=row["runnable_at"],
    )


def phase_values(phase: Phase | None) -> tuple[object, ...]:
    """The columns of its phase."""
    return (None, None, None) if phase is None else (phase.low_s, phase.width_s, phase.at)
