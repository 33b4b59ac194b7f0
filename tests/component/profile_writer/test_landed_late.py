"""A writer that was frozen before its request left sends when it goes on: what that wrote over is made right. So is
what an import wrote over that nobody believed in any more, and what Klaviyo may have applied after it was given up."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from yarl import URL

from services.profile_writer.bulk.following import Following
from services.profile_writer.bulk.job_store import JobStore
from services.profile_writer.bulk.rules import Encoded
from services.profile_writer.bulk.store import BulkStore
from services.profile_writer.content import Contents
from services.profile_writer.handler import Intake
from services.profile_writer.store import Store
from services.profile_writer.turns.turn import Report, Turn, Turns
from services.profile_writer.turns.unanswered import MAY_LAND_FOR
from shared.clock import FrozenClock
from shared.errors import Failure
from shared.klaviyo.bulk import ErrorPage, ImportJob, Page
from shared.klaviyo.errors import MaybeApplied, NoAnswer, Unreachable
from shared.schemas.jobs import WriteJob
from simulator.faults import Fault
from tests.component.profile_writer.rig import RING, Rig, rigged, settings_of, writing
from tests.support.waiting import eventually

LEASE_S = 30.0
SELECT_PENDING = "SELECT generation_id, action, lane FROM pending_writes WHERE taken_by IS NULL"
SELECT_OUTCOME_OF = "SELECT outcome, reason FROM write_outcomes WHERE generation_id = '{}'"
SELECT_HELD = "SELECT generation_id, state FROM profile_state"


@dataclass(frozen=True, slots=True)
class Writers:
    """Two of them on a clock that stands still, without anything that sends: a test says what was answered."""

    rig: Rig
    clock: FrozenClock
    intake: Intake
    frozen: Turns
    other: Turns

    async def accept(self, person: str, *, control: bool = False) -> WriteJob:
        job = await self.rig.generate(person, delay_s=600, control=control)
        await self.intake([job])
        return job

    async def answered(self, turns: Turns, turn: Turn, result: Failure | None) -> None:
        await turns.close(turn, Report([result] * len(turn.sends), None, (), None))

    async def row(self, statement: str) -> tuple[Any, ...] | None:
        async with self.rig.db.connection() as connection:
            found = await connection.fetchrow(statement)
        return None if found is None else tuple(found)


@asynccontextmanager
async def writers(database_url: str, amqp_url: str) -> AsyncIterator[Writers]:
    async with rigged(database_url, amqp_url, factor=1) as rig:
        clock, settings, store = FrozenClock(rig.clock.now()), settings_of(rig), Store(rig.db)
        intake = Intake(store, clock, margin_s=settings.writer_deadline_margin_s, wake=lambda: None)
        yield Writers(rig, clock, intake, *(Turns(store, settings, clock, Random(1), uuid4) for _ in range(2)))


async def opened(turns: Turns) -> Turn:
    turn = await turns.open()
    assert isinstance(turn, Turn)
    assert len(turn.sends) == 1
    return turn


async def overtaken(test: Writers, person: str, *, control: bool = False) -> tuple[Turn, WriteJob]:
    """A turn that is frozen with its write, and the newer decision that another writer brought to its end meanwhile."""
    await test.accept(person)
    turn = await opened(test.frozen)
    test.clock.advance(LEASE_S + 5)
    newer = await test.accept(person, control=control)
    await test.answered(test.other, await opened(test.other), None)
    assert await test.row(SELECT_PENDING) is None
    return turn, newer


@pytest.mark.parametrize("result", [None, MaybeApplied("no answer within the lease", reason="lease_over")])
async def test_newer_copy_beneath_a_late_write_is_written_again_before_all_others(
    database_url: str, amqp_url: str, result: Failure | None
) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        turn, newer = await overtaken(test, person)
        await test.answered(test.frozen, turn, result)
        waiting, held = await test.row(SELECT_PENDING), await test.row(SELECT_HELD)
        test.clock.advance(1)
        await test.answered(test.other, await opened(test.other), None)
        at_the_end = await test.row(SELECT_HELD)

    assert waiting == (newer.generation_id, "write", 0)
    assert held == (newer.generation_id, "unknown")
    assert at_the_end == (newer.generation_id, "holding")


async def test_late_copy_of_somebody_who_is_control_by_now_is_taken_off(database_url: str, amqp_url: str) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        turn, _ = await overtaken(test, person, control=True)
        await test.answered(test.frozen, turn, None)
        waiting = await test.row(SELECT_PENDING)

    assert waiting is not None
    assert waiting[1:] == ("clean_up", 0)


@pytest.mark.parametrize("control", [False, True])
async def test_what_is_in_flight_when_an_older_write_lands_is_sent_once_more(
    database_url: str, amqp_url: str, control: bool
) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        await test.accept(person)
        turn = await opened(test.frozen)
        test.clock.advance(LEASE_S + 5)
        newer = await test.accept(person, control=control)
        in_flight = await opened(test.other)
        await test.answered(test.frozen, turn, None)
        await test.answered(test.other, in_flight, None)
        waiting = await test.row(SELECT_PENDING)
        test.clock.advance(1)
        await test.answered(test.other, await opened(test.other), None)

        assert waiting == (newer.generation_id, "clear" if control else "write", 0)
        assert await test.row(SELECT_HELD) == (newer.generation_id, "clean" if control else "holding")
        assert await test.row(SELECT_PENDING) is None


async def test_copy_that_its_webhook_asked_for_again_is_written_again_until_the_later_email(
    database_url: str, amqp_url: str
) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        turn, newer = await overtaken(test, person)
        test.clock.advance(590)
        again = {"accepted_at": test.clock.now(), "deadline_at": test.clock.now() + timedelta(seconds=600)}
        await test.intake([newer.model_copy(update=again)])
        test.clock.advance(60)
        await test.answered(test.frozen, turn, None)

        assert await test.row(SELECT_PENDING) == (newer.generation_id, "write", 0)


class Listing:
    """Klaviyo's imports, as a test says them."""

    def __init__(self) -> None:
        self.jobs: list[ImportJob] = []
        self.held: dict[str, dict[str, str]] = {}

    async def newest(self, older: URL | None = None) -> Page:
        return Page(self.jobs, None)

    async def job(self, job_id: str) -> ImportJob:
        raise AssertionError("it is in the list")

    async def errors(self, job_id: str, more: URL | None = None) -> ErrorPage:
        return ErrorPage([], None)

    async def properties(self, profile_id: str) -> Mapping[str, str] | None:
        return self.held.get(profile_id, {})


async def test_of_two_lost_imports_of_one_size_only_the_one_that_was_made_is_believed(
    database_url: str, amqp_url: str
) -> None:
    async with writers(database_url, amqp_url) as test:
        people, account_key = test.rig.people(2), f"acct:{test.rig.account.id}"
        store, listing, sent_at = Store(test.rig.db), Listing(), test.clock.now()
        bulk, jobs, contents = BulkStore(test.rig.db, store), JobStore(test.rig.db, store), Contents(test.rig.db, RING)
        following = Following(bulk, jobs, store, contents, lambda _: listing, test.clock, Random(1), margin_s=2)
        lost, made = [await test.accept(person) for person in people]
        rows = await bulk.candidates(account_key, test.rig.org_id, sent_at, sent_at + timedelta(hours=1), sent_at, 10)
        for row in sorted(rows, key=lambda row: people.index(row.key.profile_id)):
            job_id = uuid4()
            await jobs.take(job_id, [Encoded(row, b"{}")], test.clock.now())
            test.clock.advance(1)
            await jobs.lost(job_id, test.clock.now())
        listing.jobs = [ImportJob("K", "complete", sent_at, test.clock.now(), 1, 1, 0)]
        listing.held = {people[1]: {"jai_generation": str(made.generation_id)}}

        for seconds in (20, 20, 60):
            test.clock.advance(seconds)
            road = await bulk.road(account_key, test.clock.now(), test.clock.now())
            await following.follow(road, test.clock.now())

        outcomes = await test.rig.outcomes(1)
        assert outcomes[made.generation_id]["outcome"] == "written"
        assert await test.row(SELECT_PENDING) == (lost.generation_id, "write", 2)


@pytest.mark.parametrize("answered", [True, False])
async def test_newer_copy_beneath_an_import_that_counted_as_not_made_is_written_again(
    database_url: str, amqp_url: str, answered: bool
) -> None:
    """By a worker that was frozen before it left, or by a Klaviyo that showed it minutes late."""
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        store, listing, taken_at = Store(test.rig.db), Listing(), test.clock.now()
        bulk, jobs, contents = BulkStore(test.rig.db, store), JobStore(test.rig.db, store), Contents(test.rig.db, RING)
        following = Following(bulk, jobs, store, contents, lambda _: listing, test.clock, Random(1), margin_s=2)
        account_key, job_id = f"acct:{test.rig.account.id}", uuid4()

        async def follow() -> None:
            road = await bulk.road(account_key, test.clock.now(), test.clock.now())
            await following.follow(road, test.clock.now())

        await test.accept(person)
        hour = taken_at + timedelta(hours=1)
        [row] = await bulk.candidates(account_key, test.rig.org_id, taken_at, hour, taken_at, 10)
        await jobs.take(job_id, [Encoded(row, b"{}")], taken_at)
        if not answered:
            await jobs.lost(job_id, taken_at)
        test.clock.advance(200)
        await follow()
        newer = await test.accept(person)
        await test.answered(test.other, await opened(test.other), None)
        assert await test.row(SELECT_HELD) == (newer.generation_id, "holding")

        if answered:
            await jobs.made(job_id, "K")
        test.clock.advance(60)
        created_at = test.clock.now() if answered else taken_at
        listing.jobs = [ImportJob("K", "complete", created_at, test.clock.now(), 1, 1, 0)]
        await follow()

        assert await test.row(SELECT_PENDING) == (newer.generation_id, "write", 0)
        assert await test.row(SELECT_HELD) == (newer.generation_id, "unknown")
        assert (await bulk.road(account_key, test.clock.now(), test.clock.now())).doubted == ()


async def test_what_surely_did_not_land_changes_nothing(database_url: str, amqp_url: str) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        turn, newer = await overtaken(test, person)
        await test.answered(test.frozen, turn, Unreachable("refused"))

        assert await test.row(SELECT_PENDING) is None
        assert await test.row(SELECT_HELD) == (newer.generation_id, "holding")


@pytest.mark.parametrize("control", [False, True])
async def test_what_is_decided_after_a_request_was_given_up_is_sent_once_more_when_that_cannot_land_any_more(
    database_url: str, amqp_url: str, control: bool
) -> None:
    async with writers(database_url, amqp_url) as test:
        [person] = test.rig.people(1)
        await test.accept(person)
        await test.answered(test.other, await opened(test.other), NoAnswer("timeout"))
        test.clock.advance(2)
        await test.answered(test.other, await opened(test.other), None)
        test.clock.advance(2)
        newer = await test.accept(person, control=control)
        await test.answered(test.other, await opened(test.other), None)
        waiting = await test.row(SELECT_PENDING)
        told = await test.row(SELECT_OUTCOME_OF.format(newer.generation_id))

        test.clock.advance(MAY_LAND_FOR.total_seconds() - 5)
        too_soon = await test.other.open()
        test.clock.advance(2)
        await test.answered(test.other, await opened(test.other), None)

        assert waiting == (newer.generation_id, "clear" if control else "write", 0)
        assert told == ("cleared" if control else "written", None)
        assert not isinstance(too_soon, Turn) or not too_soon.sends
        assert await test.row(SELECT_HELD) == (newer.generation_id, "clean" if control else "holding")
        assert await test.row(SELECT_PENDING) is None


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("control", [False, True])
async def test_a_request_that_klaviyo_applies_after_it_was_given_up_stays_for_no_later_email(
    database_url: str, amqp_url: str, control: bool
) -> None:
    """Its call may last ten real seconds, so this takes the clock's."""
    async with rigged(database_url, amqp_url, factor=1) as rig, writing(rig):
        [person] = rig.people(1)
        rig.box.world.faults.append(Fault(kind="late", operation="update_profile", delay_s=14, count=1))
        first = await rig.generate(person, name="Old")
        await rig.send(first)
        await rig.outcomes(1)
        newer = await rig.generate(person, name="New", control=control)
        await rig.send(newer)
        outcomes = await rig.outcomes(2)
        assert rig.properties(person).get("jai_subject") == (None if control else "Hi New")

        await eventually(lambda: rig.properties(person).get("jai_subject") == "Hi Old", within_s=20)
        await eventually(
            lambda: rig.properties(person).get("jai_subject") == (None if control else "Hi New"), within_s=70
        )

        assert outcomes[newer.generation_id]["outcome"] == ("cleared" if control else "written")
        assert len(rig.patches()) == 4
