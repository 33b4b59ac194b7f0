"""What the transform must know beside event files: an org's generations and flow messages, as Parquet."""

from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from shared.db.pool import Database

_ROWS: Final = 20_000
_TIMEOUT_S: Final = 6 * 3600.0

# written_for is `<template>.<flow>.<action>`, or the template alone where the webhook did not say.
SELECT_GENERATIONS: Final = """
    SELECT g.generation_id::text, g.user_id, g.template_id, g.copy_id::text,
        (extract(epoch FROM g.accepted_at) * 1000000)::bigint AS accepted_us,
        (extract(epoch FROM g.clean_at) * 1000000)::bigint AS clean_us,
        coalesce(nullif(split_part(g.written_for, '.', 2), ''), p.flow_id) AS flow_id,
        coalesce(nullif(split_part(g.written_for, '.', 3), ''), p.treatment_action_id) AS action_id, g.decision
    FROM generations g LEFT JOIN templates p ON p.org_id = $1 AND p.template_id = g.template_id
    WHERE g.org_id = $1 AND g.day BETWEEN $2 AND $3
"""
SELECT_DROPPED: Final = "SELECT day FROM dropped_days WHERE day BETWEEN $1 AND $2 ORDER BY day"
SELECT_FLOW_MESSAGES: Final = "SELECT flow_id, action_id, message_id FROM flow_messages WHERE org_id = $1"

_GENERATIONS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("generation_id", "user_id", "template_id", "copy_id")),
        *((name, pa.int64()) for name in ("accepted_us", "clean_us")),
        *((name, pa.string()) for name in ("flow_id", "action_id", "decision")),
    ]
)
_FLOW_MESSAGES: Final = pa.schema([(name, pa.string()) for name in ("flow_id", "action_id", "message_id")])


async def dropped_between(database: Database, org_id: UUID, first: date, last: date) -> list[date]:
    """Days whose generations are gone: emails of theirs would be of none."""
    async with database.transaction(org_id) as connection:
        return [row["day"] for row in await connection.fetch(SELECT_DROPPED, first, last)]


async def write_inputs(database: Database, org_id: UUID, first: date, last: date, out: Path) -> int:
    """`generations.parquet` of these days and `flow_messages.parquet` into `out`; the number of generations."""
    out.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once, for a command that somebody waits for
    count = 0
    async with database.transaction(org_id, timeout_s=_TIMEOUT_S) as connection:
        with pq.ParquetWriter(out / "generations.parquet", _GENERATIONS, compression="zstd") as writer:
            cursor = await connection.cursor(SELECT_GENERATIONS, org_id, first, last)
            while rows := await cursor.fetch(_ROWS):
                writer.write_table(_table(rows, _GENERATIONS))
                count += len(rows)
        found = await connection.fetch(SELECT_FLOW_MESSAGES, org_id)
    pq.write_table(_table(found, _FLOW_MESSAGES), out / "flow_messages.parquet", compression="zstd")
    return count


def _table(rows: list[Any], schema: Any) -> Any:
    columns = [[row[name] for row in rows] for name in schema.names]
    return pa.table(columns, schema=schema)
