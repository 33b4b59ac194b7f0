"""The second road in both worlds: a box that counts imports of profiles apart from PATCH, and one that does not."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.profile_writer.store import Store
from services.profile_writer.upkeep.store import UpkeepStore
from shared import metrics
from simulator.faults import Fault
from simulator.settings import SimulatorSettings
from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.waiting import eventually

MINUTE_S = 60
WRITES = 2_000
SLOWER = 4.0  # than the other tests' clock, so that a busy machine carries two minutes' quotas within a minute
INTO_S = 15.0
"""Where in Klaviyo's minute the burst begins. By PATCH alone it needs three minutes of its quota."""

TURN = 25  # writes
TURNS_BEFORE_IT_RESTS = 2
PROBES_WHILE_THE_REST_GROWS = 7  # from 0.5 s to 30 s, each between half of that and all of it

ACCOUNTS = ("jai_second_road_accounts", {"verdict": "separate"})
SELECT_ROADS = "SELECT verdict, verdict_at FROM klaviyo_roads"
INSERT_ACCOUNT = "INSERT INTO klaviyo_accounts (account_key) VALUES ($1)"
INSERT_ROAD = "INSERT INTO klaviyo_roads (account_key, road, verdict, verdict_at) VALUES ($1, 'import', 'separate', $2)"
SELECT_BLOCKS = """
    SELECT a.blocked_until IS NOT NULL AS first, r.blocked_until IS NOT NULL AS second
    FROM klaviyo_accounts a JOIN klaviyo_roads r USING (account_key)
"""

COUNT_WRITTEN = "SELECT count(*) FROM write_outcomes WHERE org_id = $1"
AT_HAND = 300  # writes: six turns of both roads

SERVE = """
    WITH road AS (UPDATE klaviyo_roads SET steady_limit = 10)
    UPDATE klaviyo_accounts SET steady_limit = 10, last_served_at = $1
"""
SELECT_BREAKERS = """
    SELECT a.breaker_writes AS first, (SELECT sum(failed) FROM unnest(a.calls_failed) failed) AS first_failed,
           r.breaker_writes AS second
    FROM klaviyo_accounts a JOIN klaviyo_roads r USING (account_key)
"""


async def the_burst(rig: Rig) -> None:
    """Write 2,000 profiles."""
    jobs = await rig.generate_many(WRITES, delay_s=900)
    into_s = (rig.clock.now().timestamp() - rig.account.phase_s) % MINUTE_S
    await rig.clock.sleep((INTO_S - into_s) % MINUTE_S)
    async with writing(rig, import_road=True):
        for start in range(0, WRITES, 200):
            await rig.send(*jobs[start : start + 200])
        outcomes = await rig.outcomes(WRITES, within_s=180)
    assert Counter(row["outcome"] for row in outcomes.values()) == {"written": WRITES}
    for job in jobs:
        assert rig.properties(job.profile_id)["jai_generation"] == str(job.generation_id)


async def proved_separate(rig: Rig) -> None:
    """As if it had been seen earlier."""
    async with rig.db.connection() as connection:
        await connection.execute(INSERT_ACCOUNT, f"acct:{rig.account.id}")
        await connection.execute(INSERT_ROAD, f"acct:{rig.account.id}", rig.clock.now())


async def verdicts(rig: Rig) -> list[tuple[str | None, datetime | None]]:
    async with rig.db.connection() as connection:
        return [(row["verdict"], row["verdict_at"]) for row in await connection.fetch(SELECT_ROADS)]


async def written(rig: Rig) -> int:
    async with rig.db.connection() as connection:
        count: int = await connection.fetchval(COUNT_WRITTEN, rig.org_id)
    return count


def statuses(entries: Sequence[Any]) -> Counter[int]:
    return Counter(entry.status for entry in entries)


def minutes(rig: Rig, entries: Sequence[Any]) -> Counter[int]:
    return Counter(math.floor((entry.at.timestamp() - rig.account.phase_s) / MINUTE_S) for entry in entries)


@pytest.mark.long
async def test_where_the_quotas_are_separate_a_minute_carries_more_than_one_and_nothing_is_refused(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig:
        await the_burst(rig)
        [(verdict, since)] = await verdicts(rig)

        assert statuses(rig.patches()).keys() == {200}
        assert statuses(rig.imports()).keys() == {200}
        assert len(rig.patches()) + len(rig.imports()) == WRITES
        assert max(minutes(rig, [*rig.patches(), *rig.imports()]).values()) > 750
        assert max(minutes(rig, rig.patches()).values()) <= 750
        assert max(minutes(rig, rig.imports()).values()) <= 750
        assert verdict == "separate"
        assert since is not None


@pytest.mark.long
async def test_where_they_are_one_quota_it_is_left_alone_after_a_few_writes_and_nothing_is_refused(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(
        database_url, amqp_url, factor=SLOWER, settings=SimulatorSettings(shared_write_quota=True)
    ) as rig:
        await the_burst(rig)
        [(verdict, since)] = await verdicts(rig)

        assert statuses(rig.patches()).keys() == {200}
        assert statuses(rig.imports()).keys() == {200}
        assert len(rig.imports()) <= 20
        assert max(minutes(rig, [*rig.patches(), *rig.imports()]).values()) <= 750
        assert verdict == "shared"
        assert since is not None


@pytest.mark.long
async def test_a_verdict_that_does_not_hold_is_withdrawn(database_url: str, amqp_url: str) -> None:
    """Each road takes the other for another app and leaves it nearly all; that would go on for ever. How many writes
    ten looks take depends on how fast the machine answers, so there are always some to send."""
    async with rigged(
        database_url, amqp_url, factor=SLOWER, settings=SimulatorSettings(shared_write_quota=True)
    ) as rig:
        await proved_separate(rig)
        asked = 0
        async with writing(rig, import_road=True):

            async def withdrawn() -> None:
                nonlocal asked
                if asked - await written(rig) < AT_HAND:
                    await rig.send(*await rig.generate_many(AT_HAND))
                    asked += AT_HAND
                assert [verdict for verdict, _ in await verdicts(rig)] == ["shared"]

            await eventually(withdrawn, within_s=120)
            outcomes = await rig.outcomes(asked, within_s=100)

        assert {row["outcome"] for row in outcomes.values()} == {"written"}
        assert statuses([*rig.patches(), *rig.imports()])[429] <= 5


async def test_a_proved_road_drains_the_backlog_too_where_the_setting_is_on(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        now, store = rig.clock.now(), UpkeepStore(rig.db, Store(rig.db))
        async with rig.db.connection() as connection:
            await connection.execute(SERVE, now)
        await rig.hold(until=now + timedelta(hours=1))
        async with writing(rig):
            await rig.send(*[await rig.generate(profile_id, delay_s=7200) for profile_id in rig.people(10)])
            await rig.taken_in(10)

        both, one = await store.live_view(now, second_road=True), await store.live_view(now)

        assert one.drain_s == 60
        assert both.drain_s == 30


async def test_without_the_setting_not_even_a_proved_road_is_used(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        async with writing(rig):
            await rig.send(*[await rig.generate(profile_id) for profile_id in rig.people(60)])
            await rig.outcomes(60)

        assert (len(rig.patches()), rig.imports()) == (60, [])


async def test_only_writes_go_by_it_and_never_two_of_one_profile_at_a_time(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        people = rig.people(60)
        async with writing(rig, import_road=True):
            await rig.send(*[await rig.generate(profile_id) for profile_id in people])
            await rig.outcomes(60)
            await rig.send(*[await rig.generate(profile_id, control=True) for profile_id in people])
            await rig.outcomes(120)
            await eventually(lambda: metrics.REGISTRY.get_sample_value(*ACCOUNTS) == 1)

        assert len(rig.imports()) >= 10
        assert all(b"unset" not in entry.body and b'"properties"' in entry.body for entry in rig.imports())
        assert sum(b"unset" in entry.body for entry in rig.patches()) == 60
        assert all(not rig.properties(profile_id) for profile_id in people)


async def test_a_429_on_it_blocks_it_alone(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        rig.box.world.faults.append(Fault(kind="status", operation="create_or_update_profile", status=429, count=1))
        async with writing(rig, import_road=True):
            await rig.send(*[await rig.generate(profile_id) for profile_id in rig.people(60)])
            outcomes = await rig.outcomes(60)
        async with rig.db.connection() as connection:
            blocks = await connection.fetchrow(SELECT_BLOCKS)

        assert {row["outcome"] for row in outcomes.values()} == {"written"}
        assert statuses(rig.imports())[429] == 1
        assert statuses(rig.patches()).keys() == {200}
        assert blocks is not None
        assert (blocks["first"], blocks["second"]) == (False, True)


async def test_while_its_calls_fail_it_rests_alone_and_patch_writes_all(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        rig.box.world.faults.append(Fault(kind="status", operation="create_or_update_profile", status=503))
        async with writing(rig, import_road=True):
            await rig.send(*[await rig.generate(profile_id, delay_s=600) for profile_id in rig.people(150)])
            outcomes = await rig.outcomes(150)
        async with rig.db.connection() as connection:
            breakers = await connection.fetchrow(SELECT_BREAKERS)

        assert {row["outcome"] for row in outcomes.values()} == {"written"}
        assert statuses(rig.patches()) == {200: 150}
        refused = rig.imports()
        asked_for_s = (refused[-1].at - refused[0].at).total_seconds()
        assert statuses(refused).keys() == {503}
        assert len(refused) <= TURNS_BEFORE_IT_RESTS * TURN + PROBES_WHILE_THE_REST_GROWS + asked_for_s / 15
        assert breakers is not None
        assert (breakers["first"], breakers["first_failed"]) == (None, 0)
        assert breakers["second"] == 1
        assert [verdict for verdict, _ in await verdicts(rig)] == ["separate"]


@pytest.mark.parametrize("status", [400, 403, 405])
async def test_when_klaviyo_refuses_the_operation_no_write_is_lost_and_it_is_left_alone(
    database_url: str, amqp_url: str, status: int
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        await proved_separate(rig)
        rig.box.world.faults.append(Fault(kind="status", operation="create_or_update_profile", status=status))
        async with writing(rig, import_road=True):
            await rig.send(*[await rig.generate(profile_id) for profile_id in rig.people(60)])
            outcomes = await rig.outcomes(60)

        assert {row["outcome"] for row in outcomes.values()} == {"written"}
        assert 1 <= len(rig.imports()) <= 25
        assert [verdict for verdict, _ in await verdicts(rig)] == ["refused"]
