"""SQL of import jobs: which writes one has taken, and what became of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.profile_writer.bulk.rules import LEASE, Encoded, JobRows
from services.profile_writer.rows import Key, Ref
from services.profile_writer.store import Desk, Store
from services.profile_writer.turns.rules import Sent, take
from shared.db.pool import Database

_KEPT = timedelta(days=7)


class JobStore:
    """Every method is a transaction of its own, or belongs to the desk that it is given."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

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
            left_out = await self._left_out(desk, account_key, batch, now)
            book = await desk.open_book({one.row.key for one in batch})
            sends: list[Sent] = []
            bodies: list[bytes] = []
            for one in batch:
                row, before = book.pending(one.row.key), book.held(one.row.key)
                if row != one.row or row.key.profile_id in left_out:
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

    async def _left_out(self, desk: Desk, account_key: str, batch: Sequence[Encoded], now: datetime) -> set[str]:
        """Profiles that have something in flight, or whose template is stopped by now."""
        by_generation = {one.row.ref.generation_id: one.row.key.profile_id for one in batch}
        busy = await desk.connection.fetch(self.SELECT_BUSY, account_key, list(by_generation.values()), now)
        stopped = await desk.connection.fetch(
            self.SELECT_STOPPED, [one.row.ref.day for one in batch], list(by_generation)
        )
        return {row["profile_id"] for row in busy} | {by_generation[row["generation_id"]] for row in stopped}

    # Of one that is looked out for, what is learned later is kept.
    UPDATE_SENT = """
        UPDATE bulk_jobs SET state = CASE WHEN state = 'ended' THEN state ELSE $2 END, klaviyo_job_id = $3, lost_at = $4
        WHERE job_id = $1 AND (state = 'sending' OR profile_ids <> '{}' AND klaviyo_job_id IS NULL)
    """
    UPDATE_FOUND = """
        UPDATE bulk_jobs SET state = CASE WHEN state = 'ended' THEN state ELSE 'running' END, klaviyo_job_id = $2,
            lost_at = coalesce(lost_at, sent_at)
        WHERE job_id = $1 AND (state IN ('sending', 'lost') OR profile_ids <> '{}' AND klaviyo_job_id IS NULL)
    """
    UPDATE_MISTAKEN = """
        UPDATE bulk_jobs SET state = 'lost', klaviyo_job_id = NULL
        WHERE job_id = $1 AND state = 'running' AND klaviyo_job_id = $2
    """

    async def made(self, job_id: UUID, klaviyo_job_id: str) -> None:
        """The job was sent."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_SENT, job_id, "running", klaviyo_job_id, None)

    async def lost(self, job_id: UUID, now: datetime) -> None:
        """The job was sent, and nobody says what became of it."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_SENT, job_id, "lost", None, now)

    async def adopted(self, job_id: UUID, klaviyo_job_id: str) -> None:
        """A job whose answer was lost was found at Klaviyo, by its size and time. That it was lost stays known."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_FOUND, job_id, klaviyo_job_id)

    async def mistaken(self, job_id: UUID, klaviyo_job_id: str) -> None:
        """What was found is somebody else's: the job is lost still."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_MISTAKEN, job_id, klaviyo_job_id)

    SELECT_ROWS = """
        SELECT account_key, org_id, profile_ids, prefixes, days, generation_ids, deadlines FROM bulk_jobs
        WHERE job_id = $1
    """

    async def rows_of(self, job_id: UUID) -> JobRows:
        """What a job carries; nothing once it has ended and is not looked out for."""
        async with self._db.connection() as connection:
            (row,) = await connection.fetch(self.SELECT_ROWS, job_id)
        return JobRows(
            [Key(row["account_key"], *names) for names in zip(row["profile_ids"], row["prefixes"], strict=True)],
            [Ref(day, one, row["org_id"]) for day, one in zip(row["days"], row["generation_ids"], strict=True)],
            row["deadlines"],
        )

    END_JOB = """
        UPDATE bulk_jobs SET state = 'ended', ended_at = $2, ending = $3, refused_rows = $4, latency_s = $5,
            profile_ids = '{}', prefixes = '{}', days = '{}', generation_ids = '{}', deadlines = '{}'
        WHERE job_id = $1 AND (state <> 'ended' OR profile_ids <> '{}')
    """
    DOUBT_JOB = """
        UPDATE bulk_jobs SET state = 'ended', ended_at = $2, ending = $3, refused_rows = $4
        WHERE job_id = $1 AND state <> 'ended'
    """
    FORGET_ROWS = """
        UPDATE bulk_jobs SET profile_ids = '{}', prefixes = '{}', days = '{}', generation_ids = '{}', deadlines = '{}'
        WHERE job_id = $1 AND state = 'ended'
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
        looked_out_for: bool = False,
    ) -> None:
        """The job is over and its rows are settled, in the transaction of the last of them. Which they were is kept
        of one that is looked out for."""
        if looked_out_for:
            await desk.connection.execute(self.DOUBT_JOB, job_id, now, ending, refused_rows)
        else:
            await desk.connection.execute(self.END_JOB, job_id, now, ending, refused_rows, latency_s)
        await desk.connection.execute(self.DELETE_OLD, account_key, now - _KEPT)

    async def forget(self, job_id: UUID) -> None:
        """It is looked out for no longer."""
        async with self._db.connection() as connection:
            await connection.execute(self.FORGET_ROWS, job_id)
