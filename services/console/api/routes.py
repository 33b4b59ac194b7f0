"""The admin API: one route for each operation, made of the registry. Who asks is somebody else's answer."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Final
from uuid import uuid4

import orjson
from aiohttp import web

from services.console.api.answers import NO_ORG, NOBODY, UNEXPECTED, Problem, problem_of
from services.console.api.openapi import document
from services.console.web.page import Serve, guarded
from shared import logs
from shared.admin.context import Actor, Asking, Means
from shared.admin.errors import Refused
from shared.admin.operation import PREFIX, Operation, Registry, has_body
from shared.admin.run import as_json, run

log = logs.get(__name__)

BODY_LIMIT_BYTES: Final = 4 * 1024 * 1024  # a template with all its variants
BODY_TIMEOUT_S: Final = 30
DOCUMENT_PATH: Final = "/api/v1/openapi.json"
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Who = Callable[[web.Request], Awaitable[Actor | None]]
"""Whoever asks, in the org of the path; None for nobody. May raise NotFound where they have no seat there."""


def add_api(app: web.Application, registry: Registry, means: Means, who: Who) -> None:
    """Mount the API and its document on an application."""
    for one in registry.served():
        app.router.add_route(one.method, _pattern(PREFIX + one.path), _serving(_Route(one, registry, means, who)))
    page = _written(registry)

    async def serve_document(_: web.Request) -> web.Response:
        return web.Response(body=page, content_type="application/json")

    app.router.add_get(DOCUMENT_PATH, guarded(serve_document))


@cache
def _written(registry: Registry) -> bytes:
    """The document. It takes a sixth of a second, so applications of one process share it."""
    return orjson.dumps(document(registry), option=orjson.OPT_INDENT_2)


def _pattern(path: str) -> str:
    """Any name but one with a slash; by itself the router leaves out names with braces, as keys may have them."""
    return _PARAMETER.sub(r"{\1:[^/]+}", path)


def _serving(route: "_Route") -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        return await route.answer(request)

    return guarded(serve)


class _Route:
    def __init__(self, one: Operation[Any, Any], registry: Registry, means: Means, who: Who) -> None:
        self._one, self._registry, self._means, self._who = one, registry, means, who

    async def answer(self, request: web.Request) -> web.Response:
        """The result as JSON, or what stands in its way."""
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        try:
            answer = await self._run(request, request_id)
        except Exception as error:  # whatever nobody foresaw is a 500 with our body
            problem = problem_of(error, self._registry, request.match_info["org_slug"])
            if problem is None:
                log.error("api.failed", operation=self._one.name, request_id=request_id, exc_info=error)
                problem = UNEXPECTED
            answer = _answer(problem)
        answer.headers["X-Request-Id"] = request_id
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _run(self, request: web.Request, request_id: str) -> web.Response:
        actor = await self._who(request)
        if actor is None:
            return _answer(NOBODY)
        if actor.org_slug != request.match_info["org_slug"]:
            return _answer(NO_ORG)  # the same whether there is one: a slug must not be guessable
        asking = Asking(self._means, actor, request_id)
        result = await run(asking, self._one, await _asked(request, self._one))
        return web.Response(body=orjson.dumps(as_json(result)), content_type="application/json")


async def _asked(request: web.Request, one: Operation[Any, Any]) -> dict[str, Any]:
    """The fields of what is asked, from path and body or query. Raises Refused."""
    given = await _body(request) if has_body(one) else _query(request, one)
    in_path = {name: value for name, value in request.match_info.items() if name != "org_slug"}
    if both := sorted(in_path.keys() & given.keys()):
        raise Refused("stands in the path already", field=both[0], code="invalid_field")
    return {**given, **in_path}


async def _body(request: web.Request) -> dict[str, Any]:
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise Refused(f"the body is larger than {BODY_LIMIT_BYTES} bytes", code="body_too_large")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(65_536):
                raw += chunk
                if len(raw) > BODY_LIMIT_BYTES:
                    raise Refused(f"the body is larger than {BODY_LIMIT_BYTES} bytes", code="body_too_large")
    except TimeoutError:
        raise Refused(f"the body did not arrive within {BODY_TIMEOUT_S} s", code="slow_body") from None
    if not raw:
        return {}
    if request.content_type != "application/json":
        # Also what keeps forms of other sites out: a browser asks before it sends JSON across sites.
        raise Refused("send JSON, with Content-Type: application/json", code="not_json")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused("the body is no JSON", code="not_json") from None
    if not isinstance(body, dict):
        raise Refused("the body must be a JSON object", code="not_json")
    return body


def _query(request: web.Request, one: Operation[Any, Any]) -> dict[str, Any]:
    """A parameter that stands several times is a list; so is one alone where the field wants one."""
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        given[name] = values if len(values) > 1 or _wants_list(one, name) else values[0]
    return given


def _wants_list(one: Operation[Any, Any], name: str) -> bool:
    field = one.asked.model_fields.get(name)
    return field is not None and str(field.annotation).startswith(("list[", "tuple["))


def _answer(problem: Problem) -> web.Response:
    return web.Response(
        status=problem.status,
        body=orjson.dumps(problem.body()),
        content_type="application/json",
        headers=problem.headers(),
    )
