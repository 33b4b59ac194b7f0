import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.clock import FrozenClock, LeapingClock, ScaledClock, SystemClock, clock_from_spec


async def test_frozen_time_moves_only_when_told_and_wakes_its_sleepers() -> None:
    clock = FrozenClock()
    sleeper = asyncio.create_task(clock.sleep(60))
    await asyncio.sleep(0)

    clock.advance(59)
    await asyncio.sleep(0)
    assert not sleeper.done()

    clock.advance(1)
    await asyncio.wait_for(sleeper, 20)


def test_two_processes_with_one_spec_share_one_virtual_time() -> None:
    spec = f"scaled:1000:{time.time() - 2}:2026-11-23T10:00:00+00:00"

    first, second = clock_from_spec(spec).now(), clock_from_spec(spec).now()

    assert abs((second - first).total_seconds()) < 5_000
    assert (first - datetime(2026, 11, 23, 10, tzinfo=UTC)).total_seconds() >= 2000


async def test_scaled_sleep_is_short_in_real_time() -> None:
    clock = ScaledClock(datetime(2026, 11, 23, tzinfo=UTC), 1000, time.time())
    started = time.monotonic()

    await clock.sleep(100)

    assert 0.09 < time.monotonic() - started < 20


@pytest.mark.parametrize(
    "spec", ["", "fast", "scaled:2", "scaled:0:0:2026-11-23T10:00:00+00:00", "scaled:2:0:2026-11-23"]
)
def test_specs_that_are_no_clocks_are_refused(spec: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # float() and fromisoformat() word it differently
        clock_from_spec(spec)


def leaping(file: Path, factor: float) -> LeapingClock:
    clock = clock_from_spec(f"scaled:{factor:g}:{time.time()}:2026-11-23T10:00:00+00:00@{file}")
    assert isinstance(clock, LeapingClock)
    return clock


async def test_a_leap_is_seen_by_every_clock_of_the_file_and_wakes_their_sleepers(tmp_path: Path) -> None:
    LeapingClock.start(tmp_path / "leaps")
    ours, others = leaping(tmp_path / "leaps", 2), leaping(tmp_path / "leaps", 2)
    before, elapsed_s = others.now(), others.monotonic()
    sleeper = asyncio.create_task(others.sleep(86_400))
    await asyncio.sleep(0)

    ours.leap(86_000)
    ours.leap(400)

    assert timedelta(days=1) <= others.now() - before < timedelta(days=1, minutes=1)
    assert 86_400 <= others.monotonic() - elapsed_s < 86_460
    await asyncio.wait_for(sleeper, 20)


async def test_without_a_leap_a_leaping_clock_sleeps_as_a_scaled_one_does(tmp_path: Path) -> None:
    LeapingClock.start(tmp_path / "leaps")
    started = time.monotonic()

    await leaping(tmp_path / "leaps", 1000).sleep(300)

    assert 0.29 < time.monotonic() - started < 20


def test_a_clock_never_leaps_back(tmp_path: Path) -> None:
    LeapingClock.start(tmp_path / "leaps")

    with pytest.raises(ValueError, match="does not go back"):
        leaping(tmp_path / "leaps", 1).leap(-1)


def test_a_file_of_leaps_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    for name in ("missing", "empty"):
        with pytest.raises(ValueError, match="file of leaps"):
            leaping(tmp_path / name, 1)


def test_the_default_is_real_time() -> None:
    assert isinstance(clock_from_spec("system"), SystemClock)
