"""An SFTP server that fails on request: what a well-behaved OpenSSH cannot be asked to do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncssh

from tests.component.ingest.rig import Server


@dataclass
class Faults:
    """`on_read` is called with the offset before each read and may raise or change the file."""

    on_read: Callable[[int], None] | None = None
    freeze: bool = False
    reads: int = 0
    names: Sequence[bytes] = ()  # listed on top of what is there
    size: int = 5  # that they are said to have
    files: set[Any] = field(default_factory=set)
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)


class _Server(asyncssh.SSHServer):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._faults.connections.append(conn)


class _Files(asyncssh.SFTPServer):
    def __init__(self, channel: "asyncssh.SSHServerChannel[bytes]", root: Path, faults: Faults) -> None:
        super().__init__(channel, chroot=str(root).encode())
        self._faults = faults

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async for entry in super().scandir(path):
            yield entry
        for name in self._faults.names:
            attrs = asyncssh.SFTPAttrs(permissions=0o100644, size=self._faults.size, mtime=1_700_000_000)
            yield asyncssh.SFTPName(name, attrs=attrs)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        self._faults.reads += 1
        self._faults.files.add(file_obj)
        if self._faults.freeze:
            await asyncio.sleep(3600)
        if self._faults.on_read is not None:
            self._faults.on_read(offset)
        return cast(bytes, super().read(file_obj, offset, size))  # the parent reads at once


@asynccontextmanager
async def faulty_server(
    root: Path, faults: Faults, *, host_key: asyncssh.SSHKey | None = None, kind: str = "ssh-ed25519",
    signatures: Sequence[str] = (), port: int = 0,
) -> AsyncIterator[Server]:  # fmt: skip
    """Serves `root` on loopback to one key. `kind`: of new keys; `signatures`: all that it makes and takes, if not
    what is usual."""
    ours, client = host_key or asyncssh.generate_private_key(kind), asyncssh.generate_private_key(kind)
    allowed = asyncssh.import_authorized_keys(client.export_public_key().decode())
    listener = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: _Server(faults),
        server_host_keys=[ours],
        authorized_client_keys=allowed,
        signature_algs=signatures or (),
        sftp_factory=lambda channel: _Files(channel, root, faults),
    )
    try:
        public = ours.export_public_key().decode().strip()
        yield Server("127.0.0.1", listener.get_port(), "klaviyo", public, client.export_private_key().decode())
    finally:
        for connection in faults.connections:
            connection.abort()
        listener.close()
        for file in faults.files:
            file.close()  # asyncssh leaves it open when its reader is cut off
        async with asyncio.timeout(5):
            await listener.wait_closed()
