"""What reaches the profiles, seen in the box that enforces Klaviyo's rules."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from simulator.faults import Fault
from tests.component.profile_writer.rig import MESSAGE, Rig, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

SEND_WINDOW_S = 900  # of the template


async def test_copy_and_markers_reach_the_profile_in_one_write(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        job = await rig.generate(person, name="Ann")
        await rig.send(job)
        outcomes = await rig.outcomes(1)

        assert outcomes[job.generation_id]["outcome"] == "written"
        assert rig.properties(person) == {
            "jai_subject": "Hi Ann",
            "jai_preheader": "pre",
            "jai_body": "<p>Hello Ann</p>",
            "jai_generation": str(job.generation_id),
            "jai_for": MESSAGE,
            "jai_person": person,
        }
        assert len(rig.patches()) == 1


async def test_a_burst_is_written_by_deadline_and_klaviyo_never_says_429(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        people = rig.people(200)
        jobs = [await rig.generate(person, delay_s=900 - number) for number, person in enumerate(people)]
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(200, within_s=40)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": 200}
        assert {patch.status for patch in rig.patches()} == {200}
        order = [patch.path.rpartition("/")[2].partition("?")[0] for patch in rig.patches()]
        wanted = list(reversed(people))
        # Within a turn answers overtake each other; nobody is served much later than the deadlines say.
        displacement = max(abs(order.index(person) - place) for place, person in enumerate(wanted))
        assert displacement < 50  # two turns


async def test_two_replicas_share_one_quota(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        jobs = [await rig.generate(person, delay_s=900) for person in rig.people(150)]
        async with writing(rig), writing(rig):
            await rig.send(*jobs)
            await rig.outcomes(150, within_s=40)

        seconds = Counter(int(patch.at.timestamp()) for patch in rig.patches())
        assert {patch.status for patch in rig.patches()} == {200}
        assert max(seconds.values()) <= 75
        assert len(rig.patches()) == 150


async def test_the_newest_generation_wins_and_the_older_one_says_so(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        [person] = rig.people(1)
        older = await rig.generate(person, name="Old")
        newer = await rig.generate(person, name="New")
        async with writing(rig):
            await rig.send(newer)
            await rig.outcomes(1)
            await rig.send(older)
            outcomes = await rig.outcomes(2)

        assert outcomes[newer.generation_id]["outcome"] == "written"
        assert outcomes[older.generation_id]["outcome"] == "superseded"
        assert rig.properties(person)["jai_subject"] == "Hi New"


async def test_a_repeated_job_writes_nothing_twice(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person, other] = rig.people(2)
        job = await rig.generate(person)
        await rig.send(job, job)
        await rig.outcomes(1)
        await rig.send(job)
        await rig.send(await rig.generate(other))
        await rig.outcomes(2)

        assert len(rig.patches()) == 2


async def test_a_write_past_its_deadline_is_not_sent_and_counted_with_its_reason(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        job = await rig.generate(person, delay_s=1)
        await rig.send(job)
        outcomes = await rig.outcomes(1)

        assert (outcomes[job.generation_id]["outcome"], outcomes[job.generation_id]["reason"]) == (
            "expired",
            "arrived_late",
        )
        assert rig.patches() == []


async def test_what_the_quota_could_not_carry_by_the_first_moment_of_its_email_is_there_for_a_later_one(
    database_url: str, amqp_url: str
) -> None:
    """Of a flow that waits until a time of day most emails leave hours after the first that may."""
    async with rigged(database_url, amqp_url) as rig:
        await rig.hold(until=rig.clock.now() + timedelta(seconds=90))
        [late, plain] = rig.people(2)
        jobs = [
            await rig.generate(late, delay_s=60, window_s=3600 + SEND_WINDOW_S),
            await rig.generate(plain, delay_s=60, window_s=SEND_WINDOW_S),
        ]
        async with writing(rig):
            await rig.send(*jobs)
            outcomes = await rig.outcomes(2)

        ends = [(outcomes[job.generation_id]["outcome"], outcomes[job.generation_id]["reason"]) for job in jobs]
        assert ends[0] == ("written", "answered_late")
        assert ends[1][0] == "expired"
        assert [rig.properties(person).get("jai_subject") for person in (late, plain)] == ["Hi Ann", None]


async def test_our_properties_leave_the_profile_after_the_send_window(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person, delay_s=20, window_s=20))
        await rig.outcomes(1)

        await eventually(lambda: rig.properties(person) == {}, within_s=20)
        await eventually(rig_is_clean(rig), within_s=5)


async def test_a_control_decision_takes_an_older_copy_off_the_profile(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        await rig.send(await rig.generate(person))
        await rig.outcomes(1)
        control = await rig.generate(person, control=True)
        await rig.send(control)
        outcomes = await rig.outcomes(2)

        assert outcomes[control.generation_id]["outcome"] == "cleared"
        assert rig.properties(person) == {}


async def test_a_control_decision_on_a_clean_profile_costs_no_call(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        control = await rig.generate(person, control=True)
        await rig.send(control)
        outcomes = await rig.outcomes(1)

        assert outcomes[control.generation_id]["outcome"] == "nothing_to_clear"
        assert rig.patches() == []


async def test_people_whose_profile_holds_older_copy_are_served_first(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        people = rig.people(60)
        back = people[50:]
        async with writing(rig):
            await rig.send(*[await rig.generate(person) for person in back])
            await rig.outcomes(10)
        fresh = [await rig.generate(person, delay_s=600) for person in people[:50]]
        again = [await rig.generate(person, delay_s=900, name="Again") for person in back]
        before = len(rig.patches())
        await rig.send(*fresh, *again)
        async with writing(rig):
            await rig.outcomes(70, within_s=30)

        served = [patch.path.rpartition("/")[2].partition("?")[0] for patch in rig.patches()[before:]]
        assert max(served.index(person) for person in back) < 25  # the first turn, although their deadline is last


async def test_a_webhook_accepted_again_later_keeps_its_copy_until_its_own_email(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        job = await rig.generate(person, delay_s=40, window_s=40)
        await rig.send(job)
        await rig.outcomes(1)
        await eventually(lambda: rig.properties(person) == {}, within_s=40)

        wait = rig.clock.now() - job.accepted_at
        again = job.model_copy(update={"accepted_at": job.accepted_at + wait, "deadline_at": job.deadline_at + wait})
        await rig.send(again)

        await eventually(lambda: rig.properties(person).get("jai_generation") == str(job.generation_id))
        await eventually(lambda: rig.properties(person) == {}, within_s=40)


async def test_withdrawn_copy_is_taken_off_when_its_webhook_is_accepted_again(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        job = await rig.generate(person, delay_s=3600, window_s=3600)
        await rig.send(job)
        await rig.outcomes(1)
        shown = rig.properties(person)

        wait = rig.clock.now() - job.accepted_at
        later = {"accepted_at": job.accepted_at + wait, "deadline_at": job.deadline_at + wait, "action": "clear"}
        await rig.send(job.model_copy(update=later))

        await eventually(lambda: rig.properties(person) == {})
        outcomes = await rig.outcomes(1)

    assert shown["jai_generation"] == str(job.generation_id)
    assert outcomes[job.generation_id]["outcome"] == "written"


@pytest.mark.parametrize("kind", ["cloudflare", "status", "reset_after_apply", "reset"])
async def test_a_passing_fault_is_tried_again_and_the_write_is_there_once(
    database_url: str, amqp_url: str, kind: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        rig.box.world.faults.append(Fault.model_validate({"kind": kind, "count": 1, "operation": "update_profile"}))
        job = await rig.generate(person)
        await rig.send(job)
        outcomes = await rig.outcomes(1)

        assert outcomes[job.generation_id]["outcome"] == "written"
        assert outcomes[job.generation_id]["attempts"] == 2
        assert rig.properties(person)["jai_generation"] == str(job.generation_id)


async def test_a_refused_key_pauses_the_org_and_a_new_key_drains_it(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        people = rig.people(5)
        rig.key.revoked = True
        await rig.send(*[await rig.generate(person, delay_s=600) for person in people])
        await eventually(lambda: paused(rig))
        tried = len(rig.patches())

        fresh = rig.box.world.add_key(rig.account, {"profiles:write"})
        await rig.connect(fresh.value)
        outcomes = await rig.outcomes(5)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": 5}
        assert tried <= 5


async def test_a_key_that_was_refused_in_passing_drains_without_anybody(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        people = rig.people(30)
        rig.key.revoked = True
        await rig.send(*[await rig.generate(person, delay_s=600) for person in people])
        await eventually(lambda: paused(rig))
        rig.key.revoked = False
        outcomes = await rig.outcomes(30)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": 30}
        assert not await paused(rig)


async def test_a_profile_that_is_gone_parks_its_own_write_only(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [gone, there] = rig.people(2)
        rig.account.remove(gone, None)
        lost, kept = await rig.generate(gone), await rig.generate(there)
        await rig.send(lost, kept)
        outcomes = await rig.outcomes(2)

        assert (outcomes[lost.generation_id]["outcome"], outcomes[lost.generation_id]["reason"]) == (
            "rejected",
            "profile_not_found",
        )
        assert outcomes[kept.generation_id]["outcome"] == "written"


async def test_the_writes_of_a_worker_that_died_are_taken_over(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        people = rig.people(5)
        jobs = [await rig.generate(person, delay_s=600) for person in people]
        rig.box.world.faults.append(Fault(kind="slow", delay_s=60, operation="update_profile", count=5))
        async with dying(rig):
            await rig.send(*jobs)
            await eventually(lambda: len(rig.box.world.faults) > 0 and rig.box.world.faults[0].count == 0, within_s=10)
        rig.box.world.faults.clear()

        async with writing(rig):
            outcomes = await rig.outcomes(5, within_s=30)

        assert Counter(row["outcome"] for row in outcomes.values()) == {"written": 5}
        assert all(rig.properties(person) for person in people)


async def paused(rig: Rig) -> bool:
    async with rig.db.connection() as connection:
        reason = await connection.fetchval("SELECT reason FROM write_pauses WHERE org_id = $1", rig.org_id)
    return bool(reason == "key_refused")


def rig_is_clean(rig: Rig):  # type: ignore[no-untyped-def]  # a check for `eventually`
    async def clean() -> bool:
        return await rig.dirty() == []

    return clean


class dying:  # reads like the context manager `writing`
    """A replica that is gone without a word: its tasks are cancelled where they stand."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with writing(self._rig):
            await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_a_preview_that_asks_to_be_written_is_written_and_cleaned_up_like_any_other(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        [person] = rig.people(1)
        job = await rig.generate(person, delay_s=60, window_s=60)
        async with rig.db.connection() as connection:
            await connection.execute("UPDATE generations SET decision = 'written_preview', reason = 'preview'")
        await rig.send(job)
        outcomes = await rig.outcomes(1)

        assert outcomes[job.generation_id]["outcome"] == "written"
        assert rig.properties(person)["jai_subject"] == "Hi Ann"
        await eventually(lambda: "jai_subject" not in rig.properties(person), within_s=25)


async def test_a_writer_makes_place_for_tomorrows_outcomes_before_anybody_needs_it(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        day = rig.clock.now().date() + timedelta(days=1)

        async def there() -> None:
            async with rig.db.connection() as connection:
                assert await connection.fetchval("SELECT to_regclass($1)::text", f"write_outcomes_{day:%Y%m%d}")

        await eventually(there)
