"""Profile writing at the edge of Klaviyo's quota, beside the official SDK. `make bench-writer`

Five acts, each on a stage of its own with real writers as processes; what is counted is what the box counted.

| act | what happens |
|---|---|
| bursts | 3,400 and 37,500 people at once, each of one account with a delay of 5 minutes; beside them two accounts where another app takes 30 % of the quota, one call at a time and in bursts of 20 |
| bulk | 100,000 people within 30 s, bodies of 10 KB, a key that may import; jobs take 5 to 30 s |
| saturated | 20 accounts with more than they can write, 3 writers: what each whole minute used of the advertised 750 |
| noisy | 19 accounts with a write a second each, alone and beside one with 20,000 waiting, or 5,000 arriving at once |
| million | one writer and 1,000,000 pending writes |

The clock runs two to three times as fast as ours, so all take about 10 minutes; `--real` runs in real time, half an
hour. The SDK waits in real seconds, so its burst runs on a clock of its own beside the other acts.
"""  # noqa: E501 - a table

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import devstack
from bench.report import Report
from bench.writer_acts import ACTS, Result, Size, peer

ASKED = {
    "quota_used": ">= 0.97", "n_429_saturated": "<= 0", "rate_429": "<= 0.005", "rate_429_bursts": "<= 0.005",
    "requests_per_write": "<= 1.1", "carried": ">= 0.97", "right_bulk": ">= 0.999", "noisy_ratio": "<= 1.5",
    "rss_mb_million": "<= 300", "faults": "<= 0",
}  # fmt: skip
QUICK = Size(
    delay_s=75, small=850, large=9_400, bulk=12_000, saturated=8, minutes=3, noisy_backlog=5_000, noisy_at_once=1_000,
    noisy_s=15, pending=100_000,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, write `bench/results/writer.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--acts", default=",".join(("peer", *ACTS)), help=f"which, of peer, {', '.join(ACTS)}")
    parser.add_argument("--quick", action="store_true", help="a quarter of everything, or less")
    parser.add_argument("--real", action="store_true", help="in real time")
    chosen = parser.parse_args(arguments)
    size, result, report = QUICK if chosen.quick else Size(), Result(real=chosen.real), Report("writer")
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="justai-bench-") as folder,
        devstack.start(("postgres", "rabbitmq"), Path(folder), durable=True) as servers,
    ):
        asyncio.run(_play(servers.endpoints, Path(folder), chosen.acts.split(","), size, result))
    print(f"all: {time.monotonic() - began:.0f} s")
    report.table("Emails", ("burst", "right", "control_missed", "faults", "our books say"), result.rows)
    report.finish({**result.figures, "faults": result.faults}, ASKED | {"right_3400": f">= {size.small}"})


async def _play(servers: devstack.Endpoints, folder: Path, acts: Sequence[str], size: Size, result: Result) -> None:
    async with asyncio.TaskGroup() as group:
        if "peer" in acts:
            group.create_task(peer(size, result))
        for act in acts:
            if act == "peer":
                continue
            started = time.monotonic()
            print(f"{act} …", flush=True)
            await ACTS[act](servers, folder / act, size, result)
            print(f"{act}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
