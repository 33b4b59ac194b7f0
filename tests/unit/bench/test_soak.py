"""The arithmetic of a soak."""

import os

import pytest

from tests.chaos.soak import Series, of_process, tasks_told


def _of(values: list[float]) -> Series:
    series = Series()
    for number, value in enumerate(values):
        series.add(number / 10, value)
    return series


def test_the_warm_up_does_not_count_and_a_leak_does() -> None:
    warming, leaking = [10.0 * n for n in range(25)], [240.0 + n for n in range(75)]

    assert _of(warming + [240.0] * 75).slope_per_h == pytest.approx(0, abs=1e-9)
    assert _of(warming + leaking).slope_per_h == pytest.approx(10)
    assert _of(warming + leaking).growth == pytest.approx(50)


def test_a_single_spike_is_no_growth() -> None:
    assert _of([100.0] * 99 + [900.0]).growth == 0


def test_a_process_is_read_as_the_kernel_tells_it() -> None:
    found = of_process(os.getpid())

    assert found["rss_mb"] > 10
    assert found["threads"] >= 1
    assert found["files"] >= 3


def test_tasks_are_read_as_a_service_tells_them_and_silence_is_no_zero() -> None:
    told = "# TYPE jai_event_loop_tasks gauge\njai_event_loop_tasks 17.0\n"

    assert tasks_told(told) == 17
    with pytest.raises(LookupError):
        tasks_told("# nothing\n")
