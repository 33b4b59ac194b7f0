"""What the client library cancels is an outage; what somebody cancels stays cancelled."""

import asyncio

import pytest
from aio_pika.exceptions import ChannelInvalidStateError

from shared.errors import Outage
from shared.messaging.broker import broker_outages, lost_lines, unless_away
from shared.messaging.publisher import outages


async def _waits_on_a_lost_line() -> None:
    """As aiormq does it: the future that we wait for holds a CancelledError."""
    confirm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    confirm.set_exception(asyncio.CancelledError())
    await confirm


async def test_what_nobody_meant_is_an_outage_also_within_a_time_limit() -> None:
    for outages_of in (outages("generate"), broker_outages()):
        with pytest.raises(Outage) as outage, outages_of:
            async with asyncio.timeout(30):
                await _waits_on_a_lost_line()

        assert outage.value.reason == "broker_unreachable"
    with pytest.raises(ConnectionError), lost_lines():
        await _waits_on_a_lost_line()


@pytest.mark.parametrize("ending", [Exception(), ConnectionResetError(), TimeoutError(), ChannelInvalidStateError()])
async def test_whatever_the_library_says_of_a_lost_line_is_an_outage_and_harms_no_farewell(ending: Exception) -> None:
    with unless_away():
        raise ending
    with pytest.raises(Outage), broker_outages():
        raise ending


async def test_a_fault_of_ours_is_no_lost_line() -> None:
    for within in (unless_away, lost_lines, broker_outages):
        with pytest.raises(KeyError), within():
            raise KeyError


async def test_a_task_that_was_told_to_end_ends() -> None:
    waiting = asyncio.Event()

    async def publishes() -> None:
        with outages("generate"), lost_lines():
            waiting.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(publishes())
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_time_limit_that_strikes_is_one() -> None:
    with pytest.raises(Outage) as outage, outages("generate"), lost_lines():
        async with asyncio.timeout(0):
            await asyncio.get_running_loop().create_future()

    assert outage.value.reason == "confirm_timeout"


async def test_an_outer_time_limit_that_strikes_is_not_taken_for_an_outage() -> None:
    async def wait_in_vain() -> None:
        async with asyncio.timeout(0):
            with outages("generate"):
                await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        await wait_in_vain()
