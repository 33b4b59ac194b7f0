"""Profile writing at the edge of Klaviyo's quota, beside the official SDK. `make bench-writer`

Three acts, each on a stage of its own with real writers as processes; what is counted is what the box counted.
1. In real time: a burst of 3,400 and one of 37,500, each to one account with a delay of 5 minutes, the first also
   through the SDK; beside them accounts where another app takes 30 % of the quota, one by one and in bursts of 20.
2. Twice as fast: 20 saturated accounts, 3 writers; what each account's whole minutes used of the advertised 750.
3. Nineteen accounts with a write a second each, alone and beside one with 20,000 waiting.
All three take 11 to 12 minutes. A quarter of the bursts' size with `--quick`, and a delay of 75 s.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import devstack
from bench.report import Report
from bench.writer_stage import MESSAGE, WRITES, Shop, Stage, copy_of, staged
from devstack import Endpoints
from devstack.processes import python
from shared.snippet import properties

ACTS = ("bursts", "saturated", "noisy")
ASKED = {
    "quota_used": ">= 0.97", "n_429_saturated": "<= 0", "rate_429": "<= 0.005", "rate_429_bursts": "<= 0.005",
    "requests_per_write": "<= 1.1", "carried": ">= 0.97", "noisy_ratio": "<= 1.5",
    "faults": "<= 0",
}  # fmt: skip
LIMIT = 750
FOREIGN_SHARE = 0.3
FAULTS = ("foreign", "broken")


@dataclass(frozen=True, slots=True)
class Size:
    """How large everything is."""

    delay_s: float = 300
    small: int = 3_400
    large: int = 37_500
    saturated: int = 20
    minutes: int = 4
    noisy_backlog: int = 20_000
    noisy_s: float = 60


QUICK = Size(delay_s=75, small=850, large=9_400, saturated=8, minutes=3, noisy_backlog=5_000, noisy_s=30)


@dataclass
class Result:
    """What the acts found."""

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    faults: int = 0

    def judge(self, name: str, shop: Shop, reasons: Counter[str]) -> Counter[str]:
        """One row of the table of emails."""
        judged = shop.judged()
        faults = sum(judged[kind] for kind in FAULTS)
        self.faults += faults
        told = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(3))
        self.rows.append((name, *(f"{judged[kind]:,}" for kind in ("right", "control_missed")), f"{faults}", told))
        return judged


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/writer.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--acts", default=",".join(ACTS), help=f"which, of {', '.join(ACTS)}")
    parser.add_argument("--quick", action="store_true", help="a quarter of everything")
    chosen = parser.parse_args(arguments)
    size, result, report = QUICK if chosen.quick else Size(), Result(), Report("writer")
    play = {"bursts": bursts, "saturated": saturated, "noisy": noisy}
    with (
        tempfile.TemporaryDirectory(prefix="justai-bench-") as folder,
        devstack.start(("postgres", "rabbitmq"), Path(folder), durable=True) as servers,
    ):
        for act in chosen.acts.split(","):
            started = time.monotonic()
            print(f"{act} …", flush=True)
            asyncio.run(play[act](servers.endpoints, Path(folder) / act, size, result))
            print(f"{act}: {time.monotonic() - started:.0f} s", flush=True)
    report.table("Emails", ("burst", "right", "control_missed", "faults", "our books say"), result.rows)
    report.finish({**result.figures, "faults": result.faults}, ASKED | {"right_3400": f">= {size.small}"})


async def bursts(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """Act 1."""
    async with staged(servers, folder, scale=1, writers=1) as stage:
        small, large = await stage.shop("small"), await stage.shop("large")
        peer, others, in_bursts = await stage.shop("peer"), await stage.shop("others"), await stage.shop("in-bursts")
        world = stage.box.world
        world.add_foreign(others.account, WRITES, LIMIT * FOREIGN_SHARE / 60, "poisson")
        world.add_foreign(in_bursts.account, WRITES, LIMIT * FOREIGN_SHARE / 60, "bursts", 20)
        start = stage.clock.now() + timedelta(seconds=40)
        for shop, count, within_s in (
            (small, size.small, 10), (peer, size.small, 10), (large, size.large, 30),
            (others, size.small, 10), (in_bursts, size.small, 10),
        ):  # fmt: skip
            await stage.seed(shop, count, start=start, within_s=within_s, delay_s=size.delay_s)
        if (late_s := (stage.clock.now() - start).total_seconds()) > 0:
            raise RuntimeError(f"seeding took {late_s:.0f} s longer than planned")
        cpu_s = stage.cpu_s()
        async with asyncio.TaskGroup() as group:
            sdk = group.create_task(_through_the_sdk(stage, peer))
            for shop in (small, large, others, in_bursts):
                group.create_task(stage.publish(shop))
            await stage.until(start + timedelta(seconds=30 + size.delay_s + 5))
        cpu_s = stage.cpu_s() - cpu_s
        figures = result.figures
        ours = [small, large, others, in_bursts]
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
        said = sdk.result()
        figures["peer_wall_s"] = said.pop("wall_s")
        figures["peer_right"] = result.judge("the SDK, 16 threads", peer, Counter(said))["right"]
        figures["peer_429"] = peer.windows.refused
        figures["cpu_us_per_write"] = cpu_s / written * 1e6
        figures["rss_mb"] = stage.rss_mb()


async def saturated(servers: Endpoints, folder: Path, size: Size, result: Result) -> None:
    """Act 2."""
    async with staged(servers, folder, scale=2, writers=3) as stage:
        start = stage.clock.now()
        for number in range(size.saturated):
            shop = await stage.shop(f"saturated-{number}")
            await stage.seed(shop, LIMIT * (size.minutes + 1), start=start, within_s=0, delay_s=3600)
        cpu_s, real_s = stage.cpu_s(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for shop in stage.shops:
                group.create_task(stage.publish(shop))
            await stage.clock.sleep(60 * size.minutes)
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
    """Act 3."""
    p99s: list[float] = []
    for backlog in (0, size.noisy_backlog):
        async with staged(servers, folder / str(backlog), scale=1, writers=3) as stage:
            quiet = [await stage.shop(f"quiet-{number}") for number in range(19)]
            if backlog:
                loud = await stage.shop("loud")
                await stage.seed(loud, backlog, start=stage.clock.now(), within_s=0, delay_s=3600)
                await stage.publish(loud)
                await stage.taken_in(loud)
            start = stage.clock.now() + timedelta(seconds=10)
            for number, shop in enumerate(quiet):
                offset = timedelta(seconds=number / len(quiet))
                await stage.seed(shop, int(size.noisy_s), start=start + offset, within_s=size.noisy_s, delay_s=300)
            async with asyncio.TaskGroup() as group:
                for shop in quiet:
                    group.create_task(stage.publish(shop))
                await stage.until(start + timedelta(seconds=size.noisy_s + 5))
            waits = [wait_s for shop in quiet for wait_s in shop.waits_s()]
            if len(waits) < len(quiet) * int(size.noisy_s):
                raise RuntimeError(f"only {len(waits)} of the quiet accounts' writes arrived")
            p99s.append(statistics.quantiles(waits, n=100)[98])
    result.figures["noisy_ratio"] = p99s[1] / p99s[0]
    result.figures["quiet_p99_alone_ms"], result.figures["quiet_p99_beside_ms"] = (p99 * 1000 for p99 in p99s)


def _requests(shop: Shop) -> int:
    return sum(shop.windows.minutes.values()) + shop.windows.refused


async def _through_the_sdk(stage: Stage, shop: Shop) -> dict[str, float]:
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
                    (*copy_of(shop.source, one.profile_id), str(one.generation_id), MESSAGE),
                    strict=True,
                )
            ),
        }
        for one in shop.emails
    ]
    given = json.dumps({"ahead_s": stage.clock.now().timestamp() - time.time(), "writes": writes})
    command = [*python("bench.writer_peer"), stage.box.url, shop.key]
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


if __name__ == "__main__":
    main()
