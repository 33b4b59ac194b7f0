"""One JSON line per thing that happened: a static name, fields for the rest, ids bound once by context.

Never a body, never a key, never a person's values. Whoever logs sees to that; as a last line, what looks like one by
its name, by its shape, or because this process was told it as a secret, is masked here, and of an error nobody foresaw
only its type and place are shown, since its text may quote what it stumbled over.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from typing import Any, Literal

import orjson

from shared.errors import Failure

_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default={})  # noqa: B039  # never mutated, only replaced

_MASK = "…"
_MASKED_NAMES = re.compile(
    r"(^|[_-])(secrets?|passwords?|passphrase|tokens?|api[_-]?keys?|private[_-]?key|sealed_key|seal_keys|peppers?|cookies?|"
    r"authorization|email|phone|first_name|last_name|subject|preheader|body|attrs|fields|vars)($|[_-])",
    re.IGNORECASE,
)
_SECRET_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:pk_[A-Za-z0-9_]{8,}|jai_live_[0-9A-Za-z]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*)"
    r"|(?<=Klaviyo-API-Key )\S+|(?<=Bearer )\S+"
    r"|(?<=://)[^\s/@]*:[^\s@]*(?=@)"  # login and password of a URL
)
_SHOWN_CHARS = 8_000
_SECRET_MIN_CHARS = 8  # masking a shorter one would blot out words, and show by its gaps what it is
_STACK_FRAMES = 12
_MAX_INT = 2**63 - 1


class Logger:
    """`log.info("profile.written", waited_s=0.2)`: the name is static, everything else is a field."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: Any) -> None:
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
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
    """Every line inside carries these ids; tasks started inside carry them on."""
    token = _bound.set({**_bound.get(), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


def without_secrets(text: str) -> str:
    """The same with whatever looks like a key or a password masked."""
    return _SECRET_SHAPES.sub(_MASK, text)


def configure(
    service: str, *, level: str = "INFO", style: Literal["json", "text"] = "json", secrets: Iterable[str] = ()
) -> None:
    """Called once per process. Libraries log warnings and worse through the same line format.

    `secrets` are what this process was told in confidence: they are masked wherever they turn up.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(service, style, secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aio_pika", "aiormq", "asyncssh", "botocore", "aiobotocore", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def hide(secrets: Iterable[str]) -> None:
    """Mask these too from now on: what a process is told in confidence while it runs."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Lines):
            handler.formatter.hide(secrets)


class _Lines(logging.Formatter):
    """One record, one line, whatever is in it. Only in text style a stack follows, each line of it indented."""

    def __init__(self, service: str, style: Literal["json", "text"], secrets: Iterable[str]) -> None:
        super().__init__()
        self._service, self._shape = service, style
        self._secrets: set[str] = set()
        self._hidden: re.Pattern[str] | None = None
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Mask these too."""
        self._secrets |= {secret for secret in secrets if len(secret) >= _SECRET_MIN_CHARS}
        # Longest first: one may be part of another.
        hidden = sorted(self._secrets, key=len, reverse=True)
        self._hidden = re.compile("|".join(map(re.escape, hidden))) if hidden else None

    def format(self, record: logging.LogRecord) -> str:
        given: Mapping[str, object] = getattr(record, "fields", {})
        fields = {name: self._shown(value, name) for name, value in given.items()}
        stack = self._clean(stack_of(record.exc_info[1])) if record.exc_info and record.exc_info[1] else None
        event = self._clean(record.getMessage())
        if self._shape == "text":
            words = " ".join(f"{_one_line(name)}={_word(value)}" for name, value in fields.items())
            line = f"{record.levelname.lower():7} {_one_line(event)} {words}".rstrip()
            return line if stack is None else f"{line}\n" + "\n".join(f"    {part}" for part in stack.splitlines())
        line_of_ours: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": event,
            "logger": record.name,
        }
        if stack is not None:
            fields["exception"] = stack
        return orjson.dumps({**line_of_ours, **fields, **line_of_ours}).decode()  # a field never takes a name of ours

    def _shown(self, value: object, name: str = "") -> object:
        """What may be shown of a value, in types that are JSON."""
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if abs(value) <= _MAX_INT else str(value)
        # What settings.summary() says of a secret is none.
        if _MASKED_NAMES.search(name) and value not in ("set", "unset"):
            return _MASK
        if isinstance(value, Mapping):
            return {self._clean(str(key)): self._shown(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple | Set):
            return [self._shown(inner) for inner in value]
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if isinstance(value, BaseException):
            return self._clean(_named(value))
        return self._clean(value.isoformat() if isinstance(value, date) else str(value))

    def _clean(self, text: str) -> str:
        cut = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… (+{len(text) - _SHOWN_CHARS})"
        cut = cut.encode("utf-8", "backslashreplace").decode()  # a lone surrogate would cost the whole line
        if self._hidden is not None:
            cut = self._hidden.sub(_MASK, cut)
        return _SECRET_SHAPES.sub(_MASK, cut)


def stack_of(error: BaseException) -> str:
    """Where an error came from, with its causes and the members of a group, but without the text of unforeseen ones."""
    parts: list[str] = []
    seen: set[int] = set()
    _add_stack(error, parts, seen)
    return "\n".join(parts)


def _add_stack(error: BaseException, parts: list[str], seen: set[int]) -> None:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        _add_stack(cause, parts, seen)
        parts.append("which led to:")
    parts += [frame.rstrip("\n") for frame in traceback.format_tb(error.__traceback__)[-_STACK_FRAMES:]]
    parts.append(_named(error))
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions, 1):
            if id(member) not in seen:
                parts.append(f"{number} of {len(error.exceptions)}:")
                _add_stack(member, parts, seen)


def _named(error: BaseException) -> str:
    """The type; the text too where it is ours, or the operating system's."""
    kind = type(error).__qualname__
    return f"{kind}: {error}" if isinstance(error, Failure | OSError) and str(error) else kind


def _word(value: object) -> str:
    """As it is where it is one plain word, else quoted as JSON: it can neither end its line nor begin a field."""
    if isinstance(value, str) and value.isprintable() and value and not any(char in value for char in ' "='):
        return value
    return _one_line(orjson.dumps(value).decode())


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
