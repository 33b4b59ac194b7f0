"""From accepted webhooks to stored generations and the profile writes that they ask for.

A batch costs one look-up of what is stored, one insert and one publish, whatever its size. The publish comes after
the insert, and what was stored before is published again: so a crash anywhere is healed by the repeated delivery,
and no outbox is needed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.generator.catalog import Catalog, OrgConfig
from services.generator.compose import asked_again, compose, fault_of
from services.generator.records import Alias, Found, Generation, Person, Stored
from services.generator.render import Renderer
from services.generator.select import Snapshot
from shared import metrics, tracing
from shared.errors import Permanent, as_outage
from shared.schemas.ids import WINDOW_S, window_start
from shared.schemas.jobs import GenerateJob, WriteJob

Publish = Callable[[Sequence[WriteJob]], Awaitable[None]]
"""Returns when the broker has them; raises Outage."""

_WINDOW = timedelta(seconds=WINDOW_S)
_COMPOSED_AT_ONCE = 32  # about 5 ms of work; then the loop may answer heartbeats and probes


class Records(Protocol):
    """What is remembered; every method may be repeated, and raises Outage."""

    async def find(
        self, days: Sequence[date], generation_ids: Sequence[UUID], people: Sequence[Person] = ()
    ) -> Found: ...
    async def insert_generations_once(self, generations: Sequence[Generation]) -> set[UUID]: ...
    async def insert_aliases_once(self, aliases: Sequence[Alias]) -> None: ...
    async def insert_uniform_once(self, org_id: UUID, template_id: str, snapshot: Snapshot) -> None: ...


@dataclass(slots=True)
class _Sorted:
    """A batch taken apart: new requests, requests seen again under another id, and all that was stored before.

    `accepted_last`: of new requests that this batch repeats, when that was."""

    fresh: list[GenerateJob] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    again: list[Stored] = field(default_factory=list)
    accepted_last: dict[UUID, datetime] = field(default_factory=dict)


class Generator:
    """The handler of `generate` jobs."""

    def __init__(self, records: Records, catalog: Catalog, renderer: Renderer, publish: Publish) -> None:
        self._records, self._catalog, self._renderer, self._publish = records, catalog, renderer, publish

    async def __call__(self, jobs: Sequence[GenerateJob]) -> Sequence[Exception | None]:
        """One outcome per job. Raises Outage with nothing promised: repeat the batch. Also on a conflict in the
        database, which is no fault of a job: tried one by one, each would wait for the same lock."""
        with as_outage():
            return await self._generate(jobs)

    async def _generate(self, jobs: Sequence[GenerateJob]) -> Sequence[Exception | None]:
        faults = [fault_of(job) for job in jobs]
        sound = [job for job, fault in zip(jobs, faults, strict=True) if fault is None]
        configs = await self._catalog.orgs({job.org_id for job in sound})
        with tracing.part("find what is stored"):
            found = await self._find(sound, configs)
        batch = sort_out(sound, found.stored)
        generations, failures = await self._compose(batch, configs, found.last)
        remembered = await self._remember(generations)
        last = batch.accepted_last
        repeated = [one.accepted_again(last[one.generation_id]) for one in remembered if one.generation_id in last]
        writes = [
            write for one in (*remembered, *repeated, *batch.again) if (write := _write(one, configs)) is not None
        ]
        if aliases := [one for one in batch.aliases if one.alias_id not in failures]:
            await self._records.insert_aliases_once(aliases)
        if writes:
            with tracing.part("publish writes"):
                await self._publish(writes)
        return [
            Permanent("this job cannot be stored", reason=fault) if fault else failures.get(job.generation_id)
            for job, fault in zip(jobs, faults, strict=True)
        ]

    async def _find(self, jobs: Sequence[GenerateJob], configs: Mapping[UUID, OrgConfig]) -> Found:
        """What is stored of these requests, under their own id or the one of the window before, and what the people
        got before whom no variant shall be repeated for."""
        days = {job.day for job in jobs} | {_earlier_day(job) for job in jobs}
        ids = [one for job in jobs for one in (job.generation_id, job.earlier_id)]
        people = {
            _person(job)
            for job in jobs
            if (template := configs[job.org_id].templates.get(job.template_id)) is not None and template.asks_for_last
        }
        return await self._records.find(sorted(days), ids, [*people]) if ids else Found()

    async def _compose(
        self, batch: _Sorted, configs: Mapping[UUID, OrgConfig], last: Mapping[Person, UUID]
    ) -> tuple[list[Generation], dict[UUID, Exception]]:
        """The generations of new requests; by the ids of those that failed and of their aliases, why."""
        generations: list[Generation] = []
        failures: dict[UUID, Exception] = {}
        got = dict(last)
        for number, job in enumerate(batch.fresh, start=1):
            try:
                made = compose(job, configs[job.org_id], self._renderer, got.get(person := _person(job)))
                generations.append(made)
                if made.decision == "treatment" and made.copy_id is not None:
                    got[person] = made.copy_id
            except Exception as error:  # noqa: BLE001  # a job that nobody foresaw must not stop its neighbours
                failures[job.generation_id] = error
            if number % _COMPOSED_AT_ONCE == 0:
                await asyncio.sleep(0)
        # An alias of what is not stored yet is tried again too: it may come first then, and be the generation.
        of_aliases = {one.alias_id: failures.get(one.generation_id) for one in batch.aliases}
        failures |= {alias_id: failure for alias_id, failure in of_aliases.items() if failure is not None}
        return generations, failures

    async def _remember(self, generations: Sequence[Generation]) -> list[Stored]:
        """Store what is new; what is stored now, ours or that of whoever was faster."""
        if not generations:
            return []
        unstored = {
            one.snapshot.snapshot_id: (one.org_id, one.template_id, one.snapshot)
            for one in generations
            if one.snapshot is not None and not one.snapshot.stored
        }
        for org_id, template_id, snapshot in unstored.values():
            await self._records.insert_uniform_once(org_id, template_id, snapshot)
        with tracing.part("store generations"):
            inserted = await self._records.insert_generations_once(generations)
        counts = Counter((one.decision, one.reason) for one in generations if one.generation_id in inserted)
        for (decision, reason), number in counts.items():
            metrics.count("generations_total", number, decision=decision, reason=reason)
        stored = [one.stored for one in generations if one.generation_id in inserted]
        if overtaken := {one.generation_id: one for one in generations if one.generation_id not in inserted}:
            found = await self._records.find(sorted({one.day for one in overtaken.values()}), [*overtaken])
            # The faster one may have had an earlier webhook of the same request, and knows nothing of ours.
            stored += [one.accepted_again(overtaken[the_id].accepted_at) for the_id, one in found.stored.items()]
        return stored


def sort_out(jobs: Iterable[GenerateJob], stored: Mapping[UUID, Stored]) -> _Sorted:
    """Tell new requests from repeated ones. Pure.

    A request is the same as the one of the window before when that was accepted less than a window's length ago. The
    request that it repeats may be stored, or stand in this very batch.
    """
    batch = _Sorted()
    known: dict[UUID, Stored | GenerateJob] = dict(stored)
    again: dict[UUID, Stored] = {}
    for job in sorted(jobs, key=lambda job: job.accepted_at):
        same, earlier = known.get(job.generation_id), known.get(job.earlier_id)
        if same is None and earlier is not None and earlier.accepted_at > job.accepted_at - _WINDOW:
            batch.aliases.append(
                Alias(job.generation_id, job.org_id, earlier.generation_id, earlier.day, job.accepted_at)
            )
            known[job.generation_id] = same = earlier
        if same is None:
            batch.fresh.append(job)
            known[job.generation_id] = job
        elif isinstance(same, Stored):
            again[same.generation_id] = same.accepted_again(job.accepted_at)
        elif job.accepted_at > same.accepted_at:  # else it is the same webhook, delivered twice
            batch.accepted_last[same.generation_id] = job.accepted_at
    batch.again = [*again.values()]
    return batch


def _write(stored: Stored, configs: Mapping[UUID, OrgConfig]) -> WriteJob | None:
    return asked_again(stored, configs[stored.write.org_id]) if stored.write is not None else None


def _person(job: GenerateJob) -> Person:
    return Person(job.org_id, job.template_id, job.user_id)


def _earlier_day(job: GenerateJob) -> date:
    return (window_start(job.accepted_at) - _WINDOW).date()
