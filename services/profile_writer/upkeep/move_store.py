"""SQL of a move: rows under the quota of an org's earlier key follow it to the quota of its new one."""

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

SELECT_MOVED = """
    SELECT DISTINCT i.org_id, found.account_key AS was, i.account_key AS becomes
    FROM integrations i
    JOIN (SELECT org_id, account_key FROM pending_writes UNION SELECT org_id, account_key FROM profile_state) found
      ON found.org_id = i.org_id AND found.account_key <> i.account_key
    WHERE $1::uuid IS NULL OR i.org_id = $1
"""
SELECT_TWICE = f"""
    SELECT k.profile_id, k.prefix
    FROM (SELECT $3::text AS account_key, profile_id, prefix FROM pending_writes WHERE org_id = $1 AND account_key = $2
          UNION SELECT $3, profile_id, prefix FROM profile_state WHERE org_id = $1 AND account_key = $2) k
    WHERE EXISTS (SELECT FROM {row_at_key("pending_writes")} WHERE {AT_KEY})
       OR EXISTS (SELECT FROM {row_at_key("profile_state")} WHERE {AT_KEY})
"""  # noqa: S608 - our own names
# What is in flight stays behind, and what its profile holds with it.
MOVE_HELD = """
    UPDATE profile_state o SET account_key = $3
    WHERE o.org_id = $1 AND o.account_key = $2
      AND NOT EXISTS (
          SELECT FROM (SELECT p.prefix, p.taken_by FROM pending_writes p
                       WHERE p.account_key = $2 AND p.profile_id = o.profile_id AND p.prefix >= o.prefix
                       ORDER BY p.prefix LIMIT 1) found
          WHERE found.prefix = o.prefix AND found.taken_by IS NOT NULL)
"""
MOVE_PENDING = """
    UPDATE pending_writes SET account_key = $3 WHERE org_id = $1 AND account_key = $2 AND taken_by IS NULL
"""
COUNT_LEFT = "SELECT count(*) FROM pending_writes WHERE org_id = $1 AND account_key = $2"


class MoveStore:
    """Reads whole tables, rarely; a move is one transaction that holds both accounts."""

    def __init__(self, db: Database, store: Store, *, margin_s: float) -> None:
        self._db, self._store, self._margin_s = db, store, margin_s

    async def follow_accounts(self, org_id: UUID | None, now: datetime) -> int:
        """Bring the rows of orgs (None: all) whose integration names another quota now under that one, so that what
        their profiles hold stays known. Returns how many rows were in flight and stayed behind. Raises Transient when
        each was tried."""
        async with self._db.connection() as connection:
            moves = await connection.fetch(SELECT_MOVED, org_id)
        left, failed = 0, None
        for move in moves:
            try:
                async with self._store.desk({move["was"], move["becomes"]}) as desk:
                    left += await self._move(desk, move["org_id"], move["was"], move["becomes"], now)
                    await desk.wake({move["becomes"]}, now)
            except Transient as error:
                log.warning("move.failed", org_id=move["org_id"], reason=error.reason)
                failed = error
        if failed is not None:
            raise failed
        return left

    async def _move(self, desk: Desk, org_id: UUID, was: str, becomes: str, now: datetime) -> int:
        places = org_id, was, becomes
        twice = await desk.connection.fetch(SELECT_TWICE, *places)
        await self._join(desk, was, becomes, [(row["profile_id"], row["prefix"]) for row in twice], now)
        for statement in (MOVE_HELD, MOVE_PENDING):
            await desk.connection.execute(statement, *places)
        left: int = await desk.connection.fetchval(COUNT_LEFT, org_id, was)
        return left

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
