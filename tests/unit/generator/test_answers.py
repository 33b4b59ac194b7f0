"""The line of those who wait: told what is stored, after it is stored, and never at the cost of a batch."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from services.generator.answers import MOST_IN_LINE, Answers, Told, answer
from shared.errors import Outage, Permanent
from shared.schemas.copy import Vars
from shared.schemas.jobs import GenerateJob
from tests.support.waiting import eventually
from tests.unit.generator.given import COPIES, job

COPY = Told("uniform", COPIES[0], Vars("Hello", "News", "<p>Ü</p>"))


@dataclass
class World:
    """A store and a broker that may fail."""

    sent: list[tuple[str, str, bytes]] = field(default_factory=list)
    unknown: set[UUID] = field(default_factory=set)
    find_fails: Exception | None = None
    send_fails: Exception | None = None

    async def find(self, jobs: Sequence[GenerateJob]) -> Mapping[UUID, Told]:
        if self.find_fails:
            raise self.find_fails
        return {one.generation_id: COPY for one in jobs if one.generation_id not in self.unknown}

    async def send(self, address: str, correlation_id: str, body: bytes) -> None:
        if self.send_fails:
            raise self.send_fails
        self.sent.append((address, correlation_id, body))


async def done(jobs: Sequence[GenerateJob]) -> Sequence[Exception | None]:
    return [Permanent("no") if one.user_id == "BAD" else None for one in jobs]


@asynccontextmanager
async def telling(world: World) -> AsyncIterator[Answers]:
    answers, stop = Answers(world.find, world.send), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answers.run(stop))
        yield answers
        stop.set()


async def test_only_who_waits_and_only_what_was_done_is_told_under_its_own_id() -> None:
    world = World()
    waiting, silent, failed = job(reply_to="here"), job(user_id="SILENT"), job(user_id="BAD", reply_to="here")
    async with telling(world) as answers:
        outcomes = await answers.after(done)([waiting, silent, failed])
        await eventually(lambda: len(world.sent) == 1)

    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), Permanent]
    assert world.sent == [("here", str(waiting.generation_id), answer(waiting.generation_id, COPY))]


async def test_failures_of_the_store_and_the_broker_cost_their_answers_alone() -> None:
    world = World()
    async with telling(world) as answers:
        handle = answers.after(done)
        for broken in ({"find_fails": Outage("away")}, {"find_fails": KeyError()}, {"send_fails": Outage("away")}):
            world.find_fails, world.send_fails = broken.get("find_fails"), broken.get("send_fails")
            assert list(await handle([job(reply_to="lost")])) == [None]
            await eventually(lambda: answers.waiting == 0)
        world.find_fails = world.send_fails = None
        unknown, known = job(user_id="GONE01", reply_to="here"), job(user_id="HERE01", reply_to="here")
        world.unknown = {unknown.generation_id}
        await handle([unknown, known])
        await eventually(lambda: len(world.sent) == 1)

    assert [correlation_id for _, correlation_id, _ in world.sent] == [str(known.generation_id)]


async def test_a_full_line_drops_who_comes_and_delays_no_batch() -> None:
    world = World()
    answers = Answers(world.find, world.send)
    one = job(reply_to="here")

    outcomes = await answers.after(done)([one] * (MOST_IN_LINE + 10))

    assert set(outcomes) == {None}
    assert answers.waiting == MOST_IN_LINE


def test_the_answer_is_the_copy_or_why_there_is_none() -> None:
    asked = UUID(int=9)

    assert json.loads(answer(asked, COPY)) == {
        "generation_id": str(asked),
        "copy": {"id": str(COPIES[0]), "vars": {"subject": "Hello", "preheader": "News", "body": "<p>Ü</p>"}},
    }
    assert json.loads(answer(asked, Told("stopped", None, None))) == {
        "generation_id": str(asked), "copy": None, "reason": "stopped",
    }  # fmt: skip
