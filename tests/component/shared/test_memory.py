"""The sign that a broker remembers, looked for every few seconds for as long as a process lives."""

import gc

from aio_pika.tools import OneShotCallback

from shared.messaging.broker import connect
from shared.messaging.memory import Memory


async def test_a_sign_is_missed_until_it_is_kept_and_every_look_takes_the_same_channel(amqp_url: str) -> None:
    async with connect(amqp_url, "test") as connection:
        memory = Memory(connection, "memory.test")
        missed = await memory.lost()
        await memory.keep()
        looks = [await memory.lost()]
        before = _kept()
        looks += [await memory.lost() for _ in range(20)]

        assert missed
        assert looks == [False] * 21
        assert _kept() == before


def _kept() -> int:
    """What aio-pika holds of channels, closed ones too."""
    gc.collect()
    return sum(isinstance(one, OneShotCallback) for one in gc.get_objects())
