"""One gateway per test."""

from collections.abc import AsyncIterator

import pytest

from tests.component.gateway.rig import Rig
from tests.component.gateway.rig import rig as open_rig


@pytest.fixture
async def rig(database_url: str, amqp_url: str) -> AsyncIterator[Rig]:
    async with open_rig(database_url, amqp_url) as made:
        yield made
