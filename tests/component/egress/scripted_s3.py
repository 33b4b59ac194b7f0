"""An S3 server that answers what a test tells it to: for answers that a real one does not give on demand."""

import asyncio
import hashlib
import html
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qs

from aiohttp import web

from services.egress.model import Target
from services.egress.s3 import S3, Bucket, S3Options
from tests.support.loopback import hosted

Operation = Literal[
    "Head", "Put", "Create", "UploadPart", "Complete", "Abort", "Delete", "AssumeRole", "ListUploads", "Get"
]
# An answer: status and code. `lost`: it is done, and nobody is told; `wrong`: it is done, and what is told is not true
# (another ETag, another upload), or, of an abort, it is not done and said to be.
Fault = Literal["none", "reset", "silence", "lost", "wrong", "blank"] | tuple[int, str]

_SILENCE_S = 6.0  # longer than the read timeout below
_ANSWERED = "<{0}><UploadId>{1}</UploadId><ETag>&quot;{2}&quot;</ETag></{0}>"


@dataclass
class Upload:
    """Parts of an object that is not there yet."""

    key: str
    metadata: dict[str, str]
    initiated: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class ScriptedS3:
    """Objects in memory; `faults` says per operation how the next calls end, mostly before they have done anything.
    `strict`: conditions and the ETags of parts are held against what is there."""

    url: str = ""
    strict: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: dict[Operation, list[Fault]] = field(default_factory=dict)
    seen: list[Operation] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)
    authorizations: list[str] = field(default_factory=list)
    headers: list[tuple[Operation, dict[str, str]]] = field(default_factory=list)
    says: str = "no"  # in every error
    owner: str = ""  # whose the bucket is
    region: str = ""  # where the bucket is said to be, in every error
    more_for_ever: bool = False  # behind every page of uploads comes another one
    begun: int = 0

    @property
    def parts(self) -> dict[int, bytes] | None:
        """Of the only upload under way; None: there is none."""
        return next((one.parts for one in self.uploads.values()), None)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        operation = _operation(request)
        self.seen.append(operation)
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.headers.append((operation, {name.lower(): value for name, value in request.headers.items()}))
        body = await request.read()
        if self.owner and request.headers.get("x-amz-expected-bucket-owner", self.owner) != self.owner:
            return _error(operation, 403, "AccessDenied")
        if faults := self.faults.get(operation):
            match faults.pop(0):
                case (status, code):
                    return _error(operation, int(status), str(code), self.says, self.region)
                case "reset" if request.transport is not None:
                    request.transport.abort()
                    return web.Response()
                case "silence":
                    await asyncio.sleep(_SILENCE_S)  # the client gives up before
                    return web.Response()
                case "lost" if request.transport is not None:
                    self._act(operation, request, body)
                    request.transport.abort()
                    return web.Response()
                case "blank":  # as something that is no S3 server says `200 OK` to all
                    return web.Response()
                case "wrong":
                    return self._mislead(operation, request, body)
        return self._act(operation, request, body)

    def _mislead(self, operation: Operation, request: web.Request, body: bytes) -> web.Response:
        if operation == "Abort":
            return web.Response(status=204)
        told = self._act(operation, request, body)
        if operation in ("Put", "UploadPart"):
            return web.Response(headers={"ETag": '"wrong"'})
        if operation in ("Create", "Complete") and told.status == 200:
            name = "InitiateMultipartUploadResult" if operation == "Create" else "CompleteMultipartUploadResult"
            return _xml(_ANSWERED.format(name, "u999", "wrong"))
        return told

    def _act(self, operation: Operation, request: web.Request, body: bytes) -> web.Response:
        key = request.path
        if operation in ("Put", "Complete"):
            self.conditions.append(request.headers.get("If-Match") or request.headers.get("If-None-Match") or "-")
            if self.strict and not self._holds(request):
                return _error(operation, 412, "PreconditionFailed")
        match operation:
            case "Head" if key in self.objects:
                said = {f"x-amz-meta-{name}": value for name, value in self.metadata.get(key, {}).items()}
                length = str(len(self.objects[key]))
                return web.Response(headers={"ETag": self.etags[key], "Content-Length": length, **said})
            case "Head":
                return web.Response(status=404)
            case "Get" if key in self.objects:
                return web.Response(body=self.objects[key], headers={"ETag": self.etags[key]})
            case "Get":
                return _error(operation, 404, "NoSuchKey")
            case "Put":
                return web.Response(headers={"ETag": self._store(key, body, _metadata(request), _etag(body))})
            case "Create":
                self.begun += 1
                self.uploads[f"u{self.begun}"] = Upload(key, _metadata(request))
                return _xml(_ANSWERED.format("InitiateMultipartUploadResult", f"u{self.begun}", ""))
            case "UploadPart" | "Complete" if request.query["uploadId"] not in self.uploads:
                return _error(operation, 404, "NoSuchUpload")
            case "UploadPart":
                self.uploads[request.query["uploadId"]].parts[int(request.query["partNumber"])] = body
                return web.Response(headers={"ETag": _etag(body)})
            case "Complete":
                return self._join(key, request.query["uploadId"], body)
            case "Abort":
                gone = self.uploads.pop(request.query["uploadId"], None) is None
                return _error(operation, 404, "NoSuchUpload") if gone else web.Response(status=204)
            case "ListUploads":
                return _xml(self._listed(request.query.get("prefix", "")))
            case "Delete":
                self.objects.pop(key, None)
            case "AssumeRole":
                self.form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                return _xml(
                    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>TEMPORARY</AccessKeyId>"
                    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
                    "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
                    "<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/justai</Arn>"
                    "<AssumedRoleId>A:justai</AssumedRoleId></AssumedRoleUser>"
                    "</AssumeRoleResult></AssumeRoleResponse>"
                )
        return web.Response(status=204)

    def _holds(self, request: web.Request) -> bool:
        there = self.etags.get(request.path)
        if "If-None-Match" in request.headers:
            return there is None
        return "If-Match" not in request.headers or request.headers["If-Match"] == there

    def _join(self, key: str, upload_id: str, body: bytes) -> web.Response:
        upload = self.uploads[upload_id]
        if self.strict:
            named = re.findall(r"<ETag>(.*?)</ETag>", html.unescape(body.decode()))
            if named != [_etag(upload.parts[number]) for number in sorted(upload.parts)]:
                return _error("Complete", 400, "InvalidPart")
        del self.uploads[upload_id]
        content = b"".join(upload.parts[number] for number in sorted(upload.parts))
        self._store(key, content, upload.metadata, '"joined"')
        return _xml(_ANSWERED.format("CompleteMultipartUploadResult", upload_id, "joined"))

    def _store(self, key: str, content: bytes, metadata: dict[str, str], etag: str) -> str:
        self.objects[key], self.metadata[key], self.etags[key] = content, metadata, etag
        return etag

    def _listed(self, prefix: str) -> str:
        uploads = "".join(
            f"<Upload><Key>{key}</Key><UploadId>{name}</UploadId><Initiated>{one.initiated.isoformat()}</Initiated></Upload>"
            for name, one in self.uploads.items()
            if (key := one.key.split("/", 2)[2]).startswith(prefix)
        )
        more = (
            "<NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>" if self.more_for_ever else ""
        )
        truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}"
        return f"<ListMultipartUploadsResult>{truncated}{uploads}</ListMultipartUploadsResult>"

    def grow_old(self) -> None:
        """Two days later."""
        for upload in self.uploads.values():
            upload.initiated -= timedelta(days=2)


def _metadata(request: web.Request) -> dict[str, str]:
    return {
        name.lower().removeprefix("x-amz-meta-"): value
        for name, value in request.headers.items()
        if name.lower().startswith("x-amz-meta-")
    }


def _operation(request: web.Request) -> Operation:
    match request.method:
        case "HEAD":
            return "Head"
        case "GET":
            return "ListUploads" if "uploads" in request.query else "Get"
        case "PUT":
            return "UploadPart" if "partNumber" in request.query else "Put"
        case "POST" if request.path == "/":
            return "AssumeRole"
        case "POST":
            return "Create" if "uploads" in request.query else "Complete"
        case _:
            return "Abort" if "uploadId" in request.query else "Delete"


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/xml")


def _error(operation: Operation, status: int, code: str, says: str = "no", region: str = "") -> web.Response:
    where = {"x-amz-bucket-region": region} if region else {}
    if operation == "Head":
        return web.Response(status=status, headers=where)
    named = f"<Region>{region}</Region>" if region else ""
    error = f"<Error><Code>{code}</Code><Message>{says}</Message>{named}</Error>"
    text = f"<ErrorResponse>{error}</ErrorResponse>" if operation == "AssumeRole" else error
    return web.Response(status=status, text=text, content_type="application/xml", headers=where)


@asynccontextmanager
async def scripted_s3() -> AsyncIterator[ScriptedS3]:
    script = ScriptedS3()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{tail:.*}", script.answer)
    async with hosted(app) as script.url:
        yield script


@asynccontextmanager
async def bucket_at(
    script: ScriptedS3, *, role_arn: str | None = None, attempts: int = 1, **more: Any
) -> AsyncIterator[Bucket]:
    """`more`: of the target."""
    options = S3Options(
        connect_timeout_s=1,
        read_timeout_s=2,
        call_timeout_s=10,
        attempts=attempts,
        sts_endpoint_url=script.url,
        part_bytes=5 << 20,
    )
    target = Target(
        "shared", "", "us-east-1", script.url, "OWN", "secret", role_arn, "ext-1" if role_arn else None, **more
    )
    async with AsyncExitStack() as stack:
        yield await S3(options, stack).bucket(target)
