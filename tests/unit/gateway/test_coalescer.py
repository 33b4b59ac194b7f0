"""How jobs are joined to messages, and what happens to them when the broker does not confirm."""

import asyncio

import pytest

from services.gateway.coalescer import DEFAULT_LIMITS, Coalescer, Full, Limits
from shared.errors import Outage

QUEUE = "generate"


class Broker:
    """Confirms when it is told to; `away` is what it says instead."""

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self.confirms = asyncio.Event()
        self.away: Outage | None = None

    async def send(self, queue: str, jobs: list[bytes]) -> None:
        self.messages.append(jobs)
        if self.away is not None:
            raise self.away
        await self.confirms.wait()


def coalescer(broker: Broker, limits: Limits = DEFAULT_LIMITS) -> Coalescer:
    return Coalescer(broker.send, seconds=asyncio.get_running_loop().time, limits=limits)


async def submitted(to: Coalescer, *jobs: bytes) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(to.submit(QUEUE, job)) for job in jobs]
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks


async def ends(tasks: list["asyncio.Task[None]"]) -> list[str]:
    """Of each job: confirmed, or why not."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.reason if isinstance(one, Outage) else "confirmed" if one is None else repr(one) for one in found]


async def test_a_lone_job_goes_at_once_and_what_comes_meanwhile_goes_together() -> None:
    broker = Broker()
    to = coalescer(broker)

    tasks = [*await submitted(to, b"1"), *await submitted(to, b"2", b"3")]
    assert broker.messages == [[b"1"]]
    broker.confirms.set()

    assert await ends(tasks) == ["confirmed"] * 3
    assert broker.messages == [[b"1"], [b"2", b"3"]]


async def test_a_message_holds_so_many_jobs_and_bytes_and_at_least_one() -> None:
    broker = Broker()
    broker.confirms.set()
    to = coalescer(broker, Limits(message_jobs=2, message_bytes=4))

    tasks = await submitted(to, b"1", b"2", b"3", b"a long one", b"4444", b"5")

    assert await ends(tasks) == ["confirmed"] * 6
    assert broker.messages == [[b"1", b"2"], [b"3"], [b"a long one"], [b"4444"], [b"5"]]


async def test_beyond_what_may_wait_a_job_is_refused_at_once() -> None:
    broker = Broker()
    to = coalescer(broker, Limits(waiting_jobs=2))

    tasks = [*await submitted(to, b"1"), *await submitted(to, b"2", b"3")]
    with pytest.raises(Full):
        await to.submit(QUEUE, b"4")
    broker.confirms.set()

    assert await ends(tasks) == ["confirmed"] * 3


async def test_who_leaves_takes_its_job_back_and_no_other() -> None:
    broker = Broker()
    to = coalescer(broker)

    first, second, third = [*await submitted(to, b"1"), *await submitted(to, b"2", b"3")]
    second.cancel()
    await asyncio.sleep(0)
    broker.confirms.set()

    assert await ends([first, third]) == ["confirmed"] * 2
    assert broker.messages == [[b"1"], [b"3"]]


async def test_a_broker_that_does_not_confirm_in_time_fails_all_that_wait() -> None:
    to = coalescer(Broker(), Limits(wait_s=0.05))

    tasks = [*await submitted(to, b"1"), *await submitted(to, b"2", b"3")]

    assert await ends(tasks) == ["confirm_timeout"] * 3


async def test_an_outage_is_a_line_when_it_begins_and_one_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    broker.confirms.set()
    to = coalescer(broker)

    await ends(await submitted(to, b"1"))
    broker.away = Outage("the broker is out of reach", reason="broker_unreachable")
    for job in (b"2", b"3", b"4"):
        assert await ends(await submitted(to, job)) == ["broker_unreachable"]
    broker.away = None
    await ends(await submitted(to, b"5", b"6"))

    assert caplog.messages == ["publish.failing", "publish.confirmed_again"]
