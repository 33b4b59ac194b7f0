"""POST /api/klaviyo-events/{org_slug}/{hook_id}: signed batches of events, stored before they are answered 202.

Klaviyo says neither how often it repeats a batch nor for how long, so whatever may heal is a 503, and a batch is never
answered 202 unless its row is committed. One that comes twice is one row, and its events count once anyway.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from services.gateway.hook_batches import MOST_BYTES, BadBatch, demand_genuine, lines_of
from services.gateway.hook_store import Hook, HookStore
from shared import logs, metrics
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.errors import Failure

log = logs.get(__name__)

PATH: Final = re.compile(r"/api/klaviyo-events/([a-z0-9-]{1,63})/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_BODY_TIMEOUT_S: Final = 8.0
_AT_ONCE: Final = 8  # batches of up to 8 MB in memory at the same time
_APART_AT_ONCE: Final = 2  # of them taken apart into objects, which are several times as large
STATUS: Final = {
    "unknown_hook": 404, "method_not_allowed": 405, "bad_signature": 401, "stale_timestamp": 401,
    "body_too_large": 413, "compressed_body": 415, "invalid_batch": 422, "slow_body": 503, "overloaded": 503,
    "unavailable": 503,
}  # fmt: skip
"""By code, which is the contract."""

_TYPE: Final = {401: "authentication_failed", 404: "not_found", 503: "unavailable"}


@dataclass(frozen=True, slots=True)
class Called:
    """The parts of an address of a hook."""

    org_slug: str
    hook_id: UUID


def called(path: str) -> Called | None:
    """None for any other address."""
    found = PATH.fullmatch(path)
    return Called(found[1], UUID(found[2])) if found else None


def has_room(in_hand: Mapping[UUID, int], org_id: UUID) -> bool:
    """Whether one more batch of an org may be taken in hand: while it has fewer there than are free. One org alone has
    half of the places, the next one half of what is left, and so on: bodies that stall leave room for others' ones."""
    return in_hand.get(org_id, 0) < _AT_ONCE - sum(in_hand.values())


class Hooks:
    """The route of system webhooks."""

    def __init__(self, store: HookStore, ring: KeyRing, clock: Clock, new_id: Callable[[], UUID]) -> None:
        self._store, self._ring, self._clock, self._new_id = store, ring, clock, new_id
        self._in_hand: Counter[UUID] = Counter()
        self._apart = asyncio.Semaphore(_APART_AT_ONCE)

    async def handle(self, request: web.BaseRequest, to: Called) -> web.StreamResponse:
        """The answer to one batch, whatever happens."""
        try:
            events = await self._take(request, to)
            response = web.Response(
                status=202, body=orjson.dumps({"accepted": events}), content_type="application/json"
            )
        except BadBatch as bad:
            if bad.code in ("bad_signature", "stale_timestamp", "invalid_batch", "body_too_large"):
                log.warning("hook.refused", code=bad.code, hook_id=to.hook_id)
            response = _refusal(bad)
        except (Failure, SealError) as error:
            log.warning("hook.unavailable", hook_id=to.hook_id, exc_info=error)
            response = _refusal(BadBatch("unavailable", "The batch could not be stored; send it again."))
        except Exception as error:  # whatever nobody foresaw may heal as well
            log.error("hook.failed", hook_id=to.hook_id, exc_info=error)
            response = _refusal(BadBatch("unavailable", "The batch could not be stored; send it again."))
        if not request.content.is_eof():
            response.force_close()
        metrics.count("http_requests_total", route="klaviyo-events", code=str(response.status))
        return response

    async def _take(self, request: web.BaseRequest, to: Called) -> int:
        """How many events were stored. Raises BadBatch, Failure, SealError."""
        if request.method != "POST":
            raise BadBatch("method_not_allowed", "Batches of events come by POST.")
        hook = await self._store.find(to.hook_id, self._clock.now())
        if hook is None or hook.org_slug != to.org_slug:
            raise BadBatch("unknown_hook", "There is no such hook.")
        with self._place(hook.org_id):
            return await self._store_batch(request, hook)

    @contextmanager
    def _place(self, org_id: UUID) -> Iterator[None]:
        """Taken before the body is read: until it has come, nobody knows whether Klaviyo sends it."""
        if not has_room(self._in_hand, org_id):
            raise BadBatch("overloaded", "Too many batches are on their way; send this one again.")
        self._in_hand[org_id] += 1
        try:
            yield
        finally:
            self._in_hand -= Counter({org_id: 1})  # which forgets those that have none

    async def _store_batch(self, request: web.BaseRequest, hook: Hook) -> int:
        body = await _body(request)
        now = self._clock.now()
        signature, timestamp = request.headers.get("Klaviyo-Signature", ""), _raw(request, "Klaviyo-Timestamp")
        demand_genuine(self._secrets(hook, now), body, timestamp, signature, now)
        async with self._apart:
            lines = await asyncio.to_thread(lines_of, body, request.headers.get("Klaviyo-Webhook-Id", ""))
        await self._store.add(hook, self._new_id(), signature, lines, now)
        return lines.count(b"\n")

    def _secrets(self, hook: Hook, now: datetime) -> list[str]:
        place = f"{hook.org_id}/hook/{hook.hook_id}"
        sealed = [hook.sealed_secret]
        if hook.sealed_before is not None and hook.before_until is not None and now < hook.before_until:
            sealed.append(hook.sealed_before)
        return [self._ring.open(one, place) for one in sealed]


def _raw(request: web.BaseRequest, name: str) -> str:
    """A header's text as it was received: that is what was signed."""
    for key, value in request.raw_headers:
        if key.decode("latin-1").lower() == name.lower():
            return value.decode("latin-1")
    return ""


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body as received. Raises BadBatch."""
    too_large = BadBatch("body_too_large", f"The body is larger than {MOST_BYTES} bytes.")
    if "Content-Encoding" in request.headers:
        raise BadBatch("compressed_body", "Send the body as it is, without Content-Encoding.")
    if (request.content_length or 0) > MOST_BYTES:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > MOST_BYTES:
                    raise too_large
                parts.append(part)
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise BadBatch("slow_body", "The body did not arrive whole and in time.") from None
    return b"".join(parts)


def _refusal(bad: BadBatch) -> web.Response:
    status = STATUS[bad.code]
    kind = _TYPE.get(status, "invalid_request")
    body = {"error": {"type": kind, "code": bad.code, "message": str(bad), "param": None}}
    headers = {"Retry-After": "5"} if status == 503 else {"Allow": "POST"} if status == 405 else {}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)
