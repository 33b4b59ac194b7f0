"""What must not grow while work goes on: memory, threads, files and tasks of each service; what the servers hold for
them."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.orgs import DELAY_S
from tests.chaos.rig import Rig, management

_KB = 1024
_WARM_UP = 0.25  # of all samples: pools, caches and the allocator's arenas are filled until then
SELECT_SERVER = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
           (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables) AS dead_rows,
           (SELECT coalesce(sum(n_live_tup), 0) FROM pg_stat_user_tables) AS live_rows
"""
SELECT_TABLES = """
    SELECT relname AS name, n_dead_tup AS dead, n_live_tup AS live, pg_table_size(relid) AS bytes
    FROM pg_stat_user_tables
    WHERE schemaname NOT LIKE 'pg_temp%'  -- they end with their connection, and nothing sweeps them
    ORDER BY n_dead_tup DESC
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
        """The median slope of all pairs (Theil and Sen), without the warm-up: a step, as of an export, is none."""
        at_h, values = map(np.asarray, self._warm())
        first, second = np.triu_indices(len(values), 1)
        apart_h = at_h[second] - at_h[first]
        return float(np.median((values[second] - values[first]) / apart_h)) if len(apart_h) else 0.0

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


FLOW_PEOPLE = 100
"""So many of each org enter its flow during a soak, five at a time; the load has the others."""
_AT_ONCE, _SLACK_S = 5, 20.0


async def watch(rig: Rig, until_s: float, every_s: float) -> Watched:
    """Look every so often until then (on the loop's clock). Each look is a line of `looks.jsonl` in the rig's folder,
    for whoever cannot wait for the end."""
    loop, began, found = asyncio.get_running_loop(), time.monotonic(), Watched()
    with (rig.folder / "looks.jsonl").open("w") as looks:
        while loop.time() < until_s:
            at_h, look = (time.monotonic() - began) / 3600, await _look(rig)
            for name, value in look.items():
                found.setdefault(name, Series()).add(at_h, value)
            looks.write(json.dumps({"at_h": round(at_h, 4), **look}) + "\n")
            looks.flush()
            await asyncio.sleep(every_s)
    return found


async def use(rig: Rig, until_s: float) -> int:
    """People enter the flows, get their emails, and files of what they did are read; how many times, until then."""
    loop = asyncio.get_running_loop()
    for number in itertools.count():
        people = slice(_AT_ONCE * number, _AT_ONCE * (number + 1))
        if people.stop > FLOW_PEOPLE or loop.time() + DELAY_S + 4 * _SLACK_S > until_s:
            return number
        await rig.enter(people)
        await asyncio.sleep(DELAY_S + _SLACK_S)
        await rig.loaded(within_s=2 * _SLACK_S)
    raise AssertionError("it never ends by itself")


@dataclass(frozen=True, slots=True)
class Table:
    """One table, or one partition."""

    name: str
    dead: int
    live: int
    bytes: int


async def tables(rig: Rig) -> list[Table]:
    """Those with most dead rows first."""
    return [Table(**row) for row in await rig.fetch(SELECT_TABLES)]


def bloated(found: Iterable[Table], slack: float) -> list[Table]:
    """Those with more dead rows than live ones; `slack`: what may have died since it was swept last."""
    return [one for one in found if one.dead > one.live + slack]


async def _look(rig: Rig) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for name, pid in rig.processes.pids.items():
        if name != "simulator":  # its log of all that happened grows by design
            found |= {f"{name} {what}": value for what, value in of_process(pid).items()}
            found[f"{name} tasks"] = tasks_told(await rig.page(name, "/metrics"))
    # A file and a task each, and as many as Klaviyo's side has opened while the machine was late: it keeps them.
    calling = callers(rig.pid("gateway"), urlsplit(rig.gateway_url).port or 0)
    found["gateway files"] -= calling
    found["gateway tasks"] -= calling
    row = await rig.fetchrow(SELECT_SERVER)
    assert row is not None
    found |= {f"postgresql {name}": float(value) for name, value in row.items()}
    async with management(rig.endpoints) as (http, base):
        for what in ("connections", "channels"):
            async with http.get(f"{base}/api/{what}") as response:
                found[f"rabbitmq {what}"] = float(len(await response.json()))
    return found


def tasks_told(exposition: str) -> float:
    """How many tasks the process says that it has."""
    for family in text_string_to_metric_families(exposition):
        if family.name == "jai_event_loop_tasks":
            return float(family.samples[0].value)
    raise LookupError("no tasks are told")


def callers(pid: int, port: int) -> int:
    """How many connections others keep open to what a process serves at this port."""
    open_ones = psutil.Process(pid).net_connections(kind="tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in open_ones)


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
