"""Runs a handler over a queue in batches, and settles each delivery once."""

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from pydantic import ValidationError

from shared import logs, metrics, tracing
from shared.clock import Clock
from shared.errors import Failure, Outage, Transient
from shared.messaging.broker import AWAY, declare_shard, lost_lines, open_channel, unless_away
from shared.messaging.publisher import Publisher
from shared.messaging.topology import QueueSpec
from shared.messaging.verdict import Bury, Later, Requeue, Verdict, decide
from shared.messaging.watchdog import LOOK_EVERY_S, Watchdog
from shared.schemas.jobs import Batch, J, encode_batch, is_newer

log = logs.get(__name__)

T = TypeVar("T")

Outcome = BaseException | None
Handler = Callable[[Sequence[J]], Awaitable[Sequence[Outcome]]]
"""Takes a batch, returns one outcome per job in the same order: None (done) or the error. Raising Outage means that
nothing was done and the batch should be tried again as it is; raising anything else blames the whole batch, so its
jobs are then tried one by one."""

_OUTAGE_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_CHANNEL_TIMEOUT_S = 5.0
_SPLIT_FROM = 3  # deliveries that nobody settled
_BURY_WINDOW = 50
_BURY_PAUSE_S = 60.0


_Buffer = asyncio.Queue[AbstractIncomingMessage | None]
"""What came and is not in hand yet; None: nothing will come any more."""


@dataclass(frozen=True, slots=True)
class _Delivery(Generic[J]):
    message: AbstractIncomingMessage
    jobs: Sequence[J]
    attempt: int


class Consumer(Generic[J]):
    """One kind of job, all its shards. `run` until stopped; `attached` for readiness."""

    def __init__(
        self,
        connection: AbstractRobustConnection,
        publisher: Publisher,
        spec: QueueSpec,
        job_type: type[J],
        handler: Handler[J],
        clock: Clock,
    ) -> None:
        self._connection, self._publisher, self._spec = connection, publisher, spec
        self._envelope = Batch[job_type]  # type: ignore[valid-type]  # a runtime type
        self._handler, self._clock = handler, clock
        self._recent: deque[bool] = deque(maxlen=_BURY_WINDOW)
        self._paused = False
        self._attached: set[str] = set()
        self._watchdog, self._waiting = Watchdog(connection), dict[str, _Buffer]()

    async def attached(self) -> None:
        """Raise when the consumer does not take jobs right now."""
        if self._paused:
            raise Outage(f"{self._spec.name}: paused, more than half of the last {_BURY_WINDOW} jobs were buried")
        if self._connection.is_closed or not self._connection.connected.is_set():
            raise Outage(f"{self._spec.name}: the broker is out of reach")
        if missing := set(self._spec.queues) - self._attached:
            raise Outage(f"{self._spec.name}: not consuming {sorted(missing)}")

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set; the batch in hand is finished, the rest goes back untouched."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._spec.queues:
                tasks.create_task(self._run_shard(queue, stop), name=f"consume {queue}")
            tasks.create_task(self._watch(stop), name=f"watch {self._spec.name}")

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await _unless(stop, asyncio.sleep(LOOK_EVERY_S))
            for queue in [*self._waiting]:
                dead = await _unless(stop, self._watchdog.dead(queue))
                if dead and (buffer := self._waiting.get(queue)) is not None:
                    buffer.put_nowait(None)

    async def _run_shard(self, queue_name: str, stop: asyncio.Event) -> None:
        """Consume, on another channel each time that the watchdog finds the last one dead, or that the broker was away
        for so long that what had to be moved could not be: it went back untouched with its channel."""
        with suppress(Outage, ConnectionError), lost_lines():  # a queue that cannot be declared ends the start
            await self._consume(queue_name, stop)
        while not stop.is_set():
            metrics.count("consumer_revived_total", queue=self._spec.name)
            log.warning("consumer.revived", queue=queue_name)
            try:
                with lost_lines():
                    await self._consume(queue_name, stop)
            except (Outage, *AWAY):  # the broker went away meanwhile
                await _unless(stop, asyncio.sleep(LOOK_EVERY_S))

    async def _consume(self, queue_name: str, stop: asyncio.Event) -> None:
        """Until `stop` is set, or the channel is dead."""
        # One at a time, until a message comes that nobody has had in hand before. A process that a message crashes is
        # given back the message and all that were in hand with it, and the broker counts that for each of them: so only
        # the one that crashes it comes to the limit, with what may each time be first in another shard.
        channel = await open_channel(self._connection, prefetch=1)
        careful = self._spec.prefetch > 1
        buffer: _Buffer = asyncio.Queue()
        queue = await declare_shard(channel, self._spec, queue_name)
        tag = await queue.consume(buffer.put)
        self._attached.add(queue_name)
        try:
            while not stop.is_set():
                if self._paused:
                    await self._rest(stop)
                batch = await self._next_batch(buffer, queue_name, stop)
                if batch is None:
                    return
                if batch:
                    await self._work(batch, queue_name, stop)
                    if careful and not any(delivery.message.redelivered for delivery in batch):
                        with unless_away():  # else after a later batch
                            async with asyncio.timeout(_CHANNEL_TIMEOUT_S):
                                # The broker applies a prefetch to consumers that begin after it.
                                await channel.set_qos(prefetch_count=self._spec.prefetch)
                                tag, old = await queue.consume(buffer.put), tag
                                careful = False
                                await queue.cancel(old)
        finally:
            self._attached.discard(queue_name)
            with unless_away():
                async with asyncio.timeout(_CHANNEL_TIMEOUT_S):
                    await queue.cancel(tag)
                    await channel.close()  # what is in the buffer goes back; older brokers count that

    async def _next_batch(self, buffer: _Buffer, queue_name: str, stop: asyncio.Event) -> "list[_Delivery[J]] | None":
        """Whatever is there, at least one message; empty when all was settled already. None when stopping, or when the
        watchdog found us dead."""
        self._waiting[queue_name] = buffer
        try:
            first = await _unless(stop, buffer.get())
        finally:
            del self._waiting[queue_name]
        if first is None:
            return None
        self._watchdog.fed(queue_name)
        batch: list[_Delivery[J]] = []
        jobs = 0
        while first is not None:
            delivery = await self._read(first, queue_name)
            if delivery and not await self._split(delivery, queue_name):
                batch.append(delivery)
                jobs += len(delivery.jobs)
            first = None if jobs >= self._spec.batch_jobs or buffer.empty() else buffer.get_nowait()
        return batch

    async def _read(self, message: AbstractIncomingMessage, queue_name: str) -> "_Delivery[J] | None":
        attempt = _attempt_of(message)
        try:
            envelope = self._envelope.model_validate_json(message.body)
        except ValidationError as error:
            reason = f"unreadable: {error.error_count()} faults, first at {error.errors(include_input=False)[0]['loc']}"
            # During a rolling restart the next one to take it may be of the newer release.
            newer = Transient(reason, reason="newer_release") if is_newer(error) else None
            verdict = decide(newer, attempt=attempt, policy=self._spec.policy) if newer else Bury(reason)
            await self._move(verdict, message.body, queue_name, attempt)
            await _ack(message)
            return None
        return _Delivery(message, envelope.jobs, attempt)

    async def _split(self, delivery: "_Delivery[J]", queue_name: str) -> bool:
        """Part the jobs of a message that was in hand several times and never settled: if one of them crashes us, the
        others must not share its end. False: it stays whole."""
        unsettled = delivery.message.headers.get("x-delivery-count", 0)
        if len(delivery.jobs) == 1 or not isinstance(unsettled, int) or unsettled < _SPLIT_FROM:
            return False
        log.warning("consumer.splitting", queue=self._spec.name, jobs=len(delivery.jobs), deliveries=unsettled)
        try:
            for job in delivery.jobs:
                await self._publisher.send(queue_name, encode_batch([job]), headers={"x-attempt": delivery.attempt})
        except Outage:
            return False
        await _ack(delivery.message)
        return True

    async def _work(self, batch: "list[_Delivery[J]]", queue_name: str, stop: asyncio.Event) -> None:
        jobs = [job for delivery in batch for job in delivery.jobs]
        ids = (one for job in jobs if (one := getattr(job, "generation_id", None)) is not None)
        with metrics.timed("consumer_process_seconds", queue=self._spec.name), tracing.batch(self._spec.name, ids):
            outcomes = await self._handle(jobs, stop)
        remaining = iter(outcomes)
        for delivery in batch:
            await self._settle(delivery, [next(remaining) for _ in delivery.jobs], queue_name, stop)

    async def _handle(self, jobs: Sequence[J], stop: asyncio.Event) -> Sequence[Outcome]:
        """One outcome per job, whatever the handler does."""
        outages = 0
        while True:
            try:
                async with asyncio.timeout(self._spec.handler_timeout_s):
                    return await self._handler(jobs)
            except Outage as outage:
                if stop.is_set():
                    return [outage] * len(jobs)
                wait_s = _OUTAGE_WAITS_S[min(outages, len(_OUTAGE_WAITS_S) - 1)]
                outages += 1
                log.warning("consumer.outage", queue=self._spec.name, reason=outage.reason, wait_s=wait_s)
                await _unless(stop, asyncio.sleep(wait_s))
            except Exception as error:  # noqa: BLE001  # the house's one broad handler: the verdict decides
                if len(jobs) == 1:
                    return [error]
                log.warning("consumer.isolating", queue=self._spec.name, jobs=len(jobs), error=type(error).__name__)
                return [await self._alone(job, stop) for job in jobs]

    async def _alone(self, job: J, stop: asyncio.Event) -> Outcome:
        """One job of a batch that failed as a whole. When we stop, those that are still to come go back: each may last
        as long as the batch did."""
        if stop.is_set():
            return Outage("asked to stop before its turn", reason="stopping")
        return (await self._handle([job], stop))[0]

    async def _settle(
        self, delivery: "_Delivery[J]", outcomes: Sequence[Outcome], queue_name: str, stop: asyncio.Event
    ) -> None:
        """Move what failed (confirmed), then ack. A crash in between repeats, never loses."""
        moves: dict[Verdict, list[J]] = {}
        for job, error in zip(delivery.jobs, outcomes, strict=True):
            stopping = stop.is_set() and isinstance(error, Outage | TimeoutError)
            verdict = decide(error, attempt=delivery.attempt, policy=self._spec.policy, stopping=stopping)
            moves.setdefault(verdict, []).append(job)
            metrics.count("jobs_settled_total", queue=self._spec.name, verdict=type(verdict).__name__.lower())
            self._remember(verdict)
            if error is not None:
                log.warning("job.failed", queue=self._spec.name, verdict=str(verdict), stack=_stack(error))
        if Requeue() in moves:
            with unless_away():
                await delivery.message.nack(requeue=True)
            return
        for verdict, jobs in moves.items():
            await self._move(verdict, encode_batch(jobs), queue_name, delivery.attempt)
        await _ack(delivery.message)

    async def _move(self, verdict: Verdict, body: bytes, queue_name: str, attempt: int) -> None:
        """A confirmed publish; as long as the broker does not take it, the delivery stays unacknowledged. Raises
        Outage when it does not for some 10 to 40 s."""
        match verdict:
            case Later(wait_s=wait_s, attempt=next_attempt, reason=reason):
                send = partial(
                    self._publisher.send_later, queue_name, wait_s, body, attempt=next_attempt, reason=reason
                )
            case Bury(reason=reason):
                at = self._clock.now().isoformat()
                send = partial(
                    self._publisher.bury, self._spec, body, queue=queue_name, attempt=attempt, reason=reason, at=at
                )
            case _:
                return
        for pause_s in _OUTAGE_WAITS_S:
            try:
                await send()
            except Outage:
                await asyncio.sleep(pause_s)
            else:
                return
        await send()

    def _remember(self, verdict: Verdict) -> None:
        """A bad deploy must not empty the queue into the dead letters."""
        self._recent.append(isinstance(verdict, Bury))
        if len(self._recent) == _BURY_WINDOW and sum(self._recent) * 2 > _BURY_WINDOW:
            self._paused = True
            self._recent.clear()
            log.error("consumer.paused", queue=self._spec.name, pause_s=_BURY_PAUSE_S)

    async def _rest(self, stop: asyncio.Event) -> None:
        await _unless(stop, asyncio.sleep(_BURY_PAUSE_S))
        self._paused = False


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What `work` gives, or None as soon as `stop` is set."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, stopped):
            pending.cancel()


async def _ack(message: AbstractIncomingMessage) -> None:
    """A lost channel has given the message back already; doing it again is harmless by design."""
    with unless_away():
        await message.ack()


def _attempt_of(message: AbstractIncomingMessage) -> int:
    attempt = message.headers.get("x-attempt", 1)
    return attempt if isinstance(attempt, int) else 1


def _stack(error: BaseException) -> str | None:
    """Where an error that nobody foresaw came from; without its text, which may hold a person's values."""
    if isinstance(error, Failure):
        return None
    return "".join(traceback.format_tb(error.__traceback__)[-6:])
