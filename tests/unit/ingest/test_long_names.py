"""What a server may make ingest hold in memory by the names that it lists."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import asyncssh
import pytest

from services.ingest.records import Listing, Source, SourceUnreachable
from services.ingest.sources.s3 import Prefix
from services.ingest.sources.sftp import Folder

SOURCE = Source(UUID(int=1), UUID(int=2), "files.example", 22, "us", ".", "*", "", "", None)
MTIME = 1_700_000_000


class Names:
    """As many names of one length, each made when it is asked for: as an SFTP client lists them, and one of S3."""

    def __init__(self, count: int, length: int) -> None:
        self._count, self._length = count, length

    def _names(self) -> Iterator[str]:
        for number in range(self._count):
            yield f"{number:06}".ljust(self._length, "x")

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        for name in self._names():
            yield asyncssh.SFTPName(name.encode(), attrs=asyncssh.SFTPAttrs(permissions=0o100644, size=5, mtime=MTIME))

    def get_paginator(self, operation: str) -> "Names":
        return self

    async def paginate(self, **_: str) -> AsyncIterator[dict[str, Any]]:
        for name in self._names():
            yield {"Contents": [{"Key": name, "Size": 5, "LastModified": datetime.fromtimestamp(MTIME, UTC)}]}


async def listed(kind: str, names: Names) -> Listing:
    if kind == "s3":
        return await Prefix(names, SOURCE, 5).list()
    client = cast(asyncssh.SFTPClient, names)
    return await Folder(cast(asyncssh.SSHClientConnection, None), client, SOURCE, 5).list()


@pytest.mark.parametrize("kind", ["sftp", "s3"])
async def test_names_of_megabytes_cost_bounded_memory_and_are_ignored(kind: str) -> None:
    tracemalloc.start()
    try:
        listing = await listed(kind, Names(400, 4 << 20))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (listing.files, listing.ignored) == ([], 400)
    assert most < 100 << 20


@pytest.mark.parametrize("kind", ["sftp", "s3"])
async def test_more_names_than_memory_should_hold_are_told(kind: str) -> None:
    with pytest.raises(SourceUnreachable, match="have more than 32000000 characters; have old files") as refused:
        await listed(kind, Names(33_000, 1000))

    assert refused.value.reason == "too_many_entries"
