"""The one clock. It is passed everywhere, into SQL too, so that time can be scaled or frozen.

Durations that belong to the product (delays, windows, leases, deadlines) are virtual: they follow the clock.
Deadlines of single network calls are real: a socket knows nothing of a scaled clock.
"""

import asyncio
import mmap
import struct
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

_LEAPT = struct.Struct("=d")
_LOOK_EVERY_S = 0.2  # real


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


class LeapingClock:
    """A scaled clock that also leaps forward when it is told to, in all processes alike: a quiet night costs nothing.

    The virtual seconds that it has leapt so far stand in a file, which every process maps into its memory. Sleepers see
    a leap within 0.2 real seconds.
    """

    def __init__(self, scaled: ScaledClock, file: Path, factor: float) -> None:
        self._scaled, self._file, self._factor = scaled, file, factor
        with file.open("rb") as opened:
            self._leapt = mmap.mmap(opened.fileno(), _LEAPT.size, access=mmap.ACCESS_READ)

    @staticmethod
    def start(file: Path) -> None:
        """Make the file, before any clock is made of it: nothing was leapt yet."""
        file.write_bytes(_LEAPT.pack(0.0))

    def now(self) -> datetime:
        return self._scaled.now() + timedelta(seconds=self._leapt_s())

    def monotonic(self) -> float:
        return self._scaled.monotonic() + self._leapt_s()

    async def sleep(self, seconds: float) -> None:
        until_s = self.monotonic() + seconds
        await asyncio.sleep(0)
        while (left_s := until_s - self.monotonic()) > 0:  # noqa: ASYNC110  # a file sets no event
            await asyncio.sleep(min(left_s / self._factor, _LOOK_EVERY_S))

    def leap(self, seconds: float) -> None:
        """Go forward at once. Whatever is under way elsewhere becomes so much older: leap when all is quiet."""
        if seconds < 0:
            raise ValueError(f"time does not go back, not even by {-seconds:g} s")
        with self._file.open("r+b") as opened:
            opened.write(_LEAPT.pack(self._leapt_s() + seconds))

    def _leapt_s(self) -> float:
        return float(_LEAPT.unpack_from(self._leapt)[0])


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
    """`system`, or `scaled:<factor>:<real epoch seconds>:<ISO origin>`; with `@<file>` after it, one that leaps by what
    stands in the file. Raises ValueError on anything else."""
    if spec == "system":
        return SystemClock()
    match spec.split(":", 3):
        case ["scaled", factor, real_origin, origin]:
            origin, _, file = origin.partition("@")
            scaled = ScaledClock(datetime.fromisoformat(origin), float(factor), float(real_origin))
            return _leaping(scaled, Path(file), float(factor)) if file else scaled
        case _:
            raise ValueError(f"a clock is 'system' or 'scaled:<factor>:<real epoch s>:<ISO origin>', not {spec!r}")


def _leaping(scaled: ScaledClock, file: Path, factor: float) -> LeapingClock:
    try:
        return LeapingClock(scaled, file, factor)
    except (OSError, ValueError) as error:
        raise ValueError(f"the clock's file of leaps cannot be read: {error}") from None


async def first_of(*waits: Coroutine[object, object, object], within_s: float | None = None) -> None:
    """Until the first of these has happened, at most so many real seconds: how runners rest until they are stopped."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
