"""The bulk road against the box: what single writes cannot carry is there in time, and what fails is seen to."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from shared.klaviyo.bulk import SCOPES, BulkImports, job_body
from shared.klaviyo.profile import profile_resource
from shared.schemas.jobs import WriteJob
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

SLOWER = 2.5  # than the other tests' clock: a busy machine packs and settles thousands
NOT_WRITTEN = {"quota", "outage"}  # why what single writes cannot carry ends; a slow machine may make it the second
QUICK_JOBS = SimulatorSettings(bulk_job_min_s=5, bulk_job_max_s=15)
TOO_MANY = 2_500  # for two minutes of single writes
DELAY_S = 120
FEW = 700  # as many for an account that may use a third of its quota

INSERT_TIGHT = "INSERT INTO klaviyo_accounts (account_key, factor, factor_at) VALUES ($1, 0.3, $2)"
SELECT_JOBS = "SELECT state, ending, rows, refused_rows, klaviyo_job_id FROM bulk_jobs ORDER BY sent_at"


@asynccontextmanager
async def tight(database_url: str, amqp_url: str, settings: SimulatorSettings = QUICK_JOBS) -> AsyncIterator[Rig]:
    """An account that was refused often lately: single writes carry a third."""
    async with rigged(database_url, amqp_url, factor=2 * SLOWER, scopes=SCOPES, settings=settings) as rig:
        async with rig.db.connection() as connection:
            await connection.execute(INSERT_TIGHT, f"acct:{rig.account.id}", rig.clock.now())
        yield rig


async def jobs_of(rig: Rig) -> list[dict[str, object]]:
    async with rig.db.connection() as connection:
        return [dict(row) for row in await connection.fetch(SELECT_JOBS)]


def shown(rig: Rig, jobs: list[WriteJob]) -> Counter[bool]:
    """Of whom each profile holds exactly the copy of its job."""
    return Counter(
        rig.properties(job.profile_id).get("jai_generation") == str(job.generation_id)
        and rig.properties(job.profile_id).get("jai_subject") == "Hi Ann"
        and rig.properties(job.profile_id).get("jai_person") == job.profile_id
        for job in jobs
    )


def imported(rig: Rig) -> int:
    return sum(job.total for job in rig.account.jobs.values())


async def test_what_single_writes_cannot_carry_in_time_goes_by_import(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url, factor=SLOWER, scopes=SCOPES, settings=QUICK_JOBS) as rig:
        jobs = await rig.generate_many(rig.people(TOO_MANY), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(TOO_MANY, within_s=80)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": TOO_MANY}
        assert shown(rig, jobs) == {True: TOO_MANY}
        landed = rig.account.first_written_at
        assert max(landed[str(job.generation_id)] for job in jobs) < jobs[0].deadline_at
        assert 500 < imported(rig) < TOO_MANY  # the rest is what single writes can carry
        assert {entry.status for entry in rig.patches()} == {200}
        assert {job["ending"] for job in await jobs_of(rig)} == {"complete"}


async def test_without_the_scopes_nothing_goes_by_import(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig:
        jobs = await rig.generate_many(rig.people(2_000), delay_s=60)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(2_000, within_s=60)

        assert rig.account.jobs == {}
        ended = {(row["outcome"], row["reason"]) for row in outcomes.values()}
        assert ("written", None) in ended
        assert ended - {("written", None)} <= {("expired", reason) for reason in NOT_WRITTEN}
        assert len(ended) > 1


async def test_an_import_whose_answer_was_lost_is_found_again_in_the_list(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.faults.append(Fault(kind="reset_after_apply", count=1, operation="bulk_import_profiles"))
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=80)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": FEW}
        assert shown(rig, jobs) == {True: FEW}
        first = (await jobs_of(rig))[0]
        assert first["ending"] == "complete"
        assert first["klaviyo_job_id"] in rig.account.jobs


async def test_another_apps_import_of_the_same_size_is_not_taken_for_a_lost_one(
    database_url: str, amqp_url: str
) -> None:
    async with tight(database_url, amqp_url) as rig, aiohttp.ClientSession() as session:
        rig.box.world.faults.append(Fault(kind="reset", count=1, operation="bulk_import_profiles"))
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        other_app = BulkImports(session, rig.box.url, rig.box.world.add_key(rig.account, SCOPES).value, rig.clock)
        async with writing(rig):
            await rig.send(*jobs)
            rows = await eventually(lambda: lost_rows(rig), within_s=30)
            theirs = [profile_resource(person, {"plan": "pro"}) for person in rig.people(rows)]
            job_id = await other_app.create(job_body(theirs))
            outcomes = await rig.outcomes(FEW, within_s=80)

        written = [job for job in jobs if outcomes[job.generation_id]["outcome"] == "written"]
        assert shown(rig, written) == {True: len(written)}
        assert len(written) > FEW / 2
        assert job_id not in {job["klaviyo_job_id"] for job in await jobs_of(rig)}


async def lost_rows(rig: Rig) -> int:
    """How many rows the import has that nobody answered for."""
    lost = [job["rows"] for job in await jobs_of(rig) if job["state"] == "lost"]
    assert len(lost) == 1
    assert isinstance(lost[0], int)
    return lost[0]


@pytest.mark.parametrize(
    "kind", ["reset", *(pytest.param(one, marks=pytest.mark.long) for one in ("status", "cloudflare"))]
)
async def test_an_import_that_was_not_made_is_made_again_or_written_one_by_one(
    database_url: str, amqp_url: str, kind: str
) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.faults.append(
            Fault.model_validate({"kind": kind, "count": 1, "operation": "bulk_import_profiles"})
        )
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=80)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": FEW}
        assert shown(rig, jobs) == {True: FEW}
        assert imported(rig) > 0


@pytest.mark.long
async def test_a_throttled_import_waits_as_long_as_klaviyo_says(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.add_foreign(rig.account, "bulk_import_profiles", 2.4, "steady")
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        await rig.clock.sleep((rig.account.phase_s - rig.clock.now().timestamp()) % 60)  # until its minute begins
        async with writing(rig):
            await rig.send(*jobs)
            await rig.outcomes(FEW, within_s=60)

        made = list(rig.box.world.log.since(0, "bulk_import_profiles", 1000))
        assert len(made) < 20
        assert shown(rig, jobs)[True] > 500


async def test_a_key_that_klaviyo_does_not_let_import_writes_one_by_one(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.key.scopes = SCOPES - {"lists:write"}  # what our books say was true once
        jobs = await rig.generate_many(rig.people(FEW), delay_s=60)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=80)

        ended = Counter((row["outcome"], row["reason"]) for row in outcomes.values())
        assert set(ended) <= {("written", None), *(("expired", reason) for reason in NOT_WRITTEN)}
        assert 50 <= ended["written", None] < FEW
        tried = [entry.status for entry in rig.box.world.log.since(0, "bulk_import_profiles", 1000)]
        assert tried in ([403], [403] * 2, [403] * 3, [403] * 4)  # the jobs of one round


async def test_a_newer_generation_waits_for_the_import_and_is_written_over_it(database_url: str, amqp_url: str) -> None:
    """At most one write in flight per profile, however long the import takes."""
    slow = SimulatorSettings(bulk_job_min_s=30, bulk_job_max_s=31)
    async with tight(database_url, amqp_url, slow) as rig:
        people = rig.people(FEW)
        older = await rig.generate_many(people, delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*older)
            await eventually(lambda: len(rig.account.jobs) > 0, within_s=20)
            [job] = list(rig.account.jobs.values())[:1]
            back = [row["id"] for row in job.rows[:5]]
            newer = await rig.generate_many(back, delay_s=DELAY_S, name="Newer")
            await rig.send(*newer)
            await rig.outcomes(FEW + 5, within_s=60)

        patched = [entry for entry in rig.patches() if any(person in entry.path for person in back)]
        assert len(patched) == 5
        assert job.ended_at is not None
        assert min(entry.at for entry in patched) >= job.ended_at
        assert {rig.properties(person)["jai_subject"] for person in back} == {"Hi Newer"}


async def test_two_replicas_import_nobody_twice_and_a_dead_ones_jobs_are_followed(
    database_url: str, amqp_url: str
) -> None:
    async with tight(database_url, amqp_url, SimulatorSettings(bulk_job_min_s=10, bulk_job_max_s=20)) as rig:
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig), writing(rig):
            await rig.send(*jobs)
            await eventually(lambda: len(rig.account.jobs) > 0, within_s=20)
        async with writing(rig):  # both are gone before the job is over
            outcomes = await rig.outcomes(FEW, within_s=60)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": FEW}
        bodies = [entry.body or b"" for entry in rig.box.world.log.since(0, "bulk_import_profiles", 1000)]
        rows = re.findall(rb'"profile","id":"(\w+)"', b"".join(bodies))
        assert len(rows) == imported(rig)
        assert len(rows) == len(set(rows))
        assert shown(rig, jobs) == {True: FEW}


async def test_rows_that_an_import_refuses_are_written_one_by_one(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.faults.append(Fault(kind="row_error", operation="bulk_import_profiles", count=20))
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        gone = jobs[-1].profile_id  # imports are packed from the far end
        rig.account.remove(gone, None)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=60)

        lost = outcomes[jobs[-1].generation_id]
        assert (lost["outcome"], lost["reason"]) == ("rejected", "profile_not_found")
        others = Counter(row["outcome"] for key, row in outcomes.items() if key != jobs[-1].generation_id)
        assert others == {"written": FEW - 1}
        assert sum(int(str(job["refused_rows"])) for job in await jobs_of(rig)) >= 20


@pytest.mark.parametrize(
    "unclear", [{"import_error_payload": False}, {"import_error_payload": False, "import_error_row": False}]
)
async def test_refused_rows_are_found_or_else_all_are_written_again(
    database_url: str, amqp_url: str, unclear: dict[str, bool]
) -> None:
    settings = SimulatorSettings(bulk_job_min_s=5, bulk_job_max_s=10, **unclear)
    async with tight(database_url, amqp_url, settings) as rig:
        rig.box.world.faults.append(Fault(kind="row_error", operation="bulk_import_profiles", count=5))
        jobs = await rig.generate_many(rig.people(400), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(400, within_s=60)

        written = [job for job in jobs if outcomes[job.generation_id]["outcome"] == "written"]
        assert shown(rig, written) == {True: len(written)}
        assert len(written) >= 300


async def test_a_cancelled_import_is_written_again_and_nothing_wrong_is_left(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.faults.append(
            Fault(kind="cancel_job", operation="bulk_import_profiles", count=1, applied_share=0.5)
        )
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=60)

        assert "cancelled" in {job["ending"] for job in await jobs_of(rig)}
        written = [job for job in jobs if outcomes[job.generation_id]["outcome"] == "written"]
        assert shown(rig, written) == {True: len(written)}
        assert len(written) > FEW / 2


async def test_a_stop_while_an_import_runs_takes_its_copy_away_first(database_url: str, amqp_url: str) -> None:
    slow = SimulatorSettings(bulk_job_min_s=20, bulk_job_max_s=21)
    async with tight(database_url, amqp_url, slow) as rig:
        jobs = await rig.generate_many(rig.people(500), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            await eventually(lambda: len(rig.account.jobs) > 0, within_s=20)
            async with rig.db.connection() as connection:
                await connection.execute("UPDATE templates SET stopped_at = $1", rig.clock.now())
            await rig.outcomes(500, within_s=30)
            made = len(rig.account.jobs)

            async def clean() -> None:
                assert [job for job in jobs if rig.properties(job.profile_id)] == []

            await eventually(clean, within_s=60)
            assert len(rig.account.jobs) == made


async def test_a_key_that_may_make_imports_but_not_see_them_makes_none(database_url: str, amqp_url: str) -> None:
    """Their rows would be out of reach."""
    async with tight(database_url, amqp_url) as rig:
        rig.key.scopes = SCOPES - {"lists:read"}
        jobs = await rig.generate_many(rig.people(FEW), delay_s=60)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=60)

        assert rig.account.jobs == {}
        assert None in (reasons := {row["reason"] for row in outcomes.values()})
        assert reasons - {None} <= NOT_WRITTEN
        assert len(reasons) > 1


@pytest.mark.long
async def test_an_import_that_klaviyo_makes_after_its_gateway_gave_up_is_found_all_the_same(
    database_url: str, amqp_url: str
) -> None:
    async with tight(database_url, amqp_url) as rig:
        rig.box.world.faults.append(
            Fault(kind="status_after_apply", status=504, count=4, operation="bulk_import_profiles")
        )
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=60)

        assert shown(rig, [job for job in jobs if outcomes[job.generation_id]["outcome"] == "written"])[False] == 0
        first = (await jobs_of(rig))[0]
        assert (first["ending"], first["klaviyo_job_id"] in rig.account.jobs) == ("complete", True)


@pytest.mark.long
async def test_errors_that_cannot_be_read_hold_up_only_their_own_import(database_url: str, amqp_url: str) -> None:
    async with tight(database_url, amqp_url) as rig:
        world = rig.box.world
        world.faults.append(Fault(kind="row_error", operation="bulk_import_profiles", count=1))
        world.faults.append(Fault(kind="status", status=400, operation="get_errors_for_bulk_import_profiles_job"))
        jobs = await rig.generate_many(rig.people(FEW), delay_s=DELAY_S)
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(FEW, within_s=90)

        assert {job["state"] for job in await jobs_of(rig)} == {"ended"}
        written = [job for job in jobs if outcomes[job.generation_id]["outcome"] == "written"]
        assert shown(rig, written) == {True: len(written)}
