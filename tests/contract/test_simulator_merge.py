"""Two people turn out to be one: what the survivor's email shows where the merge carries the other one's copy over.

Klaviyo does not say which custom properties go along, so the box does each.
"""

import pytest

from simulator.profile import Carried
from tests.contract.simulator_stage import Stage, staged


async def merged(stage: Stage, carried: Carried) -> tuple[str, str]:
    """The second person's copy is there when they become the first one."""
    stays, gone = stage.people
    await stage.write(gone, stage.gateway.generations[gone] or "unheard", "Other")
    body = {"into": stays, "carried": carried}
    await stage.caller.sim("POST", f"/accounts/{stage.account.id}/profiles/{gone}/merge", body)
    return stays, gone


@pytest.mark.parametrize("carried", ["missing", "all"])
@pytest.mark.parametrize("answered", [True, False])
async def test_the_others_copy_in_the_survivors_email_is_foreign(carried: Carried, answered: bool) -> None:
    async with staged(people=2) as stage:
        if not answered:
            stage.gateway.generation_id = ""
        await stage.enter()
        await merged(stage, carried)
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"], result["literal"]) == (1, {"foreign": 1}, {"foreign": 1})


async def test_a_merge_that_carries_nothing_over_shows_nothing_of_the_others() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        await merged(stage, "none")
        await stage.send()
        result = await stage.outcomes()

    assert (result["messages"], result["real"]) == (1, {"control_missed": 1})


async def test_copy_that_is_written_to_the_survivor_afterwards_is_right() -> None:
    async with staged(people=2) as stage:
        await stage.enter()
        stays, _ = await merged(stage, "all")
        await stage.write(stays, stage.gateway.generations[stays], "Own")
        await stage.send()
        result = await stage.outcomes()

    assert result["real"] == {"right": 1}
