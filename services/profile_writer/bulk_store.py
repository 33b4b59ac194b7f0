"""SQL of the bulk road: whose turn it is, what waits, what could go by import, and the jobs themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from services.profile_writer.bulk_rules import LEASE, ROW_REFUSED, TRIES_MAX, Encoded, Job
from services.profile_writer.rows import Key, Pending, Ref
from services.profile_writer.standing import Standing
from services.profile_writer.store import BY_KEY_ONLY, Desk, Store, pending_of
from services.profile_writer.turn_rules import Sent, take
from services.profile_writer.turn_store import TurnStore
from shared.db.pool import Database
from shared.klaviyo.bulk import SCOPES

_LOOKED_AT_MOST = 150_000  # rows of one lane, by deadline; what comes after can wait for the next look
_HOLD_S = 90  # sending a job may last a minute
_REFUSAL_LASTS = timedelta(hours=1)
_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Road:
    """What the account's row says about the road, and which of its orgs may use it."""

    standing: Standing
    orgs: tuple[UUID, ...]
    create_at: datetime | None
    poll_at: datetime | None
    failures: int
    latencies_s: tuple[float, ...]
    jobs: tuple[Job, ...]  # that have not ended, the oldest first
    named: frozenset[str]  # Klaviyo's ids of all our jobs of that time


class BulkStore:
    """Every method is a transaction of its own, or belongs to the desk that it is given."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

    CLAIM = """
        UPDATE klaviyo_accounts SET bulk_until = $2
        WHERE account_key = (
            SELECT a.account_key FROM klaviyo_accounts a
            WHERE a.bulk_look_at <= $1 AND (a.bulk_until IS NULL OR a.bulk_until <= $1)
            ORDER BY a.bulk_look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING account_key
    """

    async def claim(self, now: datetime) -> str | None:
        """The account whose road is to be looked at, ours until `release`; None when there is none."""
        async with self._db.connection() as connection:
            found: str | None = await connection.fetchval(self.CLAIM, now, now + timedelta(seconds=_HOLD_S))
        return found

    RELEASE = "UPDATE klaviyo_accounts SET bulk_until = NULL, bulk_look_at = $2 WHERE account_key = $1"

    async def release(self, account_key: str, look_at: datetime | None) -> None:
        """Give it back, to be looked at again then."""
        async with self._db.connection() as connection:
            await connection.execute(self.RELEASE, account_key, look_at)

    SELECT_NEXT_LOOK = "SELECT min(bulk_look_at) FROM klaviyo_accounts"

    async def next_look(self) -> datetime | None:
        async with self._db.connection() as connection:
            moment: datetime | None = await connection.fetchval(self.SELECT_NEXT_LOOK)
        return moment

    SELECT_ROAD = """
        SELECT bulk_create_at, bulk_poll_at, bulk_failures, bulk_refused_at FROM klaviyo_accounts WHERE account_key = $1
    """
    # A refusal holds for the key that was refused, and not for ever: scopes of a key can be changed.
    SELECT_ORGS = """
        SELECT i.org_id FROM integrations i
        WHERE i.account_key = $1 AND i.scopes @> $2
          AND ($3::timestamptz IS NULL OR $3 < $4 OR i.updated_at > $3)
          AND NOT EXISTS (SELECT FROM write_pauses p WHERE p.org_id = i.org_id AND p.integration_at = i.updated_at)
        ORDER BY i.org_id
    """
    SELECT_LATENCIES = """
        SELECT latency_s FROM bulk_jobs WHERE account_key = $1 AND sent_at > $2 AND latency_s IS NOT NULL
        ORDER BY sent_at DESC LIMIT 20
    """
    SELECT_JOBS = """
        SELECT job_id, account_key, org_id, state, klaviyo_job_id, profile_ids, prefixes, days, generation_ids,
               deadlines, bytes, sent_at
        FROM bulk_jobs WHERE account_key = $1 AND state <> 'ended' ORDER BY sent_at
    """

    SELECT_NAMED = """
        SELECT klaviyo_job_id FROM bulk_jobs WHERE account_key = $1 AND sent_at > $2 AND klaviyo_job_id IS NOT NULL
    """

    async def road(self, account_key: str, now: datetime) -> Road:
        """All that decides what is to be done."""
        async with self._db.connection() as connection:
            standing = await TurnStore(connection).standing(account_key)
            (row,) = await connection.fetch(self.SELECT_ROAD, account_key)
            orgs = await connection.fetch(
                self.SELECT_ORGS, account_key, sorted(SCOPES), row["bulk_refused_at"], now - _REFUSAL_LASTS
            )
            latencies = await connection.fetch(self.SELECT_LATENCIES, account_key, now - timedelta(days=1))
            jobs = await connection.fetch(self.SELECT_JOBS, account_key)
            since = jobs[0]["sent_at"] - timedelta(minutes=5) if jobs else now
            named = await connection.fetch(self.SELECT_NAMED, account_key, since)
        return Road(
            standing,
            tuple(found["org_id"] for found in orgs),
            row["bulk_create_at"],
            row["bulk_poll_at"],
            row["bulk_failures"],
            tuple(found["latency_s"] for found in latencies),
            tuple(map(_job, jobs)),
            frozenset(found["klaviyo_job_id"] for found in named),
        )

    SELECT_DUE = """
        SELECT floor(extract(epoch FROM deadline_at))::bigint AS at_s, count(*) AS waiting
        FROM (SELECT first.deadline_at FROM unnest('{0,1,2}'::smallint[]) AS lanes (lane),
                LATERAL (SELECT deadline_at FROM pending_writes p
                         WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at > $2 AND p.taken_by IS NULL
                         ORDER BY p.deadline_at LIMIT $3) first) due
        GROUP BY 1 ORDER BY 1
    """

    async def due(self, account_key: str, after: datetime) -> list[tuple[datetime, int]]:
        """What waits for tokens, by the second of its deadline."""
        async with self._db.transaction() as connection:
            await connection.execute(BY_KEY_ONLY)
            rows = await connection.fetch(self.SELECT_DUE, account_key, after, _LOOKED_AT_MOST)
        return [(datetime.fromtimestamp(row["at_s"], UTC), row["waiting"]) for row in rows]

    # From the far end: single writes take the earliest deadlines, imports get the most time. Profiles that show an
    # older copy go last, since single writes serve them first.
    SELECT_CANDIDATES = """
        SELECT first.* FROM unnest('{0,1,2}'::smallint[]) AS lanes (lane),
            LATERAL (
                SELECT account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                       accepted_at, deadline_at, clean_at, next_attempt_at, attempt, last_reason, taken_by, sent_day,
                       sent_generation_id, sent_org_id
                FROM pending_writes p
                WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at > $2 AND p.deadline_at <= $3
                  AND p.action = 'write' AND p.taken_by IS NULL AND p.next_attempt_at <= $4 AND p.org_id = $5
                  AND p.attempt < $6 AND p.last_reason IS DISTINCT FROM $7
                ORDER BY p.deadline_at DESC LIMIT $8) first
        ORDER BY first.lane = 0, first.deadline_at DESC LIMIT $8
    """

    async def candidates(
        self, account_key: str, org_id: UUID, after: datetime, until: datetime, now: datetime, rows: int
    ) -> list[Pending]:
        """Writes of one org that may go by import, one per profile."""
        async with self._db.transaction() as connection:
            await connection.execute(BY_KEY_ONLY)
            found = await connection.fetch(
                self.SELECT_CANDIDATES, account_key, after, until, now, org_id, TRIES_MAX, ROW_REFUSED, rows
            )
        by_profile: dict[str, Pending] = {}
        for row in map(pending_of, found):
            by_profile.setdefault(row.key.profile_id, row)
        return list(by_profile.values())

    SELECT_BUSY = """
        SELECT DISTINCT profile_id FROM pending_writes
        WHERE account_key = $1 AND profile_id = ANY($2) AND taken_by IS NOT NULL AND next_attempt_at > $3
    """
    # The last gate of a stop, as for single writes: packing and encoding take a while.
    SELECT_STOPPED = """
        SELECT g.generation_id
        FROM unnest($1::date[], $2::uuid[]) AS k (day, generation_id)
        JOIN generations g ON g.day = k.day AND g.generation_id = k.generation_id
        JOIN templates t ON t.org_id = g.org_id AND t.template_id = g.template_id
        JOIN orgs o ON o.org_id = g.org_id
        WHERE t.stopped_at IS NOT NULL OR o.stopped_at IS NOT NULL
    """
    INSERT_JOB = """
        INSERT INTO bulk_jobs (job_id, account_key, org_id, state, profile_ids, prefixes, days, generation_ids,
                               deadlines, rows, bytes, sent_at)
        VALUES ($1, $2, $3, 'sending', $4, $5, $6, $7, $8, $9, $10, $11)
    """

    async def take(self, job_id: UUID, batch: Sequence[Encoded], now: datetime) -> tuple[list[Sent], list[bytes]]:
        """Take what is still as it was read, as one job about to be sent; its rows and their bodies."""
        account_key, org_id = batch[0].row.key.account_key, batch[0].row.ref.org_id
        async with self._store.desk({account_key}) as desk:
            profiles = [one.row.key.profile_id for one in batch]
            taken = await desk.connection.fetch(self.SELECT_BUSY, account_key, profiles, now)
            busy = {row["profile_id"] for row in taken}
            refs = [one.row.ref for one in batch]
            halted = await desk.connection.fetch(
                self.SELECT_STOPPED, [ref.day for ref in refs], [ref.generation_id for ref in refs]
            )
            stopped = {row["generation_id"] for row in halted}
            book = await desk.open_book({one.row.key for one in batch})
            sends: list[Sent] = []
            bodies: list[bytes] = []
            for one in batch:
                row, before = book.pending(one.row.key), book.held(one.row.key)
                if row != one.row or row.key.profile_id in busy or row.ref.generation_id in stopped:
                    continue  # newer, gone, in flight or stopped by now
                verdict = take(row, before, job_id, now + LEASE)
                book.record(row.key, verdict)
                if verdict.pending is not None:
                    sends.append(Sent(verdict.pending, before))
                    bodies.append(one.body)
            if sends:
                await desk.save(book, now)
                rows = [sent.row for sent in sends]
                await desk.connection.execute(
                    self.INSERT_JOB, job_id, account_key, org_id, [row.key.profile_id for row in rows],
                    [row.key.prefix for row in rows], [row.ref.day for row in rows],
                    [row.ref.generation_id for row in rows], [row.deadline_at for row in rows], len(rows),
                    sum(map(len, bodies)), now,
                )  # fmt: skip
        return sends, bodies

    UPDATE_SENT = "UPDATE bulk_jobs SET state = $2, klaviyo_job_id = $3 WHERE job_id = $1"
    # Of two workers that both find it by its rows, one is right; a job that has ended stays so.
    UPDATE_FOUND = """
        UPDATE bulk_jobs SET state = 'running', klaviyo_job_id = $2 WHERE job_id = $1 AND state IN ('sending', 'lost')
    """

    async def made(self, job_id: UUID, klaviyo_job_id: str | None) -> None:
        """The job was sent; None: its answer was lost."""
        async with self._db.connection() as connection:
            state = "lost" if klaviyo_job_id is None else "running"
            await connection.execute(self.UPDATE_SENT, job_id, state, klaviyo_job_id)

    async def adopted(self, job_id: UUID, klaviyo_job_id: str) -> None:
        """A job whose answer was lost was found at Klaviyo."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_FOUND, job_id, klaviyo_job_id)

    END_JOB = """
        UPDATE bulk_jobs SET state = 'ended', ended_at = $2, ending = $3, refused_rows = $4, latency_s = $5,
            profile_ids = '{}', prefixes = '{}', days = '{}', generation_ids = '{}', deadlines = '{}'
        WHERE job_id = $1 AND state <> 'ended'
    """
    DELETE_OLD = "DELETE FROM bulk_jobs WHERE account_key = $1 AND state = 'ended' AND sent_at < $2"

    async def end(
        self,
        desk: Desk,
        job_id: UUID,
        account_key: str,
        ending: str,
        now: datetime,
        *,
        refused_rows: int = 0,
        latency_s: float | None = None,
    ) -> None:
        """The job is over and its rows are settled, in the transaction of the last of them."""
        await desk.connection.execute(self.END_JOB, job_id, now, ending, refused_rows, latency_s)
        await desk.connection.execute(self.DELETE_OLD, account_key, now - _KEPT)

    UPDATE_CREATING = """
        UPDATE klaviyo_accounts SET bulk_create_at = $2, bulk_failures = $3 WHERE account_key = $1
    """
    UPDATE_POLLING = "UPDATE klaviyo_accounts SET bulk_poll_at = $2 WHERE account_key = $1"
    UPDATE_REFUSED = """
        UPDATE klaviyo_accounts SET bulk_refused_at = $2, bulk_refused_reason = $3 WHERE account_key = $1
    """

    async def creating(self, account_key: str, at: datetime, failures: int) -> None:
        """No job is made before `at`; so many in a row were not answered."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_CREATING, account_key, at, failures)

    async def polling(self, account_key: str, at: datetime) -> None:
        """Jobs are not listed before `at`."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_POLLING, account_key, at)

    async def refused(self, account_key: str, now: datetime, reason: str) -> None:
        """Klaviyo does not let the account's key take the road."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_REFUSED, account_key, now, reason)


def _job(row: asyncpg.Record) -> Job:
    keys = [Key(row["account_key"], *names) for names in zip(row["profile_ids"], row["prefixes"], strict=True)]
    refs = [Ref(day, one, row["org_id"]) for day, one in zip(row["days"], row["generation_ids"], strict=True)]
    return Job(
        row["job_id"], row["account_key"], row["org_id"], row["state"], row["klaviyo_job_id"], keys, refs,
        row["deadlines"], row["bytes"], row["sent_at"],
    )  # fmt: skip
