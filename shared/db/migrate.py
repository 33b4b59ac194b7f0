"""Applies the numbered SQL files once each. Files are never edited after they were applied.

Each file runs in one transaction under a lock time-out; several migrators at once wait for each other.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7_331_001  # the advisory lock of every migrator
_TIMEOUT_S = 120.0

CREATE_LEDGER = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name       text PRIMARY KEY,
        sha256     text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
# From PostgreSQL 16 on, whoever creates a role may grant it and may not become it, and a login that is no superuser has
# created it. In statements of their own, because older servers know no such privilege.
MAY_BECOME_WORKER = """
    DO $$
    BEGIN
        IF current_setting('server_version_num')::int < 160000 THEN
            RETURN;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'justai_worker') THEN
            IF NOT pg_has_role(current_user, 'justai_worker', 'SET') THEN
                EXECUTE format('GRANT justai_worker TO %I', current_user);
            END IF;
        END IF;
    END
    $$
"""
SELECT_APPLIED = "SELECT name, sha256 FROM schema_migrations"
INSERT_APPLIED = "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)"


class MigrationError(Exception):
    """The schema and the files do not fit each other; says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load(folder: Path = _FOLDER) -> list[Migration]:
    """The files in their order."""
    return [Migration(path.stem, path.read_text()) for path in sorted(folder.glob("[0-9]*.sql"))]


def pending(files: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    """What is still to run. Raises MigrationError when an applied file was edited."""
    for file in files:
        if applied.get(file.name, file.sha256) != file.sha256:
            raise MigrationError(f"{file.name} was edited after it was applied; restore it and add a new file instead")
    return [file for file in files if file.name not in applied]


async def migrate(database_url: str, files: Sequence[Migration] | None = None) -> list[str]:
    """Bring the schema up to date; the names that ran. Connects as the owner of the tables. Raises MigrationError when
    the login may not do what a file needs."""
    files = load() if files is None else files
    async with asyncio.timeout(_TIMEOUT_S):
        connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
        doing = "schema_migrations"
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await connection.execute(CREATE_LEDGER)
            todo = pending(files, {row["name"]: row["sha256"] for row in await connection.fetch(SELECT_APPLIED)})
            for file in todo:
                doing = file.name
                async with connection.transaction():
                    await connection.execute("SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '60s'")
                    await connection.execute(MAY_BECOME_WORKER)
                    await connection.execute(file.sql)
                    await connection.execute(INSERT_APPLIED, file.name, file.sha256)
            return [file.name for file in todo]
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(
                f"the login may not do what {doing} needs: {error.args[0]}; docs/install.md says which rights it needs"
            ) from error
        finally:
            await connection.close()


async def require(database_url: str, files: Sequence[Migration] | None = None) -> None:
    """Raise MigrationError unless every file is applied; for services at start."""
    files = load() if files is None else files
    async with asyncio.timeout(_TIMEOUT_S):
        connection = await asyncpg.connect(database_url)
        try:
            known = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
            rows = await connection.fetch(SELECT_APPLIED) if known else []
        finally:
            await connection.close()
    if missing := pending(files, {row["name"]: row["sha256"] for row in rows}):
        raise MigrationError(f"the schema lacks {missing[0].name}; run `justai migrate` first")
