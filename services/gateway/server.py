"""The listening side: bound at start, answering until the linger after SIGTERM is over, then drained."""

import asyncio
import socket
from collections.abc import Mapping

from aiohttp import web

from services.gateway.errors import BODY_LIMIT_BYTES
from services.gateway.routes import Generate, add_routes, drop_server_header
from shared import logs
from shared.runtime import Check, add_health

log = logs.get(__name__)

KEEPALIVE_S = 15  # also ends connections whose headers trickle in
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

    async def run(self, generate: Generate, checks: Mapping[str, Check], stop: asyncio.Event) -> None:
        """Answer until `stop` is set and the linger is over; then finish what is under way."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        add_health(app, checks, stop)
        add_routes(app, generate)
        app.on_response_prepare.append(drop_server_header)
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,  # compressed bodies are refused unopened
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGERING_S,
            shutdown_timeout=max(0.1, self._drain_s - self._linger_s - _DRAIN_MARGIN_S),
        )
        await runner.setup()
        try:
            await web.SockSite(runner, self._bound, backlog=_BACKLOG).start()
            log.info("gateway.listening", port=self.port)
            await stop.wait()
            generate.leaving = True
            await asyncio.sleep(self._linger_s)
        finally:
            await runner.cleanup()
