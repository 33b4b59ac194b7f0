"""A bucket as a source: the objects directly below a prefix. What is listed is told apart by its ETag too, and what is
read is the very object that was looked at."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from services.ingest.records import Changed, Listed, Listing, Source, SourceRefused, SourceUnreachable
from services.ingest.sources.folders import LIST_TIMEOUT_S, READ_BYTES, Gathering, fitting
from shared.crypto import KeyRing, SealError
from shared.errors import Failure, Permanent, Transient
from shared.hosts import Hosts
from shared.s3 import Access, named, open_client, told
from shared.s3_names import BUCKET, REGION, endpoint_of

_ATTEMPTS: Final = 2


class Prefix:
    """What lies below one source's prefix. Every call ends within `read_timeout_s`, a listing within 2 minutes (real
    seconds)."""

    def __init__(self, client: Any, source: Source, read_timeout_s: float) -> None:
        self._client, self._source, self._timeout_s = client, source, read_timeout_s
        self._looked_at: dict[str, str] = {}  # by key: the ETag that it had

    async def list(self) -> Listing:
        """See Folder. What is stored away (Glacier) is listed, and cannot be read until it is restored."""
        with _named(self._source):
            return await named(self._list(), LIST_TIMEOUT_S)

    async def _list(self) -> Listing:
        gathered = Gathering(repr(self._source.path))
        prefix = _prefix(self._source)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._source.bucket, Prefix=prefix, Delimiter="/"
        )
        async for page in pages:
            gathered.ignore(len(page.get("CommonPrefixes", ())))
            for one in page.get("Contents", ()):
                name = told(one, "Key").removeprefix(prefix)
                if fitting(name, self._source.pattern):
                    gathered.take(_listed(one["Key"], told(one, "Size"), one))
                elif name:  # else it is the folder itself, as consoles make it
                    gathered.ignore(1)
        return gathered.listing()

    async def look(self, path: str) -> Listed:
        """See Folder."""
        with _reading(path):
            found = await named(self._client.head_object(Bucket=self._source.bucket, Key=path), self._timeout_s)
            seen = _listed(path, told(found, "ContentLength"), found)
        self._looked_at[path] = seen.tag
        return seen

    async def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """See Folder."""
        if at_most <= 0:
            return
        where = {"Bucket": self._source.bucket, "Key": path, "Range": f"bytes={start}-{start + at_most - 1}"}
        if tag := self._looked_at.get(path):
            where["IfMatch"] = tag
        with _reading(path):
            try:
                answer = await named(self._client.get_object(**where), self._timeout_s)
            except Permanent as error:
                if error.reason == "s3_416":  # nothing from there on
                    return
                raise
            async with answer["Body"] as body:
                while block := await named(body.read(READ_BYTES), self._timeout_s):
                    yield block


class Buckets:
    """Opens sources of kind `s3`. `own_role`: whether one without a key may be read as the service itself, which may
    see other buckets than the org's."""

    steps: tuple[str, ...] = ("Find the server",)

    def __init__(
        self, ring: KeyRing, *, connect_timeout_s: float, read_timeout_s: float, hosts: Hosts, own_role: bool
    ) -> None:
        self._ring, self._connect_timeout_s, self._read_timeout_s = ring, connect_timeout_s, read_timeout_s
        self._hosts, self._own_role = hosts, own_role

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[Prefix]:
        """A client for the source's bucket; whether it lets us in shows with the first call. Raises SourceRefused or
        SourceUnreachable."""
        opening = open_client(
            self._access(source), self._hosts, connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s, attempts=_ATTEMPTS,
        )  # fmt: skip
        with _named(source):
            client = await opening.__aenter__()
        try:
            yield Prefix(client, source, self._read_timeout_s)
        finally:
            await opening.__aexit__(None, None, None)

    @asynccontextmanager
    async def reach(self, source: Source, done: Callable[[str], None]) -> AsyncIterator[Prefix]:
        """See Opener."""
        async with self.open(source) as prefix:
            found = []
            if source.endpoint_url:
                host, port = endpoint_of(source.endpoint_url)
                found = await self._hosts.addresses(host, port)
            whom = f"key {source.access_key}" if source.access_key else "the service's own role"
            at = f"{source.endpoint_url} is {', '.join(found[:4])}" if found else f"Amazon's own in {source.region}"
            done(f"{at}; it is asked with {whom}.")
            yield prefix

    def _access(self, source: Source) -> Access:
        if not (BUCKET.fullmatch(source.bucket) and REGION.fullmatch(source.region)):
            raise SourceRefused(
                f"{source.bucket!r} in {source.region!r} is no bucket in a region like eu-central-1",
                reason="bad_bucket",
            )
        secret = None
        if source.access_key:
            try:
                secret = self._ring.open(source.sealed_key, f"{source.org_id}/source/{source.source_id}")
            except SealError as error:
                raise SourceRefused(f"our secret key is unusable: {error}", reason="bad_secret_key") from None
        elif not self._own_role or source.endpoint_url:
            raise SourceUnreachable(
                "it has no access key, and the ingest service does not read customers' buckets as itself; give it a "
                "key, or the operator sets JUSTAI_INGEST_S3_OWN_ROLE (for Amazon's own servers only)",
                reason="no_own_role",
            )
        return Access(source.region, source.endpoint_url or None, source.access_key or None, secret)


def _prefix(source: Source) -> str:
    folder = source.path.strip("/")
    return "" if folder in ("", ".") else f"{folder}/"


def _listed(key: str, size: int, answer: dict[str, Any]) -> Listed:
    """Whole seconds: some servers know fractions in a listing, none in a header."""
    return Listed(key, size, told(answer, "LastModified").replace(microsecond=0), answer.get("ETag", ""))


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """What can go wrong between us and a bucket, in a line that says what to do."""
    at = source.endpoint_url or f"region {source.region}"
    try:
        yield
    except (SourceUnreachable, SourceRefused):
        raise
    except Permanent as error:
        words = {
            "s3_403": (
                "bucket_denied",
                f"bucket {source.bucket} at {at} does not let us list {source.path!r}; is the key right, and does it "
                "allow s3:ListBucket and s3:GetObject there?",
            ),
            "s3_404": ("no_bucket", f"no bucket {source.bucket} at {at}; correct its name, region or endpoint"),
            "s3_301": ("wrong_region", f"bucket {source.bucket} is not in region {source.region}; correct the region"),
            "private_host": ("private_host", str(error)),
        }
        reason, text = words.get(
            error.reason, ("bucket_refused", f"bucket {source.bucket} at {at} cannot be read: {error}")
        )
        raise SourceUnreachable(text, reason=reason) from None
    except Failure as error:
        raise SourceUnreachable(f"bucket {source.bucket} at {at}: {error}", reason="unreachable") from None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """What can go wrong with one object."""
    try:
        yield
    except Permanent as error:
        if error.reason == "s3_404":
            raise Changed(f"{path} is gone", reason="file_gone") from None
        if error.reason == "s3_412":
            raise Changed(f"{path} was replaced while we read it", reason="file_changed") from None
        raise Transient(f"the bucket does not let us read {path}: {error}", reason="file_denied") from None
    except Transient as error:
        raise Transient(f"the connection broke while we read {path}: {error}", reason="read_failed") from None
