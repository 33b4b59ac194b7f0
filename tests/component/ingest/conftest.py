"""A rig per test: its own database, its own folder on the real OpenSSH server."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from devstack.isolation import SftpFolder
from shared.db.pool import open_database
from tests.component.ingest.rig import Rig, Server
from tests.support.servers import Servers


@pytest.fixture
def sshd(servers: Servers) -> Server:
    """The real server."""
    at = servers.need("sshd")
    return Server(at.sftp_host, at.sftp_port, at.sftp_user, at.sftp_host_key, Path(at.sftp_client_key_path).read_text())


@pytest.fixture
async def bare_rig(database_url: str) -> AsyncIterator[Rig]:
    """An org without sources."""
    async with open_database(database_url, name="test-ingest", max_size=6) as database:
        rig = Rig(database, uuid4())
        await rig.add_org()
        yield rig


@pytest.fixture
async def rig(bare_rig: Rig, sshd: Server, sftp_root: SftpFolder) -> Rig:
    """An org whose source is the test's folder."""
    await bare_rig.add_source(sshd, sftp_root.remote_path)
    return bare_rig


@pytest.fixture
def folder(sftp_root: SftpFolder) -> Path:
    """The source's folder on this machine."""
    return sftp_root.path
