"""SQL of a move: rows under the quota of an org's earlier key follow it to that of its new one, a piece at a time."""

import asyncio
from datetime import datetime
from uuid import UUID

from services.profile_writer.by_key import AT_KEY, row_at_key
from services.profile_writer.rows import Key, Verdict
from services.profile_writer.store import Desk, Store
from services.profile_writer.turns.late import uncover
from services.profile_writer.turns.rules import Sent
from services.profile_writer.upkeep.moves import joined, over_each_other
from shared import logs
from shared.db.pool import Database
from shared.errors import Transient

log = logs.get(__name__)

PIECE = 1000
"""Profiles that one transaction moves: the bound on how long it holds both accounts."""

_REST_MAX_S = 0.5

SELECT_MOVED = """
    SELECT DISTINCT i.org_id, found.account_key AS was, i.account_key AS becomes
    FROM integrations i
    JOIN (SELECT org_id, account_key FROM pending_writes UNION SELECT org_id, account_key FROM profile_state) found
      ON found.org_id = i.org_id AND found.account_key <> i.account_key
    WHERE $1::uuid IS NULL OR i.org_id = $1
"""
# Whose profile ends the next piece.
SELECT_LAST = """
    SELECT max(profile_id) FROM (
        SELECT profile_id FROM (
            (SELECT profile_id FROM pending_writes WHERE org_id = $1 AND account_key = $2 AND profile_id > $3
             ORDER BY profile_id LIMIT $4)
            UNION ALL
            (SELECT profile_id FROM profile_state WHERE org_id = $1 AND account_key = $2 AND profile_id > $3
             ORDER BY profile_id LIMIT $4)) found
        ORDER BY profile_id LIMIT $4) piece
"""
_OF_PIECE = "org_id = $1 AND account_key = $2 AND profile_id > $4 AND profile_id <= $5"
_BY_KEY = "ORDER BY profile_id, prefix"  # which the primary key alone has (`by_key`)
SELECT_TWICE = f"""
    SELECT k.profile_id, k.prefix
    FROM ((SELECT $3::text AS account_key, profile_id, prefix FROM pending_writes WHERE {_OF_PIECE} {_BY_KEY})
          UNION (SELECT $3, profile_id, prefix FROM profile_state WHERE {_OF_PIECE} {_BY_KEY})) k
    WHERE EXISTS (SELECT FROM {row_at_key("pending_writes")} WHERE {AT_KEY})
       OR EXISTS (SELECT FROM {row_at_key("profile_state")} WHERE {AT_KEY})
"""  # noqa: S608 - our own names
# What is in flight stays behind, and what its profile holds with it.
MOVE_HELD = f"""
    UPDATE profile_state SET account_key = $3 WHERE ctid = ANY(ARRAY(
        SELECT o.ctid FROM profile_state o WHERE {_OF_PIECE} AND NOT EXISTS (
          SELECT FROM (SELECT p.prefix, p.taken_by FROM pending_writes p
                       WHERE p.account_key = $2 AND p.profile_id = o.profile_id AND p.prefix >= o.prefix
                       ORDER BY p.prefix LIMIT 1) found
          WHERE found.prefix = o.prefix AND found.taken_by IS NOT NULL)
        {_BY_KEY}))
"""  # noqa: S608 - our own names
MOVE_PENDING = f"""
    UPDATE pending_writes SET account_key = $3 WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM pending_writes WHERE {_OF_PIECE} AND taken_by IS NULL {_BY_KEY}))
"""  # noqa: S608 - the same
COUNT_LEFT = "SELECT count(*) FROM pending_writes WHERE org_id = $1 AND account_key = $2"


class MoveStore:
    """Reads whole tables, rarely; each piece of a move is one transaction that holds both accounts."""

    def __init__(self, db: Database, store: Store, *, margin_s: float, piece: int = PIECE) -> None:
        self._db, self._store, self._margin_s, self._piece = db, store, margin_s, piece

    async def follow_accounts(self, org_id: UUID | None, now: datetime) -> int:
        """Bring the rows of orgs (None: all) whose integration names another quota now under that one, so that what
        their profiles hold stays known. Returns how many rows were in flight and stayed behind. Raises Transient when
        each was tried."""
        async with self._db.connection() as connection:
            moves = await connection.fetch(SELECT_MOVED, org_id)
        left, failed = 0, None
        for move in moves:
            try:
                left += await self._follow(move["org_id"], move["was"], move["becomes"], now)
            except Transient as error:
                log.warning("move.failed", org_id=move["org_id"], reason=error.reason)
                failed = error
        if failed is not None:
            raise failed
        return left

    async def _follow(self, org_id: UUID, was: str, becomes: str, now: datetime) -> int:
        """Rests as long as each piece took: turns and intake of both accounts must get in between."""
        loop, after = asyncio.get_running_loop(), ""
        while True:
            began_s = loop.time()
            async with self._store.desk({was, becomes}) as desk:
                last = await desk.connection.fetchval(SELECT_LAST, org_id, was, after, self._piece)
                if last is None:
                    left: int = await desk.connection.fetchval(COUNT_LEFT, org_id, was)
                    return left
                await self._move(desk, (org_id, was, becomes, after, last), now)
                await desk.wake({becomes}, now)
            after = last
            await asyncio.sleep(min(_REST_MAX_S, loop.time() - began_s))

    async def _move(self, desk: Desk, piece: tuple[UUID, str, str, str, str], now: datetime) -> None:
        _, was, becomes, _, _ = piece
        twice = await desk.connection.fetch(SELECT_TWICE, *piece)
        await self._join(desk, was, becomes, [(row["profile_id"], row["prefix"]) for row in twice], now)
        for statement in (MOVE_HELD, MOVE_PENDING):
            await desk.connection.execute(statement, *piece)

    async def _join(self, desk: Desk, was: str, becomes: str, names: list[tuple[str, str]], now: datetime) -> None:
        """Profiles that are known under both, unless something of theirs is in flight."""
        before = await desk.open_book({Key(was, *name) for name in names})
        since = await desk.open_book({Key(becomes, *name) for name in names})
        late: list[Sent] = []
        for name in names:
            old, key = Key(was, *name), Key(becomes, *name)
            if (row := before.pending(old)) is not None and row.taken_by is not None:
                continue
            known = Verdict(before.pending(old), before.held(old)), Verdict(since.pending(key), since.held(key))
            if (sent := over_each_other(before.held(old), since.held(key))) is not None:
                late.append(sent)
            since.record(key, joined(key, *known, now, self._margin_s))
            before.record(old, Verdict(None, None))
        await uncover(desk, since, late, now)
        await desk.save(before, now)
        await desk.save(since, now)
