"""A template gets another prefix while people are between its webhook and its email: until the new snippet is pasted,
the old one asks for what lies under the old prefix."""

import pytest

from shared.snippet import Control, properties, snippet
from simulator.flow.definitions import EmailText
from simulator.flow.templating import render_email
from tests.component.profile_writer.rig import MESSAGE, Rig, rigged, writing
from tests.support.waiting import eventually


def shown(rig: Rig, person: str, prefix: str) -> str:
    """The subject of an email with the snippet of this prefix."""
    texts = snippet(prefix, MESSAGE, Control("control", "", "<p>control</p>"))
    profile = rig.account.profiles[person]
    return render_email(
        EmailText(texts.subject, texts.preheader, texts.body), person, profile.as_of(rig.clock.now())
    ).subject


@pytest.mark.parametrize(("control", "new"), [(False, "Hi New"), (True, "control")])
async def test_who_comes_back_after_the_prefix_was_changed_is_not_shown_the_earlier_runs_copy(
    database_url: str, amqp_url: str, control: bool, new: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person, name="Old"))
        await rig.outcomes(1)
        before = shown(rig, person, "jai")
        again = await rig.generate(person, name="New", control=control)
        await rig.send(again.model_copy(update={"prefix": "jai_two"}))
        outcomes = await rig.outcomes(2)

        await eventually(lambda: not set(properties("jai")).intersection(rig.properties(person)), within_s=20)

        assert before == "Hi Old"
        assert shown(rig, person, "jai") == "control"
        assert shown(rig, person, "jai_two") == new
        assert outcomes[again.generation_id]["outcome"] == ("nothing_to_clear" if control else "written")


async def test_copy_of_another_message_stays_where_it_is(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person, name="Old"))
        other = await rig.generate(person, name="Other", written_for="farewell.FLOW02.70000002")
        await rig.send(other.model_copy(update={"prefix": "jai_two"}))
        await rig.outcomes(2)

        assert shown(rig, person, "jai") == "Hi Old"
        assert rig.properties(person)["jai_two_subject"] == "Hi Other"
