"""Rows of files that are no events and name a person: an id may stand anywhere in their text, so no index finds them.
They are looked for through the files of the org alone, some at a time."""

import re
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from shared.admin.context import Asking
from shared.db.pool import Connection, Row

_TIMEOUT_S: Final = 600.0  # of some files; one that was accepted as it is may have very many such rows
_FILES_AT_ONCE: Final = 500
_ID: Final = re.compile("[A-Za-z0-9]{6,}")

# A planner that knows little of these tables would read all that other orgs have rejected.
BY_INDEX: Final = "SET LOCAL enable_seqscan = off"
SELECT_FILES: Final = """
    SELECT f.file_id FROM sources s
    CROSS JOIN LATERAL (SELECT file_id FROM ingest_files WHERE source_id = s.source_id OFFSET 0) f
    CROSS JOIN LATERAL (SELECT FROM ingest_rejects WHERE file_id = f.file_id LIMIT 1) r
    WHERE s.org_id = $1
"""
SELECT_NAMING: Final = """
    SELECT file_id, line FROM ingest_rejects WHERE org_id = $1 AND file_id = ANY ($2::uuid[]) AND raw ~ $3
"""
# A file that was read again meanwhile has other rows there.
DELETE_NAMING: Final = """
    DELETE FROM ingest_rejects WHERE org_id = $1 AND file_id = $2 AND line = ANY ($3::int[]) AND raw ~ $4
"""

Naming = Mapping[UUID, list[int]]
"""Lines, by file."""


def names(user_id: str) -> str | None:
    """Matches an id as a word of its own: one that is part of another names nobody. None: it is no id of Klaviyo's."""
    return f"(^|[^A-Za-z0-9]){user_id}([^A-Za-z0-9]|$)" if _ID.fullmatch(user_id) else None


async def rejects_naming(asking: Asking, user_id: str) -> Naming:
    """What is stored by now; what a file brings afterwards is as if it came after the deletion. Some files in a
    transaction of their own, for all of them may take minutes."""
    found: dict[UUID, list[int]] = {}
    pattern, org_id = names(user_id), asking.org_id
    if pattern is None:
        return found
    files = [row["file_id"] for row in await _look(asking, SELECT_FILES, org_id)]
    for first in range(0, len(files), _FILES_AT_ONCE):
        some = files[first : first + _FILES_AT_ONCE]
        for row in await _look(asking, SELECT_NAMING, org_id, some, pattern):
            found.setdefault(row["file_id"], []).append(row["line"])
    return found


async def delete_rejects(connection: Connection, org_id: UUID, user_id: str, naming: Naming) -> int:
    """How many rows went. Within the deletion's transaction."""
    deleted = 0
    for file_id, lines in naming.items():
        status = await connection.execute(DELETE_NAMING, org_id, file_id, lines, names(user_id))
        deleted += int(status.rpartition(" ")[2])
    return deleted


async def _look(asking: Asking, statement: str, *arguments: object) -> list[Row]:
    async with asking.means.database.transaction(asking.org_id, _TIMEOUT_S, long=True) as connection:
        await connection.execute(BY_INDEX)
        return list(await connection.fetch(statement, *arguments, timeout=_TIMEOUT_S))
