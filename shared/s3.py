"""How S3 servers are talked to: a client, and what goes wrong in our words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

# botocore and aiobotocore ship no types, hence the ignores.
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnectedError
from botocore.parsers import ResponseParserError

from shared.errors import Failure, Permanent, Transient
from shared.hosts import Hosts
from shared.s3_names import endpoint_of

T = TypeVar("T")

# aiobotocore lets some errors of aiohttp through untranslated.
UNREACHABLE: Final = (HTTPClientError, NotConnectedError, aiohttp.ClientError, OSError, TimeoutError)


ANSWER_BYTES: Final = 16 << 20
"""What an answer may have that is read at once: a page of a listing, an error. Ten times the largest honest one."""


class BoundedSession(AIOHTTPSession):  # type: ignore[misc]  # untyped
    """A customer's server that never ends its answer ends the call, not this process. Objects are read in pieces by
    whoever wants them, and have their own limits."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        session._response_class = _Bounded  # there is no other way to it from here
        return session


class _Bounded(aiohttp.ClientResponse):
    async def read(self) -> bytes:
        if self._body is None:
            parts, left = list[bytes](), ANSWER_BYTES
            while part := await self.content.read(1 << 20):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    self.close()
                    raise aiohttp.ClientPayloadError("the answer is too long")
            self._body = b"".join(parts)
        return await super().read()


@dataclass(frozen=True, slots=True)
class Access:
    """Where a bucket is and who asks. `endpoint_url` None: Amazon's own; `access_key` None: the process's own role."""

    region: str
    endpoint_url: str | None = None
    access_key: str | None = None
    secret: str | None = field(default=None, repr=False)


@asynccontextmanager
async def open_client(
    access: Access, hosts: Hosts, *, connect_timeout_s: float, read_timeout_s: float, attempts: int
) -> AsyncIterator[Any]:
    """A client of its own, closed afterwards. An endpoint of somebody's own leads where `hosts` lets it. Raises
    PrivateHost, and Permanent when no client can be made."""
    connector: dict[str, Any] = {}
    if access.endpoint_url:
        try:
            host, port = endpoint_of(access.endpoint_url)
        except ValueError as error:
            raise Permanent(f"the endpoint {error}", reason="s3_bad_target") from None
        await hosts.addresses(host, port)  # so that it is told why
        connector = hosts.connector()
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        connector_args=connector,
        http_session_cls=BoundedSession,
        proxies={},
        s3={"addressing_style": "path" if access.endpoint_url else "auto"},
    )
    keys = {"aws_access_key_id": access.access_key, "aws_secret_access_key": access.secret}
    try:
        making = AioSession().create_client(
            "s3", region_name=access.region, endpoint_url=access.endpoint_url, config=config, **keys
        )
        client = await making.__aenter__()
    except (BotoCoreError, ValueError) as error:
        raise Permanent(f"this bucket cannot be used: {error}", reason="s3_bad_target") from error
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


async def named(call: Awaitable[T], timeout_s: float) -> T:
    """What the call gives, or its failure in our words."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except ClientError as error:
        answer = error.response
        code = answer.get("Error", {}).get("Code", "")
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise failure_of(error.operation_name, code, status) from error
    except UNREACHABLE as error:
        raise Transient(f"the S3 server does not answer: {type(error).__name__}", reason="s3_unreachable") from error
    except ResponseParserError:  # which quotes what came, and is none of botocore's other errors
        raise _unreadable() from None
    except (BotoCoreError, ValueError) as error:
        raise Permanent(f"this bucket cannot be used: {error}", reason="s3_bad_target") from error


def told(answer: Mapping[str, Any], name: str) -> Any:
    """What every S3 server says here. Raises Transient where it is missing: whatever answers every call with `200 OK`
    (a web site, a proxy's own page) is none."""
    try:
        return answer[name]
    except KeyError:
        raise _unreadable() from None


def _unreadable() -> Transient:
    return Transient("the S3 server answers with something that is not S3", reason="s3_unreadable")


# Status codes that say "this cannot work", said of things that the next attempt may do right.
_PASSING_CODES: Final = frozenset(
    {
        "RequestTimeout",  # 400: the body came too slowly
        "BadDigest",  # 400: damaged on the way, the server noticed
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "InvalidDigest",
        "IncompleteBody",
        "ExpiredToken",  # 400: temporary credentials ran out under a long upload; the next attempt takes new ones
        "NoSuchUpload",  # 404: somebody swept it
        "InvalidPart",
        "OperationAborted",  # 409
    }
)


def failure_of(operation: str, code: str, status: int) -> Failure:
    """One S3 error answer in our words; the message never holds a key or a secret. `reason` is `s3_<status>`."""
    message = f"{operation}: {status} {code}".strip()
    if status == 429 or (status >= 500 and status != 501) or status == 0 or code in _PASSING_CODES:
        return Transient(message, reason=f"s3_{status}")
    return Permanent(message, reason=f"s3_{status}")
