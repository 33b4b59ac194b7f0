"""Spark says what DuckDB says of the same files, and DuckDB what PostgreSQL says (tests/component/ingest/test_lake.py).

A lane of its own, `make test-spark`: it needs Java and pyspark, which nothing else does.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.ingest.lake.duck import Duck
from services.ingest.lake.engine import OUTPUTS, Engine, Work, demand_apart, run
from services.ingest.records import Unreadable
from tests.support.lake_story import SYNCED, Story, story

pyspark = pytest.importorskip("pyspark.sql", reason="pyspark is not installed; `make test-spark` installs it")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java, which is not installed", allow_module_level=True)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
pytestmark = pytest.mark.timeout(400)  # Spark takes its time to begin


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Two cores of this machine."""
    made = (
        pyspark.SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    yield made
    made.stop()


def inputs(told: Story, folder: Path) -> None:
    """As `justai lake inputs` writes them."""
    folder.mkdir()
    rows = [
        {
            "generation_id": str(uuid5(UUID(int=1), str(number))), "user_id": one.person,
            "template_id": one.written_for.split(".")[0], "copy_id": str(UUID(int=one.copy)) if one.copy else None,
            "accepted_us": int(one.at.timestamp() * 1e6), "clean_us": int(one.at.timestamp() * 1e6) + 17 * 60 * 10**6,
            "flow_id": one.written_for.split(".")[1], "action_id": one.written_for.split(".")[2],
            "decision": one.decision or ("treatment" if one.copy else "control"),
        }
        for number, one in enumerate(told.generations)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "generations.parquet")
    messages = [{"action_id": action, "message_id": message, "flow_id": flow} for action, message, flow in SYNCED]
    pq.write_table(pa.Table.from_pylist(messages), folder / "flow_messages.parquet")


def digest(out: Path) -> dict[str, str]:
    """Of each table, its rows in one order; how an engine names a file is its own matter."""
    found = {}
    for table in OUTPUTS:
        rows = pq.read_table(out / table).to_pylist() if any(out.glob(f"{table}/**/*.parquet")) else []
        lines = sorted(json.dumps({**row, "file": Path(row.get("file", "")).name}, default=_said, sort_keys=True)
                       for row in rows)  # fmt: skip
        found[table] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def _said(value: Any) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_sql_gives_the_same_tables(session: Any, tmp_path: Path, seed: int) -> None:
    from services.ingest.lake.spark import Spark

    told, events = story(seed), tmp_path / "events"
    events.mkdir()
    inputs(told, tmp_path / "inputs")
    duck, found = Duck(memory_mb=256), {}
    engines: dict[str, Engine] = {"duck": duck, "spark": Spark(session)}
    for name, engine in engines.items():
        work = Work(told.put(events), [tmp_path / "inputs/generations.parquet"],
                    tmp_path / "inputs/flow_messages.parquet", tmp_path / name, now=NOW)  # fmt: skip
        run(engine, work)
        found[name] = digest(tmp_path / name)
    duck.close()

    assert found["spark"] == found["duck"]


def test_places_by_their_addresses_are_read_and_written_alike(
    session: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from deploy.glue import job

    told, events = story(1), tmp_path / "events"
    events.mkdir()
    files = told.put(events)
    (events / "_SUCCESS").touch()
    (events / "below").mkdir()
    inputs(told, tmp_path / "inputs")
    duck = Duck(memory_mb=256)
    run(duck, Work(files, [tmp_path / "inputs/generations.parquet"], tmp_path / "inputs/flow_messages.parquet",
                   tmp_path / "duck", now=NOW))  # fmt: skip
    duck.close()

    address = tmp_path.as_uri()
    told_by = {"events": f"{address}/events", "inputs": f"{address}/inputs/", "out": f"{address}/spark"}
    job.main(["job.py", *(word for name, place in told_by.items() for word in (f"--{name}", place))], NOW)

    assert digest(tmp_path / "spark") == digest(tmp_path / "duck")
    assert "'rejects': 0" in capsys.readouterr().out


def test_files_are_found_by_a_path_that_goes_up_and_down_and_a_folder_may_have_none(
    session: Any, tmp_path: Path
) -> None:
    from services.ingest.lake.spark import Spark

    told, events = story(2), tmp_path / "by_day=2" / "events"
    events.mkdir(parents=True)
    inputs(told, tmp_path / "inputs")
    read = [tmp_path / "inputs/generations.parquet"], tmp_path / "inputs/flow_messages.parquet"
    files = [events / ".." / "events" / file.name for file in told.put(events)]

    counts = run(Spark(session), Work(files, *read, tmp_path / "out", now=NOW))
    none = run(Spark(session), Work([], *read, tmp_path / "none", now=NOW))

    assert counts["events"] > 0
    assert set(none.values()) == {0}


def test_an_address_where_nothing_is_and_one_that_is_replaced_are_refused(session: Any, tmp_path: Path) -> None:
    from services.ingest.lake.remote import Remote

    nowhere, here = Remote(session, f"{tmp_path.as_uri()}/none"), Remote(session, tmp_path.as_uri())

    with pytest.raises(Unreadable, match=r"there is no file://.*/none"):
        list(nowhere.files())
    with pytest.raises(Unreadable, match="write elsewhere"):
        demand_apart(Work([], [here / "events" / "g.parquet"], here / "f.parquet", here, now=NOW))
    duck = Duck(memory_mb=256)
    with pytest.raises(Unreadable, match="is not on this machine"):
        run(duck, Work([], [here / "g.parquet"], here / "f.parquet", tmp_path / "out", now=NOW))
    duck.close()
