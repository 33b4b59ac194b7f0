"""SQL of the bulk road: whose turn it is, what waits, what could go by import."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.profile_writer.bulk.rules import LEASE, ROW_REFUSED, TRIES_MAX, Job
from services.profile_writer.by_key import AT_KEY, in_flight, row_at_key
from services.profile_writer.quota.standing import Standing
from services.profile_writer.rows import Pending
from services.profile_writer.store import Store, pending_of
from services.profile_writer.turns.store import TurnStore
from shared.db.pool import Database
from shared.klaviyo.bulk import SCOPES

_LOOKED_AT_MOST = 150_000  # rows of one lane, by deadline; what comes after can wait for the next look
_LOOKED_AHEAD = timedelta(hours=6)
_BUCKET_S = 5
_HOLD = timedelta(seconds=90)  # sending a job may last a minute
_REFUSAL_LASTS = timedelta(hours=1)
_LATENCY_LASTS = timedelta(minutes=30)  # slow jobs of an incident must not keep the road shut for long
_KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Road:
    """What the account's row says about the road, and which of its orgs may use it."""

    standing: Standing
    held_until: datetime  # nobody else looks before; also the name of this hold
    orgs: tuple[UUID, ...]
    closed: bool  # an org could use it but for a pause or a refusal that will end
    paused: tuple[UUID, ...]
    create_at: datetime | None
    poll_at: datetime | None
    failures: int
    listed_at: datetime | None  # None: never, or the last try failed
    latencies_s: tuple[float, ...]
    jobs: tuple[Job, ...]  # that have not ended, the oldest first
    doubted: tuple[Job, ...]  # that nobody believes in any more, and that are looked out for
    named: frozenset[str]  # Klaviyo's ids of all our jobs of that time


@dataclass(frozen=True, slots=True)
class Due:
    """What waits for tokens: `ahead`, whatever their moment, and writes by the time of their deadline."""

    ahead: int
    writes: tuple[tuple[datetime, int], ...]


class BulkStore:
    """Every method is a transaction of its own, or belongs to the desk that it is given."""

    def __init__(self, db: Database, store: Store) -> None:
        self._db, self._store = db, store

    # While it is held it is not due, so that nobody asks for it again and again; who wakes it makes it due earlier.
    CLAIM = """
        UPDATE klaviyo_accounts SET bulk_until = $2, bulk_look_at = $2
        WHERE account_key = (
            SELECT a.account_key FROM klaviyo_accounts a
            WHERE a.bulk_look_at <= $1 AND (a.bulk_until IS NULL OR a.bulk_until <= $1)
            ORDER BY a.bulk_look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING account_key
    """

    async def claim(self, now: datetime) -> tuple[str, datetime] | None:
        """The account whose road is to be looked at, ours until that moment or `release`; None when there is none."""
        async with self._db.connection() as connection:
            found: str | None = await connection.fetchval(self.CLAIM, now, now + _HOLD)
        return None if found is None else (found, now + _HOLD)

    RELEASE = """
        UPDATE klaviyo_accounts SET bulk_until = NULL,
            bulk_look_at = CASE WHEN bulk_look_at < bulk_until THEN least(bulk_look_at, $3) ELSE $3 END
        WHERE account_key = $1 AND bulk_until = $2
    """

    async def release(self, account_key: str, held_until: datetime, look_at: datetime | None) -> None:
        """Give it back, to be looked at again then, or earlier if it was woken meanwhile."""
        async with self._db.connection() as connection:
            await connection.execute(self.RELEASE, account_key, held_until, look_at)

    SELECT_NEXT_LOOK = (
        "SELECT min(greatest(bulk_look_at, bulk_until)) FROM klaviyo_accounts WHERE bulk_look_at IS NOT NULL"
    )

    async def next_look(self) -> datetime | None:
        async with self._db.connection() as connection:
            moment: datetime | None = await connection.fetchval(self.SELECT_NEXT_LOOK)
        return moment

    SELECT_ROAD = """
        SELECT bulk_create_at, bulk_poll_at, bulk_failures, bulk_listed_at FROM klaviyo_accounts WHERE account_key = $1
    """
    SELECT_ORGS = """
        SELECT i.org_id, i.scopes @> $2 AS able,
               EXISTS (SELECT FROM write_pauses p
                       WHERE p.org_id = i.org_id AND p.integration_at = i.updated_at) AS paused,
               EXISTS (SELECT FROM bulk_refusals r WHERE r.org_id = i.org_id AND r.integration_at = i.updated_at
                       AND r.refused_at > $3) AS refused
        FROM integrations i WHERE i.account_key = $1 ORDER BY i.org_id
    """
    SELECT_LATENCIES = """
        SELECT latency_s FROM bulk_jobs WHERE account_key = $1 AND sent_at > $2 AND latency_s IS NOT NULL
        ORDER BY sent_at DESC LIMIT 20
    """
    SELECT_JOBS = """
        SELECT job_id, account_key, org_id, state, klaviyo_job_id, rows, sent_at, lost_at
        FROM bulk_jobs WHERE account_key = $1 AND state <> 'ended' ORDER BY sent_at
    """
    SELECT_DOUBTED = """
        SELECT job_id, account_key, org_id, state, klaviyo_job_id, rows, sent_at, lost_at, ended_at
        FROM bulk_jobs
        WHERE account_key = $1 AND sent_at > $2 AND state = 'ended' AND profile_ids <> '{}'
        ORDER BY sent_at
    """
    SELECT_NAMED = """
        SELECT klaviyo_job_id FROM bulk_jobs WHERE account_key = $1 AND sent_at > $2 AND klaviyo_job_id IS NOT NULL
    """

    async def road(self, account_key: str, held_until: datetime, now: datetime) -> Road:
        """All that decides what is to be done."""
        async with self._db.connection() as connection:
            standing = await TurnStore(connection).standing(account_key)
            (row,) = await connection.fetch(self.SELECT_ROAD, account_key)
            orgs = await connection.fetch(self.SELECT_ORGS, account_key, sorted(SCOPES), now - _REFUSAL_LASTS)
            latencies = await connection.fetch(self.SELECT_LATENCIES, account_key, now - _LATENCY_LASTS)
            jobs = [Job(**dict(found)) for found in await connection.fetch(self.SELECT_JOBS, account_key)]
            doubted = [
                Job(**dict(found))
                for found in await connection.fetch(self.SELECT_DOUBTED, account_key, now - 3 * LEASE)
            ]
            since = min((job.sent_at for job in (*jobs, *doubted)), default=now) - timedelta(minutes=5)
            named = await connection.fetch(self.SELECT_NAMED, account_key, since)
        able = [org for org in orgs if org["able"]]
        return Road(
            standing=standing,
            held_until=held_until,
            orgs=tuple(org["org_id"] for org in able if not org["paused"] and not org["refused"]),
            closed=any(org["paused"] or org["refused"] for org in able),
            paused=tuple(org["org_id"] for org in orgs if org["paused"]),
            create_at=row["bulk_create_at"],
            poll_at=row["bulk_poll_at"],
            failures=row["bulk_failures"],
            listed_at=row["bulk_listed_at"],
            latencies_s=tuple(found["latency_s"] for found in latencies),
            jobs=tuple(jobs),
            doubted=tuple(doubted),
            named=frozenset(found["klaviyo_job_id"] for found in named),
        )

    # What takes copy away goes before fresh writes and has no deadline of its own once that has passed.
    SELECT_DUE = """
        SELECT CASE WHEN first.deadline_at > $2
                    THEN $5::int * floor(extract(epoch FROM first.deadline_at) / $5::int)::bigint END AS at_s,
               count(*) AS waiting
        FROM unnest('{0,1,2}'::smallint[]) AS lanes (lane),
            LATERAL (SELECT deadline_at FROM pending_writes p
                     WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at < $3 AND p.taken_by IS NULL
                       AND (p.deadline_at > $2 OR p.action <> 'write') AND p.org_id <> ALL($6::uuid[])
                     ORDER BY p.deadline_at LIMIT $4) first
        GROUP BY 1 ORDER BY 1 NULLS FIRST
    """

    async def due(self, account_key: str, after: datetime, paused: Sequence[UUID]) -> Due:
        """What waits and can be sent; writes by deadlines, rounded down to some seconds."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(
                self.SELECT_DUE, account_key, after, after + _LOOKED_AHEAD, _LOOKED_AT_MOST, _BUCKET_S, paused
            )
        return Due(
            sum(row["waiting"] for row in rows if row["at_s"] is None),
            tuple(
                (datetime.fromtimestamp(row["at_s"], UTC), row["waiting"]) for row in rows if row["at_s"] is not None
            ),
        )

    # From the far end: single writes take the earliest deadlines, imports get the most time. Profiles that show an
    # older copy go last, since single writes serve them first.
    SELECT_CANDIDATES = f"""
        SELECT first.* FROM unnest('{{0,1,2}}'::smallint[]) AS lanes (lane),
            LATERAL (
                SELECT account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                       accepted_at, deadline_at, clean_at, next_attempt_at, attempt, last_reason, taken_by, sent_day,
                       sent_generation_id, sent_org_id, latest_at
                FROM pending_writes p
                WHERE p.account_key = $1 AND p.lane = lanes.lane AND p.deadline_at > $2 AND p.deadline_at <= $3
                  AND p.action = 'write' AND p.taken_by IS NULL AND p.next_attempt_at <= $4 AND p.org_id = $5
                  AND p.attempt < $6 AND p.last_reason IS DISTINCT FROM $7
                  AND NOT EXISTS ({in_flight("$1", "$4")})
                ORDER BY p.deadline_at DESC LIMIT $8) first
        ORDER BY first.lane = 0, first.deadline_at DESC LIMIT $8
    """  # noqa: S608 - our own names

    async def candidates(
        self, account_key: str, org_id: UUID, after: datetime, until: datetime, now: datetime, rows: int
    ) -> list[Pending]:
        """Writes of one org that may go by import, one per profile."""
        async with self._db.connection() as connection:
            found = await connection.fetch(
                self.SELECT_CANDIDATES, account_key, after, until, now, org_id, TRIES_MAX, ROW_REFUSED, rows
            )
        by_profile: dict[str, Pending] = {}
        for row in map(pending_of, found):
            by_profile.setdefault(row.key.profile_id, row)
        return list(by_profile.values())

    SELECT_SIZES = "SELECT rows FROM bulk_jobs WHERE account_key = $1 ORDER BY sent_at DESC LIMIT 64"

    async def sizes(self, account_key: str) -> set[int]:
        """How many rows the account's last jobs had, whoever made them."""
        async with self._db.connection() as connection:
            return {row["rows"] for row in await connection.fetch(self.SELECT_SIZES, account_key)}

    # Nothing can be made of them: the single road says why, and they must not be looked at first again and again.
    UPDATE_UNFIT = f"""
        UPDATE pending_writes SET last_reason = $5 WHERE ctid = ANY(ARRAY(
            SELECT found.place
            FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[])
                AS k (account_key, profile_id, prefix, generation_id), {row_at_key("pending_writes")}
            WHERE {AT_KEY} AND found.generation_id = k.generation_id AND found.taken_by IS NULL))
    """  # noqa: S608 - our own names

    async def unfit(self, account_key: str, rows: Sequence[Pending]) -> None:
        """Leave these to single writes."""
        columns = list(zip(*((*row.key, row.ref.generation_id) for row in rows), strict=True))
        async with self._store.desk({account_key}) as desk:
            await desk.connection.execute(self.UPDATE_UNFIT, *columns, ROW_REFUSED)

    # Two looks may overlap when one lasts longer than its hold: what Klaviyo asked of either counts.
    UPDATE_CREATING = """
        UPDATE klaviyo_accounts SET bulk_create_at = greatest(bulk_create_at, $2), bulk_failures = $3
        WHERE account_key = $1
    """
    UPDATE_POLLING = """
        UPDATE klaviyo_accounts SET bulk_poll_at = greatest(bulk_poll_at, $2), bulk_listed_at = $3
        WHERE account_key = $1
    """
    UPSERT_REFUSAL = """
        INSERT INTO bulk_refusals (org_id, reason, refused_at, integration_at)
        SELECT org_id, $2, $3, updated_at FROM integrations WHERE org_id = $1
        ON CONFLICT (org_id) DO UPDATE SET
            reason = excluded.reason, refused_at = excluded.refused_at, integration_at = excluded.integration_at
    """

    async def creating(self, account_key: str, at: datetime, failures: int) -> None:
        """No job is made before `at`; so many rounds in a row were not answered."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_CREATING, account_key, at, failures)

    async def polling(self, account_key: str, at: datetime, listed_at: datetime | None) -> None:
        """Jobs are not listed before `at`; when they were, None: it failed."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPDATE_POLLING, account_key, at, listed_at)

    async def refused(self, org_id: UUID, now: datetime, reason: str) -> None:
        """Klaviyo does not let this org's key take the road."""
        async with self._db.connection() as connection:
            await connection.execute(self.UPSERT_REFUSAL, org_id, reason, now)
