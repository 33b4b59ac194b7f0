"""What the lake's build refuses before it touches anything."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.ingest.lake.duck import Duck
from services.ingest.lake.engine import Work, run, steps
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


def test_the_steps_are_there_in_their_order() -> None:
    assert [name for name, _ in steps()] == [
        "parsed", "rejects", "events", "mailed", "loose", "sends", "rollups",
    ]  # fmt: skip
