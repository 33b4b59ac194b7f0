"""A console on a database of the test's own, in frozen time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.clock import FrozenClock
from tests.component.admin.rig import Rig, Servers
from tests.component.console.browser import Browser
from tests.support.console import Stage, console


@pytest.fixture
def wall() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def stage(database_url: str, wall: FrozenClock) -> AsyncIterator[Stage]:
    async with console(database_url, wall) as running:
        yield running


@pytest.fixture
async def visitor(stage: Stage) -> AsyncIterator[Browser]:
    """Nobody yet."""
    async with Browser(stage.url) as browser:
        yield browser


@pytest.fixture
async def rig(stage: Stage) -> AsyncIterator[Rig]:
    """Operations on the org whose pages are looked at."""
    async with AsyncExitStack() as stack:
        rig = Rig(stage.db, stage.orgs["acme"], servers=Servers(stack))
        rig.clock.at = stage.now
        yield rig
