"""What is sent and is not as it should be: a message that crashes its reader, webhooks that come again and again."""

import asyncio
import random
from pathlib import Path

import pytest

from devstack.processes import python
from devstack.services import run_justai
from tests.chaos.client import webhook
from tests.chaos.load import say
from tests.chaos.rig import management, open_rig, seed_of
from tests.chaos.servers import OwnServers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # a start of a service takes ten seconds on a busy machine


async def test_f18_one_message_that_crashes_the_process_takes_no_other_with_it(own: OwnServers, tmp_path: Path) -> None:
    seed = seed_of("f18")
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=1, people=450) as rig:
        [org] = rig.orgs
        poison = webhook(org, org.people[0], "POISON")
        argv = [*python("tests.chaos.failing"), "generator", "--report", str(tmp_path / "report"), "--poison", "POISON"]
        await rig.processes.end("generator")
        innocent = [webhook(org, one, f"Ann{number}") for number, one in enumerate(org.people[1:400])]
        await rig.client.load([*innocent[:200], poison, *innocent[200:]], 400)
        crashes = 0

        async def only_it_is_left() -> bool:
            return bool(await rig.fetchval("SELECT count(*) = $1 FROM generations", len(innocent)))

        async with management(own.endpoints) as (http, base):

            async def dead() -> int:
                async with http.get(f"{base}/api/queues/%2F/generate.dead") as answer:
                    return int((await answer.json()).get("messages", 0))

            while not await dead():
                await rig.start("generator", argv=argv, wait=False)
                code = asyncio.create_task(rig.died("generator", within_s=60))

                async def over(dying: "asyncio.Task[int]" = code) -> bool:
                    return dying.done() or bool(await dead())

                await eventually(over, within_s=60, every_s=0.3)
                if not code.done():
                    code.cancel()
                    break
                assert code.result() == 137
                crashes += 1
            await eventually(only_it_is_left, within_s=30)
            buried = await dead()
            say(crashes=crashes, buried=buried)
            assert buried == 1

        await rig.processes.end("generator", kill=True)
        await rig.start("generator")  # mended
        for _ in range(2):  # a second replay finds nothing, and a second delivery would change nothing
            await run_justai(rig.env, "dead", "replay", "generate")
        await rig.settled()
        await rig.clean(seed)


async def test_f20_each_logical_request_is_one_generation_however_often_it_comes(
    own: OwnServers, tmp_path: Path
) -> None:
    seed = seed_of("f20")
    chance = random.Random(seed)
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=2, people=80) as rig:
        asked = [webhook(org, one, f"Ann{n}") for org in rig.orgs for n, one in enumerate(org.people[:40])]

        async def repeat(most: int) -> set[str]:
            """Each up to so many times at once; the ids that were answered."""
            since = len(rig.client.answers)
            often = [one for one in asked for _ in range(chance.randint(1, most))]
            chance.shuffle(often)
            await asyncio.gather(*map(rig.client.send, often))
            return {one.generation_id or "" for one in rig.client.answers[since:] if one.accepted}

        if rig.clock.now().minute < 10:  # so that the next hour comes within an hour of the first
            rig.leap(600)
        first = await repeat(17)
        await rig.settled()
        assert await rig.fetchval("SELECT count(*) FROM generations") == len(asked)
        rig.leap(
            (60 - rig.clock.now().minute) * 60
        )  # Klaviyo's later retries: within the hour after, another id for the same request
        second = await repeat(3)
        await rig.settled()
        assert not first & second
        assert await rig.fetchval("SELECT count(*) FROM generations") == len(asked)
        again = [webhook(one.org, one.profile_id, "Bea") for one in asked]  # they enter again, with another body
        await asyncio.gather(*map(rig.client.send, again))
        await rig.settled()
        assert await rig.fetchval("SELECT count(*) FROM generations") == 2 * len(asked)
        for _ in range(20):  # a day later the same request is a new one
            rig.leap(3600)
        await rig.settled()
        third = await repeat(5)
        assert await rig.exported_and_clean(seed)
        assert await rig.fetchval("SELECT count(*) FROM generations") == 3 * len(asked)
        assert not third & (first | second)
