"""One person in two messages of one prefix, in unlucky orders: no older run's copy stays where its message was decided
anew. (All orders together: tests/unit/profile_writer/test_rules_together.py.)"""

from dataclasses import replace
from datetime import timedelta

from tests.component.profile_writer.rig import MESSAGE, rigged, shifted, writing
from tests.support.waiting import eventually

OTHER = "farewell.FLOW02.70000002"


async def test_copy_that_is_out_of_date_goes_first_whatever_took_its_successors_place(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        async with writing(rig):
            await rig.send(await rig.generate(person, delay_s=3600))
            await rig.outcomes(1)
            await rig.hold(until=rig.clock.now() + timedelta(seconds=650))
            again = await rig.generate(person, delay_s=3600)
            await rig.send(again)
            await rig.taken_in(1)
            other = await rig.generate(person, delay_s=600, written_for=OTHER)
            await rig.send(other)
            await rig.outcomes(2)
        held = rig.properties(person)
        async with writing(replace(rig, clock_spec=shifted(rig.clock_spec, 700))):
            outcomes = await rig.outcomes(3)
            await eventually(lambda: rig.properties(person) == {})

    assert held["jai_for"] == MESSAGE
    assert [outcomes[job.generation_id]["outcome"] for job in (again, other)] == ["superseded", "expired"]


async def test_a_decision_for_control_is_remembered_after_another_messages_copy_went(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person, delay_s=40, window_s=40, written_for=OTHER))
        await rig.outcomes(1)
        late = await rig.generate(person, delay_s=3600)
        control = await rig.generate(person, delay_s=3600, control=True)
        await rig.send(control)
        await rig.outcomes(2)
        await eventually(lambda: rig.properties(person) == {}, within_s=40)
        await rig.send(late)
        outcomes = await rig.outcomes(3)

    assert outcomes[late.generation_id]["outcome"] == "superseded"
    assert rig.properties(person) == {}
