"""Intake: write jobs become pending writes, one row per profile and prefix; then the message is acked.

Nothing is sent here. RabbitMQ never holds throttled work: it would fill the prefetch window and starve everybody.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from uuid import UUID

from services.profile_writer.intake_rules import place, place_beside
from services.profile_writer.rows import Key, Outcome, Ref
from services.profile_writer.store import Desk, Known, Store
from shared.clock import Clock
from shared.db import losses
from shared.errors import Outage, Permanent, as_outage
from shared.schemas.jobs import WriteJob

Result = Exception | None

_ID_CHARS = 512  # an index entry holds at most 2,704 bytes


class Intake:
    """The handler of `write` jobs. `wake` is called when something may be due."""

    def __init__(self, store: Store, clock: Clock, *, margin_s: float, wake: Callable[[], None]) -> None:
        self._store, self._clock, self._margin_s, self._wake = store, clock, margin_s, wake

    async def __call__(self, jobs: Sequence[WriteJob]) -> Sequence[Result]:
        """One outcome per job; repeating a batch changes nothing. Raises Outage with nothing taken in."""
        account_keys = await self._store.account_keys({job.org_id for job in jobs})
        await self._store.outcome_days.ensure({job.day for job in jobs})
        unfit = [job for job in jobs if not _storable(job.profile_id)]
        sound = [job for job in jobs if _storable(job.profile_id)]
        placed = [(account_keys[job.org_id], job) for job in sound if job.org_id in account_keys]
        missing: set[UUID] = set()
        if placed:
            # The order of acceptance is the order of generations, whatever the order of delivery.
            with as_outage():  # a conflict in the database: the whole batch is tried again as it is
                missing = await self._take_in(sorted(placed, key=lambda item: item[1].accepted_at))
            self._wake()
        if homeless := [job for job in sound if job.org_id not in account_keys]:
            await self._reject(homeless, "no_integration")
        if unfit:
            await self._reject(unfit, "profile_id_invalid")
        return [
            Permanent("the generation of this write is not stored", reason="no_such_generation")
            if job.generation_id in missing
            else None
            for job in jobs
        ]

    async def _take_in(self, jobs: Sequence[tuple[str, WriteJob]]) -> set[UUID]:
        """Place the jobs; the ids of generations that are not stored."""
        now = self._clock.now()
        accounts = {account_key for account_key, _ in jobs}
        async with self._store.desk(accounts) as desk:
            await self._demand_current(desk, jobs)
            known = await desk.known(jobs)
            wanted = [one.wanted for one in known if one.wanted is not None and not one.ended]
            keys = {one.key for one in wanted}
            book = await desk.open_profiles(keys)
            beside = _beside(keys, book.keys())
            loss = await losses.doubted(desk.connection, now)
            for one in wanted:
                pending, held = book.pending(one.key), book.held(one.key)
                book.record(one.key, place(one, pending, held, now, self._margin_s, loss))
                for key in beside.get(one.key, ()):
                    there = replace(one, key=key)
                    book.record(key, place_beside(there, book.pending(key), book.held(key), now))
            await desk.save(book, now)
            await desk.wake(accounts, now)
        return {job.generation_id for (_, job), one in zip(jobs, known, strict=True) if _unknown(one)}

    async def _demand_current(self, desk: Desk, jobs: Sequence[tuple[str, WriteJob]]) -> None:
        """Raises Outage where an org has got another quota since it was asked for: its rows may have followed while we
        waited for the account, and what came in under the earlier one now would be known to nobody. From here on it
        keeps its quota until our rows are there, to follow with the others."""
        current = await desk.hold_account_keys({job.org_id for _, job in jobs})
        if any(current.get(job.org_id) != account_key for account_key, job in jobs):
            raise Outage("an org was connected anew meanwhile", reason="account_changed")

    async def _reject(self, jobs: Sequence[WriteJob], reason: str) -> None:
        """An org without a connection to Klaviyo, an id that no profile has: nothing can be written, and that is to be
        seen."""
        outcomes = [Outcome(Ref(job.day, job.generation_id, job.org_id), "rejected", reason, 0) for job in jobs]
        async with self._store.free_desk() as desk:
            await desk.save_outcomes(outcomes, self._clock.now())


def _beside(keys: Collection[Key], known: Collection[Key]) -> dict[Key, list[Key]]:
    """Of each key the other prefixes of its profile, where there are any."""
    by_profile: defaultdict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in sorted({*keys, *known}):
        by_profile[key.account_key, key.profile_id].append(key)
    several = (of_one for of_one in by_profile.values() if len(of_one) > 1)
    return {key: [other for other in of_one if other != key] for of_one in several for key in of_one if key in keys}


def _storable(profile_id: str) -> bool:
    """Whether PostgreSQL can hold it at all; if Klaviyo can have such a profile is for the client to say."""
    return "\x00" not in profile_id and len(profile_id) <= _ID_CHARS


def _unknown(one: Known) -> bool:
    return one.wanted is None and not one.ended
