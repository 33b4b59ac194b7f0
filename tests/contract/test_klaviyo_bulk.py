"""Our bulk client against the account in a box: every request fits Klaviyo's document, every answer is understood."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from shared.clock import FrozenClock
from shared.errors import Permanent, Throttled
from shared.klaviyo.bulk import JOB_MAX_BYTES, SCOPES, BulkImports, job_body
from shared.klaviyo.errors import KeyRefused, MaybeApplied
from shared.klaviyo.profile import profile_resource
from simulator.account import Account
from simulator.app import Box, serving
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.contract.klaviyo_spec import check_request, load_spec
from tests.support.waiting import eventually

COPY = {"jai_subject": "Für Ann, “hello”", "jai_body": "<p>a\nb</p>"}
FIVE_S = SimulatorSettings(bulk_job_min_s=5, bulk_job_max_s=5)


@asynccontextmanager
async def imports(
    scopes: frozenset[str] = SCOPES,
) -> AsyncIterator[tuple[BulkImports, Box, Account, FrozenClock]]:
    clock = FrozenClock()
    world = World(clock, FIVE_S, 1)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, scopes)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        yield BulkImports(session, box.url, key.value, clock), box, account, clock
    if (spec := load_spec()) is not None:
        for request in world.log.since(0, None, 10_000):
            if request.status < 300:
                check_request(spec, request.method, request.path, request.headers, request.body)


def body(*profile_ids: str) -> bytes:
    return job_body([profile_resource(profile_id, COPY) for profile_id in profile_ids])


async def test_a_job_is_made_watched_and_its_rows_are_on_the_profiles() -> None:
    async with imports() as (client, box, account, clock):
        person = box.world.add_profile(account, {"properties": {"size": "M"}})

        job_id = await client.create(body(person))
        [waiting] = (await client.newest()).jobs
        clock.advance(6)

        async def over() -> None:
            clock.advance(1)  # or the lists of one second would be throttled
            [job] = (await client.newest()).jobs
            assert (job.job_id, job.status, job.rows, job.failed) == (job_id, "complete", 1, 0)
            assert job.completed_at is not None
            assert 5 <= (job.completed_at - job.created_at).total_seconds() <= 10

        await eventually(over)
        assert not waiting.over
        assert account.profiles[person].state.properties == {"size": "M", **COPY}


async def test_rows_that_were_not_taken_are_named() -> None:
    async with imports() as (client, box, account, clock):
        person = box.world.add_profile(account, {})
        job_id = await client.create(body("GONE11", person, "GONE22"))
        clock.advance(6)

        async def told() -> None:
            clock.advance(1)
            errors = (await client.errors(job_id)).errors
            assert [(error.number, error.profile_id) for error in errors] == [(0, "GONE11"), (2, "GONE22")]

        await eventually(told)
        [job] = (await client.newest()).jobs
        assert (job.rows, job.done, job.failed) == (3, 1, 2)
        assert await client.job(job_id) == job


async def test_a_job_that_is_not_kept_any_more_says_so() -> None:
    async with imports() as (client, _, _, _):
        with pytest.raises(Permanent) as caught:
            await client.job("01GDDKASAP8TKDDA2GRZDSVP4H")
        assert caught.value.reason == "resource_not_found"


async def test_more_errors_than_a_page_holds_are_on_the_next_pages() -> None:
    async with imports() as (client, _, _, clock):
        job_id = await client.create(body(*(f"GONE{number:03}" for number in range(250))))
        clock.advance(6)

        async def told() -> None:
            clock.advance(1)
            first = await client.errors(job_id)
            second = await client.errors(job_id, first.more)
            third = await client.errors(job_id, second.more)
            numbers = [error.number for page in (first, second, third) for error in page.errors]
            assert (sorted(filter(None, numbers)), len(numbers), third.more) == (list(range(1, 250)), 250, None)

        await eventually(told)


async def test_older_jobs_are_on_the_next_page_the_newest_first() -> None:
    async with imports() as (client, box, account, clock):
        person = box.world.add_profile(account, {})
        made = []
        for _ in range(103):
            made.append(await client.create(body(person)))
            clock.advance(1)

        first = await client.newest()
        assert [job.job_id for job in first.jobs] == made[:2:-1]
        second = await client.newest(first.older)
        assert [job.job_id for job in second.jobs] == made[2::-1]
        assert second.older is None


async def test_a_job_as_large_as_we_make_them_is_taken() -> None:
    async with imports() as (client, box, account, _):
        people = [box.world.add_profile(account, {}) for _ in range(49)]
        large = job_body([profile_resource(person, {"jai_body": "é" * 45_000}) for person in people])
        assert 4_400_000 < len(large) < JOB_MAX_BYTES

        await client.create(large)

        assert [len(job.rows) for job in account.jobs.values()] == [49]


async def test_each_missing_scope_is_a_refusal() -> None:
    async with imports(SCOPES - {"lists:write"}) as (client, _, _, _):
        with pytest.raises(KeyRefused) as caught:
            await client.create(body("ABC123"))
        assert caught.value.reason == "scope_missing"
    async with imports(SCOPES - {"lists:read"}) as (client, _, _, _):
        with pytest.raises(KeyRefused):
            await client.newest()


async def test_the_eleventh_job_of_a_second_is_throttled() -> None:
    async with imports() as (client, box, account, _):
        person = box.world.add_profile(account, {})
        for _ in range(10):
            await client.create(body(person))
        with pytest.raises(Throttled):
            await client.create(body(person))


async def test_a_lost_answer_is_in_doubt_and_nobody_at_all_is_refused() -> None:
    async with imports() as (client, box, account, _):
        box.world.faults.append(Fault(kind="reset_after_apply", count=1, operation="bulk_import_profiles"))
        with pytest.raises(MaybeApplied):
            await client.create(body(box.world.add_profile(account, {})))
        assert [job.rows for job in (await client.newest()).jobs] == [1]
        with pytest.raises(Permanent):
            await client.create(job_body([]))
