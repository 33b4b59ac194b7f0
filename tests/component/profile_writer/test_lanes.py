"""Retries and dirty profiles beside fresh writes: neither eats what is the other's, and the database finds all of them
without sorting."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.profile_writer.turns.agenda_store import AT_ONCE, AgendaStore
from services.profile_writer.turns.store import TurnStore
from shared.schemas.jobs import WriteJob
from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

TURN = 25
MAKE_RETRIES = """
    UPDATE pending_writes SET lane = 2, attempt = 1, last_reason = 'klaviyo_503' WHERE generation_id = ANY($1)
"""
PEND = """
    INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, written_for,
                                accepted_at, deadline_at, clean_at, next_attempt_at)
    SELECT $1, $3::text || $5 || person, 'jai', $2, $5, $3::text::smallint, $6::timestamptz::date, gen_random_uuid(),
           'w.F.A', $7, $6, $6 + interval '1 hour', $7
    FROM generate_series(1, $4) AS person
"""
PUT_OFF = "UPDATE pending_writes SET lane = 2, latest_at = deadline_at WHERE generation_id = ANY($1)"
MAKE_DIRTY = "UPDATE pending_writes SET lane = 0 WHERE generation_id = ANY($1)"


async def test_retries_behind_a_long_fresh_backlog_have_a_fifth_of_each_turn(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        fresh, failed = await rig.generate_many(400, delay_s=3600), await rig.generate_many(40, delay_s=3600)
        async with _waiting(rig, fresh, failed, MAKE_RETRIES), writing(rig):
            await rig.outcomes(440, within_s=60)

    places = _places(rig, failed)
    # 40 retries at 5 a turn are 8 turns; served strictly by lane they would be the last 40 of 440.
    assert len(places) == 40
    assert max(places) < 10 * TURN


async def test_a_storm_of_retries_leaves_four_fifths_to_fresh_writes(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        fresh, failed = await rig.generate_many(100, delay_s=3600), await rig.generate_many(300, delay_s=600)
        async with _waiting(rig, fresh, failed, MAKE_RETRIES), writing(rig):
            await rig.outcomes(400, within_s=60)

    say(last_fresh_of_400=max(_places(rig, fresh)))
    # 100 fresh writes at 20 a turn are 5 turns, although every retry's deadline is earlier.
    assert max(_places(rig, fresh)) < 7 * TURN


async def test_writes_whose_first_emails_may_have_left_come_after_all_that_can_be_there_in_time(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        fresh, late = await rig.generate_many(100, delay_s=3600), await rig.generate_many(100, delay_s=600)
        async with _waiting(rig, fresh, late, PUT_OFF), writing(rig):
            await rig.outcomes(200, within_s=60)

    assert max(_places(rig, fresh)) < 100 + TURN


async def test_a_crowd_of_writes_that_are_put_off_does_not_stand_before_the_retries(
    database_url: str, amqp_url: str
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        fresh, failed = await rig.generate_many(400, delay_s=3600), await rig.generate_many(40, delay_s=3600)
        late = await rig.generate_many(100, delay_s=1800)
        async with _waiting(rig, fresh, [*failed, *late], MAKE_RETRIES):
            async with rig.db.connection() as connection:
                await connection.execute(PUT_OFF, [job.generation_id for job in late])
            async with writing(rig):
                await rig.outcomes(540, within_s=60)

    assert max(_places(rig, failed)) < 10 * TURN


async def test_dirty_profiles_that_can_wait_let_fresh_writes_by(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        fresh, dirty = await rig.generate_many(40, delay_s=600), await rig.generate_many(400, delay_s=3600)
        async with _waiting(rig, fresh, dirty, MAKE_DIRTY), writing(rig):
            await rig.outcomes(440, within_s=60)

    # 40 fresh writes at half of 25 a turn are 4 turns; behind all that is dirty they would be the last 40 of 440.
    assert len(_places(rig, fresh)) == 40
    assert max(_places(rig, fresh)) < 6 * TURN


async def test_dirty_profiles_that_cannot_wait_go_first(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig:
        # Until then at most four of Klaviyo's minutes go on: 2,800 requests, of which the dirty ones get half.
        fresh, dirty = await rig.generate_many(40, delay_s=160), await rig.generate_many(1_500, delay_s=170)
        async with _waiting(rig, fresh, dirty, MAKE_DIRTY), writing(rig):
            await eventually(lambda: len(rig.patches()) >= 300, within_s=60)

    assert len(_places(rig, dirty)) >= 300
    assert min(_places(rig, fresh), default=300) >= 300


@pytest.mark.parametrize("tried_again_in_s", [40, 0])
async def test_one_that_cannot_be_cleared_for_hours_holds_fresh_writes_up_only_when_it_is_tried(
    database_url: str, amqp_url: str, tried_again_in_s: int
) -> None:
    async with rigged(database_url, amqp_url) as rig:
        now, account_key = rig.clock.now(), f"acct:{rig.account.id}"
        await rig.hold(until=None)
        late = (0, 1, "clear", now - timedelta(hours=1), now + timedelta(seconds=tried_again_in_s))
        dirty = (0, 60, "write", now + timedelta(hours=1), now)
        fresh = (1, 20, "write", now + timedelta(minutes=10), now)
        async with rig.db.transaction() as connection:
            for lane, people, action, deadline_at, next_attempt_at in (late, dirty, fresh):
                await connection.execute(
                    PEND, account_key, rig.org_id, str(lane), people, action, deadline_at, next_attempt_at
                )
            claim = await TurnStore(connection).claim(rig.clock.now())
            assert claim is not None
            agenda = await AgendaStore(connection).agenda(
                claim, now, margin_s=2, given_up_before=now - timedelta(days=1), tokens=TURN, clean_up_tokens=TURN,
                chance=0.9,
            )  # fmt: skip

    first = Counter(key.profile_id[0] for key in agenda.send)
    assert first == ({"0": 13, "1": 12} if tried_again_in_s else {"0": 25})


async def test_what_a_turn_is_about_is_found_by_index_in_its_order(database_url: str, amqp_url: str) -> None:
    async with rigged(database_url, amqp_url) as rig, rig.db.transaction() as connection:
        now = rig.clock.now()
        answer = await connection.fetchval(
            f"EXPLAIN (FORMAT JSON) {AgendaStore.SELECT_AGENDA}", "acct:A", now, now, now - timedelta(days=1), AT_ONCE,
            TURN, TURN, [],
        )  # fmt: skip

    nodes = list(nodes_of(answer[0]["Plan"]))
    assert "Sort" not in {node["Node Type"] for node in nodes}
    assert {node["Node Type"] for node in nodes if "Relation Name" in node} <= {"Index Scan", "Index Only Scan"}
    assert {"pending_writes_by_retry", "pending_writes_put_off"} <= {node.get("Index Name") for node in nodes}


@asynccontextmanager
async def _waiting(rig: Rig, fresh: Sequence[WriteJob], others: Sequence[WriteJob], make: str) -> AsyncIterator[None]:
    """All of them pending, none sent yet; `make` puts the others into their lane."""
    await rig.hold(until=rig.clock.now() + timedelta(hours=1))
    async with writing(rig):
        await rig.send(*fresh[:200])
        await rig.send(*fresh[200:], *others)
        await rig.taken_in(len(fresh) + len(others))
    async with rig.db.connection() as connection:
        await connection.execute(make, [job.generation_id for job in others])
    await rig.hold(until=None)
    yield


def _places(rig: Rig, jobs: Sequence[WriteJob]) -> list[int]:
    """Where in the order of all requests these were sent."""
    people = {job.profile_id for job in jobs}
    order = [patch.path.rpartition("/")[2].partition("?")[0] for patch in rig.patches()]
    return [place for place, person in enumerate(order) if person in people]


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes_of(part)
