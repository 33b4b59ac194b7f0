"""Writers that are stopped, killed, or have a wrong clock, and a Klaviyo that refuses, stalls, or never answers.

What the box saw is the witness: how many requests each second and minute had, which came late, what profiles hold.
"""

import json
import os
import signal
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.admin.context import Actor, Asking, Means
from shared.admin.outcomes.outcomes import Pause, list_outcomes
from shared.admin.run import run
from shared.api_keys import Peppers
from shared.schemas.jobs import WriteJob
from simulator.faults import Fault
from tests.component.cli.rig import PEPPER
from tests.component.profile_writer.rig import RING, JumpingClock, Rig, replicas, rigged, shifted, writing
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(110)

OPERATION = "update_profile"
TURN, IN_FLIGHT = 25, 10
BUSY_S = 300
"""Of the scaled clock: half a minute in which a busy machine did something else."""
SELECT_PAUSES = "SELECT reason FROM write_pauses WHERE org_id = $1"
SELECT_BLOCKED = "SELECT blocked_until FROM klaviyo_accounts WHERE account_key = $1 AND blocked_reason = $2"


async def test_a_writer_frozen_past_its_lease_sends_hardly_anything_late_and_nothing_older_over_newer(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    lease_s = 5.0
    async with rigged(database_url, amqp_url, factor=5) as rig:
        people = rig.people(60)
        older = [await rig.generate(person, name="Old", delay_s=3600) for person in people]
        async with replicas(rig, tmp_path, rig.clock_spec, rig.clock_spec, writer_lease_s=str(lease_s)) as writers:
            frozen, other = (writers.pids[name] for name in ("writer-1", "writer-2"))
            try:
                os.kill(other, signal.SIGSTOP)

                # Again and again: what a frozen one was handed stays with it for half a minute.
                async def older_are_under_way() -> None:
                    await rig.send(*older)
                    await eventually(lambda: len(rig.patches()) >= 10, within_s=3, every_s=0.002)

                await eventually(older_are_under_way, within_s=20)
                os.kill(frozen, signal.SIGSTOP)
                os.kill(other, signal.SIGCONT)
                frozen_at = rig.clock.now()
                newer = [await rig.generate(person, name="New", delay_s=3600) for person in people]

                async def newer_are_written() -> None:
                    await rig.send(*newer)
                    await _written(rig, newer, within_s=3)

                await eventually(newer_are_written, within_s=40)
                await rig.clock.sleep(lease_s + 10 - (rig.clock.now() - frozen_at).total_seconds())
                before = len(rig.patches())
            finally:
                os.kill(frozen, signal.SIGCONT)
                os.kill(other, signal.SIGCONT)
            # Whatever the thawed writer still had in hand has left, or was given back, once it takes part again.
            afterwards = [await rig.generate(person, delay_s=3600) for person in rig.people(50)]
            await rig.send(*afterwards)
            await _written(rig, afterwards, within_s=40)
            # What left between the last look at the clock and the socket is written over again.
            expected = {str(job.generation_id) for job in newer}
            await eventually(lambda: {rig.properties(one)["jai_generation"] for one in people} == expected, within_s=20)
            codes = await writers.end(*writers.pids)

    late = [
        patch for patch in rig.patches()[before:] if _generation(patch) in {str(job.generation_id) for job in older}
    ]
    say(late=len(late))
    assert len(late) <= IN_FLIGHT
    assert set(codes.values()) == {0}  # and no turn hangs for ever in the one that was frozen
    _never_over_the_limit(rig)


async def test_a_writer_killed_in_mid_burst_costs_no_write_and_few_twice(
    database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    async with rigged(database_url, amqp_url, factor=5) as rig:
        jobs = await rig.generate_many(300)
        async with replicas(rig, tmp_path, rig.clock_spec, rig.clock_spec, writer_lease_s="40") as writers:
            await rig.send(*jobs)
            await eventually(lambda: len(rig.patches()) >= 60, within_s=30, every_s=0.002)
            await writers.end("writer-1", kill=True)
            outcomes = await rig.outcomes(len(jobs), within_s=40)

    assert {row["outcome"] for row in outcomes.values()} == {"written"}
    assert all(rig.properties(job.profile_id)["jai_generation"] == str(job.generation_id) for job in jobs)
    # What a turn has sent is recorded when it ends: a killed one's writes are all sent again.
    assert len(rig.patches()) - len(jobs) <= TURN
    _never_over_the_limit(rig)


@pytest.mark.parametrize("ahead_s", [300, -317])
async def test_a_clock_five_minutes_wrong_on_one_replica_lets_nobody_exceed_the_limit(
    database_url: str, amqp_url: str, tmp_path: Path, ahead_s: float
) -> None:
    async with rigged(database_url, amqp_url, factor=8) as rig:
        jobs = await rig.generate_many(1_000)
        async with replicas(rig, tmp_path, rig.clock_spec, shifted(rig.clock_spec, ahead_s)):
            for start in range(0, len(jobs), 100):
                await rig.send(*jobs[start : start + 100])
            await _written(rig, jobs, within_s=80)

    # A replica that is ahead takes over what is in flight, because it thinks that the lease is over.
    say(ahead_s=ahead_s, again=len(rig.patches()) - len(jobs))
    assert len(rig.patches()) - len(jobs) <= 4 * TURN
    _never_over_the_limit(rig)


@pytest.mark.long
@pytest.mark.parametrize("jump_s", [300, -317])
async def test_a_clock_that_jumps_five_minutes_while_it_writes_lets_nobody_exceed_the_limit(
    database_url: str, amqp_url: str, jump_s: float
) -> None:
    async with rigged(database_url, amqp_url, factor=4) as rig:
        jobs, clock = await rig.generate_many(1_700), JumpingClock.of(rig.clock_spec)
        async with writing(rig), writing(rig, clock=clock):
            await rig.send(*jobs)
            await eventually(lambda: len(rig.patches()) >= 300, within_s=30)
            clock.ahead = timedelta(seconds=jump_s)
            await _written(rig, jobs, within_s=70)

    say(jump_s=jump_s, again=len(rig.patches()) - len(jobs))
    assert len(rig.patches()) - len(jobs) <= 4 * TURN
    _never_over_the_limit(rig)


@pytest.mark.parametrize(("status", "reason"), [(401, "key_refused"), (403, "scope_missing")])
async def test_a_refused_key_pauses_its_account_alone_within_seconds_and_keeps_the_work_for_a_day(
    database_url: str, amqp_url: str, status: int, reason: str
) -> None:
    async with rigged(database_url, amqp_url, factor=1) as rig:
        other = await rig.neighbour("other")
        if status == 401:
            rig.key.revoked = True
        else:
            await rig.connect(rig.box.world.add_key(rig.account, {"flows:read"}).value)
        jobs, others = await rig.generate_many(20, delay_s=25 * 3600), await other.generate_many(20)
        async with writing(rig):
            await rig.send(*jobs)
            shown = await eventually(lambda: _pause_shown(rig))
            paused_s = (rig.clock.now() - _refused(rig, status)[0]).total_seconds()
            await other.send(*others)
            went_on = await other.outcomes(len(others))
        a_day_later = replace(rig, clock_spec=shifted(rig.clock_spec, 24 * 3600))
        async with writing(a_day_later):
            await rig.taken_in(len(jobs))
            await eventually(lambda: _pauses(rig, [reason]))
            tried = len(_refused(rig, status))
            await rig.connect(rig.box.world.add_key(rig.account, {"profiles:write"}).value)
            outcomes = await rig.outcomes(len(jobs))

    say(status=status, paused_s=round(paused_s, 2), tried=tried)
    assert paused_s <= 5
    assert (shown.reason, f"Klaviyo answered {status}" in shown.message) == (reason, True)
    assert {row["outcome"] for row in went_on.values()} == {"written"}
    assert 0 < tried <= TURN
    assert {row["outcome"] for row in outcomes.values()} == {"written"}


async def test_a_403_that_is_a_page_of_the_edge_pauses_nobody(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, writing(rig):
        rig.box.world.faults.append(Fault(kind="cloudflare", operation=OPERATION, count=3))
        jobs = await rig.generate_many(3)
        await rig.send(*jobs)
        outcomes = await rig.outcomes(3)
        paused = await _pauses(rig, [])

    assert {row["outcome"] for row in outcomes.values()} == {"written"}
    assert paused


@pytest.mark.parametrize("asked_s", [None, 0, 3600])
async def test_a_429_pauses_its_account_alone_for_as_long_as_it_says(
    database_url: str, amqp_url: str, asked_s: int | None
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        other = await rig.neighbour("other")
        refusal = Fault(kind="status", status=429, retry_after_s=asked_s, operation=OPERATION, count=1)
        rig.box.world.faults.append(refusal.model_copy(update={"account_id": rig.account.id}))
        jobs, others = await rig.generate_many(40, delay_s=7200), await other.generate_many(40)
        async with writing(rig):
            await rig.send(*jobs)
            until = await eventually(lambda: _blocked_until(rig))
            [refused_at] = [patch.at for patch in rig.patches() if patch.status == 429]
            blocked_s = (until - refused_at).total_seconds()
            asked_before = len(rig.patches())
            await other.send(*others)
            await other.outcomes(len(others))
            if asked_s != 3600:
                await rig.outcomes(len(jobs))

    assert Counter(patch.status for patch in other.patches()) == {200: len(others)}
    if asked_s == 3600:
        assert 3600 <= blocked_s < 1.1 * 3600 + BUSY_S
        assert len(rig.patches()) == asked_before
    else:
        assert 1 <= blocked_s < 60 + BUSY_S


async def test_replies_that_never_come_hold_no_other_account_up_and_their_own_not_for_long(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url, factor=2) as rig:  # so that a lease is long for a busy machine, too
        other = await rig.neighbour("other")
        silence = Fault(kind="slow", delay_s=600, operation=OPERATION, count=IN_FLIGHT, account_id=rig.account.id)
        rig.box.world.faults.append(silence)
        jobs, others = await rig.generate_many(40), await other.generate_many(40)
        async with writing(rig):
            await rig.send(*jobs)
            await eventually(lambda: silence.count == 0)
            began = rig.clock.now()
            await other.send(*others)
            await other.outcomes(len(others))
            others_s = (rig.clock.now() - began).total_seconds()
            outcomes = await rig.outcomes(len(jobs), within_s=40)

    say(others_s=round(others_s, 1))
    assert others_s < 25  # the silence lasts for a lease, 30 s
    assert {row["outcome"] for row in outcomes.values()} == {"written"}


async def _written(rig: Rig, jobs: list[WriteJob], within_s: float) -> None:
    """Return when each of these generations has been written; others may have ended otherwise."""

    async def all_written() -> None:
        async with rig.db.connection() as connection:
            ended = await connection.fetch(
                "SELECT outcome FROM write_outcomes WHERE generation_id = ANY($1)", [job.generation_id for job in jobs]
            )
        assert Counter(row["outcome"] for row in ended) == {"written": len(jobs)}

    await eventually(all_written, within_s=within_s)


def _never_over_the_limit(rig: Rig) -> None:
    """Klaviyo refused nothing, so no second and no minute of its own counting was exceeded."""
    counted = rig.account.windows[OPERATION]
    assert counted.refused == 0
    assert {patch.status for patch in rig.patches()} == {200}
    assert max(counted.minutes.values()) <= 750
    assert counted.windows[0].history_max <= 75


async def _pause_shown(rig: Rig) -> Pause:
    """What the console, our own command and the API tell of the org's key, once they do."""
    means = Means(rig.db, rig.clock, RING, Peppers(PEPPER), new_id=uuid4, random_bytes=os.urandom)
    asking = Asking(means, Actor("Ada", "person", "viewer", rig.org_id, "shop"), "request-1")
    told = await run(asking, list_outcomes, {"counts": False})
    assert told.writing.pause is not None
    return told.writing.pause


def _refused(rig: Rig, status: int) -> list[datetime]:
    """When writes were answered so, in whatever account: of a key that is none nobody knows whose it was."""
    asked = rig.box.world.log.since(0, OPERATION, 100_000)
    return [entry.at for entry in asked if entry.status == status]


def _generation(patch: Any) -> str | None:
    attributes = json.loads(patch.body)["data"].get("attributes", {})
    return attributes.get("properties", {}).get("jai_generation")  # type: ignore[no-any-return]  # JSON


async def _pauses(rig: Rig, reasons: list[str]) -> bool:
    async with rig.db.connection() as connection:
        return [row["reason"] for row in await connection.fetch(SELECT_PAUSES, rig.org_id)] == reasons


async def _blocked_until(rig: Rig) -> datetime:
    """Until when the account waits, or waited, because of a 429."""
    async with rig.db.connection() as connection:
        until = await connection.fetchval(SELECT_BLOCKED, f"acct:{rig.account.id}", "klaviyo_throttled")
    assert isinstance(until, datetime)
    return until
