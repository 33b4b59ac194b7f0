"""Lines to a peer that falls silent or breaks off in the middle, as no broker does on demand."""

import asyncio

import pytest

from shared.errors import Outage
from shared.messaging import broker
from shared.messaging.broker import connect
from shared.messaging.dead import Graveyard
from shared.messaging.publisher import Publisher
from shared.messaging.topology import GENERATE
from tests.support.amqp_peer import Line, listening
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(60)


async def test_an_attempt_to_connect_again_that_is_swallowed_is_given_up_and_the_next_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker, "_ATTEMPT_TIMEOUT_S", 0.5)

    async with listening(silent=lambda number: number == 2) as (peer, url), connect(url, "test") as connection:
        publisher = Publisher(connection, "test")
        await publisher.ping()
        [first] = peer.here
        first.end()

        await eventually(lambda: peer.came == 3, within_s=10)
        await eventually(lambda: _ready(publisher), within_s=10)
        assert [line.number for line in peer.here] == [3]


@pytest.mark.parametrize("limit", ["_ATTEMPT_TIMEOUT_S", "_CONNECT_TIMEOUT_S"])
async def test_who_looked_in_vain_leaves_no_connection_behind(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever limit strikes first."""
    monkeypatch.setattr(broker, limit, 0.1)

    async with listening(silent=lambda number: number <= 5) as (peer, url):
        before = asyncio.all_tasks()
        for _ in range(5):
            with pytest.raises(Outage):
                await Graveyard(url, "test").peek(GENERATE, limit=1)
        await eventually(lambda: asyncio.all_tasks() == before, within_s=10)  # nobody is left who could try

        assert (peer.came, len(peer.here)) == (5, 0)


async def test_a_broker_that_dies_behind_a_burst_of_confirms_is_an_outage_to_who_still_waits() -> None:
    """The library has read all that came when it sees the end: no frame is broken off, and it has no error to tell."""

    def confirms_all_but_the_last(line: Line, channel: int) -> None:
        if line.published == 41:
            line.confirm(channel, up_to=40)
            line.end()

    async with listening(published=confirms_all_but_the_last) as (_, url), connect(url, "test") as connection:
        publisher = Publisher(connection, "test")
        sends = [publisher.send("generate.0", b"{}") for _ in range(41)]
        *confirmed, ended = await asyncio.gather(*sends, return_exceptions=True)

    assert confirmed == [None] * 40
    assert isinstance(ended, Outage)
    assert ended.reason == "broker_unreachable"


async def _ready(publisher: Publisher) -> bool:
    try:
        await publisher.ping()
    except Outage:
        return False
    return True
