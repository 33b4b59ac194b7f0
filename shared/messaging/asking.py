"""A question to the service that can answer it: one job with a reply address, and one answer. For people, who ask
seldom: each question has a connection of its own, and needs no broker until it is asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable
from pydantic import BaseModel

from shared import logs
from shared.errors import Failure
from shared.messaging.broker import connect, declare
from shared.messaging.publisher import Publisher, outages
from shared.messaging.topology import QueueSpec
from shared.schemas.jobs import J

log = logs.get(__name__)

_MESSAGES = 4
_OPENING_S = 15


class SeldomAsker:
    """Asks, and waits for the answer."""

    def __init__(self, amqp_url: str, name: str, *, token: Callable[[], str]) -> None:
        """`token` makes names that nobody else has."""
        self._amqp_url, self._name, self._token = amqp_url, name, token

    async def ask(
        self, spec: QueueSpec, org_id: UUID, job_of: Callable[[str], J], correlation_id: str, *, wait_s: float
    ) -> bytes | None:
        """The answer to the job that `job_of` makes of a reply address; None when none comes within `wait_s`, real
        seconds. Raises Outage."""
        coming: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def came(message: AbstractIncomingMessage) -> None:
            if message.correlation_id == correlation_id and not coming.done():
                coming.set_result(message.body)

        with outages(spec.name):
            async with connect(self._amqp_url, f"{self._name}.ask") as connection:
                await declare(connection, spec)
                address = f"reply.{self._name}.{self._token()}"
                async with asyncio.timeout(_OPENING_S):
                    channel = await connection.channel(publisher_confirms=False)
                    queue = await channel.declare_queue(address, exclusive=True, auto_delete=True, arguments=_ARGUMENTS)
                    await queue.consume(came, no_ack=True)
                await Publisher(connection, self._name).send_jobs(spec, org_id, [job_of(address)])
                return await _within(coming, wait_s)


# Classic whatever the virtual host's default is: quorum queues cannot be exclusive.
_ARGUMENTS: FieldTable = {"x-queue-type": "classic", "x-max-length": _MESSAGES}


async def _within(coming: "asyncio.Future[bytes]", wait_s: float) -> bytes | None:
    try:
        async with asyncio.timeout(wait_s):
            return await coming
    except TimeoutError:
        return None


class Question(Protocol):
    """A job whose answer somebody waits for."""

    @property
    def reply_to(self) -> str: ...
    @property
    def probe_id(self) -> UUID: ...


Q = TypeVar("Q", bound=Question)
Send = Callable[[str, str, bytes], Awaitable[None]]
"""An answer to an address, under a correlation id."""


async def answer_each(
    jobs: Sequence[Q], answer: Callable[[Q], Awaitable[BaseModel]], send: Send
) -> Sequence[Exception | None]:
    """The other end: each is answered once, whatever came of it. Best effort, for whoever asked may be gone."""
    for job in jobs:
        told = await answer(job)
        try:
            await send(job.reply_to, str(job.probe_id), told.model_dump_json().encode())
        except Failure as error:
            log.info("probe.unanswered", error=error.reason)
    return [None] * len(jobs)
