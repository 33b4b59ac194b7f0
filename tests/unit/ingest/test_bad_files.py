"""Whatever is in a file: its rows are counted, or it is held with a clear word; in bounded memory and time."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.ingest.reading.parse import read_pieces
from services.ingest.records import Unreadable
from tests.unit.ingest.bad_files import BAD_FILES, BRACKETS, ENDLESS
from tests.unit.ingest.given_files import READING, read

_MOST_MB = 300
_MOST_CPU_S = 60
_DEAR = (
    "a bomb in gzip",
    "a bomb in a zip",
    "a bomb of lines in a zip",
    "a bomb in zstd",
    "a bomb in Parquet",
    "a long table in few bytes",
    "brackets without an end in gzip",
    "twelve thousand files in a zip",
    "a row of a million values",
    "a header of a million columns",
)


@pytest.mark.parametrize("name", BAD_FILES)
def test_rows_are_counted_or_the_file_is_held(name: str) -> None:
    file = BAD_FILES[name]()

    if file.reason:
        with pytest.raises(Unreadable) as caught:
            read(file.data)
        assert caught.value.reason == file.reason
        assert len(str(caught.value)) < 1500
        return
    events, rejects = read(file.data)
    assert (len(events), len(rejects)) == (file.good, file.bad)
    assert len({one.line for one in events} | {one.line for one in rejects}) == file.good + file.bad


@pytest.mark.parametrize("name", [name for name in BAD_FILES if name not in _DEAR])
def test_the_quick_reader_says_the_same(name: str) -> None:
    file = BAD_FILES[name]()
    reason, rows, rejects = "", 0, 0
    try:
        for piece in read_pieces(io.BytesIO(file.data), len(file.data), READING, quick_from_bytes=0):
            rows, rejects = rows + piece.rows, rejects + len(piece.rejects)
    except Unreadable as problem:
        reason = problem.reason

    assert reason == file.reason
    assert reason or (rows, rejects) == (file.good + file.bad, file.bad)


def test_there_are_enough_of_them() -> None:
    data = [make().data for make in BAD_FILES.values()]

    assert len(set(data)) == len(data) >= 100


# --- in a process of its own, so that it alone is measured


def measured(**told: Any) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-m", "tests.unit.ingest.measured"],
        input=json.dumps(told), capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=110, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def demand_bounded(told: dict[str, Any]) -> None:
    assert told["mb"] < _MOST_MB
    assert told["cpu_s"] < _MOST_CPU_S


@pytest.mark.parametrize("name", _DEAR)
def test_a_bomb_takes_bounded_memory_and_time(name: str, tmp_path: Path) -> None:
    """ASVS 5.0 V5.2.3."""
    file = BAD_FILES[name]()
    (tmp_path / "bomb").write_bytes(file.data)

    told = measured(path=str(tmp_path / "bomb"))

    assert told["reason"] == (file.reason or None)
    demand_bounded(told)


@pytest.mark.parametrize("name", ENDLESS)
def test_one_thing_without_an_end_takes_bounded_memory_and_time(name: str) -> None:
    head, filler, end, good, bad = ENDLESS[name]
    size = 1 << 30 if name == "a line" else 256 << 20  # what takes no more at a quarter takes no more at all

    told = measured(head=head.hex(), filler=filler.hex(), end=end.hex(), size=size)

    assert (told["good"], told["bad"]) == (good, bad)
    demand_bounded(told)


def test_brackets_take_bounded_memory_and_time() -> None:
    head, filler, end, good, bad = BRACKETS

    told = measured(head=head.hex(), filler=filler.hex(), end=end.hex(), size=32 << 20)

    assert (told["good"], told["bad"]) == (good, bad)
    demand_bounded(told)
