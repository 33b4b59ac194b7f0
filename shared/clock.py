"""The one clock. It is passed everywhere, into SQL too, so that time can be scaled or frozen.

Durations that belong to the product (delays, windows, leases, deadlines) are virtual: they follow the clock.
Deadlines of single network calls are real: a socket knows nothing of a scaled clock.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What every part of the system may ask of time."""

    def now(self) -> datetime:
        """The present moment, aware, UTC."""

    def monotonic(self) -> float:
        """Virtual seconds since an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return when this many virtual seconds have passed."""


class SystemClock:
    """Real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ScaledClock:
    """Virtual time that runs `factor` times as fast as real time, from `origin` at `real_origin`.

    All processes that share the three values share one virtual time; the machine's wall clock is the common
    reference, so they must run on machines with synchronised clocks (the demo: on one machine).
    """

    def __init__(self, origin: datetime, factor: float, real_origin: float) -> None:
        if origin.tzinfo is None:
            raise ValueError("a clock's origin must carry a time zone")
        if factor <= 0:
            raise ValueError(f"a clock's factor must be positive, not {factor}")
        self._origin, self._factor, self._real_origin = origin.astimezone(UTC), factor, real_origin

    def now(self) -> datetime:
        return self._origin + timedelta(seconds=(time.time() - self._real_origin) * self._factor)

    def monotonic(self) -> float:
        return time.monotonic() * self._factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._factor)


class FrozenClock:
    """Time that moves only when a test says so; sleepers wake when `advance` passes their moment."""

    def __init__(self, now: datetime = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)) -> None:
        self._now, self._elapsed = now, 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._elapsed + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._elapsed]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._elapsed]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)


def clock_from_spec(spec: str) -> Clock:
    """`system`, or `scaled:<factor>:<real epoch seconds>:<ISO origin>`. Raises ValueError on anything else."""
    if spec == "system":
        return SystemClock()
    match spec.split(":", 3):
        case ["scaled", factor, real_origin, origin]:
            return ScaledClock(datetime.fromisoformat(origin), float(factor), float(real_origin))
        case _:
            raise ValueError(f"a clock is 'system' or 'scaled:<factor>:<real epoch s>:<ISO origin>', not {spec!r}")
