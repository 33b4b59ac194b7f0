"""One trace per webhook, from its acceptance to Klaviyo's answer, where a collector is set; else nothing at all.

A trace's id is the generation's id, so that every service knows it without being told: no header travels, no column is
kept, and who looks at `justai why` can look up the trace. Its root, the webhook's span, has an id that follows from it
too; everything else hangs below that. Which webhooks are traced follows from the id as well, so a trace is whole or
not there. Work on a batch is one span in the trace of each of its jobs.

OpenTelemetry is imported only where traces are wanted. Times are real, whatever clock the product runs by.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, Protocol
from uuid import UUID

Value = str | int | float | bool

_DRAWN_BITS: Final = 56  # of an id, the lowest: those above tell its kind
_CLOSE_S: Final = 3.0


class Recorder(Protocol):
    """Where spans go."""

    def record(
        self, name: str, generation_id: UUID, started_ns: int, ended_ns: int, failure: str | None,
        attributes: dict[str, Value], *, is_root: bool,
    ) -> None: ...  # fmt: skip


_recorder: Recorder | None = None
_share: float = 1.0
_batch: ContextVar[Sequence[UUID]] = ContextVar("traced_batch", default=())
_NOTHING: Final = nullcontext()


def is_on() -> bool:
    """Whether anybody wants spans."""
    return _recorder is not None


def is_traced(generation_id: UUID) -> bool:
    """Whether this webhook is among the share that is traced."""
    drawn = generation_id.int & ((1 << _DRAWN_BITS) - 1)
    return _recorder is not None and drawn < _share * (1 << _DRAWN_BITS)


def webhook(generation_id: str, started_ns: int, **attributes: Value) -> None:
    """The root span: a webhook was answered."""
    if _recorder is not None and is_traced(traced := UUID(generation_id)):
        _recorder.record("webhook", traced, started_ns, time.time_ns(), None, attributes, is_root=True)


def moment(name: str, generation_id: UUID, **attributes: Value) -> None:
    """Something happened to a generation, in no time of its own."""
    if _recorder is not None and is_traced(generation_id):
        now = time.time_ns()
        _recorder.record(name, generation_id, now, now, None, attributes, is_root=False)


def batch(name: str, generation_ids: Iterable[UUID]) -> AbstractContextManager[None]:
    """Work on several jobs at once: a span in each one's trace, and `part`s within it too."""
    if _recorder is None:
        return _NOTHING
    return _worked_on(name, [one for one in generation_ids if is_traced(one)], {}, keeps=True)


def part(name: str, **attributes: Value) -> AbstractContextManager[None]:
    """A step of the work on the batch in hand, like a statement or a publish."""
    if _recorder is None or not (ids := _batch.get()):
        return _NOTHING
    return _worked_on(name, ids, attributes, keeps=False)


def one(name: str, generation_id: UUID | str, **attributes: Value) -> AbstractContextManager[None]:
    """Work on one generation."""
    if _recorder is None:
        return _NOTHING
    traced = generation_id if isinstance(generation_id, UUID) else UUID(generation_id)
    return _worked_on(name, [traced], attributes, keeps=True) if is_traced(traced) else _NOTHING


@contextmanager
def _worked_on(name: str, ids: Sequence[UUID], attributes: dict[str, Value], *, keeps: bool) -> Iterator[None]:
    token = _batch.set(ids) if keeps else None
    started_ns, failure = time.time_ns(), None
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__  # never its text, which may hold a person's values
        raise
    finally:
        ended_ns = time.time_ns()
        if token is not None:
            _batch.reset(token)
        if _recorder is not None:
            for generation_id in ids:
                _recorder.record(name, generation_id, started_ns, ended_ns, failure, attributes, is_root=False)


@contextmanager
def recording(recorder: Recorder, share: float = 1.0) -> Iterator[None]:
    """Spans go there meanwhile."""
    global _recorder, _share  # like the metrics, one per process
    _recorder, _share = recorder, share
    try:
        yield
    finally:
        _recorder, _share = None, 1.0


@asynccontextmanager
async def sending(service: str, otlp_url: str | None, share: float) -> AsyncIterator[None]:
    """For the life of a service process: spans go to a collector (OTLP over HTTP) in the background; what it does not
    take is dropped. Without an address there are none."""
    if not otlp_url:
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{otlp_url.rstrip('/')}/v1/traces", timeout=5)
    recorder = OpenTelemetry(service, BatchSpanProcessor(exporter))
    with recording(recorder, share):
        try:
            yield
        finally:
            await asyncio.to_thread(recorder.close)


class OpenTelemetry:
    """Spans by OpenTelemetry's own SDK, which only has to accept the ids that are ours."""

    def __init__(self, service: str, *processors: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            """The next root's, where one is being made."""

            root: UUID | None = None

            def generate_trace_id(self) -> int:
                return self.root.int if self.root is not None else super().generate_trace_id()

            def generate_span_id(self) -> int:
                return _root_id(self.root) if self.root is not None else super().generate_span_id()

        self._trace, self._ids = trace, Ids()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=Resource.create({"service.name": f"justai-{service}"})
        )
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("justai")

    def record(
        self, name: str, generation_id: UUID, started_ns: int, ended_ns: int, failure: str | None,
        attributes: dict[str, Value], *, is_root: bool,
    ) -> None:  # fmt: skip
        """One span that is over."""
        trace = self._trace
        kind = trace.SpanKind.SERVER if is_root else trace.SpanKind.INTERNAL
        parent = trace.set_span_in_context(trace.INVALID_SPAN if is_root else self._root(generation_id))
        self._ids.root = generation_id if is_root else None
        try:
            span = self._tracer.start_span(name, parent, kind, attributes, start_time=started_ns)
        finally:
            self._ids.root = None
        if failure is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, failure))
        span.end(ended_ns)

    def close(self) -> None:
        """What waits is sent, as far as the collector takes it in time."""
        self._provider.force_flush(int(_CLOSE_S * 1000))
        self._provider.shutdown()

    def _root(self, generation_id: UUID) -> Any:
        trace = self._trace
        return trace.NonRecordingSpan(
            trace.SpanContext(
                generation_id.int, _root_id(generation_id), is_remote=True,
                trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
            )
        )  # fmt: skip


def _root_id(generation_id: UUID) -> int:
    """Eight bytes, never zero."""
    return (generation_id.int >> 64) or 1
