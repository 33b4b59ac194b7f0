"""A key that may not read its account names its own quota: with another key, what is known of profiles moves over."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import aiohttp
import pytest

from services.profile_writer.handler import Intake
from services.profile_writer.rows import Held, Key, Lane, Pending, Ref, Verdict
from services.profile_writer.store import Desk, Known, Store
from services.profile_writer.upkeep.move_store import MoveStore
from shared.admin.context import Actor, Asking, Means
from shared.admin.errors import Conflict
from shared.admin.operation import Operation
from shared.admin.orgs import klaviyo
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.db.pool import Connection, Database
from shared.errors import Outage
from shared.klaviyo.client import KlaviyoClient
from shared.schemas.jobs import WriteJob
from tests.component.cli.rig import PEPPER
from tests.component.profile_writer.rig import MESSAGE, RING, Rig, rigged, shifted, writing
from tests.support.waiting import eventually

NEW = "key:new"
RECONNECT = "UPDATE integrations SET account_key = $2 WHERE org_id = $1"
# Other tests' databases lie on the same server.
COUNT_WAITERS = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND a.datname = current_database()
"""
SELECT_WAITING = "SELECT account_key, generation_id, action, lane FROM pending_writes"
SELECT_HELD = "SELECT account_key, generation_id, stale_for FROM profile_state"


async def test_copy_that_is_decided_for_control_while_the_key_changes_is_taken_off_first(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        shown = await rig.generate(person)
        await holding(rig, shown)
        control = await rig.generate(person, control=True)
        await reconnect(rig)
        await intake(rig)([control])

        assert await moves(rig).follow_accounts(rig.org_id, rig.clock.now()) == 0

        assert await rows(rig, SELECT_WAITING) == [(NEW, control.generation_id, "clear", Lane.DIRTY)]
        assert await rows(rig, SELECT_HELD) == [(NEW, shown.generation_id, [MESSAGE])]


async def test_what_waited_under_the_earlier_key_is_not_written_over_what_came_since(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person, other] = rig.people(2)
        older, alone = await rig.generate(person), await rig.generate(other)
        await intake(rig)([older, alone])
        newer = await rig.generate(person)
        await reconnect(rig)
        await holding(rig, newer, account_key=NEW)

        await moves(rig).follow_accounts(rig.org_id, rig.clock.now())

        assert await rows(rig, SELECT_WAITING) == [(NEW, alone.generation_id, "write", Lane.FRESH)]
        outcomes = await rig.outcomes(1)
        assert outcomes[older.generation_id]["outcome"] == "superseded"


async def test_what_is_in_flight_stays_with_what_its_profile_holds_and_follows_when_it_has_landed(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        job = await rig.generate(person)
        await intake(rig)([job])
        await change_row(rig, job, taken=True)
        await reconnect(rig)

        assert await moves(rig).follow_accounts(rig.org_id, rig.clock.now()) == 1
        await change_row(rig, job, taken=False)
        assert await moves(rig).follow_accounts(rig.org_id, rig.clock.now()) == 0

        assert await rows(rig, SELECT_WAITING) == [(NEW, job.generation_id, "write", Lane.FRESH)]


@pytest.mark.parametrize("job_came_late", [False, True])
async def test_of_what_both_keys_wrote_the_newer_is_written_again(
    database_url: str, amqp_url: str, job_came_late: bool
) -> None:
    """The older one was in flight, in an import for hours perhaps, and may have landed last."""
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        older, newer = await rig.generate(person), await rig.generate(person)
        await holding(rig, newer if job_came_late else older)
        await reconnect(rig)
        await holding(rig, older if job_came_late else newer, account_key=NEW)

        await moves(rig).follow_accounts(rig.org_id, rig.clock.now())

        assert await rows(rig, SELECT_WAITING) == [(NEW, newer.generation_id, "write", Lane.DIRTY)]
        assert await rows(rig, SELECT_HELD) == [(NEW, newer.generation_id, [])]


async def test_copy_is_taken_off_though_another_accounts_key_was_connected_when_its_time_came(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        world = rig.box.world
        wrong = world.add_key(world.add_account("another"), ("profiles:write",))
        async with writing(rig):
            await rig.send(await rig.generate(person, delay_s=40, window_s=40))
            await rig.outcomes(1)
            await connected(rig, NEW, wrong.value)
            await eventually(lambda: not_found(rig), within_s=40)
            await connected(rig, account_key(rig), rig.key.value)
        shown = rig.properties(person)
        async with writing(replace(rig, clock_spec=shifted(rig.clock_spec, 86_400))):
            await eventually(lambda: rig.properties(person) == {}, within_s=20)

    assert shown["jai_for"] == MESSAGE


@pytest.mark.parametrize("operation", [klaviyo.connect, klaviyo.rotate])
async def test_a_key_that_does_not_find_the_profiles_with_our_copy_is_stored_only_if_somebody_insists(
    database_url: str, amqp_url: str, operation: Operation[klaviyo.KeyToStore, klaviyo.Connection]
) -> None:
    async with rigged(database_url, amqp_url) as rig, aiohttp.ClientSession() as session:
        world, asking = rig.box.world, asking_by(rig, session)
        ours = [world.add_key(rig.account, ("profiles:write",)) for _ in range(2)]
        wrong = world.add_key(world.add_account("another"), ("profiles:write",))
        [person, merged_away] = rig.people(2)
        await run(asking, klaviyo.connect, {"private_key": ours[0].value})
        for whom in (person, merged_away):
            await holding(rig, await rig.generate(whom), account_key=await stored_account(rig))
        rig.account.remove(merged_away, None)

        with pytest.raises(Conflict, match="of another account"):
            await run(asking, operation, {"private_key": wrong.value})
        refused = await stored_account(rig)
        await run(asking, operation, {"private_key": ours[1].value})
        taken = await stored_account(rig)
        await moves(rig).follow_accounts(rig.org_id, rig.clock.now())
        await run(asking, operation, {"private_key": wrong.value, "anyway": True})

        assert refused == key_name(ours[0].value)
        assert taken == key_name(ours[1].value)
        assert await stored_account(rig) == key_name(wrong.value)


async def test_a_move_of_many_is_made_in_pieces_between_which_others_get_in(database_url: str, amqp_url: str) -> None:
    """All at once, the accounts of a large org would be held for longer than anybody waits for them."""
    async with rigged(database_url, amqp_url) as rig:
        jobs = [await rig.generate(person) for person in rig.people(5)]
        await intake(rig)(jobs)
        await reconnect(rig)
        store = Counting(rig.db)

        assert await MoveStore(rig.db, store, margin_s=2, piece=2).follow_accounts(rig.org_id, rig.clock.now()) == 0

        assert {row[:2] for row in await rows(rig, SELECT_WAITING)} == {(NEW, job.generation_id) for job in jobs}
        assert store.desks == 4  # of two, two and one, and that there are no more


class Counting(Store):
    """How many transactions held accounts."""

    desks = 0

    @asynccontextmanager
    async def desk(self, account_keys: Collection[str]) -> AsyncIterator[Desk]:
        self.desks += 1
        async with super().desk(account_keys) as desk:
            yield desk


async def test_a_batch_that_waited_while_the_key_changed_is_taken_in_under_the_new_one(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        job = await rig.generate(rig.people(1)[0])
        store = Store(rig.db)
        async with asyncio.TaskGroup() as tasks:
            async with store.desk({account_key(rig)}):
                waiting = tasks.create_task(refused(rig, job))
                await eventually(lambda: somebody_waits(rig))
                await reconnect(rig)
            assert await waiting == "account_changed"
        await intake(rig)([job])

        assert await rows(rig, SELECT_WAITING) == [(NEW, job.generation_id, "write", Lane.FRESH)]


async def test_regression_a_batch_that_is_taken_in_while_the_key_changes_follows_with_the_others(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        job = await rig.generate(rig.people(1)[0])
        store = Pausing(rig.db)

        async def changed() -> None:
            await reconnect(rig)
            await moves(rig).follow_accounts(rig.org_id, rig.clock.now())  # as its notification has it

        async def changed_or_waiting() -> None:
            if not changing.done():
                await somebody_waits(rig)

        async with asyncio.TaskGroup() as tasks:
            taken = tasks.create_task(Intake(store, rig.clock, margin_s=2, wake=lambda: None)([job]))
            await store.has_looked.wait()
            changing = tasks.create_task(changed())
            await eventually(changed_or_waiting)
            store.goes_on.set()

        assert taken.result() == [None]
        assert await rows(rig, SELECT_WAITING) == [(NEW, job.generation_id, "write", Lane.FRESH)]


class Pausing(Store):
    """Whose desks pause between the look at which quota is an org's and what is written."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.has_looked, self.goes_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def desk(self, account_keys: Collection[str]) -> AsyncIterator[Desk]:
        async with super().desk(account_keys) as desk:
            yield PausingDesk(desk.connection, self)


class PausingDesk(Desk):
    def __init__(self, connection: Connection, store: Pausing) -> None:
        super().__init__(connection)
        self._store = store

    async def known(self, jobs: Sequence[tuple[str, WriteJob]]) -> list[Known]:
        self._store.has_looked.set()
        await self._store.goes_on.wait()
        return await super().known(jobs)


async def test_intakes_of_several_accounts_share_an_org(database_url: str, amqp_url: str) -> None:
    """They keep its quota as it is, and do not wait for each other."""
    async with rigged(database_url, amqp_url) as rig:
        async with Store(rig.db).desk({"key:one"}) as one, Store(rig.db).desk({"key:two"}) as two:
            held = [await asyncio.wait_for(desk.hold_account_keys({rig.org_id}), 5) for desk in (one, two)]

        assert held == [{rig.org_id: account_key(rig)}] * 2


async def refused(rig: Rig, job: WriteJob) -> str:
    with pytest.raises(Outage) as caught:
        await intake(rig)([job])
    return caught.value.reason


async def somebody_waits(rig: Rig) -> None:
    async with rig.db.connection() as connection:
        assert await connection.fetchval(COUNT_WAITERS) == 1


def account_key(rig: Rig) -> str:
    return f"acct:{rig.account.id}"


def intake(rig: Rig) -> Intake:
    return Intake(Store(rig.db), rig.clock, margin_s=2, wake=lambda: None)


def moves(rig: Rig) -> MoveStore:
    return MoveStore(rig.db, Store(rig.db), margin_s=2)


async def reconnect(rig: Rig) -> None:
    """Another key, which may not read the account."""
    async with rig.db.connection() as connection:
        await connection.execute(RECONNECT, rig.org_id, NEW)


def asking_by(rig: Rig, session: aiohttp.ClientSession) -> Asking:
    """The org's owner, in front of the box."""
    means = Means(
        rig.db, rig.clock, RING, Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom, klaviyo_url=rig.box.url,
        klaviyo=lambda base_url, key: KlaviyoClient(session, base_url, key, clock=rig.clock),
    )  # fmt: skip
    return Asking(means, Actor("Ada", "person", "owner", rig.org_id, "shop"), "request-1")


async def stored_account(rig: Rig) -> str:
    [(named,)] = await rows(rig, "SELECT account_key FROM integrations")
    return str(named)


def key_name(private_key: str) -> str:
    """What names the quota of a key that may not read its account."""
    return f"key:{hashlib.sha256(private_key.encode()).hexdigest()[:24]}"


async def connected(rig: Rig, named: str, private_key: str) -> None:
    """This key in place of the one that is stored, its quota under this name."""
    async with rig.db.connection() as connection:
        await connection.execute(RECONNECT, rig.org_id, named)
    await rig.connect(private_key)


async def not_found(rig: Rig) -> None:
    """The other account was asked to clear the profile, and does not know it."""
    assert await rows(rig, "SELECT account_key, state, clean_queued FROM profile_state") == [(NEW, "unknown", False)]


async def holding(rig: Rig, job: WriteJob, *, account_key: str | None = None) -> None:
    """The job's copy is on its profile."""
    key = Key(account_key or f"acct:{rig.account.id}", job.profile_id, job.prefix)
    clean_at = job.deadline_at + timedelta(minutes=10)
    ref = Ref(job.day, job.generation_id, job.org_id)
    held = Held(key, ref, "holding", MESSAGE, (), job.accepted_at, clean_at, job.accepted_at, clean_at)
    async with Store(rig.db).desk({key.account_key}) as desk:
        book = await desk.open_book({key})
        book.record(key, Verdict(None, held))
        await desk.save(book, rig.clock.now())


async def change_row(rig: Rig, job: WriteJob, *, taken: bool) -> None:
    key = Key(account_key(rig), job.profile_id, job.prefix)
    async with Store(rig.db).desk({key.account_key}) as desk:
        book = await desk.open_book({key})
        row = book.pending(key)
        assert isinstance(row, Pending)
        book.record(key, Verdict(replace(row, taken_by=uuid4() if taken else None), book.held(key)))
        await desk.save(book, rig.clock.now())


async def rows(rig: Rig, statement: str) -> list[tuple[object, ...]]:
    async with rig.db.connection() as connection:
        return [tuple(row) for row in await connection.fetch(statement)]
