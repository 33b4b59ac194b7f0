"""POST /api/generate/{org_slug}: who, what, confirmed by the broker, 202. Or 200 with the copy, for who can wait for
it; GET is the same for callers without a body."""

import asyncio
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from uuid import UUID

import orjson
from aiohttp import HttpVersion11, web

from services.gateway import openapi
from services.gateway.acceptance import accept
from services.gateway.accepted import accepted
from services.gateway.api_key import ApiKey
from services.gateway.auth import Keys, presented_key
from services.gateway.coalescer import Coalescer, Full
from services.gateway.errors import BODY_LIMIT_BYTES, Refused
from services.gateway.hooks import Hooks, called
from services.gateway.identity import Unusable
from services.gateway.preview import preview_of
from services.gateway.query import body_of
from services.gateway.reader import Webhook, read_webhook
from services.gateway.refusals import Refusals
from services.gateway.strays import Strays
from services.gateway.waiting import answered, preferred_wait_s, within
from shared import logs, metrics, tracing
from shared.clock import Clock
from shared.errors import Outage
from shared.messaging.replies import ReplyQueue
from shared.messaging.topology import GENERATE
from shared.runtime import Answer
from shared.schemas.jobs import Preview

log = logs.get(__name__)

BODY_TIMEOUT_S = 5.0
_GENERATE: Final = "/api/generate/"
_SLUG: Final = re.compile(r"[a-z0-9-]+")  # as it stands in the request line, with nothing to decode
_JSON: Final = "application/json"
_FLOW_ID: Final = "X-Klaviyo-Flow-ID"


class Routes:
    """Which answer a request is for. aiohttp's router and application do the same for a tenth of all that a webhook
    costs here; five fixed paths need neither."""

    def __init__(self, generate: "Generate", hooks: Hooks, health: Mapping[str, Answer]) -> None:
        self._generate, self._hooks = generate, hooks
        document = orjson.dumps(openapi.document(), option=orjson.OPT_INDENT_2)

        async def serve_openapi(_: web.BaseRequest) -> web.Response:
            return web.Response(body=document, content_type=_JSON)

        self._readable: dict[str, Answer] = {**health, "/openapi.json": serve_openapi}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request."""
        org_slug = _org_slug(request)
        if org_slug is not None:
            if request.method in ("POST", "GET"):
                return await self._generate.handle(request, org_slug)
            return _refused(Refused("method_not_allowed"), request, "generate", allow="GET, POST")
        hook = called(request.path)
        if hook is not None:
            return await self._hooks.handle(request, hook)
        answer = self._readable.get(request.path)
        if answer is None:
            return _refused(Refused("no_such_route"), request, "other")
        if request.method not in ("GET", "HEAD"):
            return _refused(Refused("method_not_allowed"), request, "other", allow="GET, HEAD")
        return await answer(request)


def _org_slug(request: web.BaseRequest) -> str | None:
    """Of a path below `/api/generate/`; None for any other."""
    raw = request.raw_path
    if raw.startswith(_GENERATE) and _SLUG.fullmatch(raw, len(_GENERATE)):
        return raw[len(_GENERATE) :]
    start, found, rest = request.path.partition(_GENERATE)  # decoded, without query and host
    org_slug = rest.removesuffix("/")  # who typed one more would have every person skipped, and hear of it nowhere
    return org_slug if found and not start and org_slug and "/" not in org_slug else None


class Generate:
    """The one route that matters."""

    def __init__(
        self, keys: Keys, coalescer: Coalescer, clock: Clock, *, refusals: Refusals, strays: Strays,
        replies: ReplyQueue, most_wait_s: float,
    ) -> None:  # fmt: skip
        self._keys, self._coalescer, self._clock, self._refusals = keys, coalescer, clock, refusals
        self._strays, self._replies, self._most_wait_s = strays, replies, most_wait_s
        self.leaving = False

    async def handle(self, request: web.BaseRequest, org_slug: str) -> web.StreamResponse:
        """The answer to one webhook, whatever happens."""
        started = time.perf_counter()
        try:
            response: web.StreamResponse = await self._answer(request, org_slug)
        except Refused as refused:
            if refused.meaning.status < 500:  # what Klaviyo does not repeat
                flow_id = request.headers.get(_FLOW_ID, "")
                self._refusals.note(org_slug, flow_id, refused.code, self._clock.now())
                if flow_id:  # as Klaviyo sends it; a stranger's request wakes nobody
                    metrics.count("webhook_refused_total", code=refused.code)
            response = refusal(refused, request)
        except Exception as error:  # whatever nobody foresaw is a 500 with our body, which is repeated
            log.error("webhook.failed", exc_info=error)
            response = refusal(Refused("unexpected"), request)
        if self.leaving:
            response.force_close()  # the caller's next connection then finds a replica that stays
        metrics.count("http_requests_total", route="generate", code=str(response.status))
        metrics.observe("http_request_duration_seconds", time.perf_counter() - started, route="generate")
        return response

    async def _answer(self, request: web.BaseRequest, org_slug: str) -> web.StreamResponse:
        now, started_s = self._clock.now(), time.monotonic()
        api_key = await self._keys.check(presented_key(request.headers), now)
        if api_key.org_slug != org_slug:
            raise Refused("wrong_org")
        asking = request.method == "GET"
        preferred_s = None
        if "Prefer" in request.headers:
            preferred_s = preferred_wait_s(request.headers.getall("Prefer"), self._most_wait_s)
        wait_s = preferred_s if preferred_s is not None else self._most_wait_s if asking else 0
        preview: Preview | None = None
        try:
            body = body_of(request.query.items()) if asking else await _body(request)
            webhook = read_webhook(body)
            if webhook.asked is not None:
                preview = preview_of(webhook.asked, api_key)
        except Unusable as error:
            raise _unusable(error, api_key, request) from None
        reply_to = self._replies.address if wait_s else None
        generation_id, job = accept(api_key.org_id, webhook, body, now, reply_to=reply_to, preview=preview)
        if reply_to is None:
            if wait_s:
                metrics.count("waits_total", result="no_way")
            with tracing.one("publish", generation_id):
                await self._submit(api_key.org_id, job)
            reply = None
        else:
            with self._replies.expect(generation_id) as coming:  # before the job leaves: its answer may overtake us
                await self._submit(api_key.org_id, job)
                reply = await within(coming, started_s + wait_s - time.monotonic())
        flow_id = request.headers.get(_FLOW_ID)
        if flow_id and f".{flow_id}." not in webhook.tracking_id:
            self._strays.note(api_key.org_id, flow_id, webhook, now)
        if webhook.repairs:
            _tell_repairs(webhook, api_key, request)
        if tracing.is_on():
            took_ns = int((time.monotonic() - started_s) * 1e9)
            tracing.webhook(generation_id, time.time_ns() - took_ns, org=org_slug, waited=reply is not None)
        if reply is not None:
            return answered(reply, preferred=preferred_s is not None)
        return accepted(request, generation_id, closing=self.leaving)

    async def _submit(self, org_id: UUID, job: bytes) -> None:
        try:
            await self._coalescer.submit(_queue(org_id), job)
        except Outage:
            raise Refused("broker_unavailable") from None
        except Full:
            raise Refused("overloaded") from None


async def _body(request: web.BaseRequest) -> bytes:
    """The whole body within its deadline and its limit. Raises Refused."""
    if "Content-Encoding" in request.headers:
        raise Refused("compressed_body")
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise Refused("body_too_large")
    try:
        if request.content.is_eof():  # it came with the headers: nothing to wait for
            body = request.content.read_nowait()
            if len(body) > BODY_LIMIT_BYTES:  # chunked, so its length was not announced
                raise Refused("body_too_large")
            return body
        async with asyncio.timeout(BODY_TIMEOUT_S):
            await _go_on(request)
            return await request.read()
    except TimeoutError:
        raise Refused("slow_body") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused("body_too_large") from None
    except web.RequestPayloadError:
        raise Refused("broken_request") from None


async def _go_on(request: web.BaseRequest) -> None:
    """Who asks before sending the body is told to send it."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def refusal(refused: Refused, request: web.BaseRequest) -> web.Response:
    """The answer to a refused request; a body that is still under way is not waited for."""
    response = web.Response(body=refused.body(), status=refused.meaning.status, headers=refused.headers())
    if not request.content.is_eof():
        response.force_close()
    return response


def _refused(refused: Refused, request: web.BaseRequest, route: str, allow: str | None = None) -> web.Response:
    metrics.count("http_requests_total", route=route, code=str(refused.meaning.status))
    response = refusal(refused, request)
    if allow is not None:
        response.headers["Allow"] = allow
    if request.method == "CONNECT":
        response.force_close()  # what follows belongs to no tunnel, and must not be taken for a request
    return response


@lru_cache(maxsize=16_384)
def _queue(org_id: UUID) -> str:
    return GENERATE.queue_for(org_id)


def _unusable(error: Unusable, api_key: ApiKey, request: web.BaseRequest) -> Refused:
    """Klaviyo shows nobody why it skipped a person, so we say it where the operator looks."""
    log.info(
        "webhook.refused",
        org_id=api_key.org_id,
        code=error.code,
        param=error.param,
        flow_id=request.headers.get(_FLOW_ID),
    )
    return Refused(error.code, error.message, error.param)


def _tell_repairs(webhook: Webhook, api_key: ApiKey, request: web.BaseRequest) -> None:
    for repair in webhook.repairs:
        metrics.count("webhook_repairs_total", repair=repair)
    log.debug(
        "webhook.repaired",
        org_id=api_key.org_id,
        repairs=webhook.repairs,
        flow_id=request.headers.get(_FLOW_ID),
    )
