"""What the writer makes of a person who is deleted while it works."""

import os
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.admin.context import Actor, Asking, Means
from shared.admin.person import person as operations_person
from shared.admin.person.person import Deleted
from shared.admin.run import run
from shared.api_keys import Peppers
from tests.component.cli.rig import PEPPER
from tests.component.profile_writer.rig import RING, Rig, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)


async def delete(rig: Rig, person: str) -> Deleted:
    means = Means(rig.db, rig.clock, RING, Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom)
    actor = Actor("Ada", "person", "owner", rig.org_id, "acme")
    return await run(Asking(means, actor, "request-1"), operations_person.delete, {"user_id": person})


async def test_copy_leaves_the_profile_of_who_is_deleted_long_before_its_window_ends(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        person, other = rig.people(2)
        await rig.send(await rig.generate(person, window_s=36_000), await rig.generate(other, window_s=36_000))
        await rig.outcomes(2)

        done = await delete(rig, person)

        async def only_the_other() -> None:
            assert await rig.dirty() == [other]

        assert (done.generations, done.clean_ups) == (1, 1)
        await eventually(lambda: rig.properties(person) == {}, within_s=20)
        await eventually(only_the_other, within_s=10)
        assert rig.properties(other)["jai_subject"] == "Hi Ann"


async def test_who_comes_back_within_the_hour_after_the_deletion_is_written_to_again(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        person, other = rig.people(2)
        first = await rig.generate(person, window_s=36_000)
        await rig.send(first, await rig.generate(other))
        await rig.outcomes(2)
        await delete(rig, person)
        await eventually(lambda: rig.properties(person) == {}, within_s=20)
        kept = await rig.outcomes(1)

        await rig.send(await rig.generate(person, generation_id=first.generation_id, name="Bo"))

        await eventually(lambda: rig.properties(person).get("jai_subject") == "Hi Bo", within_s=20)
        told = await rig.outcomes(2)

    assert first.generation_id not in kept
    assert told[first.generation_id]["outcome"] == "written"


async def test_what_waits_for_who_is_deleted_is_never_sent(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.hold(until=rig.clock.now() + timedelta(hours=1))
        job = await rig.generate(person, delay_s=36_000)
        await rig.send(job)
        await rig.taken_in(1)

        await delete(rig, person)
        await rig.hold(until=None)

        assert (await rig.outcomes(1))[job.generation_id]["reason"] == "no_stored_copy"
        assert rig.patches() == []
