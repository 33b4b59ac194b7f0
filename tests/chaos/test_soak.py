"""Half of the load that all services together are asked to carry (L3): nothing grows that should not.

`make soak MINUTES=60` for the hour; `make chaos` plays ten minutes. SOAK_PER_S: another rate of webhooks, for a machine
that has other things to do meanwhile.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.chaos.client import webhooks
from tests.chaos.load import ORGS, loaded
from tests.chaos.oracle import written_again
from tests.chaos.rig import seed_of
from tests.chaos.servers import OwnServers
from tests.chaos.soak import FLOW_PEOPLE, Series, Table, Watched, bloated, tables, use, watch
from tests.support.measured import say

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
RATE = float(os.environ.get("SOAK_PER_S", "100"))
_ORGS = ORGS + 4  # two thirds of their quotas
_LONG = 30.0  # minutes from which a slope says more than noise
_MOST_MB_AN_HOUR = 1.0
_MOST_MB = 12.0  # of growth in a shorter run: it finds what leaks with every job, no more
_MOST_TASKS = 50  # they follow what is in hand; one that is left behind by each job would be thousands
_DEAD_PER_JOB, _SWEPT_EVERY_S = 4, 60  # versions of a row of one table; autovacuum's own pause between two looks
_SLACK = max(10_000, RATE * _SWEPT_EVERY_S * _DEAD_PER_JOB)  # rows that died since; files bring some at once
_FEW = 3 if MINUTES >= _LONG else 50  # files, threads or connections; pools fill as far as the machine is late


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(MINUTES * 90 + 600)
async def test_nothing_grows_while_work_goes_on(own: OwnServers, tmp_path: Path) -> None:
    seed = seed_of("soak")
    async with loaded(own, tmp_path / "rig", seed, orgs=_ORGS) as stage:
        rig, loop = stage.rig, asyncio.get_running_loop()
        # The first export loads pyarrow and keeps its arenas: a step of 120 MB, whenever the next hour comes.
        await rig.exported(rig.leap_to_the_next_hour())
        load = webhooks(rig.orgs, int(RATE * MINUTES * 60), seed, people=slice(FLOW_PEOPLE, None))
        until_s = loop.time() + MINUTES * 60
        watching = asyncio.create_task(watch(rig, until_s, max(2.0, MINUTES / 5)))
        using = asyncio.create_task(use(rig, until_s))
        await rig.client.load(load, RATE)
        found = await watching
        swept = await tables(rig)
        _tell(found, swept)
        say(minutes=MINUTES, per_s=RATE, files_read=_ORGS * await using)
        read = await rig.exported_and_clean(seed)
        say(stored=len(read.stored), again=written_again(read))

    grown = [one for name, series in found.items() if (one := _too_much(name, series))]
    assert not grown, "\n".join(grown)
    assert bloated(swept, _SLACK) == []


def _too_much(name: str, series: Series) -> str | None:
    what = name.split()[-1]
    if what == "rss_mb":
        bad = series.slope_per_h > _MOST_MB_AN_HOUR if MINUTES >= _LONG else series.growth > _MOST_MB
    elif what in {"threads", "files", "connections", "channels"}:
        bad = series.growth > _FEW
    elif what == "tasks":
        bad = series.growth > _MOST_TASKS
    else:
        return None
    return f"{name}: {series.growth:+.1f} in the run, {series.slope_per_h:+.1f} an hour" if bad else None


def _tell(found: Watched, swept: list[Table]) -> None:
    for name, series in found.items():
        say(what=name.replace(" ", "."), last=round(series.last, 1), growth=round(series.growth, 2),
            per_hour=round(series.slope_per_h, 2))  # fmt: skip
    most = swept[0]
    say(most_dead=most.name, dead=most.dead, live=most.live, mb=round(most.bytes / 1e6, 1))
