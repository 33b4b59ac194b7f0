import asyncio
import time
from datetime import UTC, datetime

import pytest

from shared.clock import FrozenClock, ScaledClock, SystemClock, clock_from_spec


async def test_frozen_time_moves_only_when_told_and_wakes_its_sleepers() -> None:
    clock = FrozenClock()
    sleeper = asyncio.create_task(clock.sleep(60))
    await asyncio.sleep(0)

    clock.advance(59)
    await asyncio.sleep(0)
    assert not sleeper.done()

    clock.advance(1)
    await asyncio.wait_for(sleeper, 1)


def test_two_processes_with_one_spec_share_one_virtual_time() -> None:
    spec = f"scaled:1000:{time.time() - 2}:2026-11-23T10:00:00+00:00"

    first, second = clock_from_spec(spec).now(), clock_from_spec(spec).now()

    assert abs((second - first).total_seconds()) < 60
    assert (first - datetime(2026, 11, 23, 10, tzinfo=UTC)).total_seconds() >= 2000


async def test_scaled_sleep_is_short_in_real_time() -> None:
    clock = ScaledClock(datetime(2026, 11, 23, tzinfo=UTC), 1000, time.time())
    started = time.monotonic()

    await clock.sleep(100)

    assert 0.09 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    "spec", ["", "fast", "scaled:2", "scaled:0:0:2026-11-23T10:00:00+00:00", "scaled:2:0:2026-11-23"]
)
def test_specs_that_are_no_clocks_are_refused(spec: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # float() and fromisoformat() word it differently
        clock_from_spec(spec)


def test_the_default_is_real_time() -> None:
    assert isinstance(clock_from_spec("system"), SystemClock)
