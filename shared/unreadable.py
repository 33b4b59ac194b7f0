"""What comes to a port of ours and cannot be read as HTTP gets an answer of ours, and what does not come is hung up on.

aiohttp's own answer tells in which version it runs and what it stumbled over, and writes a stack to the log each time:
anybody could fill a disk with requests that cost nothing. Its own limit for the head of a request is how long it keeps
an idle connection. The two are different things: a proxy wants its idle connections kept, and nobody who means it
needs long for a head.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from shared import logs

log = logs.get(__name__)

HEAD_S: Final = 8.0
KEEPALIVE_S: Final = 75.0
"""How long an idle connection is kept: longer than by a proxy in front (nginx: a minute). Else we now and then close
one to which a request is just being written, and a POST is not sent again."""

Refuse = Callable[[web.BaseRequest, int], web.Response]
"""The answer to a request that ended in this status before anybody saw it."""


def answered_by(refuse: Refuse, made: web.Server, *, head_s: float = HEAD_S) -> web.Server:
    """The same server, with these answers. A connection is closed when the head of its first request has not come
    after `head_s`, or that of a later one so long after it began."""
    return _Server(made, refuse, head_s)


class _Handler(RequestHandler):
    refuse: Refuse
    head_s: float
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        idle = self._waiter is not None and not self._waiter.done()
        super().data_received(data)
        if self._messages:
            self._stop_waiting()
        elif idle and self._head is None:
            self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = asyncio.get_running_loop().call_later(self.head_s, self.force_close)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status < 500:
            log.debug("request.unreadable", exc_info=exc)
        else:
            log.error("request.failed", status=status, exc_info=exc)
        response = self.refuse(request, status)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes a handler of ours for each connection."""

    def __init__(self, made: web.Server, refuse: Refuse, head_s: float) -> None:
        super().__init__(
            made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs
        )  # fmt: skip
        self._refuse, self._head_s = refuse, head_s

    def __call__(self) -> RequestHandler:
        handler = _Handler(self, loop=self._loop, **self._kwargs)
        handler.refuse, handler.head_s = self._refuse, self._head_s
        return handler
