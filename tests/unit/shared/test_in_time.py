"""The limit of a handler's own: it says what was not done, and is nobody else's time-out."""

import asyncio

import pytest

from shared.errors import Transient
from shared.messaging.in_time import in_time, limit_of
from shared.messaging.topology import EXPORT_HOUR, INGEST_FILE


async def test_what_is_not_done_in_time_is_ended_and_says_so() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Transient, match=r"^not exported within 0 minutes; is the line fast enough\?$") as late:
        await in_time(endless(), 0.01, "exported", hint="is the line fast enough?")

    assert late.value.reason == "too_long"
    assert ended.is_set()


async def test_a_time_out_within_the_work_stays_what_it_is() -> None:
    async def silent() -> None:
        raise TimeoutError("of a server")

    with pytest.raises(TimeoutError, match="of a server"):
        await in_time(silent(), 60, "exported", hint="")


def test_our_limit_strikes_before_the_consumers_and_leaves_time_to_take_back_what_was_begun() -> None:
    for spec in (EXPORT_HOUR, INGEST_FILE):
        assert limit_of(spec) <= spec.handler_timeout_s - 60
