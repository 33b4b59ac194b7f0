"""POST /api/generate/{org_slug}: who, what, confirmed by the broker, 202."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from services.gateway import openapi
from services.gateway.acceptance import accept
from services.gateway.accepted import accepted
from services.gateway.api_key import ApiKey
from services.gateway.auth import Keys, presented_key
from services.gateway.coalescer import Coalescer, Full
from services.gateway.errors import BODY_LIMIT_BYTES, Code, Refused
from services.gateway.identity import Unusable
from services.gateway.reader import Webhook, read_webhook
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Outage
from shared.messaging.topology import GENERATE

log = logs.get(__name__)

BODY_TIMEOUT_S = 5.0
GENERATE_PATH: Final = "/api/generate/{org_slug}"
_JSON: Final = "application/json"
_FLOW_ID: Final = "X-Klaviyo-Flow-ID"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Generate:
    """The one route that matters."""

    def __init__(self, keys: Keys, coalescer: Coalescer, clock: Clock) -> None:
        self._keys, self._coalescer, self._clock = keys, coalescer, clock
        self.leaving = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to one webhook, whatever happens."""
        started = time.perf_counter()
        try:
            response: web.StreamResponse = await self._answer(request)
        except Refused as refused:
            response = refusal(refused, request)
        except Exception as error:  # whatever nobody foresaw is a 500 with our body, which is repeated
            log.error("webhook.failed", exc_info=error)
            response = refusal(Refused("unexpected"), request)
        if self.leaving:
            response.force_close()  # the caller's next connection then finds a replica that stays
        metrics.count("http_requests_total", route="generate", code=str(response.status))
        metrics.observe("http_request_duration_seconds", time.perf_counter() - started, route="generate")
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        now = self._clock.now()
        api_key = await self._keys.check(presented_key(request.headers), now)
        if api_key.org_slug != request.match_info["org_slug"]:
            raise Refused("wrong_org")
        body = await _body(request)
        try:
            webhook = read_webhook(body)
        except Unusable as error:
            raise _unusable(error, api_key, request) from None
        generation_id, job = accept(api_key.org_id, webhook, body, now)
        try:
            await self._coalescer.submit(_queue(api_key.org_id), job)
        except Outage:
            raise Refused("broker_unavailable") from None
        except Full:
            raise Refused("overloaded") from None
        if webhook.repairs:
            _tell_repairs(webhook, api_key, request)
        return accepted(request, generation_id, closing=self.leaving)


async def _body(request: web.Request) -> bytes:
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
            return await request.read()
    except TimeoutError:
        raise Refused("slow_body") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused("body_too_large") from None
    except web.RequestPayloadError:
        raise Refused("broken_request") from None


def refusal(refused: Refused, request: web.Request) -> web.Response:
    """The answer to a refused request; a body that is still under way is not waited for."""
    response = web.Response(body=refused.body(), status=refused.meaning.status, headers=refused.headers())
    if not request.content.is_eof():
        response.force_close()
    return response


def refusing(code: Code, route: str, allow: str | None = None) -> Handler:
    """A handler that always refuses so."""

    async def refuse(request: web.Request) -> web.Response:
        refused = Refused(code)
        metrics.count("http_requests_total", route=route, code=str(refused.meaning.status))
        response = refusal(refused, request)
        if allow is not None:
            response.headers["Allow"] = allow
        return response

    return refuse


def add_routes(app: web.Application, generate: Generate) -> None:
    """Our routes, and an answer of ours to everything else; call it after the health routes were added."""
    document = orjson.dumps(openapi.document(), option=orjson.OPT_INDENT_2)

    async def serve_openapi(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type=_JSON)

    app.router.add_post(GENERATE_PATH, generate.handle)
    app.router.add_get("/openapi.json", serve_openapi)
    app.router.add_route("*", GENERATE_PATH, refusing("method_not_allowed", "generate", "POST"))
    for path in ("/openapi.json", "/healthz", "/readyz", "/metrics"):
        app.router.add_route("*", path, refusing("method_not_allowed", "other", "GET, HEAD"))
    app.router.add_route("*", "/{anything:.*}", refusing("no_such_route", "other"))


async def drop_server_header(_: web.Request, response: web.StreamResponse) -> None:
    """What runs here, and in which version, is nobody's business. A signal of aiohttp's, on each response."""
    response.headers.popall("Server", None)


@lru_cache(maxsize=16_384)
def _queue(org_id: UUID) -> str:
    return GENERATE.queue_for(org_id)


def _unusable(error: Unusable, api_key: ApiKey, request: web.Request) -> Refused:
    """Klaviyo shows nobody why it skipped a person, so we say it where the operator looks."""
    metrics.count("webhook_refused_total", code=error.code)
    log.info(
        "webhook.refused",
        org_id=api_key.org_id,
        code=error.code,
        param=error.param,
        flow_id=request.headers.get(_FLOW_ID),
    )
    return Refused(error.code, error.message, error.param)


def _tell_repairs(webhook: Webhook, api_key: ApiKey, request: web.Request) -> None:
    for repair in webhook.repairs:
        metrics.count("webhook_repairs_total", repair=repair)
    log.debug(
        "webhook.repaired",
        org_id=api_key.org_id,
        repairs=webhook.repairs,
        flow_id=request.headers.get(_FLOW_ID),
    )
