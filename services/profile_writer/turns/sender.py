"""Sends a turn's writes: spaced, bounded in flight, stopped by the first answer that tells us to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import UUID

from services.profile_writer.content import Contents, Integration, Texts
from services.profile_writer.rows import Key, NotSent, Pending, Road, Stopped
from services.profile_writer.stops import Stops
from services.profile_writer.turns.roads import ALIKE, Heard, RoadRefused
from services.profile_writer.turns.rules import Sent
from services.profile_writer.turns.turn import Refusal, Report, Turn
from services.profile_writer.turns.way import Way
from shared import logs, tracing
from shared.clock import Clock
from shared.errors import Failure, Permanent, Throttled
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer, Unsendable
from shared.klaviyo.limits import RateLimit
from shared.snippet import properties

log = logs.get(__name__)


class Patch(Protocol):
    """The part of the Klaviyo client that is needed here."""

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> RateLimit: ...

    async def import_profile(self, profile_id: str, *, properties: Mapping[str, str]) -> RateLimit: ...


Connect = Callable[[Integration], Patch]


class Sender:
    """Turns what was taken into answers."""

    def __init__(self, contents: Contents, connect: Connect, clock: Clock, stops: Callable[[], Stops] = Stops) -> None:
        """`stops` gives what is stopped as far as this process has heard."""
        self._contents, self._connect, self._clock, self._stops = contents, connect, clock, stops
        self._rounds: dict[UUID, _Round] = {}

    def unanswered(self, turn_id: UUID) -> int:
        """How many calls of a turn that is being sent have left and have no answer yet."""
        return self._rounds[turn_id].unanswered if turn_id in self._rounds else 0

    async def send(self, turn: Turn, stop: asyncio.Event) -> Report:
        """One result per send. Raises nothing of Klaviyo's; raises Outage when our own database is away, and then
        nothing was sent."""
        rows = [sent.row for sent in turn.sends]
        heard = self._stops()
        integrations = await self._contents.integrations({row.ref.org_id for row in rows})
        texts = await self._contents.texts(rows)  # last, because it is the gate

        def stopped_since(row: Pending) -> bool:
            # What was heard before is in what was read; news since then spares the rest of a turn, which lasts seconds.
            news = self._stops()
            return news is not heard and news.cover(row.ref.org_id, row.written_for)

        round_ = _Round(turn, texts, integrations, self._connect, self._clock, stop, stopped_since)
        self._rounds[turn.turn_id] = round_
        try:
            results = await round_.run()
        finally:
            del self._rounds[turn.turn_id]
        patch = round_.ways["patch"]
        return Report(results, patch.limit, round_.refusals(), round_.last_sent_at, patch.phase, round_.second())


class _Round:
    """The state of one turn while it is sent."""

    def __init__(
        self,
        turn: Turn,
        texts: Texts,
        integrations: Mapping[UUID, Integration],
        connect: Connect,
        clock: Clock,
        stop: asyncio.Event,
        stopped_since: Callable[[Pending], bool],
    ) -> None:
        self._turn, self._texts, self._integrations = turn, texts, integrations
        self._connect, self._clock, self._stop, self._stopped_since = connect, clock, stop, stopped_since
        self._clients: dict[UUID, Patch] = {}
        self._refused: dict[UUID, KeyRefused] = {}
        self._left: set[Key] = set()
        self.ways: dict[Road, Way] = {"patch": Way(clock, turn.paid_at, turn.spacing_s, turn.in_flight_max)}
        if (part := turn.second) is not None:
            self.ways["import"] = Way(clock, turn.paid_at, part.spacing_s, part.in_flight_max)
        self.last_sent_at: datetime | None = None
        self.unanswered = 0

    async def run(self) -> list[Failure | None]:
        tasks: dict[int, asyncio.Task[Failure | None]] = {}
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(self._cut_off(tasks))
            await asyncio.gather(*(group.create_task(self._feed(road, tasks, group)) for road in self.ways))
            if tasks:
                await asyncio.wait(tasks.values())
            guard.cancel()
        return [
            self._cut_off_result(sent.row) if tasks[number].cancelled() else tasks[number].result()
            for number, sent in enumerate(self._turn.sends)
        ]

    async def _feed(self, pace: Road, tasks: dict[int, asyncio.Task[Failure | None]], group: asyncio.TaskGroup) -> None:
        """Let leave, in their order, what goes at the pace of this road: a look goes at that of PATCH."""
        looks = self._turn.second is not None and self._turn.second.looks
        way = self.ways[pace]
        for number, sent in enumerate(self._turn.sends):
            if pace != ("patch" if looks else sent.road):
                continue
            await way.in_flight.acquire()
            if sent.row.ref.generation_id not in self._texts.stopped:  # what does not leave needs no slot
                await way.slot(partial(self._over, sent.road))
            task = group.create_task(self._one(sent))
            # Not by the task itself: one that is cut off before its first step would never give its place back.
            task.add_done_callback(lambda _: way.in_flight.release())
            tasks[number] = task

    def _cut_off_result(self, row: Pending) -> Failure:
        if row.key in self._left:
            return NoAnswer("no answer within the lease", reason="lease_over")
        return NotSent("the lease was over before this write left", reason="turn_over")

    async def _cut_off(self, tasks: Mapping[int, asyncio.Task[Failure | None]]) -> None:
        """Nothing may be on its way when the lease is over: another turn may send a newer write then. The time-outs of
        sockets are real, the lease is the product's time."""
        left_s = (self._turn.answers_until - self._clock.now()).total_seconds()
        await self._clock.sleep(left_s)
        for task in tasks.values():
            task.cancel()

    def _over(self, road: Road) -> bool:
        return self._stop.is_set() or self.ways[road].closed or self._clock.now() >= self._turn.send_until

    async def _one(self, sent: Sent) -> Failure | None:
        row, result = sent.row, None
        try:
            with tracing.one(f"klaviyo {sent.road}", row.ref.generation_id):
                await self._attempt(row, sent.road)
        except Failure as failure:
            result = failure
        except Exception as error:  # a row that nobody foresaw must not stop its neighbours
            log.error("write.failed", generation_id=row.ref.generation_id, exc_info=error)
            result = MaybeApplied(f"unexpected: {type(error).__name__}", reason="unexpected")
        self._hear(sent, result)
        return result

    def _hear(self, sent: Sent, result: Failure | None) -> None:
        """What an answer means for those that have not left yet."""
        way = self.ways[sent.road]
        way.heard(result)
        if isinstance(result, KeyRefused):
            self._refused[sent.row.ref.org_id] = result
        elif isinstance(result, Throttled | RoadRefused):  # as the next ones would be
            way.closed = True

    async def _attempt(self, row: Pending, road: Road) -> None:
        if self._over(road) or row.ref.org_id in self._refused:
            raise NotSent("the turn ended before this write", reason="turn_over")
        if row.action == "write" and row.deadline_at <= self._clock.now():
            raise NotSent("its deadline passed while it waited in the turn", reason="deadline_passed")
        if row.action == "write" and row.ref.generation_id in self._texts.stopped:
            raise Stopped("its template or org is stopped", reason="stopped")
        if row.action == "write" and self._stopped_since(row):
            raise NotSent("its template or org was stopped while it waited in the turn", reason="stopped")
        client = self._client(row.ref.org_id)
        text = self._texts.by_id.get(row.ref.generation_id)
        if row.action == "write" and text is None:
            raise Unsendable("the copy of this generation cannot be read", reason="no_stored_copy")
        sent_at = self.last_sent_at = self._clock.now()
        self._left.add(row.key)
        self.unanswered += 1
        try:
            limit = await _called(client, row, road, text)
        finally:
            self.unanswered -= 1
        self.ways[road].learn(limit, sent_at)

    def _client(self, org_id: UUID) -> Patch:
        if org_id not in self._clients:
            integration = self._integrations.get(org_id)
            if integration is None:
                raise KeyRefused("the org is not connected to Klaviyo any more", reason="no_integration")
            if integration.private_key is None:
                raise KeyRefused("the stored key does not open with our key ring", reason="key_not_readable")
            self._clients[org_id] = self._connect(integration)
        return self._clients[org_id]

    def second(self) -> Heard | None:
        """What was heard on the second road."""
        if (way := self.ways.get("import")) is None:
            return None
        return Heard(way.limit, way.phase, way.readings, self.ways["patch"].readings)

    def refusals(self) -> list[Refusal]:
        """Which orgs must wait for another key."""
        return [
            Refusal(org_id, refused.reason, str(refused), _updated_at(self._integrations.get(org_id)))
            for org_id, refused in self._refused.items()
        ]


async def _called(client: Patch, row: Pending, road: Road, text: Mapping[str, str] | None) -> RateLimit:
    if row.action != "write":
        return await client.patch_profile(row.key.profile_id, unset=properties(row.key.prefix))
    if road == "patch" or text is None:
        return await client.patch_profile(row.key.profile_id, properties=text)
    return await _imported(client, row.key.profile_id, text)


async def _imported(client: Patch, profile_id: str, text: Mapping[str, str]) -> RateLimit:
    """By the second road. It is ours to try, so what it refuses is for PATCH to judge: no write and no key is given up
    for it."""
    try:
        return await client.import_profile(profile_id, properties=text)
    except Permanent as refused:
        if isinstance(refused, Unsendable) or refused.reason in ALIKE:
            raise
        raise RoadRefused(f"by profile-import: {refused}", reason="road_refused") from refused


def _updated_at(integration: Integration | None) -> datetime | None:
    return None if integration is None else integration.updated_at
