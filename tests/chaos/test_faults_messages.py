"""What is sent and is not as it should be: a message that crashes its reader, webhooks that come again and again."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from devstack.processes import python
from devstack.services import run_justai
from shared.messaging.dead import DeadLetter, Graveyard
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import GENERATE
from tests.chaos.client import Webhook, webhook
from tests.chaos.oracle import Violation, written_again
from tests.chaos.rig import Rig, open_rig, seed_of
from tests.chaos.servers import OwnServers
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # a start of a service takes ten seconds on a busy machine

MESSAGES = 1_000
COUNT = "SELECT count(*) FROM generations"
LEAPS_MIN = (0, 1, 4, 15, 30)
"""From one round of repetitions to the next: all within an hour of the first, and over the end of an hour."""


async def test_f18_one_message_that_crashes_the_process_takes_no_other_with_it(own: OwnServers, tmp_path: Path) -> None:
    seed = seed_of("f18")
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=1, people=MESSAGES + 1) as rig:
        [org] = rig.orgs
        poison, last = webhook(org, org.people[0], "POISON"), webhook(org, org.people[-1], "Zoe")
        innocent = [webhook(org, one, f"Ann{number}") for number, one in enumerate(org.people[1:-1])]
        await rig.processes.end("generator")
        await rig.client.load([*innocent[:500], poison, *innocent[500:]], 400)
        crashes = await _crashed_until_buried(rig, tmp_path / "report")
        await eventually(lambda: _stored(rig, MESSAGES - 1), within_s=30)
        [letter] = await _buried(rig)
        say(crashes=crashes)

        await rig.processes.end("generator", kill=True)
        await rig.start("generator")  # mended
        await run_justai(rig.env, "dead", "replay", "generate")
        await rig.settled(within_s=150)  # one account writes no more than 750 a minute
        assert await _buried(rig) == []
        assert await _stored(rig, MESSAGES)
        again = written_again(await rig.clean(seed))
        # Once more, when it was done; what comes after it in the same queue says when it was in hand.
        async with open_publisher(rig.amqp_url, "test", GENERATE) as publisher:
            await publisher.bury(GENERATE, letter.body, queue=letter.origin, attempt=1, reason="again", at="")
        await run_justai(rig.env, "dead", "replay", "generate")
        await rig.client.send(last)
        await rig.settled()
        assert await _buried(rig) == []
        assert await _stored(rig, MESSAGES + 1)
        assert written_again(await rig.clean(seed)) == again


async def _crashed_until_buried(rig: Rig, report: Path) -> int:
    """Whoever takes the poison dies, and is started again, until the broker gives up on it; how often."""
    argv = [*python("tests.chaos.failing"), "generator", "--report", str(report), "--poison", "POISON"]
    crashes = 0
    while True:
        await rig.start("generator", argv=argv, wait=False)
        dying = asyncio.create_task(rig.died("generator", within_s=60))

        async def over(dying: "asyncio.Task[int]" = dying) -> bool:
            return dying.done() or bool(await _buried(rig))

        await eventually(over, within_s=60, every_s=0.3)
        await asyncio.wait({dying}, timeout=1)  # its last crash may be what buried it
        if not dying.done():
            dying.cancel()
            return crashes
        assert dying.result() == 137
        crashes += 1


async def _buried(rig: Rig) -> Sequence[DeadLetter]:
    return (await Graveyard(rig.amqp_url, "test").peek(GENERATE, limit=10))[GENERATE.name]


async def _stored(rig: Rig, generations: int) -> bool:
    return bool(await rig.fetchval(COUNT) == generations)


async def test_f20_each_logical_request_is_one_generation_however_often_it_comes(
    own: OwnServers, tmp_path: Path
) -> None:
    seed = seed_of("f20")
    chance = random.Random(seed)
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=2, people=80) as rig:
        asked = [webhook(org, one, f"Ann{n}") for org in rig.orgs for n, one in enumerate(org.people[:40])]
        rounds: list[list[Webhook]] = [[] for _ in LEAPS_MIN]
        for one in asked:
            for _ in range(chance.randint(1, 17)):
                chance.choice(rounds).append(one)
        if rig.clock.now().minute < 10:  # so that the next hour comes within an hour of the first
            rig.leap(600)
        ids = list[set[str]]()
        for number, leap_min in enumerate(LEAPS_MIN):
            rig.leap(60 * leap_min)
            ids.append(await _sent(rig, rounds[number]))
            await _taken(rig, number)
        told = len(LEAPS_MIN) * len(rig.orgs)
        assert await rig.fetchval(COUNT) == len(asked) + told
        assert not ids[0] & ids[-1]  # another hour, another id for the same request

        again = [webhook(one.org, one.profile_id, "Bea") for one in asked]  # they enter again, with another body
        newest = await _sent(rig, again)
        await rig.settled()
        assert await rig.fetchval(COUNT) == 2 * len(asked) + told
        assert await _lies_on_top(rig, asked) == newest

        for _ in range(20):  # a day later the same request is a new one, as new as any
            rig.leap(3600)
        await rig.settled()
        late = await _sent(rig, [one for one in asked for _ in range(chance.randint(1, 5))])
        await rig.settled()
        assert await rig.fetchval(COUNT) == 3 * len(asked) + told
        assert not late & newest.union(*ids)
        assert await _lies_on_top(rig, asked) == late
        await rig.exported_and_clean(seed)


async def test_f20_a_request_repeated_after_the_hour_shows_what_it_says_over_a_newer_one(
    own: OwnServers, tmp_path: Path
) -> None:
    """What is not promised: nothing in the request says that it is an old one."""
    seed, wrong = seed_of("f20 late"), list[Violation]()
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=1, people=10) as rig:
        [org] = rig.orgs
        old = webhook(org, org.people[0], "Older")
        first = await _sent(rig, [old])
        await rig.settled()
        for _ in range(2):
            rig.leap(3600)
        await rig.enter(slice(1))
        await rig.settled()
        [late] = await _sent(rig, [old])
        await rig.settled()
        await rig.emails_left()

        def shows_the_old(one: Violation) -> bool:
            wrong.append(one)
            return one.kind == "wrong_email"

        read = await rig.clean(seed, allowed=shows_the_old)
    assert late not in first
    assert len(read.stored) == 3
    assert [one.kind for one in wrong] == ["wrong_email"]
    say(shown=wrong[0].what)


async def _sent(rig: Rig, some: Sequence[Webhook]) -> set[str]:
    """All at once; the ids that were answered."""
    answers = await asyncio.gather(*map(rig.client.send, random.Random(len(some)).sample(some, len(some))))
    return {one.generation_id or "" for one in answers if one.accepted}


async def _taken(rig: Rig, number: int) -> None:
    """Whatever came before is done: somebody of each org whom nobody repeats comes after it in the same queue."""
    await _sent(rig, [webhook(org, org.people[-1 - number], "Zoe") for org in rig.orgs])
    await rig.settled()


async def _lies_on_top(rig: Rig, asked: Sequence[Webhook]) -> set[str]:
    """Whose copy the profiles hold, by their last writes."""
    last = {one.profile_id: one.generation_id for one in (await rig.read()).writes}
    return {last[one.profile_id] or "" for one in asked}
