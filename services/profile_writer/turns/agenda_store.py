"""Which rows a turn is about, and when the next of its account's are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.profile_writer.by_key import in_flight
from services.profile_writer.quota.capacity import MARKS, can_wait
from services.profile_writer.rows import Key, Lane
from services.profile_writer.turns.shares import crowded_out, evenly, shared_out, side_by_side
from services.profile_writer.turns.store import Claim
from shared.db.pool import Connection
from shared.writes import LANES, NOT_PUT_OFF, PUT_OFF

AT_ONCE = 500
"""Rows that one turn expires, and cleans up after: the bound on how long it holds the account."""


def _due(name: str, rows: str, most: str) -> str:
    """The branch of SELECT_AGENDA with what could be sent now of these rows, which it is called after."""
    return f"""
        (SELECT '{name}', p.profile_id, p.prefix FROM pending_writes p
         WHERE p.account_key = $1 AND {rows} AND p.next_attempt_at <= $2
           AND (p.action <> 'write' OR p.deadline_at > $3) AND p.org_id <> ALL($8::uuid[])
           AND NOT EXISTS ({in_flight("$1", "$2")})
         ORDER BY p.deadline_at LIMIT {most})
    """  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class Agenda:
    """The keys that a turn is about; `send` in the order of sending, one per profile."""

    over: tuple[Key, ...]
    clean: tuple[Key, ...]
    send: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """When something of an account is next due; None: never."""

    write_at: datetime | None  # a row of lanes 0 to 2 may be tried, or its lease ends
    clean_up_at: datetime | None  # the same of lane 3
    deadline_at: datetime | None  # of the first write
    clear_wanted_at: datetime | None  # of the oldest clear
    clean_at: datetime | None  # the first send window ends


class AgendaStore:
    """Works on the connection of a transaction that holds the account's row."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Eight scans by index: writes whose deadline is over, dangers first; clears nobody could make for a day; profiles
    # whose send window is over; and what could be sent now, lane by lane since each has a share of its own, by
    # deadline, no profile twice at a time; of retries those apart that are put off. Retries that are not due yet are
    # passed over one by one, 2 µs each; the breaker keeps them few.
    SELECT_AGENDA = f"""
        (SELECT 'over' AS what, first.profile_id, first.prefix
         FROM unnest('{{0,1,2}}'::smallint[]) AS lanes (lane),
              LATERAL (SELECT profile_id, prefix FROM pending_writes p
                       WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at <= $3 AND p.action = 'write'
                         AND (p.taken_by IS NULL OR p.next_attempt_at <= $2)
                       ORDER BY p.deadline_at LIMIT $5) first
         LIMIT $5)
        UNION ALL
        (SELECT 'over', first.profile_id, first.prefix
         FROM unnest('{{0,2,3}}'::smallint[]) AS lanes (lane),
              LATERAL (SELECT profile_id, prefix FROM pending_writes p
                       WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at <= $4 AND p.action <> 'write'
                         AND (p.taken_by IS NULL OR p.next_attempt_at <= $2)
                       ORDER BY p.deadline_at LIMIT $5) first
         LIMIT $5)
        UNION ALL
        (SELECT 'clean', profile_id, prefix FROM profile_state
         WHERE account_key = $1 AND NOT clean_queued AND clean_at <= $2
         ORDER BY clean_at LIMIT $5)
        UNION ALL
        {_due("dirty", f"p.lane = {Lane.DIRTY:d}", "$6")}
        UNION ALL
        {_due("fresh", f"p.lane = {Lane.FRESH:d}", "$6")}
        UNION ALL
        {_due("retry", f"p.lane = {Lane.RETRY:d} AND {NOT_PUT_OFF}", "$6")}
        UNION ALL
        {_due("put_off", f"p.lane = {Lane.RETRY:d} AND {PUT_OFF}", "$6")}
        UNION ALL
        {_due("clean_up", f"p.lane = {Lane.CLEAN_UP:d}", "$7")}
    """  # noqa: S608 - our own names

    async def agenda(
        self, claim: Claim, now: datetime, *, margin_s: float, given_up_before: datetime, tokens: int,
        clean_up_tokens: int, chance: float,
    ) -> Agenda:  # fmt: skip
        """What this turn is about. `margin_s`: writes with less than this before their deadline are not sent;
        `chance`: see `shared_out`."""
        over_before = now + timedelta(seconds=margin_s)
        account_key = claim.standing.account_key
        rows = await self._connection.fetch(
            self.SELECT_AGENDA, account_key, now, over_before, given_up_before, AT_ONCE, tokens, clean_up_tokens,
            claim.paused,
        )  # fmt: skip
        found: dict[str, list[Key]] = {what: [] for what in ("over", "clean", *LANES)}
        for row in rows:
            found[row["what"]].append(Key(account_key, row["profile_id"], row["prefix"]))
        over = set(found["over"])
        dirty, fresh, retries, clean_ups, put_off = ([key for key in found[what] if key not in over] for what in LANES)
        first = (*dirty, *fresh)
        if crowded_out(dirty, fresh, tokens) and await self._dirty_can_wait(claim, now, margin_s):
            first = side_by_side(dirty, fresh, tokens, chance)
        send = shared_out(first, retries, evenly(put_off, clean_ups), tokens, chance)
        return Agenda(tuple(found["over"]), tuple(found["clean"]), send)

    # One that is late already and is not to be tried now, such as a profile that Klaviyo fails to clear for hours, says
    # nothing of the others.
    SELECT_DIRTY_DEADLINES = """
        SELECT (SELECT p.deadline_at FROM pending_writes p
                WHERE p.account_key = $1 AND p.lane = 0 AND p.org_id <> ALL($2::uuid[])
                  AND (p.deadline_at > $4 OR p.next_attempt_at <= $5)
                ORDER BY p.deadline_at OFFSET m.mark LIMIT 1) AS deadline_at
        FROM unnest($3::int[]) WITH ORDINALITY AS m (mark, place) ORDER BY m.place
    """

    async def _dirty_can_wait(self, claim: Claim, now: datetime, margin_s: float) -> bool:
        """Whether all dirty profiles would be served in time with half of what the account carries. Asked only where
        fresh writes wait behind more of them than a turn takes."""
        standing = claim.standing
        rows = await self._connection.fetch(
            self.SELECT_DIRTY_DEADLINES, standing.account_key, claim.paused, list(MARKS),
            now + timedelta(seconds=margin_s), now,
        )  # fmt: skip
        deadlines = [row["deadline_at"] for row in rows]
        return can_wait(deadlines, standing.budget, now, standing.closed_until(now), margin_s)

    SELECT_MOMENTS = """
        SELECT
            (SELECT next_attempt_at FROM pending_writes
             WHERE account_key = $1 AND lane < 3 AND org_id <> ALL($2::uuid[])
             ORDER BY next_attempt_at LIMIT 1) AS write_at,
            (SELECT next_attempt_at FROM pending_writes
             WHERE account_key = $1 AND lane = 3 AND org_id <> ALL($2::uuid[])
             ORDER BY next_attempt_at LIMIT 1) AS clean_up_at,
            (SELECT min(first.deadline_at) FROM unnest('{0,1,2}'::smallint[]) AS lanes (lane),
                LATERAL (SELECT deadline_at FROM pending_writes p
                         WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.action = 'write' AND p.taken_by IS NULL
                         ORDER BY deadline_at LIMIT 1) first) AS deadline_at,
            (SELECT min(first.deadline_at) FROM unnest('{0,2,3}'::smallint[]) AS lanes (lane),
                LATERAL (SELECT deadline_at FROM pending_writes p
                         WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.action <> 'write' AND p.taken_by IS NULL
                         ORDER BY deadline_at LIMIT 1) first) AS clear_wanted_at,
            (SELECT clean_at FROM profile_state WHERE account_key = $1 AND NOT clean_queued
             ORDER BY clean_at LIMIT 1) AS clean_at
    """

    async def moments(self, claim: Claim) -> Moments:
        """When this account is next of interest; what paused orgs could send is left out."""
        (row,) = await self._connection.fetch(self.SELECT_MOMENTS, claim.standing.account_key, claim.paused)
        return Moments(**row)
