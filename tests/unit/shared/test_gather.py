"""Concurrent calls become one batch, and still nobody pays for another caller's jobs."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.errors import Outage, Permanent
from shared.messaging.gather import Gather


class Slow:
    """Remembers its batches; each waits until it is let go. Text jobs: `bad` breaks the batch, `no` is refused, and by
    itself `cancelled` is cancelled though nobody meant it."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = asyncio.Event()
        self.outage = self.cancelled = False

    async def __call__(self, jobs: Sequence[str]) -> Sequence[Exception | None]:
        self.batches.append(list(jobs))
        await self.go.wait()
        if self.outage:
            raise Outage("the database is out of reach", reason="database_unreachable")
        if self.cancelled or jobs == ["cancelled"]:
            raise asyncio.CancelledError
        if "bad" in jobs:
            raise ValueError("bad")
        return [Permanent("no", reason="refused") if job == "no" else None for job in jobs]


async def begun(
    work: Slow, gather: Gather[str], *calls: Sequence[str]
) -> "list[asyncio.Task[Sequence[Exception | None]]]":
    """These calls, the first of which is under way while the others wait."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(gather(call)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert work.batches == [list(calls[0])]
    return tasks


async def test_what_arrives_while_a_batch_is_under_way_goes_together_as_the_next() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=100, at_once=1), ["a"], ["b", "no"], ["c"])

    work.go.set()
    outcomes = await asyncio.gather(*calls)

    assert work.batches == [["a"], ["b", "no", "c"]]
    assert [[error and type(error) for error in own] for own in outcomes] == [[None], [None, Permanent], [None]]


async def test_a_batch_is_bounded_but_a_large_call_still_goes() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=3, at_once=1), ["a"], ["b", "c"], ["d", "e"], list("fghij"), ["k"])

    work.go.set()
    await asyncio.gather(*calls)

    assert work.batches == [["a"], ["b", "c"], ["d", "e"], list("fghij"), ["k"]]


async def test_who_breaks_a_batch_breaks_it_for_nobody_else() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=100, at_once=1), ["a"], ["b"], ["c", "bad"], ["no"])

    work.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert outcomes[:2] == [[None], [None]]
    assert isinstance(outcomes[2], ValueError)
    assert isinstance(outcomes[3], list)
    assert isinstance(outcomes[3][0], Permanent)


async def test_an_outage_is_told_to_everybody_in_the_batch() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=100, at_once=1), ["a"], ["b"], ["c"])

    work.outage = True
    work.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Outage] * 3
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Outage)} == {"database_unreachable"}


async def test_an_outage_is_told_to_those_too_who_wait_behind_the_batch() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=2, at_once=1), ["a", "b"], ["c", "d"], ["e"])

    work.outage = True
    work.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Outage] * 3
    assert work.batches == [["a", "b"]]


async def test_who_gave_up_waiting_is_left_out_and_nobody_else_is_disturbed() -> None:
    work = Slow()
    first, gone, last = await begun(work, Gather(work, most_jobs=100, at_once=1), ["a"], ["b"], ["c"])

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    work.go.set()
    assert [await first, await last] == [[None], [None]]

    assert work.batches == [["a"], ["c"]]


async def test_a_second_batch_may_be_under_way_but_no_third() -> None:
    work = Slow()
    gather = Gather(work, most_jobs=100, at_once=2)
    calls = await begun(work, gather, ["a"])
    for name in "bcd":
        calls.append(asyncio.create_task(gather([name])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert work.batches == [["a"], ["b"]]
    work.go.set()
    await asyncio.gather(*calls)

    assert work.batches == [["a"], ["b"], ["c", "d"]]


async def test_regression_who_comes_just_as_the_last_batch_ends_is_served() -> None:
    work = Slow()
    work.go.set()
    gather = Gather(work, most_jobs=100, at_once=1)

    async def caller(name: str) -> None:
        for _ in range(200):
            await gather([name])

    async with asyncio.timeout(10):
        await asyncio.gather(*(caller(name) for name in "abc"))

    assert sum(map(len, work.batches)) == 600


async def test_a_batch_that_is_broken_off_is_told_to_everybody_and_the_next_one_is_done() -> None:
    """As a client library does whose line is lost: it cancels what waits on it, whoever that is."""
    work = Slow()
    gather = Gather(work, most_jobs=2, at_once=1)
    calls = await begun(work, gather, ["a"], ["b", "c"], ["d"])

    work.cancelled = True
    work.go.set()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        work.cancelled = False
        after = await gather(["e"])

    assert [type(outcome) for outcome in outcomes] == [Outage] * 3
    assert after == [None]


async def test_jobs_that_are_tried_by_themselves_are_told_too_when_they_are_broken_off() -> None:
    work = Slow()
    calls = await begun(work, Gather(work, most_jobs=100, at_once=1), ["a"], ["b"], ["bad"], ["cancelled"], ["c"])

    work.go.set()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert outcomes[:2] == [[None], [None]]
    assert [type(outcome) for outcome in outcomes[2:]] == [ValueError, Outage, Outage]
