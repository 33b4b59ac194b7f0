"""Who has a place to send in, while answers come, come late, or do not come. The clock moves only when told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast
from uuid import UUID

from services.profile_writer.turns.scheduler import LOOK_S, Scheduler
from services.profile_writer.turns.sender import Sender
from services.profile_writer.turns.turn import Report, Turn, Turns
from shared.clock import FrozenClock
from tests.unit.profile_writer.given import NOW
from tests.unit.profile_writer.sending import settled, turn

PLACES, SEND_S = 2, 1.5


class Opened:
    """Opens these turns, one by one, and notes which are closed."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self.waiting, self.opened, self.closed = deque(turns), list[UUID](), list[UUID]()

    async def open(self) -> Turn | None:
        if not self.waiting:
            return None
        self.opened.append(self.waiting[0].turn_id)
        return self.waiting.popleft()

    async def close(self, turn: Turn, report: Report) -> None:
        self.closed.append(turn.turn_id)


class Silent:
    """Sends at once. So many calls of each turn are `asked` for an answer, which comes when `answer` is set."""

    def __init__(self, asked: int = 25) -> None:
        self.answer, self.asked, self.under_way = asyncio.Event(), asked, set[UUID]()

    async def send(self, turn: Turn, stop: asyncio.Event) -> Report:
        self.under_way.add(turn.turn_id)
        await self.answer.wait()
        self.under_way.remove(turn.turn_id)
        return Report([None] * len(turn.sends), None, (), None)

    def unanswered(self, turn_id: UUID) -> int:
        return self.asked if turn_id in self.under_way else 0


def turns(*writes: int, send_s: float = SEND_S) -> list[Turn]:
    return [replace(turn(count, send_s=send_s), turn_id=UUID(int=number)) for number, count in enumerate(writes)]


@asynccontextmanager
async def scheduled(opened: Opened, sender: Silent, clock: FrozenClock) -> AsyncIterator[Scheduler]:
    stop = asyncio.Event()
    scheduler = Scheduler(cast(Turns, opened), cast(Sender, sender), clock, side_by_side=PLACES)
    running = asyncio.create_task(scheduler.run(stop))
    await settled()
    yield scheduler
    sender.answer.set()
    stop.set()
    scheduler.wake()
    await running


async def test_turns_that_send_have_the_places() -> None:
    opened, clock = Opened(turns(25, 25, 25)), FrozenClock(NOW)

    async with scheduled(opened, Silent(), clock):
        clock.advance(SEND_S / 2)
        await settled()
        assert len(opened.opened) == PLACES


async def test_answers_that_do_not_come_hold_nobody_else_up() -> None:
    opened, clock = Opened(turns(25, 25, 1)), FrozenClock(NOW)

    async with scheduled(opened, Silent(), clock):
        clock.advance(SEND_S)
        await settled()
        assert (len(opened.opened), opened.closed) == (3, [])

    assert sorted(opened.closed) == sorted(opened.opened)


async def test_so_many_may_be_unanswered_and_no_more() -> None:
    opened, sender, clock = Opened(turns(*[200] * 5)), Silent(asked=200), FrozenClock(NOW)

    async with scheduled(opened, sender, clock):
        for _ in range(3):
            clock.advance(SEND_S)
            await settled()
        assert len(opened.opened) == PLACES + 2  # of two the 400 calls wait; with a third one they would be 600
        sender.asked = 150
        await asyncio.sleep(LOOK_S + 0.1)
        assert len(opened.opened) == PLACES + 3  # some were answered: it is asked again

    assert len(opened.closed) == 5


async def test_one_silent_call_of_many_counts_as_one() -> None:
    opened, clock = Opened(turns(*[25] * 30)), FrozenClock(NOW)

    async with scheduled(opened, Silent(asked=1), clock):
        for _ in range(30):
            clock.advance(SEND_S)
            await settled()
        assert len(opened.opened) == 30


async def test_a_turn_that_waits_for_our_database_keeps_its_place() -> None:
    opened, clock = Opened(turns(25, 25, 25)), FrozenClock(NOW)

    async with scheduled(opened, Silent(asked=0), clock):
        clock.advance(SEND_S)
        await settled()
        assert len(opened.opened) == PLACES


async def test_each_place_is_given_back_once() -> None:
    opened, sender, clock = Opened(turns(25, 25, 25, 25)), Silent(), FrozenClock(NOW)

    async with scheduled(opened, sender, clock) as scheduler:
        clock.advance(SEND_S)
        await settled()
        assert len(opened.opened) == 2 * PLACES
        sender.answer.set()
        await settled()
        assert len(opened.closed) == 4
        sender.answer.clear()
        opened.waiting.extend(turns(25, 25, 25, 25, send_s=2 * SEND_S))
        scheduler.wake()
        await settled()
        assert len(opened.opened) == 3 * PLACES
