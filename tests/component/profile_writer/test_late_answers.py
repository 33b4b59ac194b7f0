"""An answer that comes when the email has been rendered: it left without the copy, and no later one may show it."""

from datetime import datetime

import pytest

from shared.schemas.jobs import WriteJob
from shared.snippet import Control, snippet
from simulator.faults import Fault
from simulator.flow.definitions import EmailText
from simulator.flow.templating import render_email
from tests.component.profile_writer.rig import MESSAGE, Rig, rigged, writing
from tests.component.profile_writer.test_writes import rig_is_clean
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

SLOWER = 3.0  # than the other tests' clock: all of it must happen between a deadline and the end of a lease
DELAY_S, LATE_REAL_S = 10.0, 5.0  # the write is there 15 s of the product's time later


async def written_late(rig: Rig, person: str, window_s: float) -> WriteJob:
    """A generation whose write the box makes after the email was rendered."""
    fault = Fault(kind="late", operation="update_profile", delay_s=LATE_REAL_S, count=1)
    rig.box.world.faults.append(fault)
    job = await rig.generate(person, delay_s=DELAY_S, window_s=window_s, name="Late")
    await rig.send(job)
    outcomes = await rig.outcomes(1)

    assert fault.count == 0
    assert (outcomes[job.generation_id]["outcome"], outcomes[job.generation_id]["reason"]) == (
        "written",
        "answered_late",
    )
    return job


def shown(rig: Rig, person: str, at: datetime) -> str:
    """The subject of the email that Klaviyo renders at that moment."""
    texts = snippet("jai", MESSAGE, Control("control", "", "<p>control</p>"))
    profile = rig.account.profiles[person]
    return render_email(EmailText(texts.subject, texts.preheader, texts.body), person, profile.as_of(at)).subject


async def test_copy_that_came_too_late_is_taken_away_and_no_email_shows_it(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig, writing(rig):
        [person] = rig.people(1)
        job = await written_late(rig, person, window_s=40)
        there = rig.properties(person).get("jai_generation")

        await eventually(lambda: rig.properties(person) == {}, within_s=60)

        assert shown(rig, person, job.deadline_at) == "control"
        assert there == str(job.generation_id)
        await eventually(rig_is_clean(rig))
        assert shown(rig, person, rig.clock.now()) == "control"


@pytest.mark.parametrize(("control", "expected"), [(False, "Hi New"), (True, "control")])
async def test_who_comes_back_while_late_copy_is_there_gets_the_newer_decision(
    database_url: str, amqp_url: str, control: bool, expected: str
) -> None:
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig, writing(rig):
        [person] = rig.people(1)
        await written_late(rig, person, window_s=600)
        again = await rig.generate(person, name="New", control=control)
        await rig.send(again)
        outcomes = await rig.outcomes(2)

        assert outcomes[again.generation_id]["outcome"] == ("cleared" if control else "written")
        assert outcomes[again.generation_id]["reason"] is None
        assert shown(rig, person, again.deadline_at) == expected
