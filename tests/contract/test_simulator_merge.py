"""Two people turn out to be one: what the survivor's email shows where the merge carries the other one's copy over.

Klaviyo does not say which custom properties go along, so the box does each.
"""

from collections.abc import Callable

import pytest

from shared.snippet import Control, Snippet, earlier_snippet, marker, snippet
from simulator.profile import Carried
from tests.contract.simulator_stage import CONTROL_HTML, Stage, staged

CONTROL = Control("This week", "", CONTROL_HTML)
PASTED = [snippet, earlier_snippet]


async def paste(stage: Stage, made: Callable[[str, str, Control], Snippet]) -> None:
    text = made("jai", marker("welcome", stage.flow["id"], stage.email["id"]), CONTROL)
    mail = {"subject": text.subject, "preview_text": text.preheader, "html": f"<p>Corner Shop</p>{text.body}"}
    await stage.caller.sim("PATCH", stage.flow_path(f"actions/{stage.email['id']}"), mail)


async def write(stage: Stage, person: str, subject: str, *, names_person: bool = True) -> None:
    """As the writer does, or the one of the release before."""
    whose = {"jai_person": person} if names_person else {}
    await stage.write(person, stage.gateway.generations[person] or "unheard", subject, **whose)


async def merged(stage: Stage, carried: Carried) -> tuple[str, str]:
    """The second person's copy is there when they become the first one."""
    stays, gone = stage.people
    await write(stage, gone, "Other")
    body = {"into": stays, "carried": carried}
    await stage.caller.sim("POST", f"/accounts/{stage.account.id}/profiles/{gone}/merge", body)
    return stays, gone


@pytest.mark.parametrize("carried", ["missing", "all"])
@pytest.mark.parametrize("answered", [True, False])
async def test_the_others_copy_in_the_survivors_email_is_foreign(carried: Carried, answered: bool) -> None:
    async with staged(people=2) as stage:
        await paste(stage, earlier_snippet)
        if not answered:
            stage.gateway.generation_id = ""
        await stage.enter()
        await merged(stage, carried)
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"], result["literal"]) == (1, {"foreign": 1}, {"foreign": 1})


@pytest.mark.parametrize("carried", ["missing", "all"])
async def test_the_handed_out_snippet_shows_the_survivor_control_and_never_the_others_copy(carried: Carried) -> None:
    async with staged(people=2) as stage:
        await paste(stage, snippet)
        await stage.enter()
        await merged(stage, carried)
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"], result["literal"]) == (1, {"control_missed": 1}, {"foreign": 1})


async def test_a_merge_that_puts_the_others_copy_over_the_survivors_own_shows_control() -> None:
    async with staged(people=2) as stage:
        await paste(stage, snippet)
        await stage.enter()
        await write(stage, stage.people[0], "Own")
        await merged(stage, "all")
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"control_missed": 1}


async def test_a_merge_that_fills_gaps_leaves_the_survivors_own_copy() -> None:
    async with staged(people=2) as stage:
        await paste(stage, snippet)
        await stage.enter()
        await write(stage, stage.people[0], "Own")
        await merged(stage, "missing")
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"right": 1}


async def test_a_merge_that_carries_nothing_over_shows_nothing_of_the_others() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        await merged(stage, "none")
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"]) == (1, {"control_missed": 1})


@pytest.mark.parametrize("made", PASTED)
@pytest.mark.parametrize("carried", ["missing", "all"])
async def test_copy_that_is_written_to_the_survivor_afterwards_is_right(
    made: Callable[[str, str, Control], Snippet], carried: Carried
) -> None:
    async with staged(people=2) as stage:
        await paste(stage, made)
        await stage.enter()
        stays, _ = await merged(stage, carried)
        await write(stage, stays, "Own")
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"right": 1}


@pytest.mark.parametrize(("made", "names_person"), [(snippet, False), (earlier_snippet, True)])
async def test_of_two_releases_side_by_side_either_ones_copy_shows_in_either_ones_snippet(
    made: Callable[[str, str, Control], Snippet], names_person: bool
) -> None:
    async with staged(people=2) as stage:
        await paste(stage, made)
        await stage.enter()
        for person in stage.people:
            await write(stage, person, "Own", names_person=names_person)
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"right": 2}
