"""How much of each Klaviyo account's quota is used, what waits for it, and which delay would do."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import asyncpg
from pydantic import Field

from shared.admin.context import Asking, Context
from shared.admin.operation import AskedModel, ResultModel, operation_after
from shared.admin.outcomes.shown_spans import QUARTER, span_start
from shared.admin.outcomes.shown_store import SET_FOR_FEW, reading_of
from shared.admin.queues.bulk_road import BulkRoad, bulk_road
from shared.db.pool import Connection
from shared.schemas.ids import generation_day
from shared.writes import LANES, lane_of

MINUTE_S = 60
_STEP_S, _STEPS = 5, 6  # klaviyo_accounts.calls, as migration 0011 says
_DELAY_LEAST_S = 120  # the product's own minimum between webhook and email
_DELAY_SPARE = 1.5  # over the p99 of the time asked for: tomorrow's burst may be larger

SELECT_ACCOUNTS = """
    SELECT a.account_key, a.steady_limit, a.factor, a.newest_slot, a.slots, a.others_per_s, a.blocked_until,
           a.blocked_reason, a.breaker_writes, a.calls_step, a.calls, a.calls_failed,
           array_agg(o.slug ORDER BY o.slug) AS orgs, array_agg(o.org_id) AS org_ids,
           r.verdict, r.verdict_at, r.looks, r.steady_limit AS road_limit, r.factor AS road_factor,
           r.newest_slot AS road_newest_slot, r.slots AS road_slots, r.breaker_writes AS road_breaker_writes,
           r.blocked_until AS road_blocked_until
    FROM klaviyo_accounts a JOIN integrations i USING (account_key) JOIN orgs o USING (org_id)
    LEFT JOIN klaviyo_roads r ON r.account_key = a.account_key AND r.road = 'import'
    WHERE $1::uuid IS NULL OR a.account_key = (SELECT account_key FROM integrations WHERE org_id = $1)
    GROUP BY a.account_key, r.account_key, r.road ORDER BY a.account_key
"""
SELECT_BACKLOG = f"""
    SELECT {lane_of()} AS lane, count(*) AS waiting,
           min(deadline_at) FILTER (WHERE action = 'write') AS first_deadline_at
    FROM pending_writes p WHERE account_key = $1 GROUP BY 1
"""  # noqa: S608  # our own words
SELECT_MISSED = """
    SELECT coalesce(reason, outcome) AS reason, sum(emails)::bigint AS writes FROM found
    WHERE outcome IN ('expired', 'rejected') GROUP BY 1
"""
# Of a time with a hundred thousand writes a sample tells it as well: so many of each org from each sixtieth of it, all
# of them where there are fewer. Each outcome is looked up by itself: of a day there may be millions.
SELECT_P99 = """
    SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM w.at - g.accepted_at))
    FROM unnest($1::uuid[]) o (org_id)
    CROSS JOIN generate_series(0, 59) n
    CROSS JOIN LATERAL (
        SELECT day, generation_id, accepted_at FROM generations
        WHERE org_id = o.org_id AND day >= $3 AND decision = 'treatment'
          AND accepted_at >= $2::timestamptz + n * $4::interval
          AND accepted_at < $2::timestamptz + (n + 1) * $4::interval
        ORDER BY accepted_at DESC LIMIT 40) g
    CROSS JOIN LATERAL (
        SELECT outcome, at FROM write_outcomes
        WHERE day = g.day AND day >= $3 AND generation_id = g.generation_id LIMIT 1) w
    WHERE w.outcome = 'written'
"""


@dataclass(frozen=True, slots=True)
class Quota:
    """One Klaviyo account. Seconds where a name ends in `_s`; `missed` by reason; `waiting` by lane."""

    account: str
    orgs: list[str]
    limit_per_min: int
    used_last_min: int
    others_per_min: int
    factor: float
    blocked_until: datetime | None
    blocked_reason: str | None
    breaker: str  # closed, open, or probing
    calls_30_s: int
    calls_failed_30_s: int
    waiting: Mapping[str, int]
    first_deadline_at: datetime | None
    drains_in_s: float
    missed: Mapping[str, int]
    written_p99_s: float | None
    recommended_delay_s: int | None
    imports: BulkRoad
    second_road: str
    second_road_since: datetime | None
    second_road_used_last_min: int
    second_road_breaker: str  # of its calls alone


class AskedQuota(AskedModel):
    """`hours`: how far back misses and p99 look, from the quarter hour in which that time began; `history`: whether
    they do."""

    hours: Annotated[float, Field(gt=0, le=24 * 7)] = 1.0
    history: bool = True


class Accounts(ResultModel):
    """The account of the org; none before the first write. Orgs of others that share it are not named."""

    accounts: list[Quota]


async def read_quotas(
    connection: Connection, org_id: UUID | None, now: datetime, back: timedelta | None
) -> list[Quota]:
    """The account of one org, or all (None); needs the worker's role, since an account belongs to no org. `back`: how
    far misses and p99 look; None: not at all."""
    rows = await connection.fetch(SELECT_ACCOUNTS, org_id)
    return [await _quota(connection, row, now, back) for row in rows]


async def _read(asking: Asking, asked: AskedQuota) -> list[Quota]:
    async with asking.means.database.transaction() as connection:
        back = timedelta(hours=asked.hours) if asked.history else None
        return await read_quotas(connection, asking.org_id, asking.means.clock.now(), back)


@operation_after(
    _read, "quota.show", "GET", "/quota", "viewer",
    "Show the Klaviyo account's quota, what waits for it, and the delay that would do.",
)  # fmt: skip
async def show(context: Context, asked: AskedQuota, found: list[Quota]) -> Accounts:
    if context.actor.kind == "cli":
        return Accounts(accounts=found)
    return Accounts(accounts=[replace(one, orgs=[context.org_slug]) for one in found])


async def _quota(connection: Connection, row: asyncpg.Record, now: datetime, back: timedelta | None) -> Quota:
    org_ids: list[UUID] = row["org_ids"]
    backlog = await connection.fetch(SELECT_BACKLOG, row["account_key"])
    missed, p99_s = await _history(connection, org_ids, now, back) if back is not None else ({}, None)
    waiting = {LANES[one["lane"]]: one["waiting"] for one in backlog}
    others_per_min = round((row["others_per_s"] or 0.0) * MINUTE_S)
    by_road = used(row["road_newest_slot"], row["road_slots"], now) if row["verdict"] else 0
    carried_per_s = max(1.0, row["steady_limit"] * row["factor"] - others_per_min) / MINUTE_S
    if by_road:  # in use, so its quota counts; the setting may have been turned off
        carried_per_s += row["road_limit"] * row["road_factor"] / MINUTE_S
    blocked = row["blocked_until"] is not None and row["blocked_until"] > now
    deadlines = [one["first_deadline_at"] for one in backlog if one["first_deadline_at"]]
    return Quota(
        account=row["account_key"],
        orgs=row["orgs"],
        limit_per_min=row["steady_limit"],
        used_last_min=used(row["newest_slot"], row["slots"], now),
        others_per_min=others_per_min,
        factor=row["factor"],
        blocked_until=row["blocked_until"] if blocked else None,
        blocked_reason=row["blocked_reason"] if blocked else None,
        breaker=breaker(row["breaker_writes"], row["blocked_until"], now),
        calls_30_s=recent(row["calls_step"], row["calls"], now),
        calls_failed_30_s=recent(row["calls_step"], row["calls_failed"], now),
        waiting=waiting,
        first_deadline_at=min(deadlines, default=None),
        drains_in_s=round(sum(waiting.values()) / carried_per_s, 1),
        missed=missed,
        written_p99_s=None if p99_s is None else round(p99_s, 2),
        recommended_delay_s=None if p99_s is None else recommended_delay_s(p99_s),
        imports=await bulk_road(connection, row["account_key"], org_ids, now),
        second_road=row["verdict"] or ("being tried" if row["looks"] else "not tried"),
        second_road_since=row["verdict_at"],
        second_road_used_last_min=by_road,
        second_road_breaker=breaker(row["road_breaker_writes"], row["road_blocked_until"], now),
    )


async def _history(
    connection: Connection, org_ids: list[UUID], now: datetime, back: timedelta
) -> tuple[dict[str, int], float | None]:
    """Missed writes by reason, most first, and the p99 from webhook to profile."""
    missed: Counter[str] = Counter()
    for org_id in org_ids:
        reading = await reading_of(connection, org_id, back / timedelta(hours=1), now)
        rows = await reading.fetch(connection, SELECT_MISSED)
        missed.update({row["reason"]: row["writes"] for row in rows})
    await connection.execute(SET_FOR_FEW)
    since = span_start(now - back, QUARTER)
    p99_s = await connection.fetchval(SELECT_P99, org_ids, since, generation_day(since), (now - since) / 60)
    return dict(missed.most_common()), p99_s


def breaker(writes: int | None, blocked_until: datetime | None, now: datetime) -> str:
    """closed; open, while it rests; or probing, in turns of so many writes."""
    if writes is None:
        return "closed"
    return "open" if blocked_until is not None and blocked_until > now else "probing"


def used(newest_slot: int, slots: list[int], now: datetime) -> int:
    """Tokens paid within the last minute. `slots` holds tokens by second, the first is of `newest_slot`."""
    age_s = math.floor(now.timestamp()) - newest_slot
    return sum(slots[: max(0, MINUTE_S - max(0, age_s))])


def recent(newest_step: int, counts: list[int], now: datetime) -> int:
    """Calls of the last 30 seconds. `counts` holds them by steps of 5 s, the first is the one of that number."""
    age = math.floor(now.timestamp() / _STEP_S) - newest_step
    return sum(counts[: max(0, _STEPS - max(0, age))])


def recommended_delay_s(p99_s: float) -> int:
    """Whole minutes that leave the slowest of 100 writes half as much again."""
    return max(_DELAY_LEAST_S, math.ceil(p99_s * _DELAY_SPARE / MINUTE_S) * MINUTE_S)
