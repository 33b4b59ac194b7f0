"""SQL of the sweep: what is stopped, and the profiles and writes that it is about, a piece at a time."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from services.profile_writer.rows import Key
from services.profile_writer.stops import Stop, Stops, sweep
from services.profile_writer.store import Store
from shared.db.pool import Connection

PIECE = 500
"""Keys that one transaction changes: the bound on how long it holds the account."""

_RENEWED_AT_MOST = timedelta(hours=2)
"""A webhook accepted again keeps its copy that much longer at the most (two windows of `shared/schemas/ids`)."""

_IN_FLIGHT_AT_MOST = timedelta(minutes=2)  # of a single write; an import may last for hours

SELECT_STOPS = """
    SELECT org_id, NULL AS template_id, stopped_at FROM orgs
    WHERE stopped_at IS NOT NULL AND ($1::uuid IS NULL OR org_id = $1)
    UNION ALL
    SELECT org_id, template_id, stopped_at FROM templates
    WHERE stopped_at IS NOT NULL AND ($1::uuid IS NULL OR org_id = $1)
"""

Found = Mapping[Key, datetime | None]
"""Keys to look at, in their order, with the moment at which the email of what is held may leave, where it is known."""


class SweepStore:
    """Pages are read without a lock, by key, so that a sweep of a million rows reads each once; what is found is judged
    again under the account's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def stops(self) -> frozenset[Stop]:
        """All that is stopped now."""
        async with self._store.free_desk() as desk:
            return await _stops(desk.connection)

    async def account_key(self, org_id: UUID) -> str | None:
        """The quota that the org writes on; None: it is not connected."""
        return (await self._store.account_keys({org_id})).get(org_id)

    async def let_pass(self, account_key: str) -> None:
        """Wait for whoever holds the account. Who takes it from here on sees what was stopped before this call, so what
        is there now is all there is to sweep."""
        async with self._store.desk({account_key}):
            pass

    # A profile that Klaviyo would not let us clear is looked at a day later; by then its email has left, so a stop does
    # not ask for it again and again. What will be cleared first of all anyway is left out.
    SELECT_HELD = """
        SELECT s.profile_id, s.prefix, s.clean_at - (g.clean_at - g.deadline_at) AS email_at
        FROM profile_state s JOIN generations g ON g.day = s.day AND g.generation_id = s.generation_id
        WHERE s.account_key = $1 AND (s.profile_id, s.prefix) > ($2, $3) AND s.org_id = $4 AND s.state <> 'clean'
          AND ($5 OR split_part(s.written_for, '.', 1) = ANY($6::text[])
               OR EXISTS (SELECT FROM unnest(s.older_for) AS older (marker)
                          WHERE split_part(older.marker, '.', 1) = ANY($6::text[])))
          AND s.clean_at > $8 AND g.clean_at > $9
          AND NOT EXISTS (SELECT FROM pending_writes p
                          WHERE p.account_key = s.account_key AND p.profile_id = s.profile_id AND p.prefix = s.prefix
                            AND p.lane = 0 AND p.action <> 'write')
        ORDER BY s.profile_id, s.prefix LIMIT $7
    """

    async def held(self, account_key: str, org_id: UUID, stops: Stops, after: Key | None, now: datetime) -> Found:
        """The next profiles that hold, or may hold, copy of these stops whose email may not have left."""
        values = (*_page(account_key, org_id, stops, after), now, now - _RENEWED_AT_MOST)
        async with self._store.free_desk() as desk:
            rows = await desk.connection.fetch(self.SELECT_HELD, *values)
        return {Key(account_key, row["profile_id"], row["prefix"]): row["email_at"] for row in rows}

    SELECT_PENDING = """
        SELECT p.profile_id, p.prefix FROM pending_writes p
        WHERE p.account_key = $1 AND (p.profile_id, p.prefix) > ($2, $3) AND p.org_id = $4 AND p.action = 'write'
          AND ($5 OR split_part(p.written_for, '.', 1) = ANY($6::text[]))
        ORDER BY p.profile_id, p.prefix LIMIT $7
    """

    async def pending(self, account_key: str, org_id: UUID, stops: Stops, after: Key | None, _now: datetime) -> Found:
        """The next writes of these stops, waiting or in flight."""
        async with self._store.free_desk() as desk:
            rows = await desk.connection.fetch(self.SELECT_PENDING, *_page(account_key, org_id, stops, after))
        return {Key(account_key, row["profile_id"], row["prefix"]): None for row in rows}

    async def sweep(self, account_key: str, org_id: UUID, found: Found, now: datetime) -> set[Key]:
        """End and take away what is stopped by now of these keys, at most PIECE. Returns those with something
        in flight: what their profiles hold is known when that has landed. Those in an import are left out: it may take
        long, and what follows its end is decided when it is settled."""
        async with self._store.desk({account_key}) as desk:
            # Asked again under the lock: what was accepted after the end of a stop must live.
            stops = Stops.of(await _stops(desk.connection, org_id))
            book = await desk.open_book(found.keys())
            for key, email_at in found.items():
                book.record(key, sweep(stops, book.pending(key), book.held(key), now, email_at))
            await desk.save(book, now)
            await desk.wake({account_key}, now)
        soon = now + _IN_FLIGHT_AT_MOST
        return {
            key for key in found if (row := book.pending(key)) and row.taken_by and now < row.next_attempt_at <= soon
        }


async def _stops(connection: Connection, org_id: UUID | None = None) -> frozenset[Stop]:
    return frozenset(Stop(**dict(row)) for row in await connection.fetch(SELECT_STOPS, org_id))


def _page(account_key: str, org_id: UUID, stops: Stops, after: Key | None) -> tuple[object, ...]:
    _, profile_id, prefix = after or ("", "", "")
    templates: Collection[str] = [template_id for of, template_id in stops.templates if of == org_id]
    return account_key, profile_id, prefix, org_id, org_id in stops.orgs, templates, PIECE
