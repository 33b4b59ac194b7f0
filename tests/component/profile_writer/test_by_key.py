"""Rows are found by key even by a plan made while the tables were empty, as all plans of a new writer are.

Such a plan is kept for as long as the connection. One that reads an account's rows to find one of them makes an intake
of 10,000 rows a matter of minutes, during which the account has no turns.
"""

from datetime import timedelta

import pytest

from services.profile_writer.bulk.store import BulkStore
from services.profile_writer.content import Contents
from services.profile_writer.store import Desk
from services.profile_writer.turns.agenda_store import AgendaStore
from services.profile_writer.upkeep import move_store
from tests.component.profile_writer.rig import rigged
from tests.component.profile_writer.test_lanes import nodes_of

KEYS = "text[], text[], text[]"
STATEMENTS = {
    "pending": (Desk.SELECT_PENDING, KEYS),
    "held": (Desk.SELECT_HELD, KEYS),
    "pending_of_profile": (Desk.SELECT_PENDING_OF, "text[], text[]"),
    "held_of_profile": (Desk.SELECT_HELD_OF, "text[], text[]"),
    "delete_pending": (Desk.DELETE_PENDING, KEYS),
    "delete_held": (Desk.DELETE_HELD, KEYS),
    "stored": (Desk.SELECT_STORED, "date[], uuid[]"),
    "move_last": (move_store.SELECT_LAST, "uuid, text, text, int"),
    "move_twice": (move_store.SELECT_TWICE, "uuid, text, text, text, text"),
    "move_held": (move_store.MOVE_HELD, "uuid, text, text, text, text"),
    "move_pending": (move_store.MOVE_PENDING, "uuid, text, text, text, text"),
    "quotas": (Desk.HOLD_ACCOUNT_KEYS, "uuid[]"),
    "known": (Desk.SELECT_KNOWN, "date[], uuid[]"),
    "vars": (Contents.SELECT_VARS, "date[], uuid[]"),
    "agenda": (AgendaStore.SELECT_AGENDA, "text, timestamptz, timestamptz, timestamptz, int, int, int, uuid[]"),
    "dirty": (AgendaStore.SELECT_DIRTY_DEADLINES, "text, uuid[], int[], timestamptz, timestamptz"),
    "candidates": (
        BulkStore.SELECT_CANDIDATES, "text, timestamptz, timestamptz, timestamptz, uuid, int, text, int",
    ),
    "unfit": (BulkStore.UPDATE_UNFIT, f"{KEYS}, uuid[], text"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_account_is_read_through_for_one_of_its_rows(name: str, database_url: str, amqp_url: str) -> None:
    statement, types = STATEMENTS[name]
    async with rigged(database_url, amqp_url) as rig, rig.db.transaction() as connection:
        for table in ("generations", "write_outcomes"):
            await connection.execute("SELECT ensure_partition($1, $2)", table, rig.clock.now().date())
        await connection.execute(f"PREPARE found ({types}) AS {statement}")
        nothing = ", ".join("NULL" for _ in types.split(","))
        answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE found ({nothing})")

    nodes = [node for node in nodes_of(answer[0]["Plan"]) if node.get("Relation Name")]
    assert nodes
    assert {node["Node Type"] for node in nodes} <= {"Index Scan", "Index Only Scan", "Tid Scan", "ModifyTable"}
    assert [node for node in nodes if "profile_id" in node.get("Filter", "")] == []


INSERT_WAITING = """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                                accepted_at, deadline_at, clean_at, next_attempt_at)
    SELECT 'acct:A', 'N' || n, 'jai', gen_random_uuid(), 'write', 1, $1::timestamptz::date, gen_random_uuid(), 'w', $1,
           $1 + interval '1 hour' + n * interval '1 ms', $1 + interval '2 hours', $1
    FROM generate_series(1, 5000) AS n
"""


async def test_what_a_turn_reads_does_not_grow_with_what_waits(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, rig.db.transaction() as connection:
        await connection.execute(f"PREPARE turn ({STATEMENTS['agenda'][1]}) AS {AgendaStore.SELECT_AGENDA}")
        now = rig.clock.now()
        asked = f"EXECUTE turn ('acct:A', '{now}', '{now}', '{now - timedelta(days=1)}', 500, 25, 5, '{{}}')"
        await connection.execute(asked)  # planned now, and kept
        await connection.execute(INSERT_WAITING, now)
        answer = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}")

    plan = answer[0]["Plan"]
    assert plan["Actual Rows"] == 25
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 500  # pages of 8 kB; 25 rows by key are some 150
