"""The acts of the writer's benchmark: `bench/writer.py` says what each is about."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.writer_stage import BULK_SCOPES, MESSAGE, WRITES, Shop, Stage, copy_of, staged
from devstack import Endpoints
from devstack.processes import python
from shared.clock import clock_from_spec
from shared.snippet import properties
from simulator.app import serving
from simulator.settings import SimulatorSettings
from simulator.world import World

LIMIT = 750
FOREIGN_SHARE = 0.3
FAULTS = ("foreign", "broken")
JOBS_OF_SOME_SECONDS = SimulatorSettings(bulk_job_min_s=5, bulk_job_max_s=30)


@dataclass(frozen=True, slots=True)
class Size:
    """How large everything is."""

    delay_s: float = 300
    small: int = 3_400
    large: int = 37_500
    bulk: int = 100_000
    bulk_within_s: float = 30
    saturated: int = 20
    minutes: int = 3
    noisy_backlog: int = 20_000
    noisy_at_once: int = 5_000
    noisy_s: float = 30
    pending: int = 1_000_000
    watched_s: float = 25


@dataclass
class Result:
    """What the acts found."""

    real: bool
    figures: dict[str, float] = field(default_factory=dict)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    faults: int = 0

    def scale(self, scale: float) -> float:
        """How fast an act's clock runs."""
        return 1 if self.real else scale

    def judge(self, name: str, shop: Shop, reasons: Counter[str]) -> Counter[str]:
        """One row of the table of emails."""
        judged = shop.judged()
        faults = sum(judged[kind] for kind in FAULTS)
        self.faults += faults
        told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(3))
        self.rows.append((name, *(f"{judged[kind]:,}" for kind in ("right", "control_missed")), f"{faults}", told))
        return judged


async def bursts(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """Whatever single writes can carry is carried, beside other apps too."""
    async with staged(servers, folder, scale=result.scale(3), writers=1) as stage:
        small, large = await stage.shop("small"), await stage.shop("large")
        others, in_bursts = await stage.shop("others"), await stage.shop("in-bursts")
        world = stage.box.world
        world.add_foreign(others.account, WRITES, LIMIT * FOREIGN_SHARE / 60, "poisson")
        world.add_foreign(in_bursts.account, WRITES, LIMIT * FOREIGN_SHARE / 60, "bursts", 20)
        ours = {small: (size.small, 10), large: (size.large, 30), others: (size.small, 10), in_bursts: (size.small, 10)}
        start = await stage.seeded(ours, delay_s=size.delay_s)
        cpu_s = stage.cpu_s()
        await stage.published(ours, until=start + timedelta(seconds=30 + size.delay_s + 5))
        cpu_s = stage.cpu_s() - cpu_s
        figures = result.figures
        written = sum(len(shop.account.first_written_at) for shop in ours)
        figures["right_3400"] = result.judge(f"{size.small:,} in 10 s", small, await stage.reasons(small))["right"]
        right = result.judge(f"{size.large:,} in 30 s", large, await stage.reasons(large))["right"]
        figures["carried"] = right / (LIMIT * size.delay_s / 60)
        for name, how, shop in (("rate_429", "one by one", others), ("rate_429_bursts", "in bursts", in_bursts)):
            result.judge(f"{size.small:,} beside others {how}", shop, await stage.reasons(shop))
            figures[name] = shop.windows.refused / max(1, _requests(shop))
        figures["requests_per_write"] = max(_requests(shop) / len(shop.account.first_written_at) for shop in ours)
        figures["others_refused"] = max(
            shop.account.foreign[WRITES].refused / shop.account.foreign[WRITES].calls for shop in (others, in_bursts)
        )
        figures["cpu_us_per_write"] = cpu_s / written * 1e6
        figures["rss_mb"] = stage.rss_mb()


async def bulk(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """More than single writes can carry by far, and a key that may import."""
    async with staged(servers, folder, scale=result.scale(2), writers=1, settings=JOBS_OF_SOME_SECONDS) as stage:
        shop = await stage.shop("bulk", scopes=BULK_SCOPES)
        start = await stage.seeded({shop: (size.bulk, size.bulk_within_s)}, delay_s=size.delay_s)
        cpu_s = stage.cpu_s()
        await stage.published([shop], until=start + timedelta(seconds=size.bulk_within_s + size.delay_s + 5))
        cpu_s = stage.cpu_s() - cpu_s
        name = f"{size.bulk:,} in {size.bulk_within_s:g} s, by import"
        right = result.judge(name, shop, await stage.reasons(shop))["right"]
        jobs = shop.account.jobs.values()
        imported = sum(job.total for job in jobs)
        singly = shop.windows.minutes.total() if any(name == WRITES for name in shop.account.windows) else 0
        figures = result.figures
        figures["right_bulk"] = right / size.bulk
        figures["bulk_share"] = imported / size.bulk
        figures["bulk_jobs"] = len(jobs)
        figures["bulk_refused_429"] = sum(windows.refused for windows in shop.account.windows.values())
        # What single writes cost is known from the bursts; where that act was not played, it is counted with the rest.
        per_write_s = figures.get("cpu_us_per_write", 0) / 1e6
        figures["cpu_us_per_profile_bulk"] = (cpu_s - singly * per_write_s) / max(1, imported) * 1e6
        figures["rss_mb_bulk"] = stage.rss_mb()


async def saturated(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """Many accounts at their limit, several writers, and nobody is refused."""
    async with staged(servers, folder, scale=result.scale(2.5), writers=3) as stage:
        start = stage.clock.now()
        for number in range(size.saturated):
            shop = await stage.shop(f"saturated-{number}")
            await stage.seed(shop, LIMIT * (size.minutes + 1), start=start, within_s=0, delay_s=3600)
        cpu_s, real_s = stage.cpu_s(), time.monotonic()
        await stage.published(stage.shops, until=stage.clock.now() + timedelta(seconds=60 * (size.minutes + 0.3)))
        used: list[float] = []
        for shop in stage.shops:
            minutes = shop.windows.minutes
            _, *whole, _ = (minutes[index] for index in range(min(minutes), max(minutes) + 1))
            used += [count / LIMIT for count in whole[1:]]  # after the first minute
        result.figures["quota_used"] = statistics.mean(used)
        result.figures["quota_used_min"] = min(used)
        result.figures["n_429_saturated"] = sum(shop.windows.refused for shop in stage.shops)
        result.figures["saturated_cpu_share"] = (stage.cpu_s() - cpu_s) / (time.monotonic() - real_s)


async def noisy(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """A loud account delays no quiet one: not by what waits, and hardly by what arrives."""
    async with staged(servers, folder / "waiting", scale=1, writers=3) as stage:
        quiet, loud = [await stage.shop(f"quiet-{number}") for number in range(19)], await stage.shop("loud")
        alone_s = await _quiet_p99_s(stage, quiet, size)  # the same accounts and processes, a minute before
        await stage.seed(loud, size.noisy_backlog, start=stage.clock.now(), within_s=0, delay_s=3600)
        await stage.publish(loud)
        await stage.taken_in(loud)
        waiting_s = await _quiet_p99_s(stage, quiet, size)
    async with staged(servers, folder / "arriving", scale=1, writers=3) as stage:
        quiet, loud = [await stage.shop(f"quiet-{number}") for number in range(19)], await stage.shop("loud")
        arriving_s = await _quiet_p99_s(stage, quiet, size, beside=loud)
    result.figures["noisy_ratio"] = waiting_s / alone_s
    result.figures["noisy_ratio_arriving"] = arriving_s / alone_s
    result.figures["quiet_p99_alone_ms"], result.figures["quiet_p99_beside_ms"] = alone_s * 1000, waiting_s * 1000


async def _quiet_p99_s(stage: Stage, quiet: Sequence[Shop], size: Size, beside: Shop | None = None) -> float:
    """A write a second of each quiet account; `beside`: half-way a burst of this one arrives."""
    start = stage.clock.now() + timedelta(seconds=5)
    if beside is not None:
        middle = start + timedelta(seconds=size.noisy_s / 2)
        await stage.seed(beside, size.noisy_at_once, start=middle, within_s=0, delay_s=3600)
    for number, shop in enumerate(quiet):
        offset = timedelta(seconds=number / len(quiet))
        await stage.seed(shop, int(size.noisy_s), start=start + offset, within_s=size.noisy_s, delay_s=300)
    shops = [*quiet, *([beside] if beside is not None else [])]
    await stage.published(shops, since=start, until=start + timedelta(seconds=size.noisy_s + 5))
    waits = [wait_s for shop in quiet for wait_s in shop.waits_s(since=start)]
    if len(waits) < len(quiet) * int(size.noisy_s):
        raise RuntimeError(f"only {len(waits)} of the quiet accounts' writes arrived")
    return statistics.quantiles(waits, n=100)[98]


async def million(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """What waits in PostgreSQL costs the writer no memory, and its turns no time."""
    async with staged(servers, folder, scale=1, writers=1) as stage:
        shop = await stage.shop("million")
        await stage.pend(shop, size.pending, writable=2_000, delay_s=7 * 3600)
        await stage.publish(shop)
        await stage.clock.sleep(5)
        before_mb, written = stage.rss_mb(), len(shop.account.first_written_at)
        await stage.clock.sleep(size.watched_s)
        result.figures["rss_mb_million"] = stage.rss_mb()
        result.figures["rss_mb_million_growth"] = stage.rss_mb() - before_mb
        result.figures["written_beside_million"] = len(shop.account.first_written_at) - written


async def peer(size: Size, result: Result) -> None:
    """The same burst through Klaviyo's official SDK, on an account and a clock of its own, in real time."""
    clock = clock_from_spec(f"scaled:1:{time.time()}:{datetime(2026, 11, 23, 10, 0, tzinfo=UTC).isoformat()}")
    world = World(clock, SimulatorSettings(), random.SystemRandom().randrange(10**9))
    async with serving(world) as box:
        shop = Shop.of_box(world, "peer")
        shop.people(world, size.small, start=clock.now() + timedelta(seconds=5), within_s=10, delay_s=size.delay_s)
        said = await _through_the_sdk(shop, box.url, clock.now())
    result.figures["peer_wall_s"] = said.pop("wall_s")
    result.figures["peer_right"] = result.judge("the SDK, 16 threads", shop, Counter(said))["right"]
    result.figures["peer_429"] = shop.windows.refused


def _requests(shop: Shop) -> int:
    return sum(shop.windows.minutes.values()) + shop.windows.refused


async def _through_the_sdk(shop: Shop, url: str, now: datetime) -> dict[str, float]:
    """The peer's burst, in a process of its own."""
    names = properties("jai")
    writes = [
        {
            "profile_id": one.profile_id,
            "from": one.accepted_at.timestamp(),
            "until": one.leaves_at.timestamp(),
            "properties": dict(
                zip(
                    names,
                    (*copy_of(shop.source, one.profile_id), str(one.generation_id), MESSAGE, one.profile_id),
                    strict=True,
                )
            ),
        }
        for one in shop.emails
    ]
    given = json.dumps({"ahead_s": now.timestamp() - time.time(), "writes": writes})
    command = [*python("bench.writer_peer"), url, shop.key]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    try:
        printed, _ = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
    told: dict[str, float] = json.loads(printed)
    return told


Act = Callable[[Endpoints, Path, Size, Result], Awaitable[None]]
ACTS: Mapping[str, Act] = {
    "bursts": bursts, "bulk": bulk, "saturated": saturated, "noisy": noisy, "million": million,
}  # fmt: skip
