"""All benchmarks by one command: none takes the others' time without being told."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.suite import BENCHMARKS, Benchmark, allowed_s, ended_within, interrupt, started

SLOW = Benchmark("slow", ".venv", short_s=480)


@pytest.mark.parametrize(
    ("spent_s", "full", "expected_s"),
    [(0, False, 480), (800, False, 400), (1_200, False, 0), (5_000, False, 0), (5_000, True, 7_200)],
)
def test_short_forms_share_twenty_minutes_and_long_ones_have_two_hours_each(
    spent_s: float, full: bool, expected_s: float
) -> None:
    assert allowed_s(SLOW, spent_s, full=full) == expected_s


def test_no_short_form_may_use_up_what_the_others_have() -> None:
    assert all(one.short_s <= 600 for one in BENCHMARKS)


@pytest.fixture(params=[signal.SIG_IGN, signal.default_int_handler], ids=["in the background", "at a terminal"])
def begun_where(request: pytest.FixtureRequest) -> Iterator[None]:
    """As a shell has those ignore Ctrl-C that it starts in the background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("begun_where")
def test_what_takes_too_long_is_ended_as_by_hand_and_cleans_up(tmp_path: Path) -> None:
    begun, cleaned = tmp_path / "begun", tmp_path / "cleaned"
    code = f"""
import pathlib, time
try:
    pathlib.Path({str(begun)!r}).touch()
    time.sleep(600)
finally:
    pathlib.Path({str(cleaned)!r}).touch()
"""

    with started([sys.executable, "-c", code]) as running:
        while not begun.exists():
            assert running.poll() is None
            time.sleep(0.01)
        interrupt(running)

    assert cleaned.exists()


def test_what_does_not_end_in_its_time_is_called_too_slow() -> None:
    assert ended_within([sys.executable, "-c", "import time; time.sleep(600)"], 0.1)[0] == "too slow"


@pytest.mark.parametrize(("code", "expected"), [("pass", "done"), ("raise SystemExit(3)", "failed (3)")])
def test_the_end_of_a_benchmark_is_told(code: str, expected: str) -> None:
    assert ended_within([sys.executable, "-c", code], 60)[0] == expected
