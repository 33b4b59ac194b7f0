"""One folder for each kind of source, on its real server, filled by the test in the same words."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from aiobotocore.session import get_session

from services.ingest.records import Source
from services.ingest.sources.folder import LocalFolders
from services.ingest.sources.folders import Folder, Opener
from services.ingest.sources.s3 import Buckets
from services.ingest.sources.sftp import Servers
from shared.crypto import KeyRing
from tests.component.ingest.rig import HERE, RING, Server

ORG = uuid4()
SLUG = "shop"


class Place(Protocol):
    """Where a source's files are, and how a test puts some there."""

    kind: str
    source: Source
    opener: Opener
    told_apart: bool  # whether a rewrite of the same second and size can be told

    async def put(self, name: str, content: bytes) -> None: ...
    async def remove(self, name: str) -> None: ...
    def path(self, name: str) -> str: ...


def source(kind: str, **values: Any) -> Source:
    """One of the org's; what a kind has no use for is empty."""
    nothing = {"host": "", "port": 22, "username": "", "host_key": "", "sealed_key": "", "path": ".", "pattern": "*"}
    told = {"org_id": ORG, "source_id": uuid4(), "mapping": None, "kind": kind, "org_slug": SLUG}
    return Source(**{**nothing, **told, **values})


def sealed(secret: str, of: Source) -> str:
    """As the source's row holds it."""
    return KeyRing(RING).seal(secret, f"{of.org_id}/source/{of.source_id}")


@dataclass
class OnDisk:
    """A folder of this machine, seen from both sides: kinds `sftp` and `folder`."""

    kind: str
    source: Source
    opener: Opener
    folder: Path
    seen_as: str
    told_apart: bool

    async def put(self, name: str, content: bytes) -> None:
        """A file, whole or in place of another."""
        (self.folder / name).write_bytes(content)

    async def remove(self, name: str) -> None:
        """It is gone."""
        (self.folder / name).unlink()

    def path(self, name: str) -> str:
        """As a listing tells it."""
        return f"{self.seen_as}{name}"


@dataclass
class InBucket:
    """A prefix of a real S3 server."""

    client: Any
    source: Source
    opener: Opener
    kind: str = "s3"
    told_apart: bool = True

    async def put(self, name: str, content: bytes) -> None:
        """An object, in place of what was there."""
        await self.client.put_object(Bucket=self.source.bucket, Key=self.path(name), Body=content)

    async def remove(self, name: str) -> None:
        """It is gone."""
        await self.client.delete_object(Bucket=self.source.bucket, Key=self.path(name))

    def path(self, name: str) -> str:
        """As a listing tells it."""
        return f"klaviyo/{name}"


def on_sftp(server: Server, folder: Path, remote: str) -> OnDisk:
    """A folder behind a real sshd."""
    bare = source(
        "sftp", host=server.host, port=server.port, username=server.user, host_key=server.host_key, path=remote,
    )  # fmt: skip
    given = Source(**{**_values(bare), "sealed_key": sealed(server.private_key, bare)})
    opener = Servers(KeyRing(RING), connect_timeout_s=5, read_timeout_s=3, hosts=HERE)
    return OnDisk("sftp", given, opener, folder, f"{remote}/", told_apart=False)


def on_disk(root: Path, inner: str = "in") -> OnDisk:
    """A folder in the org's own."""
    folder = root / SLUG / inner
    folder.mkdir(parents=True)
    opener = LocalFolders(root, read_timeout_s=3)
    return OnDisk("folder", source("folder", path=inner), opener, folder, f"{inner}/", told_apart=True)


@asynccontextmanager
async def in_bucket(endpoint: str, access_key: str, secret: str, bucket: str) -> AsyncIterator[InBucket]:
    """A prefix of a bucket that is the test's own."""
    bare = source(
        "s3", bucket=bucket, region="us-east-1", endpoint_url=endpoint, access_key=access_key, path="klaviyo",
    )  # fmt: skip
    given = Source(**{**_values(bare), "sealed_key": sealed(secret, bare)})
    opener = Buckets(KeyRing(RING), connect_timeout_s=5, read_timeout_s=10, hosts=HERE, own_role=False)
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret}
    async with get_session().create_client("s3", region_name="us-east-1", endpoint_url=endpoint, **keys) as client:
        yield InBucket(client, given, opener)


def opened(place: Place, **values: Any) -> AbstractAsyncContextManager[Folder]:
    """The place's folder, its source with other values."""
    return place.opener.open(Source(**{**_values(place.source), **values}))


def _values(one: Source) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Source.__dataclass_fields__}
