"""SQL of runs of drafting. A run belongs to its newest claim; what it stores, it stores together with that proof."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shared.admin.drafts.keeping import Known, keep_draft, read_known
from shared.admin.drafts.models import Outcome, Result
from shared.admin.drafts.steps import Claim, Ended, Next, Tried
from shared.admin.variants.variants import rows_of
from shared.db.pool import Connection, Database, Row
from shared.drafting.brief import Brief
from shared.drafting.usage import Usage
from shared.errors import Transient
from shared.schemas.template_file import VariantCopy

INSERT_RUN = """
    INSERT INTO draft_runs (org_id, run_id, template_id, brief, number, asked_by, model, retry_of, state, created_at,
                            deadline_at, started_at, epoch, claims, lease_until)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $11::timestamptz IS NULL THEN 'queued' ELSE 'running' END, $9,
            $10, CASE WHEN $11::timestamptz IS NOT NULL THEN $9::timestamptz END, ($11::timestamptz IS NOT NULL)::int,
            ($11::timestamptz IS NOT NULL)::int, $11)
"""
# An overdue run is claimed too, to be ended. Whoever waits longest is first.
CLAIM = """
    UPDATE draft_runs SET state = 'running', epoch = epoch + 1, claims = claims + 1, lease_until = $2,
                          started_at = coalesce(started_at, $1)
    WHERE (org_id, run_id) = (
        SELECT org_id, run_id FROM draft_runs
        WHERE state IN ('queued', 'running') AND (lease_until IS NULL OR lease_until < $1)
        ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING org_id, run_id, epoch, template_id, brief, number, asked_by, deadline_at, claims
"""
SELECT_CLAIM = """
    SELECT org_id, run_id, epoch, template_id, brief, number, asked_by, deadline_at, claims FROM draft_runs
    WHERE org_id = $1 AND run_id = $2 AND state = 'running'
"""
RENEW = """
    UPDATE draft_runs SET lease_until = $4 WHERE org_id = $1 AND run_id = $2 AND epoch = $3 AND state = 'running'
"""
SELECT_TRIED = "SELECT outcome, subject, fault FROM draft_results WHERE org_id = $1 AND run_id = $2 ORDER BY number"
# Holds the run until the commit: it cannot be cancelled or taken over while a draft of it is being stored.
COUNT_DRAFT = """
    UPDATE draft_runs SET claims = 1, tokens_read = tokens_read + $4, tokens_written = tokens_written + $5,
                          uncounted = uncounted + $6
    WHERE org_id = $1 AND run_id = $2 AND epoch = $3 AND state = 'running' AND deadline_at > $7
"""
INSERT_RESULT = """
    INSERT INTO draft_results (org_id, run_id, number, theme, outcome, name, subject, copy_id, findings, fault, made_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
FINISH = """
    UPDATE draft_runs SET state = $4, code = $5, reason = $6, ended_at = $7, lease_until = NULL
    WHERE org_id = $1 AND run_id = $2 AND epoch = $3 AND state = 'running'
"""
RELEASE = """
    UPDATE draft_runs SET state = 'queued', claims = claims - 1, lease_until = NULL
    WHERE org_id = $1 AND run_id = $2 AND epoch = $3 AND state = 'running'
"""
_NAME_TRIES = 3


class ClaimLost(Transient):
    """Somebody cancelled the run, or took it over; nothing was stored."""


class RunStore:
    """What whoever works a run off asks of the database. Raises Transient when it is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now: datetime, lease_until: datetime) -> Claim | None:
        """A run of any org that nobody has in hand."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(CLAIM, now, lease_until)
        return None if row is None else _claim(row)

    async def claim_of(self, org_id: UUID, run_id: UUID) -> Claim | None:
        """That of a run which was just made to be worked off here; None: it was cancelled already."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(SELECT_CLAIM, org_id, run_id)
        return None if row is None else _claim(row)

    async def renew(self, claim: Claim, lease_until: datetime) -> bool:
        """False: it is ours no more."""
        async with self._database.transaction(claim.org_id) as connection:
            status = await connection.execute(RENEW, claim.org_id, claim.run_id, claim.epoch, lease_until)
        return status == "UPDATE 1"

    async def read(self, claim: Claim) -> tuple[Known | None, list[Tried]]:
        """What the next draft depends on: the template, and the drafts before it."""
        async with self._database.transaction(claim.org_id) as connection:
            known = await read_known(connection, claim.org_id, claim.template_id)
            rows = await connection.fetch(SELECT_TRIED, claim.org_id, claim.run_id)
        return known, [Tried(**dict(row)) for row in rows]

    async def keep(
        self, claim: Claim, step: Next, draft: VariantCopy, usage: Usage, *, copy_id: UUID, made_by: str,
        at: datetime, wall: datetime,
    ) -> Result:  # fmt: skip
        """Store a draft and what became of it, once. `at`: when by the system's clock. Raises ClaimLost."""
        for left in reversed(range(_NAME_TRIES)):
            try:
                async with self._database.transaction(claim.org_id) as connection:
                    await _count(connection, claim, usage, wall)
                    kept = await keep_draft(
                        connection, claim.org_id, claim.template_id, draft, claim.brief, copy_id=copy_id,
                        actor=claim.asked_by, made_by=made_by, at=at,
                    )  # fmt: skip
                    result = Result(
                        number=step.number, theme=step.theme, outcome=kept.outcome, name=kept.name,
                        subject=draft.subject, copy_id=kept.copy_id, findings=rows_of([*kept.findings]), made_at=wall,
                    )  # fmt: skip
                    await _insert(connection, claim, result)
                    return result
            except asyncpg.UniqueViolationError:  # somebody saved a variant of this name at the same moment
                if not left:
                    raise
        raise AssertionError("it returned or raised")

    async def note(
        self, claim: Claim, step: Next, outcome: Outcome, fault: str, usage: Usage, wall: datetime
    ) -> Result:
        """Remember why there is no draft of this number. Raises ClaimLost."""
        result = Result(number=step.number, theme=step.theme, outcome=outcome, fault=fault, made_at=wall)
        async with self._database.transaction(claim.org_id) as connection:
            await _count(connection, claim, usage, wall)
            await _insert(connection, claim, result)
        return result

    async def finish(self, claim: Claim, end: Ended, wall: datetime) -> bool:
        """End the run. False: it was ours no more."""
        async with self._database.transaction(claim.org_id) as connection:
            status = await connection.execute(
                FINISH, claim.org_id, claim.run_id, claim.epoch, end.state, end.code, end.reason, wall
            )
        return status == "UPDATE 1"

    async def release(self, claim: Claim) -> None:
        """Give it back unfinished, for whoever is free next."""
        async with self._database.transaction(claim.org_id) as connection:
            await connection.execute(RELEASE, claim.org_id, claim.run_id, claim.epoch)


def _claim(row: Row) -> Claim:
    known = dict(row)
    return Claim(**{**known, "brief": Brief.model_validate(known["brief"])})


async def _count(connection: Connection, claim: Claim, usage: Usage, wall: datetime) -> None:
    status = await connection.execute(
        COUNT_DRAFT, claim.org_id, claim.run_id, claim.epoch, usage.read, usage.written, usage.uncounted, wall
    )
    if status != "UPDATE 1":
        raise ClaimLost("the run was cancelled or taken over", reason="claim_lost")


async def _insert(connection: Connection, claim: Claim, result: Result) -> None:
    findings: Sequence[dict[str, Any]] = [one.model_dump(mode="json") for one in result.findings]
    await connection.execute(
        INSERT_RESULT, claim.org_id, claim.run_id, result.number, result.theme, result.outcome, result.name,
        result.subject, result.copy_id, findings, result.fault, result.made_at,
    )  # fmt: skip
