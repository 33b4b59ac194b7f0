"""What counts as growth, and what as bloat."""

import os
import socket

import pytest

from tests.chaos.soak import Series, Table, bloated, callers, of_process, tasks_told


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


def test_a_leak_is_a_slope_and_a_step_is_none() -> None:
    leak, step = Series(), Series()
    for look in range(240):
        at_h = look / 240
        leak.add(at_h, 70 + 1.5 * at_h + look % 3)
        step.add(at_h, 258.0 if look < 200 else 284.0)

    assert abs(leak.slope_per_h - 1.5) < 0.1
    assert step.slope_per_h == 0
    assert Series().slope_per_h == 0


def test_one_table_of_dead_rows_is_found_among_many_that_live() -> None:
    kept, left = Table("generations", 0, 900_000, 1 << 30), Table("pending_writes", 30_000, 10, 1 << 26)

    assert bloated([kept, left], 24_000) == [left]
    assert bloated([kept, left], 30_000) == []


def test_a_table_of_which_more_is_dead_than_alive_is_bloated() -> None:
    assert bloated([Table("events", 60_000, 30_000, 1 << 26)], 24_000) != []
    assert bloated([Table("events", 30_000, 30_000, 1 << 26)], 0) == []


def test_who_keeps_a_connection_open_is_counted_at_the_port_that_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as served, socket.create_server(("127.0.0.1", 0)) as another:
        port, other = served.getsockname()[1], another.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", other)),
        ):  # fmt: skip
            taken = [served.accept()[0], served.accept()[0], another.accept()[0]]
            found = callers(os.getpid(), port)
        for one in taken:
            one.close()

    assert found == 2
    assert callers(os.getpid(), port) == 0


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
