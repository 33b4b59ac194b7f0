"""A database that takes long, or needs much, over the rows of one file: it is that file's trouble, and keeps no other
from its turn."""

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from services.ingest.attribution import conversions
from services.ingest.loading import fresh, retract, switch
from shared.db import pool
from tests.component.ingest.given import Mail, mails, nested_csv
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_conversions import counts, order

TAKE_LONG_OVER_P0 = """
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM brought WHERE profile_id = 'P0') THEN
            PERFORM pg_sleep(30);
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER events_take_long AFTER INSERT ON events
        REFERENCING NEW TABLE AS brought FOR EACH STATEMENT EXECUTE FUNCTION take_long();
"""
NEED_MUCH_FOR_P0 = """
    CREATE FUNCTION need_much() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM brought WHERE profile_id = 'P0') THEN
            RAISE 'short of it' USING ERRCODE = '{sqlstate}';
        END IF;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER events_need_much AFTER INSERT ON events
        REFERENCING NEW TABLE AS brought FOR EACH STATEMENT EXECUTE FUNCTION need_much();
"""
LIMIT_S = 5  # what is not slow on purpose takes less, on any machine
SLEEP_S = 8


def slowly(select: str, table: str) -> str:
    slow = f"WITH slow AS MATERIALIZED (SELECT pg_sleep({SLEEP_S})) {select}"
    assert f"FROM {table}" in slow
    return slow.replace(f"FROM {table}", f"FROM slow CROSS JOIN {table}")


SLOWLY = {
    "INDEX_KNOWN": f"SELECT pg_sleep({SLEEP_S}); {retract.INDEX_KNOWN}",
    "COUNT_KNOWN": slowly(retract.COUNT_KNOWN, "known"),
    "NOTE_DIFFERING": f"SELECT pg_sleep({SLEEP_S}); {retract.NOTE_DIFFERING}",
    "SELECT_MOVED_DAYS": slowly(conversions.SELECT_MOVED_DAYS, "placed"),
    "SELECT_DAYS": slowly(conversions.SELECT_DAYS, "bought"),
}


@pytest.fixture
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gives up a statement of a file after seconds; we, as much later as otherwise."""
    limit = f"'{switch.LIMIT_S}s'"
    assert limit in switch.BEGIN_LONG_WORK
    monkeypatch.setattr(switch, "BEGIN_LONG_WORK", switch.BEGIN_LONG_WORK.replace(limit, f"'{LIMIT_S}s'"))
    monkeypatch.setattr(fresh, "STATEMENT_TIMEOUT_S", LIMIT_S + switch.STATEMENT_TIMEOUT_S - switch.LIMIT_S)


@pytest.fixture
def short_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not say how long a statement may take gets a few seconds."""
    monkeypatch.setattr(pool, "STATEMENT_TIMEOUT_S", LIMIT_S)


@pytest.mark.usefixtures("little_time")
async def test_a_file_over_which_a_statement_takes_too_long_fails_after_its_attempts_and_the_next_is_loaded(
    rig: Rig, folder: Path, database_url: str
) -> None:
    await _owner_runs(database_url, TAKE_LONG_OVER_P0)

    await _bring_bad_and_next(rig, folder)

    assert [getattr(outcome, "reason", None) for outcome in rig.outcomes] == ["too_long"] * 3 + [None]
    assert await rig.files() == {"bad.csv": "failed", "next.csv": "done"}
    bad = await rig.one("SELECT attempts, error FROM ingest_files WHERE path LIKE '%bad.csv'")
    assert bad["attempts"] == 3
    assert bad["error"].startswith("too_long: one statement over its rows took the database too long")


@pytest.mark.parametrize("sqlstate", ["53200", "53400"])
async def test_a_file_over_which_a_statement_needs_too_much_fails_after_its_attempts_and_the_next_is_loaded(
    rig: Rig, folder: Path, database_url: str, sqlstate: str
) -> None:
    await _owner_runs(database_url, NEED_MUCH_FOR_P0.format(sqlstate=sqlstate))

    await _bring_bad_and_next(rig, folder)

    assert [getattr(outcome, "reason", None) for outcome in rig.outcomes] == ["too_much"] * 3 + [None]
    assert await rig.files() == {"bad.csv": "failed", "next.csv": "done"}
    bad = await rig.one("SELECT error FROM ingest_files WHERE path LIKE '%bad.csv'")
    assert bad["error"].startswith("too_much: one statement over its rows needs more memory or disk")


@pytest.mark.usefixtures("short_uses")
@pytest.mark.parametrize(
    "statement",
    ["INDEX_KNOWN", *(pytest.param(name, marks=pytest.mark.long) for name in SLOWLY if name != "INDEX_KNOWN")],
)
async def test_a_file_that_grew_is_loaded_however_long_it_takes_to_compare_it(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    await counts(rig)
    rows = [mail.received() for mail in mails(4)]
    rows.append(order(1, timedelta(minutes=30)))
    (folder / "events.csv").write_bytes(nested_csv(rows[:2]))
    await rig.settle()
    monkeypatch.setattr(retract if hasattr(retract, statement) else conversions, statement, SLOWLY[statement])
    (folder / "events.csv").write_bytes(nested_csv(rows))

    await rig.settle()

    assert rig.outcomes == [None, None]
    assert await rig.event_ids() == sorted(row.event_id for row in rows)


async def _owner_runs(database_url: str, sql: str) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute(sql)
    await owner.close()


async def _bring_bad_and_next(rig: Rig, folder: Path) -> None:
    """All attempts at a file with a row of P0, then another one."""
    (folder / "bad.csv").write_bytes(nested_csv([Mail("T0", "P0").received()]))
    await rig.list_twice()
    jobs = list(rig.queued)
    for _ in range(3):
        rig.queued = list(jobs)
        await rig.work()
    (folder / "next.csv").write_bytes(nested_csv([Mail("T1", "P1").received()]))
    await rig.settle()
