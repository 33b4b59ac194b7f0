"""An S3 server that answers what a test tells it to: for answers that a real one does not give on demand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs

from aiohttp import web

from services.egress.model import Target
from services.egress.s3 import S3, Bucket, S3Options

Operation = Literal["Head", "Put", "Create", "UploadPart", "Complete", "Abort", "Delete", "AssumeRole"]
Fault = Literal["none", "reset", "silence"] | tuple[int, str]  # an answer: status and code

_SILENCE_S = 3.0  # longer than the read timeout below
_ANSWERED = "<{0}><UploadId>u1</UploadId><ETag>&quot;joined&quot;</ETag></{0}>"


@dataclass
class ScriptedS3:
    """Objects in memory; `faults` says per operation how the next calls end, before they have done anything."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[Operation, list[Fault]] = field(default_factory=dict)
    seen: list[Operation] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    parts: dict[int, bytes] | None = None
    form: dict[str, str] = field(default_factory=dict)
    authorizations: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        operation = _operation(request)
        self.seen.append(operation)
        self.authorizations.append(request.headers.get("Authorization", ""))
        body = await request.read()
        if faults := self.faults.get(operation):
            match faults.pop(0):
                case (status, code):
                    return _error(operation, int(status), str(code))
                case "reset" if request.transport is not None:
                    request.transport.abort()
                    return web.Response()
                case "silence":
                    await asyncio.sleep(_SILENCE_S)  # the client gives up before
                    return web.Response()
        return self._act(operation, request, body)

    def _act(self, operation: Operation, request: web.Request, body: bytes) -> web.Response:
        key = request.path
        condition = request.headers.get("If-Match") or request.headers.get("If-None-Match")
        match operation:
            case "Head" if key in self.objects:
                return web.Response(headers={"ETag": _etag(self.objects[key])})
            case "Head":
                return web.Response(status=404)
            case "Put":
                self.conditions.append(condition or "-")
                self.objects[key] = body
                return web.Response(headers={"ETag": _etag(body)})
            case "Create":
                self.parts = {}
                return _xml(_ANSWERED.format("InitiateMultipartUploadResult"))
            case "UploadPart":
                assert self.parts is not None, "a part of no upload"
                self.parts[int(request.query["partNumber"])] = body
                return web.Response(headers={"ETag": _etag(body)})
            case "Complete":
                assert self.parts is not None, "no upload to complete"
                self.conditions.append(condition or "-")
                self.objects[key] = b"".join(self.parts[number] for number in sorted(self.parts))
                self.parts = None
                return _xml(_ANSWERED.format("CompleteMultipartUploadResult"))
            case "Abort":
                self.parts = None
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


def _operation(request: web.Request) -> Operation:
    match request.method:
        case "HEAD":
            return "Head"
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


def _error(operation: Operation, status: int, code: str) -> web.Response:
    if operation == "Head":
        return web.Response(status=status)
    error = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    text = f"<ErrorResponse>{error}</ErrorResponse>" if operation == "AssumeRole" else error
    return web.Response(status=status, text=text, content_type="application/xml")


@asynccontextmanager
async def scripted_s3() -> AsyncIterator[ScriptedS3]:
    script = ScriptedS3()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{tail:.*}", script.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield script
    finally:
        await runner.cleanup()


@asynccontextmanager
async def bucket_at(script: ScriptedS3, *, role_arn: str | None = None, attempts: int = 1) -> AsyncIterator[Bucket]:
    options = S3Options(
        connect_timeout_s=1,
        read_timeout_s=0.5,
        call_timeout_s=10,
        attempts=attempts,
        sts_endpoint_url=script.url,
        part_bytes=5 << 20,
    )
    target = Target("shared", "", "us-east-1", script.url, "OWN", "secret", role_arn, "ext-1" if role_arn else None)
    async with AsyncExitStack() as stack:
        yield await S3(options, stack).bucket(target)
