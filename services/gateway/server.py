"""The listening side: bound at start, answering until the linger after SIGTERM is over, then drained."""

import asyncio
import socket
from collections.abc import Mapping

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from services.gateway.errors import BODY_LIMIT_BYTES, Refused
from services.gateway.hooks import Hooks
from services.gateway.routes import Generate, Routes, refusal
from shared import logs, metrics
from shared.runtime import Check, health_routes
from shared.unreadable import KEEPALIVE_S, answered_by

log = logs.get(__name__)

LINGERING_S = 2  # how long the rest of a refused body is read, so that its sender sees the answer
_BACKLOG = 1024
_DRAIN_MARGIN_S = 1.0


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address, not listening yet; a taken port fails the start, not the first webhook."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), port))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


class Server:
    """HTTP on one bound socket."""

    def __init__(self, bound: socket.socket, *, linger_s: float, drain_s: float) -> None:
        self._bound = bound
        self._linger_s, self._drain_s = linger_s, drain_s

    @property
    def port(self) -> int:
        return int(self._bound.getsockname()[1])

    async def run(self, generate: Generate, hooks: Hooks, checks: Mapping[str, Check], stop: asyncio.Event) -> None:
        """Answer until `stop` is set and the linger is over; then finish what is under way."""
        server = web.Server(
            Routes(generate, hooks, health_routes(checks, stop)),
            request_factory=_request,
            access_log=None,
            auto_decompress=False,  # compressed bodies are refused unopened
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGERING_S,
        )
        drain_s = max(0.1, self._drain_s - self._linger_s - _DRAIN_MARGIN_S)
        runner = web.ServerRunner(answered_by(_unreadable, server), shutdown_timeout=drain_s)
        await runner.setup()
        try:
            await web.SockSite(runner, self._bound, backlog=_BACKLOG).start()
            log.info("gateway.listening", port=self.port)
            await stop.wait()
            generate.leaving = True
            await asyncio.sleep(self._linger_s)
        finally:
            await runner.cleanup()


def _unreadable(request: web.BaseRequest, status: int) -> web.Response:
    refused = Refused("broken_request" if status < 500 else "unexpected")
    metrics.count("http_requests_total", route="other", code=str(refused.meaning.status))
    return refusal(refused, request)


class _Request(web.BaseRequest):
    """Its answers say nothing of what runs here: in which version is nobody's business."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> _Request:
    loop = asyncio.get_running_loop()
    return _Request(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT_BYTES)
