"""The HTTP side of every API operation: admission, planned misbehaviour, answer, log."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from aiohttp import web

from simulator.account import Account
from simulator.api import admission
from simulator.api.call import Answer, Call
from simulator.api.jsonapi import MEDIA_TYPE, ApiError, Json
from simulator.api.operations import Operation
from simulator.deferred import Deferred
from simulator.faults import Fault, strike
from simulator.requestlog import LoggedRequest
from simulator.windows import Granted
from simulator.world import World

Handler = Callable[[Call], Answer]

CLOUDFLARE_PAGE = b"""<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>
<body><h1>Sorry, you have been blocked</h1></body></html>"""
FAULT_TITLES = {
    500: "Internal server error.",
    502: "Bad gateway.",
    503: "Service unavailable.",
    504: "Gateway timeout.",
}


class Dropped(Exception):
    """The caller shall get no answer: a planned loss of the connection, not an error."""


@dataclass(slots=True)
class Trace:
    """What the log line of a request needs, filled in as the request gets further."""

    account: Account | None = None
    granted: Granted | None = None
    raw: bytes = b""


class Gate:
    def __init__(self, world: World, deferred: Deferred) -> None:
        self._world, self._deferred = world, deferred

    def endpoint(self, operation: Operation, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def respond(request: web.Request) -> web.Response:
            now, trace = self._world.clock.now(), Trace()
            try:
                response = await self._answer(request, operation, handler, now, trace)
            except ApiError as error:
                response = self.refusal(error, trace.granted)
            except Dropped:
                if request.transport is not None:
                    request.transport.abort()
                response = web.Response(status=599)
            self._log(request, operation, now, trace, response.status)
            return response

        return respond

    async def _answer(
        self, request: web.Request, operation: Operation, handler: Handler, now: datetime, trace: Trace
    ) -> web.Response:
        world = self._world
        headers = request.headers
        account, key = admission.authenticated(headers.get("Authorization"), world.keys, world.settings)
        trace.account = account
        fault = strike(world.faults, account.id, operation.id, world.ids.random) if world.faults else None
        if fault is not None and fault.kind == "unauthorized":
            raise admission.wrong_key(world.settings)
        if fault is not None and fault.kind == "cloudflare":
            return web.Response(
                status=403, body=CLOUDFLARE_PAGE, content_type="text/html", headers={"CF-Ray": "8f1c2d"}
            )

        query: Mapping[str, str] = request.query
        extras = _extras(query) if operation.extra_quotas else frozenset()
        trace.granted = admission.spend(account, operation, extras, now, world.settings.retry_after)
        if fault is not None and fault.kind in ("status", "reset"):
            raise _failure(fault)
        admission.check_revision(operation, headers.get("revision"))
        admission.check_scopes(operation, key.scopes)
        body: Json = {}
        if operation.method != "GET":
            body = await self._body(request, operation, trace)
        call = Call(
            world, self._deferred, account, operation, key.scopes, now, f"{request.scheme}://{request.host}",
            request.path, request.match_info, query, body,
        )  # fmt: skip
        answer = handler(call)
        if fault is not None:
            await _spoil(fault)
        return _response(answer.status, answer.body, trace.granted)

    async def _body(self, request: web.Request, operation: Operation, trace: Trace) -> Json:
        limit = admission.body_limit(operation, self._world.settings)
        try:
            trace.raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit.check(limit.max_bytes + 1)
        limit.check(len(trace.raw))
        return admission.decoded(request.headers.get("Content-Type", ""), trace.raw)

    def refusal(self, error: ApiError, granted: Granted | None) -> web.Response:
        """An error as JSON:API; a 429 has no RateLimit headers."""
        shown = None if error.status == 429 else granted
        response = _response(error.status, error.body(self._world.ids.uuid4()), shown)
        response.headers.update(error.headers)
        return response

    def _log(self, request: web.Request, operation: Operation, now: datetime, trace: Trace, status: int) -> None:
        account_id = trace.account.id if trace.account else None
        self._world.log.add(
            LoggedRequest(
                self._world.log.next_number(), now, account_id, operation.id, request.method, request.path_qs,
                request.headers, trace.raw, status,
            )
        )  # fmt: skip


def _extras(query: Mapping[str, str]) -> frozenset[str]:
    asked = f"{query.get('include', '')},{query.get('additional-fields[profile]', '')}"
    return frozenset(asked.split(",")) - {""}


def _failure(fault: Fault) -> Exception:
    if fault.kind == "reset":
        return Dropped()
    title = FAULT_TITLES.get(fault.status, "A server error occurred.")
    return ApiError(fault.status, "error", title, title)


async def _spoil(fault: Fault) -> None:
    """After the write: answer late, or not at all."""
    if fault.kind == "reset_after_apply":
        raise Dropped
    if fault.kind == "slow":
        await asyncio.sleep(fault.delay_s)


def _response(status: int, body: Json, granted: Granted | None) -> web.Response:
    response = web.Response(status=status, body=orjson.dumps(body), headers={"Content-Type": MEDIA_TYPE})
    if granted is not None:
        response.headers["RateLimit-Limit"] = str(granted.limit)
        response.headers["RateLimit-Remaining"] = str(granted.remaining)
        response.headers["RateLimit-Reset"] = str(granted.reset_s)
    return response
