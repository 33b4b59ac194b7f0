"""Where exports are written: one client per target for the life of the process, every call bounded in time.

Objects are replaced by compare-and-set: a write names the ETag that it replaces (or that there is none), so an
exporter that was paused past its lease cannot put an old hour over a newer one, however late its request arrives.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import IO, Any, Literal, TypeVar

# botocore and aiobotocore ship no types, hence the ignores.
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from services.egress.model import Found, Superseded, Target
from services.egress.roles import take_role
from shared import logs
from shared.errors import Permanent, Transient
from shared.hosts import Hosts
from shared.s3 import UNREACHABLE, BoundedSession, named, told
from shared.s3_names import endpoint_of, wrong_for_ourselves

log = logs.get(__name__)

T = TypeVar("T")

PART_BYTES = 16 << 20
"""Above this an object goes up in parts of this size, so that an upload never holds more in memory. S3 takes 10,000
parts; the largest hour is 156 GiB."""

_ABORT_TIMEOUT_S = 10.0
_PAGES_MAX = 100  # of 1,000 uploads
_ENCRYPTED = ("PutObject", "CreateMultipartUpload")


@dataclass(frozen=True, slots=True)
class S3Options:
    """How calls are made, the same for all targets. Seconds are real: a socket knows nothing of a scaled clock."""

    connect_timeout_s: float = 5
    read_timeout_s: float = 60
    call_timeout_s: float = 180  # one call with its retries
    attempts: int = 4
    checksums: Literal["when_supported", "when_required"] = "when_supported"
    sts_endpoint_url: str | None = None
    part_bytes: int = PART_BYTES
    hosts: Hosts | None = None  # where an endpoint's name may lead; None: anywhere


def quickly(options: S3Options) -> S3Options:
    """The same for somebody who waits: an error is said at once, not tried again."""
    return replace(options, attempts=1, read_timeout_s=min(options.read_timeout_s, 10))


class S3:
    """The buckets of all targets."""

    def __init__(self, options: S3Options, stack: AsyncExitStack) -> None:
        self._options, self._stack = options, stack
        self._buckets: dict[Target, Bucket] = {}
        self._opening = defaultdict[Target, asyncio.Lock](asyncio.Lock)  # who hands out one's role keeps no other up

    async def bucket(self, target: Target) -> "Bucket":
        """The bucket of a target; its client is made once. Raises Permanent when no client can be made of it.

        A target that was changed leaves its old client behind until the process ends: an idle client costs little,
        closing it under an upload would cost the upload.
        """
        async with self._opening[target]:
            if target not in self._buckets:
                client = await named(self._client(target), self._options.call_timeout_s)
                self._buckets[target] = Bucket(client, target.bucket, self._options)
            return self._buckets[target]

    async def _client(self, target: Target) -> Any:
        # Also here, for targets that were stored before this was asked: nobody is shown our identity by mistake.
        keyless = not (target.access_key or target.role_arn)
        if keyless and (wrong := wrong_for_ourselves(target.bucket, target.endpoint_url)):
            at = target.endpoint_url or target.bucket
            raise Permanent(f"{at} {wrong}; say anew where exports go", reason="s3_bad_target")
        session = AioSession()
        keys: dict[str, str | None] = {}
        if target.role_arn:
            create_sts = partial(
                session.create_client, region_name=target.region, endpoint_url=self._options.sts_endpoint_url,
                config=self._config(),
            )  # fmt: skip
            await take_role(session, target, target.role_arn, create_sts)
        else:
            keys = {"aws_access_key_id": target.access_key, "aws_secret_access_key": target.secret}
        connector = await self._checked(target.endpoint_url) if target.endpoint_url else {}
        config = self._config(
            s3={"addressing_style": "path" if target.endpoint_url else "auto"},
            connector_args=connector,
            proxies={} if connector else None,  # whom a proxy connects to, nobody looks at
        )
        client = session.create_client(
            "s3", region_name=target.region, endpoint_url=target.endpoint_url, config=config, **keys
        )
        made = await self._stack.enter_async_context(client)
        made.meta.events.register("before-parameter-build.s3", partial(_say_of, target))
        return made

    async def _checked(self, endpoint_url: str) -> dict[str, Any]:
        """How to connect to an endpoint that a customer named: only where it may lead, and to the address that was
        looked at. Raises PrivateHost."""
        if self._options.hosts is None:
            return {}
        host, port = endpoint_of(endpoint_url)
        await self._options.hosts.addresses(host, port)  # so that it is told why
        return self._options.hosts.connector()

    def _config(self, **more: Any) -> AioConfig:
        return AioConfig(
            retries={"mode": "standard", "total_max_attempts": self._options.attempts},
            connect_timeout=self._options.connect_timeout_s,
            read_timeout=self._options.read_timeout_s,
            request_checksum_calculation=self._options.checksums,
            response_checksum_validation=self._options.checksums,
            http_session_cls=BoundedSession,
            **more,
        )


class Bucket:
    """One bucket. Every method raises Permanent for what only the bucket's owner can mend, else Transient."""

    def __init__(self, client: Any, name: str, options: S3Options) -> None:
        self._client, self._name, self._options = client, name, options
        self._conditional = True

    async def find(self, key: str) -> Found | None:
        """What lies at a key; None when nothing does."""
        try:
            answer = await self._call(self._client.head_object(Bucket=self._name, Key=key))
        except Permanent as error:
            # A HEAD has no body, so its 404 does not say whether key or bucket is missing; a write will.
            if error.reason == "s3_404":
                return None
            if error.reason == "s3_403":
                hint = "finding out what is there needs s3:GetObject, and s3:ListBucket where nothing is"
                raise Permanent(f"{error}; {hint}", reason="s3_403") from error
            raise
        return Found(told(answer, "ETag"), dict(answer["Metadata"]), answer.get("ContentLength"))

    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str:
        """Put `content` in place of `over` (None: of nothing); the new ETag. Readers see the old object or the new
        one, never less. Raises Superseded when something else lies there by now."""
        about = {"Bucket": self._name, "Key": key, "Metadata": dict(metadata), "ContentType": kind}
        if length > self._options.part_bytes:
            return await self._replace_in_parts(key, content, length, about, over)
        body = await asyncio.to_thread(_read, content, 0, length)
        answer = await self._conditionally(over, lambda only: self._client.put_object(Body=body, **about, **only))
        return str(told(answer, "ETag"))

    async def remove(self, key: str, over: Found) -> None:
        """Delete `over`; servers that know no conditional delete (most) delete what is there."""
        await self._conditionally(over, lambda only: self._client.delete_object(Bucket=self._name, Key=key, **only))

    async def read(self, key: str, most: int) -> bytes:
        """The first `most` bytes of what lies at a key."""

        async def fetched() -> bytes:
            answer = await self._client.get_object(Bucket=self._name, Key=key)
            content = bytearray()
            async with answer["Body"] as body:
                while len(content) < most and (more := await body.read(most - len(content))):
                    content += more
            return bytes(content)

        return await self._call(fetched())

    async def begin_and_abort(self, key: str) -> None:
        """Begin an upload in parts, and end it without an object."""
        about = {"Bucket": self._name, "Key": key}
        created = await self._call(self._client.create_multipart_upload(**about))
        await self._call(self._client.abort_multipart_upload(UploadId=told(created, "UploadId"), **about))

    async def _replace_in_parts(
        self, key: str, content: IO[bytes], length: int, about: Mapping[str, Any], over: Found | None
    ) -> str:
        created = await self._call(self._client.create_multipart_upload(**about))
        upload = {"Bucket": self._name, "Key": key, "UploadId": told(created, "UploadId")}
        try:
            parts = []
            for number, start in enumerate(range(0, length, self._options.part_bytes), 1):
                body = await asyncio.to_thread(_read, content, start, min(self._options.part_bytes, length - start))
                sent = await self._call(self._client.upload_part(PartNumber=number, Body=body, **upload))
                # The checksum that the client sent with the part is named again when the parts are joined.
                sums = {name: value for name, value in sent.items() if name.startswith("Checksum")}
                sums.pop("ChecksumType", None)
                parts.append({"PartNumber": number, "ETag": told(sent, "ETag"), **sums})
            joined = await self._conditionally(
                over,
                lambda only: self._client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload, **only),
            )
            return str(told(joined, "ETag"))
        except BaseException:
            await asyncio.shield(self._abort(upload))
            raise

    async def _abort(self, upload: Mapping[str, str]) -> None:
        """Parts of an upload that is neither completed nor aborted cost the customer money, unseen."""
        try:
            async with asyncio.timeout(_ABORT_TIMEOUT_S):
                await self._client.abort_multipart_upload(**upload)
        except (ClientError, BotoCoreError, ResponseParserError, *UNREACHABLE) as error:
            log.error("export.upload_left", key=upload["Key"], upload=upload["UploadId"], error=type(error).__name__)

    async def sweep(self, prefix: str, ours: Callable[[str], bool], older_than_s: float) -> int:
        """Abort uploads of ours that nobody will finish: begun so long ago, by the server's own clock; how many."""
        swept, after = 0, dict[str, str]()
        for _ in range(_PAGES_MAX):  # a server that names a next page for ever keeps no other bucket waiting
            answer = await self._call(
                self._client.list_multipart_uploads(Bucket=self._name, Prefix=prefix, **after)
            )  # fmt: skip
            now = _server_time(answer)
            for upload in answer.get("Uploads", ()):
                key, begun = told(upload, "Key"), told(upload, "Initiated")
                if ours(key) and (now - begun).total_seconds() > older_than_s:
                    which = {"Key": key, "UploadId": told(upload, "UploadId")}
                    try:
                        await self._call(self._client.abort_multipart_upload(Bucket=self._name, **which))
                        swept += 1
                    except Transient as error:
                        if "NoSuchUpload" not in str(error):  # then another replica was faster
                            raise
            if not answer.get("IsTruncated"):
                return swept
            after = {"KeyMarker": told(answer, "NextKeyMarker"), "UploadIdMarker": told(answer, "NextUploadIdMarker")}
        raise Permanent(f"the server lists more than {_PAGES_MAX} pages of uploads", reason="s3_endless_pages")

    async def _conditionally(self, over: Found | None, call: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        only = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over.etag}
        if self._conditional:
            try:
                return await self._call(call(only))
            except Permanent as error:
                if error.reason in ("s3_412", "s3_409", "s3_404") and "NoSuchBucket" not in str(error):
                    raise Superseded(f"something else lies there by now ({error})") from error
                if error.reason != "s3_501":
                    raise
                self._conditional = False
                log.warning("export.unconditional", bucket=self._name)
        return await self._call(call({}))

    async def _call(self, call: Awaitable[T]) -> T:
        return await named(call, self._options.call_timeout_s)


def _say_of(target: Target, params: dict[str, Any], model: Any, **_: object) -> None:
    """Add to a call what every call of this target says: here, so that no call forgets it."""
    if target.expected_owner and "ExpectedBucketOwner" in model.input_shape.members:
        params["ExpectedBucketOwner"] = target.expected_owner
    if target.encryption != "bucket" and model.name in _ENCRYPTED:
        params["ServerSideEncryption"] = "aws:kms" if target.encryption == "kms" else "AES256"
        if target.kms_key_id:
            params["SSEKMSKeyId"] = target.kms_key_id


def _server_time(answer: Mapping[str, Any]) -> datetime:
    """When the server gave this answer, by its own clock. Raises Permanent."""
    try:
        at = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        raise Permanent("the server does not say what time it is", reason="s3_no_date") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _read(content: IO[bytes], start: int, length: int) -> bytes:
    content.seek(start)
    return content.read(length)
