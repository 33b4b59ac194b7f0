"""What the lake's build refuses before it touches anything."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.ingest.lake.duck import Duck
from services.ingest.lake.engine import Work, run, steps
from services.ingest.lake.remote import Remote
from services.ingest.lake.spark import demand_plain
from services.ingest.records import Unreadable

NOW = datetime(2026, 11, 30, tzinfo=UTC)
HEADER = "id,metric,profile_id,datetime\n"


def work(folder: Path, out: Path, content: str = HEADER) -> Work:
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(content)
    return Work([folder / "a.csv"], [], folder / "messages.parquet", out, now=NOW)


def test_files_that_lie_where_the_tables_go_are_not_deleted(tmp_path: Path) -> None:
    asked = work(tmp_path / "data" / "events", tmp_path / "data")

    with pytest.raises(Unreadable, match="write elsewhere"):
        run(Duck(memory_mb=128), asked)

    assert (tmp_path / "data" / "events" / "a.csv").exists()


@pytest.mark.parametrize(
    "row", ["E1,Opened Email,P1\n", 'E1,"Opened Email,P1,2026-11-23\nE2,Opened Email,P1,2026-11-23\n']
)
def test_a_row_that_cannot_be_told_stops_the_build_and_is_not_left_out(tmp_path: Path, row: str) -> None:
    asked = work(tmp_path / "events", tmp_path / "out", HEADER + row)

    with pytest.raises(Unreadable):
        run(Duck(memory_mb=128), asked)


@pytest.mark.parametrize(
    "place", ["/data/my events/a.csv", "/data/a%20b/a.csv", "/data/größe/a.csv", "/data/[1]/a.csv", "/data/_a.csv"]
)
def test_a_path_that_spark_says_in_its_own_spelling_is_refused(place: str) -> None:
    for file in (Path(place), Remote(None, f"s3://bucket{place}")):
        with pytest.raises(Unreadable, match=r"rename it|move it"):
            demand_plain([file])


def test_usual_paths_are_told(tmp_path: Path) -> None:
    demand_plain([Path("/data/by_day=2026/a-1.csv.gz"), Remote(None, "s3://my-bucket/a_b/c.csv"), tmp_path / "a.csv"])
    demand_plain([Remote(None, "hdfs://node:8020/events/a.csv"), Remote(None, "file:///tmp/a.csv")])


def test_the_steps_are_there_in_their_order() -> None:
    assert [name for name, _ in steps()] == [
        "parsed", "rejects", "events", "mailed", "loose", "sends", "rollups",
    ]  # fmt: skip
