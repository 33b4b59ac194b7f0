"""A console that people reach through a provider."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import FrozenClock
from tests.support.console import Stage, console
from tests.support.oidc import Provider, provider, settings_for


@pytest.fixture
async def there(wall: FrozenClock) -> AsyncIterator[Provider]:
    async with provider(wall) as running:
        yield running


@pytest.fixture
async def stage(database_url: str, wall: FrozenClock, there: Provider) -> AsyncIterator[Stage]:
    async with console(database_url, wall, **settings_for(there.issuer)) as running:
        yield running
