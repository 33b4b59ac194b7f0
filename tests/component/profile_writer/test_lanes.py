"""Retries and dirty profiles beside fresh writes: neither eats what is the other's, and the database finds all of them
without sorting."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.profile_writer.turns.agenda_store import AT_ONCE, AgendaStore
from shared.schemas.jobs import WriteJob
from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)

TURN = 25
MAKE_RETRIES = """
    UPDATE pending_writes SET lane = 2, attempt = 1, last_reason = 'klaviyo_503' WHERE generation_id = ANY($1)
"""
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

    # 100 fresh writes at 20 a turn are 5 turns, although every retry's deadline is earlier.
    assert max(_places(rig, fresh)) < 7 * TURN


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
        fresh, dirty = await rig.generate_many(40, delay_s=100), await rig.generate_many(900, delay_s=120)
        async with _waiting(rig, fresh, dirty, MAKE_DIRTY), writing(rig):
            await eventually(lambda: len(rig.patches()) >= 300, within_s=60)

    assert len(_places(rig, dirty)) >= 300
    assert min(_places(rig, fresh), default=300) >= 300


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
