"""Rows of files that are no events and name a person: found file by file, deleted with the person, and by age."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.ingest import retention
from services.ingest.retention import Days, Retention
from shared.admin.person import person as operations_person
from shared.admin.person import rejected, told
from shared.admin.person.person import Held
from shared.admin.run import run
from shared.db.pool import SERVER_SOONER_S
from shared.errors import Transient
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_deleted_people import asking, delete

KEEP = 100
MANY = 20_000  # so many that reading them all is dearer than looking some up, whatever the planner knows
INSERT_OTHERS = """
    WITH org AS (
        INSERT INTO orgs VALUES (gen_random_uuid(), 'other', 'other', $1) RETURNING org_id
    ), source AS (
        INSERT INTO sources (source_id, org_id, host, username, host_key, sealed_key, enabled)
        SELECT gen_random_uuid(), org_id, 'h', 'u', 'k', 's', false FROM org RETURNING org_id, source_id
    ), file AS (
        INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at)
        SELECT gen_random_uuid(), org_id, source_id, '/a.csv', 10, $1, 'done', $1, $1 FROM source
        RETURNING org_id, file_id
    )
    SELECT org_id, file_id FROM file
"""
INSERT_REJECTS = """
    INSERT INTO ingest_rejects SELECT $1, $2, line, 'no time', 'Opened,01PERSON,x' FROM generate_series(1, $3::int) line
"""
SELECT_REJECTS = """
    SELECT f.path, r.line FROM ingest_rejects r JOIN ingest_files f USING (file_id)
    WHERE r.org_id = $1 ORDER BY f.path, r.line
"""


def with_bad_rows(mail: Mail, *people: str) -> bytes:
    """As many good rows as bad ones, which come behind them: such a file is loaded."""
    bad = "".join(f"X{number},Opened Email,{person},never,{{}}\n" for number, person in enumerate(people))
    return nested_csv([mail.opened() for _ in people]) + bad.encode()


async def load(rig: Rig, folder: Path, name: str, mail: Mail, *people: str) -> None:
    (folder / name).write_bytes(with_bad_rows(mail, *people))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]


async def rejects(rig: Rig) -> list[tuple[str, int]]:
    """Of the rig's org."""
    return [(Path(row["path"]).name, row["line"]) for row in await rig.rows(SELECT_REJECTS, rig.org_id)]


async def others(rig: Rig) -> None:
    """Another org with many rows that name the same person."""
    other = await rig.one(INSERT_OTHERS, SENT)
    await rig.run(INSERT_REJECTS, other["org_id"], other["file_id"], MANY)


async def held(rig: Rig, *, quick: bool = False) -> Held:
    return await run(asking(rig), operations_person.show, {"user_id": "01PERSON", "quick": quick})


async def test_rows_that_name_a_person_are_counted_and_deleted_of_every_file_of_the_org_alone(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "_FILES_AT_ONCE", 1)
    await others(rig)
    await load(rig, folder, "a.csv", Mail("T1", "P1"), "01PERSON", "01PERSON2")
    await load(rig, folder, "b.csv", Mail("T2", "P2"), "01OTHER", "01PERSON", "01PERSON")
    before = await rejects(rig)

    counted = (await held(rig)).rejects, (await held(rig, quick=True)).rejects
    done = await delete(rig, "01PERSON")

    assert before == [("a.csv", 4), ("a.csv", 5), ("b.csv", 5), ("b.csv", 6), ("b.csv", 7)]
    assert (counted, done.rejects) == ((3, 3), 3)
    assert await rejects(rig) == [("a.csv", 5), ("b.csv", 5)]
    assert (await rig.one("SELECT count(*) FROM ingest_rejects WHERE org_id <> $1", rig.org_id))["count"] == MANY


async def test_where_an_index_finds_the_person_a_quick_look_reads_no_rows_of_files(rig: Rig, folder: Path) -> None:
    await rig.add_generation("01PERSON")
    await load(rig, folder, "a.csv", Mail("T1", "P1"), "01PERSON")

    assert [(await held(rig, quick=quick)).rejects for quick in (True, False)] == [0, 1]


async def test_nobody_reads_another_org_s_rows_for_a_deletion(rig: Rig, folder: Path) -> None:
    await others(rig)
    await load(rig, folder, "a.csv", Mail("T1", "P1"), "01PERSON")
    pattern = rejected.names("01PERSON")
    plans: list[str] = []

    async def explain(statement: str, *arguments: Any) -> None:
        rows = await connection.fetch(f"EXPLAIN {statement}", *arguments)
        plans.append("\n".join(row[0] for row in rows))

    async with rig.database.transaction(rig.org_id) as connection:
        await explain(rejected.DELETE_NAMING, rig.org_id, uuid4(), [1], pattern)
        await connection.execute(rejected.BY_INDEX)
        await explain(rejected.SELECT_FILES, rig.org_id)
        await explain(rejected.SELECT_NAMING, rig.org_id, [uuid4()], pattern)

    for plan in plans:
        assert "ingest_rejects_pkey" in plan
        assert "Seq Scan on ingest" not in plan


async def test_rows_of_files_that_were_read_long_ago_go_with_the_events_of_then(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_FILES_AT_ONCE", 1)
    await load(rig, folder, "a.csv", Mail("T1", "P1"), "01PERSON")
    await load(rig, folder, "b.csv", Mail("T2", "P2"), "01PERSON", "01OTHER")
    rig.clock.advance(KEEP * 86_400)
    await load(rig, folder, "c.csv", Mail("T3", "P3", sent_at=rig.clock.now() - timedelta(days=1)), "01PERSON")
    keeper = Retention(Days(rig.database), rig.clock, KEEP)

    left = []
    for _ in range(2):
        while await keeper.step() is not None:
            pass
        left.append(await rejects(rig))
        rig.clock.advance(86_400)

    assert left == [[("a.csv", 3), ("b.csv", 4), ("b.csv", 5), ("c.csv", 3)], [("c.csv", 3)]]


async def test_who_looks_for_longer_than_may_be_is_told_so_and_not_that_the_database_is_away(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's limit, a second here, strikes before ours."""
    await load(rig, folder, "a.csv", Mail("T1", "P1"), "01PERSON")
    for module, limit, statement, slow in (
        (rejected, "_TIMEOUT_S", "SELECT_FILES", "SELECT pg_sleep(30), $1::uuid"),
        (told, "DAY_TIMEOUT_S", "SELECT_TOLD", "SELECT pg_sleep(30), $1::uuid, $2::text, $3::date, $4::date"),
        (retention, "_DELETE_TIMEOUT_S", "DELETE_REJECTS", "SELECT pg_sleep(30), $1::date, $2::int"),
    ):
        monkeypatch.setattr(module, limit, SERVER_SOONER_S + 1.0)
        monkeypatch.setattr(module, statement, slow)

    for looking in (
        rejected.rejects_naming(asking(rig), "01PERSON"),
        told.told_of(asking(rig), "01PERSON"),
        Days(rig.database).drop_rejects(SENT.date()),
    ):
        with pytest.raises(Transient) as late:
            await looking
        assert late.value.reason == "database_conflict"
