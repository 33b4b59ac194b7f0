"""A world with PostgreSQL and S3 for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.component.egress.shop import World, open_world
from tests.support.servers import Servers


@pytest.fixture
async def world(database_url: str, bucket: str, servers: Servers) -> AsyncIterator[World]:
    async with open_world(database_url, bucket, servers.need("postgres", "s3")) as opened:
        yield opened
