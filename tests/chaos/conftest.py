"""Servers that these tests may harm, one set for each process that runs them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.servers import OwnServers, own_servers


@pytest.fixture(scope="session")
def own() -> Iterator[OwnServers]:
    with tempfile.TemporaryDirectory(prefix="justai-chaos-") as folder, own_servers(Path(folder)) as servers:
        yield servers
