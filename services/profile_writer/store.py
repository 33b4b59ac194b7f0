"""The rows of accounts in PostgreSQL. Every method of `Desk` runs inside one transaction that holds its accounts' rows,
so what it reads cannot change before it writes."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.profile_writer.book import Book
from services.profile_writer.by_key import AT_KEY, delete_at_keys, keyed, row_at_key, rows_of_profile
from services.profile_writer.rows import Held, Key, Lane, Outcome, Pending, Ref, Stored, Unanswered, Wanted
from shared import metrics, tracing
from shared.db.partitions import Partitions
from shared.db.pool import Connection, Database
from shared.klaviyo.bulk import SCOPES
from shared.schemas.jobs import WriteJob
from shared.writes import LATEST_AT

_SEPARATOR = "\x1f"  # of messages on their way: PostgreSQL has no ragged arrays of arrays

_OWN_REASONS = {
    "quota", "outage", "key_refused", "arrived_late", "profile_not_found", "no_integration", "profile_id_invalid",
    "body_too_large", "body_not_encodable", "no_stored_copy",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """What is there about one job: what its generation says, or None where it is not stored; whether its write has
    ended already, so that this job is a repetition."""

    wanted: Wanted | None
    ended: bool


class Store:
    """Opens transactions on accounts."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._accounts: set[str] = set()
        self.outcome_days = Partitions(db, "write_outcomes")

    async def account_keys(self, org_ids: Collection[UUID]) -> dict[UUID, str]:
        """The quota that each org writes on; orgs without an integration are missing."""
        async with self._db.connection() as connection:
            return await Desk(connection).account_keys(org_ids)

    INSERT_ACCOUNTS = """
        INSERT INTO klaviyo_accounts (account_key) SELECT * FROM unnest($1::text[]) ON CONFLICT (account_key) DO NOTHING
    """
    LOCK_ACCOUNTS = """
        SELECT account_key FROM klaviyo_accounts WHERE account_key = ANY($1) ORDER BY account_key FOR UPDATE
    """

    @asynccontextmanager
    async def desk(self, account_keys: Collection[str]) -> AsyncIterator["Desk"]:
        """A transaction that holds these accounts; waits for turns and other intakes that hold them."""
        keys = sorted(set(account_keys))
        async with self._db.transaction() as connection:
            if not self._accounts.issuperset(keys):
                await connection.execute(self.INSERT_ACCOUNTS, keys)
            await connection.fetch(self.LOCK_ACCOUNTS, keys)
            yield Desk(connection)
        self._accounts.update(keys)

    @asynccontextmanager
    async def free_desk(self) -> AsyncIterator["Desk"]:
        """A transaction that holds no account yet; for a turn, which claims one."""
        async with self._db.transaction() as connection:
            yield Desk(connection)


class Desk:
    """One transaction's view."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    SELECT_ACCOUNT_KEYS = "SELECT org_id, account_key FROM integrations WHERE org_id = ANY($1)"

    async def account_keys(self, org_ids: Collection[UUID]) -> dict[UUID, str]:
        """The quota that each org writes on; orgs without an integration are missing."""
        rows = await self.connection.fetch(self.SELECT_ACCOUNT_KEYS, list(org_ids))
        return {row["org_id"]: row["account_key"] for row in rows}

    # Who changes a key meanwhile waits for us, for milliseconds, and whoever then looks for what stayed under the old
    # quota sees what we have written. No ring of waiters: who changes keys holds no account, and orgs have one order.
    HOLD_ACCOUNT_KEYS = f"{SELECT_ACCOUNT_KEYS} ORDER BY org_id FOR SHARE"

    async def hold_account_keys(self, org_ids: Collection[UUID]) -> dict[UUID, str]:
        """As `account_keys`, and they stay so until the transaction ends."""
        rows = await self.connection.fetch(self.HOLD_ACCOUNT_KEYS, list(org_ids))
        return {row["org_id"]: row["account_key"] for row in rows}

    SELECT_KNOWN = f"""
        SELECT k.ord, g.written_for, g.deadline_at, g.clean_at, o.generation_id IS NOT NULL AS ended,
               {LATEST_AT} AS latest_at,
               t.stopped_at IS NOT NULL OR c.stopped_at IS NOT NULL AS stopped
        FROM unnest($1::date[], $2::uuid[]) WITH ORDINALITY AS k (day, generation_id, ord)
        LEFT JOIN generations g ON g.day = k.day AND g.generation_id = k.generation_id
        LEFT JOIN write_outcomes o ON o.day = k.day AND o.generation_id = k.generation_id
        LEFT JOIN templates t ON t.org_id = g.org_id AND t.template_id = g.template_id
        LEFT JOIN orgs c ON c.org_id = g.org_id
        ORDER BY k.ord
    """  # noqa: S608 - our own words

    async def known(self, jobs: Sequence[tuple[str, WriteJob]]) -> list[Known]:
        """What there is about each (account key, job), in their order."""
        rows = await self.connection.fetch(
            self.SELECT_KNOWN, [job.day for _, job in jobs], [job.generation_id for _, job in jobs]
        )
        return [_known(account_key, job, row) for (account_key, job), row in zip(jobs, rows, strict=True)]

    SELECT_STORED = f"""
        SELECT g.generation_id, g.written_for, g.accepted_at, g.deadline_at, g.clean_at, {LATEST_AT}
        FROM unnest($1::date[], $2::uuid[]) AS k (day, generation_id)
        JOIN generations g ON g.day = k.day AND g.generation_id = k.generation_id
        LEFT JOIN templates t ON t.org_id = g.org_id AND t.template_id = g.template_id
        WHERE g.vars IS NOT NULL
    """  # noqa: S608 - our own words

    async def stored(self, refs: Sequence[Ref]) -> dict[UUID, Stored]:
        """What these generations say; those that have no copy are missing."""
        rows = await self.connection.fetch(
            self.SELECT_STORED, [ref.day for ref in refs], [ref.generation_id for ref in refs]
        )
        return {row["generation_id"]: Stored(*row[1:]) for row in rows}

    SELECT_PENDING = f"SELECT found.* FROM {keyed('$1', '$2', '$3')}, {row_at_key('pending_writes')} WHERE {AT_KEY}"  # noqa: S608 - our own names
    SELECT_HELD = f"SELECT found.* FROM {keyed('$1', '$2', '$3')}, {row_at_key('profile_state')} WHERE {AT_KEY}"  # noqa: S608 - our own names

    async def open_book(self, keys: Collection[Key]) -> Book:
        """What waits for these keys and what their profiles hold."""
        if not keys:
            return Book()
        columns = list(zip(*keys, strict=True))
        pending = await self.connection.fetch(self.SELECT_PENDING, *columns)
        held = await self.connection.fetch(self.SELECT_HELD, *columns)
        return Book(map(pending_of, pending), map(_held, held))

    SELECT_PENDING_OF = f"SELECT found.* FROM {keyed('$1', '$2')}, {rows_of_profile('pending_writes')}"  # noqa: S608 - our own names
    SELECT_HELD_OF = f"SELECT found.* FROM {keyed('$1', '$2')}, {rows_of_profile('profile_state')}"  # noqa: S608 - our own names

    async def open_profiles(self, keys: Collection[Key]) -> Book:
        """The same of all prefixes of these keys' profiles."""
        if not keys:
            return Book()
        columns = list(zip(*sorted({(key.account_key, key.profile_id) for key in keys}), strict=True))
        pending = await self.connection.fetch(self.SELECT_PENDING_OF, *columns)
        held = await self.connection.fetch(self.SELECT_HELD_OF, *columns)
        return Book(map(pending_of, pending), map(_held, held))

    async def save(self, book: Book, now: datetime) -> None:
        """Write back what has changed, and count what ended."""
        if changed := book.pending_changed():
            await self.connection.execute(self.UPSERT_PENDING, *zip(*map(_pending_values, changed), strict=True))
        if gone := book.pending_gone():
            await self.connection.execute(self.DELETE_PENDING, *zip(*gone, strict=True))
        if held := book.held_changed():
            await self.connection.execute(self.UPSERT_HELD, *zip(*map(_held_values, held), strict=True))
        if gone := book.held_gone():
            await self.connection.execute(self.DELETE_HELD, *zip(*gone, strict=True))
        if book.outcomes:
            await self.save_outcomes(book.outcomes, now)

    UPSERT_PENDING = """
        INSERT INTO pending_writes AS p (
            account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for, accepted_at,
            deadline_at, clean_at, next_attempt_at, attempt, last_reason, taken_by, sent_day, sent_generation_id,
            sent_org_id, latest_at)
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::smallint[], $7::date[], $8::uuid[],
            $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::int[],
            $15::text[], $16::uuid[], $17::date[], $18::uuid[], $19::uuid[],
            $20::timestamptz[])
        ON CONFLICT (account_key, profile_id, prefix) DO UPDATE SET
            org_id = excluded.org_id, action = excluded.action, lane = excluded.lane, day = excluded.day,
            generation_id = excluded.generation_id, written_for = excluded.written_for,
            accepted_at = excluded.accepted_at, deadline_at = excluded.deadline_at, clean_at = excluded.clean_at,
            next_attempt_at = excluded.next_attempt_at, attempt = excluded.attempt,
            last_reason = excluded.last_reason, taken_by = excluded.taken_by, sent_day = excluded.sent_day,
            sent_generation_id = excluded.sent_generation_id, sent_org_id = excluded.sent_org_id,
            latest_at = excluded.latest_at
    """
    DELETE_PENDING = delete_at_keys("pending_writes")
    UPSERT_HELD = """
        INSERT INTO profile_state (
            account_key, profile_id, prefix, org_id, state, day, generation_id, written_for, older_for, accepted_at,
            clean_at, decided_at, decided_until, clean_queued, stale_for, unanswered_until, unanswered_what)
        SELECT account_key, profile_id, prefix, org_id, state, day, generation_id, written_for,
               string_to_array(older_for, E'\\x1f'), accepted_at, clean_at, decided_at, decided_until, clean_queued,
               string_to_array(stale_for, E'\\x1f'), unanswered_until, unanswered_what
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::date[], $7::uuid[], $8::text[], $9::text[],
            $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::boolean[], $15::text[],
            $16::timestamptz[], $17::text[])
            AS h (account_key, profile_id, prefix, org_id, state, day, generation_id, written_for, older_for,
                  accepted_at, clean_at, decided_at, decided_until, clean_queued, stale_for, unanswered_until,
                  unanswered_what)
        ON CONFLICT (account_key, profile_id, prefix) DO UPDATE SET
            org_id = excluded.org_id, state = excluded.state, day = excluded.day,
            generation_id = excluded.generation_id, written_for = excluded.written_for,
            older_for = excluded.older_for, accepted_at = excluded.accepted_at, clean_at = excluded.clean_at,
            decided_at = excluded.decided_at, decided_until = excluded.decided_until,
            clean_queued = excluded.clean_queued, stale_for = excluded.stale_for,
            unanswered_until = excluded.unanswered_until, unanswered_what = excluded.unanswered_what
    """
    DELETE_HELD = delete_at_keys("profile_state")
    INSERT_OUTCOMES = """
        INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts)
        SELECT day, generation_id, org_id, outcome, reason, $7, attempts
        FROM unnest($1::date[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::int[])
            AS o (day, generation_id, org_id, outcome, reason, attempts)
        ON CONFLICT (day, generation_id) DO NOTHING
        RETURNING generation_id
    """

    async def save_outcomes(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """The first outcome of a generation stands; only those that are new are counted."""
        columns = zip(*((*o.ref[:2], o.ref.org_id, o.ending, o.reason, o.attempts) for o in outcomes), strict=True)
        rows = await self.connection.fetch(self.INSERT_OUTCOMES, *columns, now)
        new = {row["generation_id"] for row in rows}
        for outcome in outcomes:
            if outcome.ref.generation_id in new:
                new.discard(outcome.ref.generation_id)
                metrics.count("profile_writes_total", outcome=outcome.ending)
                tracing.moment("write ended", outcome.ref.generation_id, outcome=outcome.ending,
                               reason=_counted(outcome.reason) if outcome.reason else "")  # fmt: skip
                if outcome.ending in ("expired", "rejected"):
                    metrics.count("write_missed_total", reason=_counted(outcome.reason))
                if outcome.waited_s is not None:
                    metrics.observe("job_end_to_end_seconds", outcome.waited_s)

    # The bulk road is looked at for a second's arrivals together, where a key may take it at all.
    WAKE_ACCOUNTS = """
        UPDATE klaviyo_accounts a SET runnable_at = least(runnable_at, $2),
            bulk_look_at = CASE WHEN EXISTS (SELECT FROM integrations i
                                             WHERE i.account_key = a.account_key AND i.scopes @> $3::text[])
                           THEN least(bulk_look_at, $2 + interval '1 second') ELSE bulk_look_at END
        WHERE account_key = ANY($1)
    """

    async def wake(self, account_keys: Collection[str], at: datetime) -> None:
        """Have these accounts looked at no later than then."""
        await self.connection.execute(self.WAKE_ACCOUNTS, list(account_keys), at, sorted(SCOPES))


def _counted(reason: str | None) -> str:
    """A reason as a label: our own words, and one for all that Klaviyo may say."""
    return reason if reason in _OWN_REASONS else "klaviyo_refused"


def _pending_values(row: Pending) -> tuple[object, ...]:
    sent = row.sent or (None, None, None)
    return (
        *row.key, row.ref.org_id, row.action, int(row.lane), row.ref.day, row.ref.generation_id, row.written_for,
        row.accepted_at, row.deadline_at, row.clean_at, row.next_attempt_at, row.attempt, row.last_reason, row.taken_by,
        *sent, row.latest_at,
    )  # fmt: skip


def _held_values(row: Held) -> tuple[object, ...]:
    return (
        *row.key, row.ref.org_id, row.state, row.ref.day, row.ref.generation_id, row.written_for,
        _SEPARATOR.join(row.older_for), row.accepted_at, row.clean_at, row.decided_at, row.decided_until,
        row.clean_queued, _SEPARATOR.join(row.stale_for), *(row.unanswered or (None, None)),
    )  # fmt: skip


def pending_of(row: asyncpg.Record) -> Pending:
    """A row with all columns of `pending_writes`."""
    sent = None
    if row["sent_generation_id"] is not None:
        sent = Ref(row["sent_day"], row["sent_generation_id"], row["sent_org_id"])
    return Pending(
        key=Key(row["account_key"], row["profile_id"], row["prefix"]),
        ref=Ref(row["day"], row["generation_id"], row["org_id"]),
        action=row["action"],
        lane=Lane(row["lane"]),
        written_for=row["written_for"],
        accepted_at=row["accepted_at"],
        deadline_at=row["deadline_at"],
        clean_at=row["clean_at"],
        next_attempt_at=row["next_attempt_at"],
        attempt=row["attempt"],
        last_reason=row["last_reason"],
        taken_by=row["taken_by"],
        sent=sent,
        latest_at=row["latest_at"],
    )


def _held(row: asyncpg.Record) -> Held:
    # A release before knows no decision of its own: what it writes moves `accepted_at` and leaves these as they were.
    until = row["unanswered_until"]
    return Held(
        key=Key(row["account_key"], row["profile_id"], row["prefix"]),
        ref=Ref(row["day"], row["generation_id"], row["org_id"]),
        state=row["state"],
        written_for=row["written_for"],
        older_for=tuple(row["older_for"]),
        accepted_at=row["accepted_at"],
        clean_at=row["clean_at"],
        decided_at=max(row["accepted_at"], row["decided_at"] or row["accepted_at"]),
        decided_until=max(row["clean_at"], row["decided_until"] or row["clean_at"]),
        clean_queued=row["clean_queued"],
        stale_for=tuple(row["stale_for"]),
        unanswered=None if until is None else Unanswered(until, row["unanswered_what"]),
    )


def _known(account_key: str, job: WriteJob, row: asyncpg.Record) -> Known:
    if row["written_for"] is None:
        return Known(None, row["ended"])
    again = job.deadline_at - row["deadline_at"]
    wanted = Wanted(
        key=Key(account_key, job.profile_id, job.prefix),
        ref=Ref(job.day, job.generation_id, job.org_id),
        action=job.action,
        written_for=row["written_for"],
        accepted_at=job.accepted_at,
        deadline_at=job.deadline_at,
        # A webhook accepted again later asks for the same copy until its own, later window ends.
        clean_at=row["clean_at"] + again,
        stopped=row["stopped"],
        latest_at=row["latest_at"] + again if row["latest_at"] > row["deadline_at"] else None,
    )
    return Known(wanted, row["ended"] and job.deadline_at <= row["deadline_at"])
