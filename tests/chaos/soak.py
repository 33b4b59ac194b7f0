"""What must not grow while work goes on: memory, threads and files of each service; what the servers hold for them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.chaos.rig import Rig, management

_KB = 1024
_WARM_UP = 0.25  # of all samples: pools, caches and the allocator's arenas are filled until then
SELECT_SERVER = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
           (SELECT coalesce(sum(pg_table_size(relid)), 0) FROM pg_stat_user_tables
            WHERE relname IN ('pending_writes', 'accounts')) AS queue_bytes,
           (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables) AS dead_rows,
           (SELECT coalesce(sum(n_live_tup), 0) FROM pg_stat_user_tables) AS live_rows
"""


@dataclass
class Series:
    """One value over time, in hours since the first look."""

    at_h: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, at_h: float, value: float) -> None:
        self.at_h.append(at_h)
        self.values.append(value)

    def _warm(self) -> tuple[list[float], list[float]]:
        first = int(len(self.values) * _WARM_UP)
        return self.at_h[first:], self.values[first:]

    @property
    def slope_per_h(self) -> float:
        """By least squares over all but the warm-up."""
        at_h, values = self._warm()
        return float(np.polyfit(at_h, values, 1)[0]) if len(values) > 1 else 0.0

    @property
    def growth(self) -> float:
        """The median of the last third above that of the first, without the warm-up."""
        _, values = self._warm()
        third = max(1, len(values) // 3)
        return float(np.median(values[-third:]) - np.median(values[:third]))

    @property
    def last(self) -> float:
        return self.values[-1]


Watched = dict[str, Series]
"""By what is watched, such as `gateway rss_mb`."""


async def watch(rig: Rig, until_s: float, every_s: float) -> Watched:
    """Look every so often until then (on the loop's clock)."""
    loop, began, found = asyncio.get_running_loop(), time.monotonic(), Watched()
    while loop.time() < until_s:
        at_h = (time.monotonic() - began) / 3600
        for name, value in (await _look(rig)).items():
            found.setdefault(name, Series()).add(at_h, value)
        await asyncio.sleep(every_s)
    return found


async def _look(rig: Rig) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for name, pid in rig.processes.pids.items():
        if name != "simulator":  # its log of all that happened grows by design
            found |= {f"{name} {what}": value for what, value in of_process(pid).items()}
    row = await rig.fetchrow(SELECT_SERVER)
    assert row is not None
    found |= {f"postgresql {name}": float(value) for name, value in row.items()}
    async with management(rig.endpoints) as (http, base):
        for what in ("connections", "channels"):
            async with http.get(f"{base}/api/{what}") as response:
                found[f"rabbitmq {what}"] = float(len(await response.json()))
    return found


def of_process(pid: int) -> dict[str, float]:
    """Resident memory in MB, threads, open files."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )  # fmt: skip
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / _KB,
        "threads": float(status["Threads"]),
        "files": float(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())),
    }
