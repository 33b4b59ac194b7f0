"""Migrations only add, so that services of the release before go on beside those of the new one."""

import re

import pytest

from shared.db.migrate import Migration, load

_BODY = re.compile(r"\$\$.*?\$\$", re.DOTALL)  # what a function does when it is called
_COMMENT = re.compile(r"--[^\n]*")
_TAKES_AWAY = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|VIEW|SCHEMA|TYPE)\b|\bRENAME\b|\bSET\s+NOT\s+NULL\b|\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b",
    re.IGNORECASE,
)
_ADDS = re.compile(r"\bADD\s+COLUMN\b(?:[^,;()]|\([^()]*(?:\([^()]*\)[^()]*)*\))*", re.IGNORECASE)


def faults(sql: str) -> list[str]:
    """What a service of the release before could stumble over."""
    bare = _COMMENT.sub("", _BODY.sub("", sql))
    found = [match.group() for match in _TAKES_AWAY.finditer(bare)]
    for match in _ADDS.finditer(bare):
        column = match.group().upper()
        if "NOT NULL" in column and "DEFAULT" not in column and "GENERATED" not in column:
            found.append(" ".join(match.group().split()))
    return found


@pytest.mark.parametrize("migration", load(), ids=lambda migration: migration.name)
def test_a_migration_takes_nothing_away_that_the_release_before_uses(migration: Migration) -> None:
    """One that does, a release after nobody uses it any more, says so in its first line: `-- Contract step`."""
    if not migration.sql.startswith("-- Contract step"):
        assert faults(migration.sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE a DROP COLUMN b;",
        "DROP TABLE IF EXISTS a;",
        "ALTER TABLE a RENAME COLUMN b TO c;",
        "ALTER TABLE a ALTER COLUMN b SET NOT NULL;",
        "ALTER TABLE a ALTER COLUMN b TYPE bigint;",
        "ALTER TABLE a ADD COLUMN c int DEFAULT 1, ADD COLUMN b text NOT NULL CHECK (b IN ('x', 'y'));",
    ],
)
def test_what_takes_away_is_found(sql: str) -> None:
    assert len(faults(sql)) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE a ADD COLUMN b text NOT NULL DEFAULT '', ADD COLUMN c int;",
        "ALTER TABLE a ADD COLUMN b boolean NOT NULL GENERATED ALWAYS AS (c IS NOT NULL) STORED;",
        "ALTER TABLE a ALTER COLUMN b DROP NOT NULL; -- DROP TABLE is another thing",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DROP TABLE a $$;",
    ],
)
def test_what_only_adds_is_not(sql: str) -> None:
    assert faults(sql) == []
