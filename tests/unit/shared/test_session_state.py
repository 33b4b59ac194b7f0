"""A connection is given back as it is, so nothing may be set for longer than a transaction."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OWN_CONNECTION = "asyncpg.connect("  # not of a pool: its session is its user's alone
KEPT = re.compile(
    r"""set_config\([^)]*,\s*false\s*\)      # for the session
      | ["';]\s*SET\s+(?!LOCAL\b)\w+\s*(=|\bTO\b)\s*'  # the same as a statement
      | \bSET\s+(SESSION|ROLE)\b
      | \bLISTEN\s+\w
      | \bpg_(try_)?advisory_lock\(
      | \bWITH\s+HOLD\b""",
    re.VERBOSE,
)


@pytest.mark.parametrize("folder", ["services", "shared", "cli"])
def test_nothing_is_set_for_longer_than_a_transaction(folder: str) -> None:
    sources = {path: path.read_text() for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts}
    pooled = {path: text for path, text in sources.items() if OWN_CONNECTION not in text and "duckdb" not in text}

    assert len(pooled) > 20
    assert [(path.name, found[0]) for path, text in pooled.items() for found in KEPT.finditer(text)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT set_config('app.org_id', $1, false)", '"SET statement_timeout = \'3s\'"', '"SET ROLE justai_tenant"',
        "LISTEN config", "SELECT pg_advisory_lock(1)", "DECLARE rows CURSOR WITH HOLD FOR SELECT 1",
    ],
)  # fmt: skip
def test_what_would_outlive_it_is_recognised(statement: str) -> None:
    assert KEPT.search(statement)
