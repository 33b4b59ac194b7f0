"""The whole quota of an account, and no request more: two replicas against a box that counts in minutes of its own."""

import math
from collections import Counter

import pytest

from shared import metrics
from simulator.faults import Fault
from tests.component.profile_writer.rig import COUNT_PENDING, Rig, rigged, writing
from tests.support.measured import say
from tests.support.waiting import eventually

MINUTE_S = 60
WRITES = 1_700
SELECT_BREAKER = "SELECT breaker_writes, blocked_reason FROM klaviyo_accounts WHERE account_key = $1"
SLOWER = 5.0  # than the other tests' clock, so that a busy machine carries a minute's quota within its minute


@pytest.mark.alone
@pytest.mark.long
async def test_two_replicas_use_the_minute_to_its_edge_and_are_never_refused(database_url: str, amqp_url: str) -> None:
    """Three of the account's minutes: the first tells its phase, the second is whole, the third takes the rest."""
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig:
        await _saturate(rig)

    answered = Counter(entry.status for entry in rig.patches())
    minutes = Counter(math.floor((entry.at.timestamp() - rig.account.phase_s) / MINUTE_S) for entry in rig.patches())
    full = [minutes[index] for index in range(min(minutes) + 1, max(minutes))]
    assert answered == {200: WRITES}
    assert rig.imports() == []  # nobody has asked for the second road
    assert max(minutes.values()) <= 750
    assert full
    assert max(full) >= 0.95 * 750


async def _saturate(rig: Rig) -> None:
    jobs = await rig.generate_many(WRITES, delay_s=900)
    into_s = (rig.clock.now().timestamp() - rig.account.phase_s) % MINUTE_S
    await rig.clock.sleep((15 - into_s) % MINUTE_S)  # near an edge, what is sent counts for both minutes
    async with writing(rig), writing(rig):
        for start in range(0, WRITES, 200):
            await rig.send(*jobs[start : start + 200])

        async def all_tried() -> None:
            assert len(rig.patches()) >= WRITES

        await eventually(all_tried, within_s=100)


async def test_while_klaviyo_answers_nothing_it_is_asked_a_little_and_then_everything_is_written(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        jobs = await rig.generate_many(100)
        outage = Fault(kind="status", operation="update_profile", status=503)
        rig.box.world.faults.append(outage)
        async with writing(rig):
            await rig.send(*jobs)
            await eventually(lambda: len(rig.patches()) >= 3, within_s=30)
            await rig.clock.sleep(90)
            asked = len(rig.patches())
            rig.box.world.faults.remove(outage)
            outcomes = await rig.outcomes(len(jobs), within_s=60)

    say(asked=asked)
    # Two turns of 25, then probes whose pause doubles from a second to half a minute.
    assert 3 <= asked <= 2 * 25 + 12
    assert {row["outcome"] for row in outcomes.values()} == {"written"}


async def test_while_klaviyo_fails_more_than_half_of_its_calls_it_is_left_alone_and_its_neighbours_are_not(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        well = await rig.neighbour("well")
        jobs, others = await rig.generate_many(200), await well.generate_many(200)
        outage = Fault(
            kind="status", operation="update_profile", status=503, probability=0.6, account_id=rig.account.id
        )
        rig.box.world.faults.append(outage)
        async with writing(rig):
            began = rig.clock.now()
            await rig.send(*jobs)
            await well.send(*others)
            await well.outcomes(len(others), within_s=30)
            async with rig.db.connection() as connection:
                waiting = await connection.fetchval(COUNT_PENDING, rig.org_id)
            await eventually(lambda: _opened(rig))
            await rig.clock.sleep(120 - (rig.clock.now() - began).total_seconds())
            rig.box.world.faults.remove(outage)
            outcomes = await rig.outcomes(len(jobs), within_s=60)

    say(calls=len(rig.patches()), writes=len(jobs))
    assert {row["outcome"] for row in outcomes.values()} == {"written"}
    assert len(rig.patches()) <= 1.5 * len(jobs)
    assert len(well.patches()) == len(others)
    shown = metrics.exposition().decode()
    assert 'jai_klaviyo_breaker_opened_total{reason="klaviyo_503"}' in shown
    assert 'jai_klaviyo_breaker_accounts{state="probing"}' in shown
    assert waiting > 0  # when those of its neighbours were made


async def _opened(rig: Rig) -> bool:
    """Whether the account's breaker has opened, for the reason that its calls had."""
    async with rig.db.connection() as connection:
        row = await connection.fetchrow(SELECT_BREAKER, f"acct:{rig.account.id}")
    return row is not None and row["breaker_writes"] == 1 and row["blocked_reason"] == "klaviyo_503"
