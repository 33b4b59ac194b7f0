"""The load under which faults happen, and what is looked at while they do."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity

from devstack.ports import LOOPBACK, free_ports
from devstack.services import SERVICES
from tests.chaos.client import Client, webhooks
from tests.chaos.oracle import written_again
from tests.chaos.rig import Rig, open_rig
from tests.chaos.servers import OwnServers
from tests.support.measured import say
from tests.support.waiting import eventually

PER_S = 100.0
ORGS = 8  # so that no account's quota is what is measured
ANSWER_S = 5.0  # the longest that a webhook may wait for its answer
_LOOK_EVERY_S = 0.5
_DRAIN_S = 150.0  # a minute of load that nobody could write takes more than a minute of every account's quota


@asynccontextmanager
async def loaded(
    own: OwnServers, folder: Path, seed: int, *, orgs: int = ORGS, per_s: float = PER_S, console: bool = False
) -> AsyncIterator["Loaded"]:
    """A rig whose keys and templates are known to the services already; the load begins with `start`. `console`: it
    runs too."""
    names = (*SERVICES, "console") if console else SERVICES
    (port,) = free_ports(1)
    at = f"{LOOPBACK}:{port}"
    settings = {"console_listen": at, "console_url": f"http://{at}", "console_plain_cookies": "true"} if console else {}
    async with open_rig(
        own.endpoints, folder, own=own, names=names, orgs=orgs, people=500, imports=False, poll_s=1, **settings
    ) as rig:
        await rig.client.load(webhooks(rig.orgs, 2 * orgs, seed + 1, people=slice(20, None)), 20)
        await rig.settled()
        yield Loaded(rig, seed, names, per_s)


@dataclass
class Loaded:
    """The rig, and the load in the background. `names`: the services that run."""

    rig: Rig
    seed: int
    names: Sequence[str]
    per_s: float
    loading: asyncio.Task[None] | None = None
    loads: int = 0
    stopping: bool = False

    def start(self, seconds: float) -> None:
        """At most so many seconds of load, until `stop`; people of the first twenty enter the box's own flows."""
        self.loads, self.stopping = self.loads + 1, False
        load = webhooks(self.rig.orgs, int(self.per_s * seconds), self.seed + 1 + self.loads, people=slice(20, None))
        going = takewhile(lambda _: not self.stopping, load)
        self.loading = asyncio.create_task(self.rig.client.load(going, self.per_s))

    def stop(self) -> None:
        """Nothing more is begun; what was refused is still repeated."""
        self.stopping = True

    async def flowing(self, seconds: float = 2) -> float:
        """Until as many more webhooks were accepted as come in so many seconds: there is work of every kind in hand.
        How long that took."""
        client, first, since_s = self.rig.client, len(self.rig.client.answers), asyncio.get_running_loop().time()
        await eventually(
            lambda: len(client.accepted_since(since_s, first)) >= seconds * self.per_s, within_s=busy(30 * seconds),
            every_s=0.05,
        )  # fmt: skip
        return asyncio.get_running_loop().time() - since_s

    async def ready(self) -> float:
        """The seconds from now until every service says that it can do its work."""
        started_s = time.monotonic()
        for name in self.names:
            await self.rig.ready(name, within_s=busy(30))
        return time.monotonic() - started_s

    async def loaded(self) -> None:
        """Until the last webhook is accepted or given up."""
        assert self.loading is not None
        await self.loading

    async def dead_during(self, seconds: float, *, but: Collection[str] = ()) -> list[str]:
        """How long a fault lasts; the services that did not say that they live at any look meanwhile, `but` those."""
        names = [name for name in self.names if name not in but]
        ends_s, dead = time.monotonic() + seconds, list[str]()
        while (left_s := ends_s - time.monotonic()) > 0:
            dead += await self.rig.dead(names)
            await asyncio.sleep(min(_LOOK_EVERY_S, left_s))
        return dead

    async def end(self) -> None:
        """Until the last webhook is accepted, and every ledger is compared. Prints what was measured."""
        await self.loaded()
        await self.rig.enter(slice(10))
        await self.rig.settled(within_s=_DRAIN_S)
        read = await self.rig.exported_and_clean(self.seed)
        statuses = Counter(one.status for one in self.rig.client.answers)
        longest_s = max(one.took_s for one in self.rig.client.answers)
        say(stored=len(read.stored), answers=dict(statuses), longest_s=round(longest_s, 2), again=written_again(read))


def busy(limit_s: float) -> float:
    """A limit in seconds, longer as far as others crowd the machine: itself where no more than two processes a core
    want to run, as when these tests run alone."""
    return limit_s * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def answered_in_time(client: Client, since: int = 0, *, sent_from_s: float = 0, limit_s: float = ANSWER_S) -> None:
    """Of the answers after the first `since`, and to webhooks that were sent from then on."""
    late = [one for one in client.answers[since:] if one.took_s > limit_s and one.at_s - one.took_s >= sent_from_s]
    assert not late, f"{len(late)} answers took longer than {limit_s:.1f} s, such as {late[0]}"


async def accepted_again(client: Client, *, within_s: float) -> float:
    """The seconds from now until a webhook that was sent from now on is accepted."""
    since_s, first = asyncio.get_running_loop().time(), len(client.answers)
    found = await eventually(lambda: client.accepted_since(since_s, first)[:1], within_s=within_s)
    return found[0].at_s - since_s


async def unconsumed(amqp_url: str, queues: Iterable[str]) -> list[str]:
    """Those that nobody consumes now, or that are not there. RabbitMQ's own API would tell what was seconds ago."""
    found: list[str] = []
    async with await aio_pika.connect(amqp_url) as connection:
        for name in queues:
            try:
                queue = await (await connection.channel()).declare_queue(name, passive=True)
            except ChannelNotFoundEntity:
                found.append(name)
            else:
                if not queue.declaration_result.consumer_count:
                    found.append(name)
    return found
