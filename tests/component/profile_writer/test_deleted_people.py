"""What the writer makes of a person who is deleted while it works."""

import os
from datetime import timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from shared.admin.context import Actor, Asking, Means
from shared.admin.person import person as operations_person
from shared.admin.person.person import Deleted, DeletePerson
from shared.admin.run import run
from shared.api_keys import Peppers
from simulator.faults import Fault
from tests.component.cli.rig import PEPPER
from tests.component.profile_writer.rig import RING, Rig, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)


def asking(rig: Rig) -> Asking:
    means = Means(rig.db, rig.clock, RING, Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom)
    return Asking(means, Actor("Ada", "person", "owner", rig.org_id, "acme"), "request-1")


async def delete(rig: Rig, person: str) -> Deleted:
    return await run(asking(rig), operations_person.delete, {"user_id": person})


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


async def test_regression_copy_that_is_in_flight_while_its_person_is_deleted_leaves_the_profile_too(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url, factor=3.0) as rig, writing(rig):
        [person] = rig.people(1)
        rig.box.world.faults.append(Fault(kind="slow", operation="update_profile", delay_s=6, count=1))
        job = await rig.generate(person, window_s=36_000)
        await rig.send(job)
        await eventually(lambda: "jai_subject" in rig.properties(person), within_s=20)

        done = await delete(rig, person)
        in_flight = await rig.in_flight()

        assert (done.clean_ups, in_flight) == (1, [person])  # not answered before the deletion was through
        assert (await rig.outcomes(1))[job.generation_id]["outcome"] == "written"  # told after the deletion
        await eventually(lambda: rig.properties(person) == {}, within_s=20)


async def test_what_is_sent_while_its_person_is_being_deleted_leaves_the_profile_too(
    database_url: str, amqp_url: str
) -> None:
    """It waits when the clean-up is hastened, and leaves before its generation is gone."""
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.hold(until=rig.clock.now() + timedelta(hours=1))
        await rig.send(await rig.generate(person, delay_s=36_000, window_s=36_000))
        await rig.taken_in(1)

        assert operations_person.delete.first is not None
        await operations_person.delete.first(asking(rig), DeletePerson(user_id=SecretStr(person)))
        await rig.hold(until=None)

        await eventually(lambda: len(rig.patches()) == 2, within_s=20)
        assert rig.properties(person) == {}
