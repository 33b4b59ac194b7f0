"""What comes to a port of ours and cannot be read as HTTP gets an answer of ours.

aiohttp's own tells in which version it runs and what it stumbled over, and writes a stack to the log each time: anybody
could fill a disk with requests that cost nothing.
"""

from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from shared import logs

log = logs.get(__name__)

Refuse = Callable[[web.BaseRequest, int], web.Response]
"""The answer to a request that ended in this status before anybody saw it."""


def answered_by(refuse: Refuse, made: web.Server) -> web.Server:
    """The same server, with these answers."""
    return _Server(made, refuse)


class _Handler(RequestHandler):
    refuse: Refuse

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

    def __init__(self, made: web.Server, refuse: Refuse) -> None:
        super().__init__(
            made.request_handler, request_factory=made.request_factory, loop=made._loop, **made._kwargs
        )  # fmt: skip
        self._refuse = refuse

    def __call__(self) -> RequestHandler:
        handler = _Handler(self, loop=self._loop, **self._kwargs)
        handler.refuse = self._refuse
        return handler
