"""A console on a database of the test's own, in frozen time."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import FrozenClock
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
