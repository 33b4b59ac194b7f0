"""An org whose operations can be run."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.db.pool import open_database
from tests.component.admin.rig import Rig, Servers, new_org


@pytest.fixture
async def acme(database_url: str) -> AsyncIterator[Rig]:
    async with open_database(database_url, name="admin-test", max_size=4) as database, AsyncExitStack() as stack:
        yield Rig(database, await new_org(database, "acme"), servers=Servers(stack))
