"""Sends a turn's writes: spaced, bounded in flight, stopped by the first answer that tells us to."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.profile_writer.content import Contents, Integration
from services.profile_writer.rows import Pending
from services.profile_writer.turn import Refusal, Report, Turn
from services.profile_writer.turn_rules import NotSent
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.errors import KeyRefused
from shared.klaviyo.limits import RateLimit
from shared.snippet import properties


class Patch(Protocol):
    """The part of the Klaviyo client that is needed here."""

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: tuple[str, ...] = ()
    ) -> RateLimit: ...


Connect = Callable[[Integration], Patch]


class Sender:
    """Turns what was taken into answers."""

    def __init__(self, contents: Contents, connect: Connect, clock: Clock) -> None:
        self._contents, self._connect, self._clock = contents, connect, clock

    async def send(self, turn: Turn, stop: asyncio.Event) -> Report:
        """One result per send. Raises nothing of Klaviyo's; raises Outage when our own database is away, and then
        nothing was sent."""
        rows = [sent.row for sent in turn.sends]
        texts = await self._contents.texts(rows)
        integrations = await self._contents.integrations({row.ref.org_id for row in rows})
        round_ = _Round(turn, texts, integrations, self._connect, self._clock, stop)
        results = await round_.run()
        return Report(results, round_.limit, round_.refusals())


class _Round:
    """The state of one turn while it is sent."""

    def __init__(
        self,
        turn: Turn,
        texts: Mapping[UUID, dict[str, str]],
        integrations: Mapping[UUID, Integration],
        connect: Connect,
        clock: Clock,
        stop: asyncio.Event,
    ) -> None:
        self._turn, self._texts, self._integrations = turn, texts, integrations
        self._connect, self._clock, self._stop = connect, clock, stop
        self._clients: dict[UUID, Patch] = {}
        self._refused: dict[UUID, KeyRefused] = {}
        self._throttled: Throttled | None = None
        self.limit: RateLimit | None = None

    async def run(self) -> list[Failure | None]:
        in_flight = asyncio.Semaphore(self._turn.in_flight_max)
        tasks: list[asyncio.Task[Failure | None]] = []
        async with asyncio.TaskGroup() as group:
            for number, sent in enumerate(self._turn.sends):
                await self._until_slot(number)
                await in_flight.acquire()
                tasks.append(group.create_task(self._one(sent.row, in_flight)))
        return [task.result() for task in tasks]

    async def _until_slot(self, number: int) -> None:
        """Requests of one account leave at least `spacing_s` apart."""
        slot_at = self._turn.paid_at + timedelta(seconds=self._turn.spacing_s * number)
        wait_s = (slot_at - self._clock.now()).total_seconds()
        if wait_s > 0 and not self._over():
            await self._clock.sleep(wait_s)

    def _over(self) -> bool:
        return self._stop.is_set() or self._throttled is not None or self._clock.now() >= self._turn.lease_until

    async def _one(self, row: Pending, in_flight: asyncio.Semaphore) -> Failure | None:
        try:
            await self._attempt(row)
        except KeyRefused as refused:
            self._refused[row.ref.org_id] = refused
            return refused
        except Throttled as throttled:
            self._throttled = throttled
            return throttled
        except Failure as failure:
            return failure
        else:
            return None
        finally:
            in_flight.release()

    async def _attempt(self, row: Pending) -> None:
        if self._over() or row.ref.org_id in self._refused:
            raise NotSent("the turn ended before this write", reason="turn_over")
        if row.action == "write" and row.deadline_at <= self._clock.now():
            raise NotSent("its deadline passed while it waited in the turn", reason="deadline_passed")
        client = self._client(row.ref.org_id)
        if row.action == "write":
            text = self._texts.get(row.ref.generation_id)
            if text is None:
                raise Permanent("the copy of this generation is not stored", reason="no_stored_copy")
            self.limit = await client.patch_profile(row.key.profile_id, properties=text)
        else:
            self.limit = await client.patch_profile(row.key.profile_id, unset=properties(row.key.prefix))

    def _client(self, org_id: UUID) -> Patch:
        if org_id not in self._clients:
            integration = self._integrations.get(org_id)
            if integration is None:
                raise KeyRefused("the org is not connected to Klaviyo any more", reason="no_integration")
            if integration.private_key is None:
                raise KeyRefused("the stored key does not open with our key ring", reason="key_not_readable")
            self._clients[org_id] = self._connect(integration)
        return self._clients[org_id]

    def refusals(self) -> list[Refusal]:
        """Which orgs must wait for another key."""
        return [
            Refusal(org_id, refused.reason, str(refused), _updated_at(self._integrations.get(org_id)))
            for org_id, refused in self._refused.items()
        ]


def _updated_at(integration: Integration | None) -> datetime | None:
    return None if integration is None else integration.updated_at
