"""One call to Klaviyo and what its end stands for. JSON:API, revision 2026-07-15.

Raises the failure words of `shared.klaviyo.errors`; never tries a write again, that is the caller's business.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp
import orjson
from yarl import URL

from shared import metrics
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused, NoAnswer, Unreachable, failure_of
from shared.klaviyo.limits import Pacer, RateLimit, rate_limit

REVISION = "2026-07-15"

_MEDIA_TYPE = "application/vnd.api+json"
_CONNECT_S = 5.0
CALL_S = 10.0
"""Real seconds that one call may last, connecting to last byte, where its caller says nothing else."""
REPORT_S = 60.0
"""The same of one that has Klaviyo count."""

_SENT_WHOLE_BYTES = 1_000_000  # more at once would hold up the loop
_ANSWER_MAX_BYTES = 4_000_000  # a page of flow actions with their webhook bodies stays far below
_READ_BYTES = 1 << 20
_PAGES_MAX = 1000
_READ_WAITS_S = (1.0, 3.0, 10.0)
_READ_WAIT_MAX_S = 120.0


def open_session(*, connections: int = 100) -> aiohttp.ClientSession:
    """What calls with the keys of many orgs may share; at most so many connections, 0: any number. It keeps no cookie:
    what Klaviyo, or who stands before it, gives with one org's answer must not go along with another's key. To be
    closed by whoever opened it."""
    connector = aiohttp.TCPConnector(limit=connections)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class Answer(NamedTuple):
    """What came back of a request that succeeded."""

    status: int
    limit: RateLimit
    body: bytes


class Wire:
    """Calls with one private key. Cheap to make; the session and its connections are shared."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, clock: Clock) -> None:
        """`key` is `pk_…`. Raises KeyRefused when it cannot be a header value."""
        if not key or not key.isascii() or not key.isprintable():
            raise KeyRefused("the key has characters that no key has", reason="key_refused")
        self._session, self._base, self._clock = session, URL(base_url).origin(), clock
        self._headers = {
            "Authorization": f"Klaviyo-API-Key {key}",
            "revision": REVISION,
            "Accept": _MEDIA_TYPE,
        }

    def url(self, path: str, query: Mapping[str, str]) -> URL:
        """An address at Klaviyo."""
        return self._base.with_path(path).with_query(query)

    def next_page(self, document: Mapping[str, Any]) -> URL | None:
        """Where a collection goes on; followed verbatim, but never to another host: it would get the key."""
        following = (document.get("links") or {}).get("next")
        if not following:
            return None
        url = URL(following, encoded=True)
        if url.origin() != self._base:
            raise Permanent("a next page lies on another host", reason="foreign_next_page")
        return url

    async def call(
        self,
        method: str,
        url: URL,
        operation: str,
        *,
        body: bytes | None = None,
        resource: str = "resource",
        within_s: float = CALL_S,
        most_bytes: int = _ANSWER_MAX_BYTES,
    ) -> Answer:
        """One request, no second try. Raises the failure that its end stands for."""
        data = BytesIO(body) if body is not None and len(body) > _SENT_WHOLE_BYTES else body
        headers = self._headers | ({"Content-Type": _MEDIA_TYPE} if body is not None else {})
        timeout = aiohttp.ClientTimeout(total=within_s, connect=_CONNECT_S)
        status = "lost"
        try:
            with metrics.timed("klaviyo_request_seconds", operation=operation):
                async with self._session.request(
                    method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
                ) as response:
                    status = str(response.status)
                    answer = await _bounded(response, most_bytes)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(
                f"no connection to {self._base.host}: {type(error).__name__}", reason="klaviyo_unreachable"
            ) from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise NoAnswer(f"no answer from Klaviyo: {type(error).__name__}", reason="klaviyo_no_answer") from error
        finally:
            metrics.count("klaviyo_requests_total", operation=operation, status=status)
        failure: Failure | None = failure_of(response.status, response.headers, answer, resource=resource)
        if failure is not None:
            raise failure
        return Answer(response.status, rate_limit(response.headers), answer)

    async def document(self, url: URL, operation: str, *, resource: str = "resource") -> dict[str, Any]:
        """One JSON:API document, asked for once."""
        return parsed((await self.call("GET", url, operation, resource=resource)).body)

    async def read(self, url: URL, operation: str, pacer: Pacer, *, body: bytes | None = None) -> dict[str, Any]:
        """One document, patiently: an operator waits for it, not a deadline. With a body it is asked for by POST; only
        for what changes nothing."""
        for wait_s in (*_READ_WAITS_S, None):
            await pacer.turn()
            try:
                if body is None:
                    return await self.document(url, operation)
                return parsed((await self.call("POST", url, operation, body=body, within_s=REPORT_S)).body)
            except (Throttled, Transient) as failure:
                asked_s = failure.wait_s if isinstance(failure, Throttled) else wait_s
                if wait_s is None or asked_s is None or asked_s > _READ_WAIT_MAX_S:
                    raise
                await self._clock.sleep(asked_s)
        raise AssertionError("the last try returns or raises")

    async def items(self, url: URL, operation: str, pacer: Pacer) -> AsyncIterator[dict[str, Any]]:
        """Every item of a collection, read patiently."""
        async for document in self.pages(url, operation, pacer):
            for item in document.get("data") or []:
                yield item

    async def pages(self, url: URL, operation: str, pacer: Pacer) -> AsyncIterator[dict[str, Any]]:
        """Every page of a collection, with what it includes."""
        for _ in range(_PAGES_MAX):
            document = await self.read(url, operation, pacer)
            yield document
            following = self.next_page(document)
            if following is None:
                return
            url = following
        raise Permanent(f"a collection has more than {_PAGES_MAX} pages", reason="endless_pages")


def parsed(answer: bytes) -> dict[str, Any]:
    """The document of an answer. Raises Permanent."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise Permanent("Klaviyo's answer is no JSON", reason="unreadable_answer") from None
    if not isinstance(document, dict):
        raise Permanent("Klaviyo's answer is no JSON:API document", reason="unreadable_answer")
    return document


async def _bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = most_bytes
    while left >= 0 and (part := await response.content.read(min(left + 1, _READ_BYTES))):
        parts.append(part)
        left -= len(part)
    if left < 0:
        raise aiohttp.ClientPayloadError("the answer is too long")
    return b"".join(parts)
