"""No email ever shows something wrong: real flows, emails rendered at the moment of sending, judged by the box.

One day is played once, all of its people at the same time; each test looks at one of their stories. What must never be
is blank, stale, foreign or broken; what may be, where nothing of ours can come in time, is the control content.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.box import FlowIds
from simulator.faults import Fault
from simulator.flow.judge import FAULTS
from tests.e2e.stage import DELAY_S, FACTOR, ORG, Stage, dead_url, staged
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

A_DAY = timedelta(days=1)


@dataclass
class Day:
    """What was seen: by the name of a story, what each of its person's emails showed, in order."""

    shown: dict[str, list[str]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flows:
    """`winback` shares the property prefix of `welcome`; `birthday` has one of its own; nobody answers the first
    webhooks of `later`."""

    welcome: FlowIds
    winback: FlowIds
    birthday: FlowIds
    later: FlowIds


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The day, played to its end."""
    folder: Path = tmp_path_factory.mktemp("never-wrong")
    async with staged(servers.need("postgres", "rabbitmq"), folder) as stage:
        people = {name: await stage.person(f"{name.title()} & Co <i>") for name in STORIES}
        async with stage.serving() as gateway_url:
            flows = await _flows(stage, gateway_url)
            await _first_day(stage, flows, people)
        async with stage.serving(ahead=A_DAY) as gateway_url:
            url = f"{gateway_url}/api/generate/{ORG}"
            await stage.box.change_step(flows.later, flows.later.webhook_action_id, url=url)
            stage.clock.jump(A_DAY)
            await _second_day(stage, flows, people)
            await stage.clean(*stage.account.profiles)
        shown = await stage.shown()
        summary = await stage.box.outcomes()
    return Day({name: shown.get(profile_id, []) for name, profile_id in people.items()}, summary)


STORIES = (
    "own", "shared", "after", "before", "merged", "merged early", "survivor", "joined", "joining", "invisible",
    "unanswered", "held", "gone",
)  # fmt: skip


async def _flows(stage: Stage, gateway_url: str) -> Flows:
    welcome, winback, birthday, later = await asyncio.gather(
        stage.add_flow("welcome", gateway_url),
        stage.add_flow("winback", gateway_url),
        stage.add_flow("birthday", gateway_url, prefix="jai_birthday"),
        stage.add_flow("later", dead_url()),
    )
    return Flows(welcome, winback, birthday, later)


async def _first_day(stage: Stage, flows: Flows, people: dict[str, str]) -> None:
    async with asyncio.TaskGroup() as stories:
        stories.create_task(_two_flows(stage, flows.welcome, flows.birthday, people["own"]))
        stories.create_task(_two_flows(stage, flows.welcome, flows.winback, people["shared"]))
        stories.create_task(_comes_back(stage, flows.welcome, people["after"], cleaned=True))
        stories.create_task(_comes_back(stage, flows.welcome, people["before"], cleaned=False))
        stories.create_task(_merged(stage, flows.welcome, people))
        stories.create_task(_joined(stage, flows.welcome, people))
        stories.create_task(_unheard(stage, flows.later, people))
    await _seen_too_late(stage, flows.welcome, people["invisible"])
    await _answered_too_late(stage, flows.welcome, people["unanswered"])


async def _two_flows(stage: Stage, one: FlowIds, other: FlowIds, person: str) -> None:
    await stage.finished(await stage.enter(one, person), await stage.enter(other, person))


async def _comes_back(stage: Stage, flow: FlowIds, person: str, *, cleaned: bool) -> None:
    """With another body, and so with another copy."""
    first = await stage.enter(flow, person)
    await stage.finished(first)
    if cleaned:
        await stage.clean(person)
    else:
        assert stage.held(person).get("jai_generation") == first.generation_id
    await stage.rename(person, "Someone & Else <i>")
    await stage.finished(await stage.enter(flow, person))


async def _merged(stage: Stage, flow: FlowIds, people: dict[str, str]) -> None:
    """Two people turn out to be a third: one whose copy is written already and goes along, as Klaviyo fills the gaps
    of the profile that stays; one right after the webhook. Then the third one enters."""
    written, early = await stage.enter(flow, people["merged"]), await stage.enter(flow, people["merged early"])
    await stage.accepted(early)
    stage.account.remove(early.profile_id, people["survivor"])
    await stage.written(written)
    stage.account.merge(written.profile_id, people["survivor"], "missing", stage.clock.now())
    await stage.finished(await stage.enter(flow, people["survivor"]), written, early)


async def _joined(stage: Stage, flow: FlowIds, people: dict[str, str]) -> None:
    """Two people in the same flow turn out to be one, and the other one's copy goes over the survivor's own."""
    stays, gone = await stage.enter(flow, people["joined"]), await stage.enter(flow, people["joining"])
    await stage.written(stays)
    await stage.written(gone)
    stage.account.merge(people["joining"], people["joined"], "all", stage.clock.now())
    assert stage.held(people["joined"])["jai_person"] == people["joining"]
    await stage.finished(stays, gone)


async def _unheard(stage: Stage, flow: FlowIds, people: dict[str, str]) -> None:
    """Nobody answers the webhook: one person is held until its retry, a day later, the other one goes on."""
    held = await stage.enter(flow, people["held"])
    await eventually(lambda: held.state == "retrying")
    stage.change_settings(hold_on_retry=False)
    gone = await stage.enter(flow, people["gone"])
    await stage.finished(gone)
    assert (gone.state, held.finished) == ("retrying", False)


async def _seen_too_late(stage: Stage, flow: FlowIds, person: str) -> None:
    """The write succeeds in time, and emails see it only when this one has left. Then the person comes back."""
    stage.change_settings(visibility_delay_s=DELAY_S + 10.0)
    entry = await stage.enter(flow, person)
    await stage.written(entry)
    await stage.finished(entry)
    stage.change_settings(visibility_delay_s=0.0)
    await stage.rename(person, "Someone & Else <i>")
    again = await stage.enter(flow, person)
    await stage.written(again)
    await stage.finished(again)


async def _answered_too_late(stage: Stage, flow: FlowIds, person: str) -> None:
    """The write is applied, and its answer comes when the email has left."""
    slow = Fault(kind="slow", operation="update_profile", delay_s=1.5 * DELAY_S / FACTOR, count=1)
    stage.world.faults.append(slow)
    await stage.finished(await stage.enter(flow, person))
    assert slow.count == 0


async def _second_day(stage: Stage, flows: Flows, people: dict[str, str]) -> None:
    [held], [gone] = stage.entries(people["held"]), stage.entries(people["gone"])
    await stage.written(gone)  # for an email that left a day ago
    await stage.rename(people["gone"], "Someone & Else <i>")
    await stage.finished(held, await stage.enter(flows.later, people["gone"]))


async def test_no_email_showed_anything_wrong(day: Day) -> None:
    shown = set(day.summary["real"])

    assert shown == {"right", "control_missed"}
    assert shown.isdisjoint(FAULTS)
    assert day.summary["messages"] == 16


async def test_the_pages_literal_snippet_would_have_shown_wrong_things_on_the_same_day(day: Day) -> None:
    """So the day is one that could go wrong."""
    assert FAULTS & set(day.summary["literal"])


async def test_two_flows_with_prefixes_of_their_own_both_show_their_copy(day: Day) -> None:
    assert day.shown["own"] == ["right", "right"]


async def test_of_two_flows_that_share_a_prefix_one_shows_its_copy_and_the_other_control(day: Day) -> None:
    assert sorted(day.shown["shared"]) == ["control_missed", "right"]


async def test_who_comes_back_after_clean_up_sees_the_new_copy(day: Day) -> None:
    assert day.shown["after"] == ["right", "right"]


async def test_who_comes_back_before_clean_up_with_a_new_body_sees_the_new_copy(day: Day) -> None:
    assert day.shown["before"] == ["right", "right"]


async def test_a_person_held_until_the_webhooks_retry_a_day_later_sees_their_copy(day: Day) -> None:
    assert day.shown["held"] == ["right"]


async def test_a_person_who_is_not_held_sees_control_and_the_next_day_only_the_new_copy(day: Day) -> None:
    assert day.shown["gone"] == ["control_missed", "right"]


async def test_people_merged_before_their_email_get_none_and_the_one_they_became_sees_their_own_copy(day: Day) -> None:
    assert (day.shown["merged"], day.shown["merged early"]) == ([], [])
    assert day.shown["survivor"] == ["right"]


async def test_copy_that_a_merge_put_over_the_survivors_own_is_not_shown(day: Day) -> None:
    assert (day.shown["joined"], day.shown["joining"]) == (["control_missed"], [])


async def test_a_write_that_succeeds_when_the_email_has_left_shows_in_no_later_one(day: Day) -> None:
    assert day.shown["invisible"] == ["control_missed", "right"]


async def test_a_write_whose_answer_comes_when_the_email_has_left_was_right_all_the_same(day: Day) -> None:
    assert day.shown["unanswered"] == ["right"]
