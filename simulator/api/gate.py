"""The HTTP side of every API operation: admission, planned misbehaviour, answer, log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
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

FAULT_TITLES = {
    500: "Internal server error.",
    502: "Bad gateway.",
    503: "Service unavailable.",
    504: "Gateway timeout.",
}
CUT = 599  # in the log, a connection that was cut
# Statuses that Cloudflare gives in front of the API, with a page of its own.
CLOUDFLARE_STATUSES = range(520, 531)
BEFORE, AFTER = frozenset({"status", "reset"}), frozenset({"status_after_apply", "reset_after_apply"})


class Dropped(Exception):
    """The caller shall get no answer: a planned loss of the connection, not an error."""


@dataclass(slots=True)
class Trace:
    """What the log line of a request needs, filled in as the request gets further. `named` are the ids of the profile
    or job that it is about."""

    account: Account | None = None
    granted: Granted | None = None
    number: int | None = None
    raw: bytes = b""
    named: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    body_delay_s: float = 0.0


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
                response = web.Response(status=CUT)
            # Nothing is awaited between a write and its line, so the lines stand in the order of what happened.
            self._log(request, operation, now, trace, response)
            if response.status == CUT and request.transport is not None:
                request.transport.abort()
            if trace.delay_s:
                await asyncio.sleep(trace.delay_s)
            return _slow_body(response, trace.body_delay_s) if trace.body_delay_s else response

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
            return _page(403, "Sorry, you have been blocked")

        query: Mapping[str, str] = request.query
        extras = _extras(query) if operation.extra_quotas else frozenset()
        trace.granted = admission.spend(account, operation, extras, now, world.settings)
        if fault is not None and fault.kind in BEFORE:
            return self._struck(fault, trace.granted)
        admission.check_revision(operation, headers.get("revision"))
        admission.check_scopes(operation, key.scopes)
        body: Json = {}
        if operation.method != "GET":
            body = await self._body(request, operation, trace)
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.delay_s)
            now = world.clock.now()
        trace.number = world.log.next_number()
        call = Call(
            world, self._deferred, account, operation, key.scopes, trace.number, now,
            f"{request.scheme}://{request.host}", request.path, request.match_info, query, body, trace.raw,
        )  # fmt: skip
        answer = handler(call)
        trace.named = _named(answer)
        if fault is not None and fault.kind in AFTER:
            return self._struck(fault, trace.granted)
        trace.delay_s = fault.delay_s if fault is not None and fault.kind == "slow" else 0.0
        trace.body_delay_s = fault.delay_s if fault is not None and fault.kind == "slow_body" else 0.0
        return _response(answer.status, answer.body, trace.granted)

    async def _body(self, request: web.Request, operation: Operation, trace: Trace) -> Json:
        limit = admission.body_limit(operation, self._world.settings)
        try:
            trace.raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit.check(limit.max_bytes + 1)
        limit.check(len(trace.raw))
        return admission.decoded(request.headers.get("Content-Type", ""), trace.raw)

    def _struck(self, fault: Fault, granted: Granted) -> web.Response:
        """What comes instead of an answer. Raises `Dropped` when that is nothing."""
        if fault.kind in ("reset", "reset_after_apply"):
            raise Dropped
        if fault.status in CLOUDFLARE_STATUSES:
            return _page(fault.status, "Web server is returning an unknown error")
        title = FAULT_TITLES.get(fault.status, "A server error occurred.")
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return self.refusal(ApiError(fault.status, "error", title, title, headers=headers), granted)

    def refusal(self, error: ApiError, granted: Granted | None) -> web.Response:
        """An error as JSON:API; a 429 has no RateLimit headers."""
        shown = None if error.status == 429 else granted
        response = _response(error.status, error.body(self._world.ids.uuid4()), shown)
        response.headers.update(error.headers)
        return response

    def _log(
        self, request: web.Request, operation: Operation, now: datetime, trace: Trace, response: web.Response
    ) -> None:
        world, account_id = self._world, trace.account.id if trace.account else None
        entry = LoggedRequest(
            trace.number or world.log.next_number(), now, account_id, operation.id, request.method, request.path_qs,
            request.headers, trace.raw, response.status,
        )  # fmt: skip
        world.log.add(entry)
        if world.ledger_file is not None:
            named = trace.named or _named_by_path(operation, request.match_info)
            world.ledger_file.request(entry, named, trace.granted, response.headers.get("Retry-After"))


def _extras(query: Mapping[str, str]) -> frozenset[str]:
    asked = f"{query.get('include', '')},{query.get('additional-fields[profile]', '')}"
    return frozenset(asked.split(",")) - {""}


def _named(answer: Answer) -> dict[str, str]:
    match answer.body.get("data"):
        case {"type": "profile", "id": profile_id}:
            return {"profile": profile_id}
        case {"type": "profile-bulk-import-job", "id": job_id}:
            return {"job": job_id}
    return {}


def _named_by_path(operation: Operation, params: Mapping[str, str]) -> dict[str, str]:
    """What a request without an answer of its own was about."""
    name = {"profiles": "profile", "profile-bulk-import-jobs": "job"}.get(operation.path.split("/")[2])
    return {name: named for named in list(params.values())[:1]} if name else {}  # noqa: B035 - one at most


def _page(status: int, headline: str) -> web.Response:
    page = (
        "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>\n"
        f"<body><h1>{headline}</h1></body></html>"
    )
    return web.Response(status=status, text=page, content_type="text/html", headers={"CF-Ray": "8f1c2d"})


def _response(status: int, body: Json, granted: Granted | None) -> web.Response:
    response = web.Response(status=status, body=orjson.dumps(body), headers={"Content-Type": MEDIA_TYPE})
    if granted is not None:
        response.headers["RateLimit-Limit"] = str(granted.limit)
        response.headers["RateLimit-Remaining"] = str(granted.remaining)
        response.headers["RateLimit-Reset"] = str(granted.reset_s)
    return response


def _slow_body(response: web.Response, delay_s: float) -> web.Response:
    """The same answer, the last byte of it late."""
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101 - `_response` makes no other

    async def parts() -> AsyncIterator[bytes]:
        yield body[:-1]
        await asyncio.sleep(delay_s)
        yield body[-1:]

    return web.Response(status=response.status, headers=response.headers, body=parts())
