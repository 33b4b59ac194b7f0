"""One JSON line per thing that happened: a static name, fields for the rest, ids bound once by context.

Never a body, never a key, never a person's values: fields named like secrets are masked as a last line.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default={})  # noqa: B039  # never mutated, only replaced
_SECRET = re.compile(r"(^|_)(secret|password|token|api_key|private_key|authorization|email|body)($|_)", re.IGNORECASE)


class Logger:
    """`log.info("profile.written", waited_s=0.2)`: the name is static, everything else is a field."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._emit(logging.ERROR, event, fields)

    def _emit(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            exc_info = fields.pop("exc_info", None)
            self._logger.log(level, event, exc_info=exc_info, extra={"fields": {**_bound.get(), **fields}})


def get(name: str) -> Logger:
    """The logger of one module."""
    return Logger(name)


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Every line inside carries these ids."""
    token = _bound.set({**_bound.get(), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


class _Lines(logging.Formatter):
    def __init__(self, service: str, style: Literal["json", "text"]) -> None:
        super().__init__()
        self._service, self._shape = service, style

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: _masked(name, value) for name, value in getattr(record, "fields", {}).items()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._shape == "text":
            shown = " ".join(f"{name}={value}" for name, value in fields.items())
            return f"{record.levelname.lower():7} {record.getMessage()} {shown}".rstrip()
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": record.getMessage(),
            "logger": record.name,
            **fields,
        }
        return orjson.dumps(line, default=str).decode()


def _masked(name: str, value: object) -> object:
    return "…" if _SECRET.search(name) else value


def configure(service: str, *, level: str = "INFO", style: Literal["json", "text"] = "json") -> None:
    """Called once per process. Libraries log warnings and worse through the same line format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(service, style))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aio_pika", "aiormq", "asyncssh", "botocore", "aiobotocore", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
