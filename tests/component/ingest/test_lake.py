"""The lake's SQL on DuckDB says what PostgreSQL says of the same files: the live road is the truth."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from services.ingest.lake.duck import Duck
from services.ingest.lake.engine import Work, run
from services.ingest.lake.inputs import dropped_between, write_inputs
from tests.component.ingest.rig import Rig
from tests.support.lake_story import SYNCED, Story, story

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SENDS = """
    transmission_id, profile_id, message_id, flow_id, sent_at, delivered, bounced, unsubscribed, spam, first_open_at,
    human_opens, machine_opens, first_click_at, human_clicks, bot_clicks, attribution, generation_id, template_id,
    copy_id
"""
COUNTS = "sends, delivered, human_opens, machine_opens, human_clicks, bot_clicks, unsubscribes, bounces, spam"


async def load(rig: Rig, folder: Path, told: Story) -> None:
    rig.clock.advance((NOW - rig.clock.now()).total_seconds())
    for action_id, message_id, flow_id in SYNCED:
        await rig.add_flow_message(action_id, message_id, flow_id=flow_id)
    for one in told.generations:
        copy_id = UUID(int=one.copy) if one.copy else None
        await rig.add_generation(
            one.person, accepted_at=one.at, written_for=one.written_for, copy_id=copy_id, decision=one.decision
        )
    told.put(folder)
    await rig.settle()
    assert set((await rig.files()).values()) == {"done"}


def table(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    names = [name.strip() for name in columns.split(",")]
    return [tuple(row[name] for name in names) for row in pq.read_table(folder).to_pylist()]


@pytest.mark.parametrize("seed", range(6))
async def test_sends_and_rollups_are_those_of_postgresql(rig: Rig, folder: Path, tmp_path: Path, seed: int) -> None:
    told = story(seed)
    await load(rig, folder, told)
    await write_inputs(rig.database, rig.org_id, date(2026, 11, 1), date(2026, 12, 1), tmp_path / "inputs")
    events = tmp_path / "events"
    events.mkdir()
    duck = Duck(memory_mb=256, spill=tmp_path)
    try:
        counts = run(duck, Work(told.put(events), [tmp_path / "inputs/generations.parquet"],
                                tmp_path / "inputs/flow_messages.parquet", tmp_path / "out", now=NOW))  # fmt: skip
    finally:
        duck.close()

    sends = [tuple(row.values()) for row in await rig.rows(f"SELECT {SENDS} FROM sends")]
    expected = sorted(tuple(str(value) if isinstance(value, UUID) else value for value in row) for row in sends)
    assert sorted(table(tmp_path / "out/sends", SENDS)) == expected
    sums = ", ".join(f"sum({one})::bigint AS {one}" for one in COUNTS.split(", "))
    rollups = await rig.rows(f"SELECT template_id, copy_id::text, day::text, {sums} FROM rollups GROUP BY 1, 2, 3")
    told_by_lake = table(tmp_path / "out/rollups", f"template_id, copy_id, day, {COUNTS}")
    assert sorted(map(_comparable, told_by_lake)) == sorted(_comparable(tuple(row.values())) for row in rollups)
    assert counts["events"] == len(await rig.event_ids())
    assert counts["rejects"] == 0


async def test_days_whose_generations_were_dropped_are_told(rig: Rig) -> None:
    for day in (3, 4, 9):
        await rig.run("INSERT INTO dropped_days VALUES ($1, $2)", date(2026, 3, day), NOW)

    assert await dropped_between(rig.database, rig.org_id, date(2026, 3, 4), date(2026, 11, 1)) == [
        date(2026, 3, 4), date(2026, 3, 9),
    ]  # fmt: skip
    assert await dropped_between(rig.database, rig.org_id, date(2026, 3, 10), date(2026, 11, 1)) == []


def _comparable(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, row))


def test_the_story_has_all_that_matters() -> None:
    told = [story(seed) for seed in range(6)]
    assert {one.decision for each in told for one in each.generations} == {None, "preview", "written_preview"}
    assert all(timedelta(0) < NOW - one.at for each in told for one in each.generations)
