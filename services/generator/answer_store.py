"""What is stored of the generations that somebody waits for."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import zstandard

from services.generator.answers import Told
from shared import logs
from shared.db.pool import Database
from shared.schemas.copy import VariantSource
from shared.schemas.jobs import GenerateJob
from shared.vars_codec import decode_vars

log = logs.get(__name__)


class AnswerStore:
    """Reads generations by the ids that callers were told, aliases included."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # By key, whatever the planner knows: row-level security lets no computed key into a table's index, so aliases come
    # first; and the org is compared in a form that no index answers, or all that it has would be read for each key.
    SELECT_TOLD = """
        WITH meant AS MATERIALIZED (
            SELECT k.generation_id AS asked_id, k.org_id, coalesce(a.day, k.day) AS day,
                   coalesce(a.generation_id, k.generation_id) AS generation_id
            FROM unnest($1::date[], $2::uuid[], $3::uuid[]) AS k (day, generation_id, org_id)
            LEFT JOIN generation_aliases a ON a.alias_id = k.generation_id AND a.org_id = k.org_id
        )
        SELECT m.asked_id, g.reason, g.vars, v.copy_id, v.version, v.subject, v.preheader, v.body
        FROM meant m
        JOIN generations g ON g.day = m.day AND g.generation_id = m.generation_id AND (g.org_id = m.org_id) IS TRUE
        LEFT JOIN variant_versions v ON v.copy_id = g.copy_id AND v.version = g.variant_version
    """

    async def find(self, jobs: Sequence[GenerateJob]) -> Mapping[UUID, Told]:
        """By the jobs' ids, what was decided for them, whoever decided it. Raises Outage."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                self.SELECT_TOLD,
                [job.day for job in jobs],
                [job.generation_id for job in jobs],
                [job.org_id for job in jobs],
            )
        told: dict[UUID, Told] = {}
        for row in rows:
            copy = None
            if row["vars"] is not None and row["version"] is not None:
                source = VariantSource(row["copy_id"], row["version"], row["subject"], row["preheader"], row["body"])
                try:
                    copy = decode_vars(row["vars"], source)
                except (zstandard.ZstdError, ValueError):
                    log.error("copy.unreadable", generation_id=row["asked_id"])
                    continue
            told[row["asked_id"]] = Told(row["reason"], row["copy_id"], copy)
        return told
