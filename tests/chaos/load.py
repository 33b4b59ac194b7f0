"""The load under which faults happen, and what is looked at while they do."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity

from devstack.services import SERVICES
from tests.chaos.client import Client, webhooks
from tests.chaos.oracle import written_again
from tests.chaos.rig import Rig, open_rig
from tests.chaos.servers import OwnServers
from tests.support.measured import say as say
from tests.support.waiting import eventually

PER_S = 100.0
ORGS = 8  # so that no account's quota is what is measured
ANSWER_S = 5.0  # the longest that a webhook may wait for its answer
_LOOK_EVERY_S = 0.5


@asynccontextmanager
async def loaded(own: OwnServers, folder: Path, seed: int, **settings: str) -> AsyncIterator["Loaded"]:
    """A rig whose keys and templates are known to the services already; the load begins with `start`."""
    names = (*SERVICES, "console") if "console_listen" in settings else SERVICES
    async with open_rig(
        own.endpoints, folder, own=own, names=names, orgs=ORGS, people=500, imports=False, poll_s=1, **settings
    ) as rig:
        await rig.client.load(webhooks(rig.orgs, 2 * ORGS, seed + 1, people=slice(20, None)), 20)
        await rig.settled()
        yield Loaded(rig, seed)


@dataclass
class Loaded:
    """The rig, and the load in the background."""

    rig: Rig
    seed: int
    loading: asyncio.Task[None] | None = None
    loads: int = 0

    def start(self, seconds: float) -> None:
        """So many seconds of load; people of the first twenty enter the box's own flows."""
        self.loads += 1
        load = webhooks(self.rig.orgs, int(PER_S * seconds), self.seed + 1 + self.loads, people=slice(20, None))
        self.loading = asyncio.create_task(self.rig.client.load(load, PER_S))

    async def flowing(self, seconds: float = 2) -> None:
        """Until as many more webhooks were accepted as come in so many seconds: there is work of every kind in hand."""
        since_s, client = asyncio.get_running_loop().time(), self.rig.client
        await eventually(lambda: len(client.accepted_since(since_s)) >= seconds * PER_S, within_s=busy(30 * seconds))

    async def loaded(self) -> None:
        """Until the last webhook is accepted or given up."""
        assert self.loading is not None
        await self.loading

    async def dead_during(self, seconds: float, *, but: Collection[str] = ()) -> list[str]:
        """How long a fault lasts; the services that did not say that they live at any look meanwhile, `but` those."""
        names = [name for name in SERVICES if name not in but]
        ends_s, dead = time.monotonic() + seconds, list[str]()
        while (left_s := ends_s - time.monotonic()) > 0:
            dead += await self.rig.dead(names)
            await asyncio.sleep(min(_LOOK_EVERY_S, left_s))
        return dead

    async def end(self) -> None:
        """Until the last webhook is accepted, and every ledger is compared. Prints what was measured."""
        await self.loaded()
        await self.rig.enter(slice(10))
        read = await self.rig.exported_and_clean(self.seed)
        statuses = Counter(one.status for one in self.rig.client.answers)
        longest_s = max(one.took_s for one in self.rig.client.answers)
        say(stored=len(read.stored), answers=dict(statuses), longest_s=round(longest_s, 2), again=written_again(read))


def busy(limit_s: float) -> float:
    """A limit in seconds, longer as far as others crowd the machine: itself where no more than two processes a core
    want to run, as when these tests run alone."""
    return limit_s * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def answered_in_time(client: Client, since: int = 0) -> None:
    limit_s = busy(ANSWER_S)
    late = [one for one in client.answers[since:] if one.took_s > limit_s]
    assert not late, f"{len(late)} answers took longer than {limit_s:.1f} s, such as {late[0]}"


async def accepted_again(client: Client, *, within_s: float) -> float:
    """The seconds from now until a webhook that was sent from now on is accepted."""
    since_s = asyncio.get_running_loop().time()
    first = await eventually(lambda: client.accepted_since(since_s)[:1], within_s=within_s)
    return first[0].at_s - since_s


async def consumers_of(amqp_url: str, queue: str) -> int:
    """How many consume it now; 0: none, or it is not there. RabbitMQ's own API would tell what was seconds ago."""
    async with await aio_pika.connect(amqp_url) as connection:
        try:
            found = await (await connection.channel()).declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return 0
        return found.declaration_result.consumer_count or 0
