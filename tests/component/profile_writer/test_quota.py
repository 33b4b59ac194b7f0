"""The whole quota of an account, and no request more: two replicas against a box that counts in minutes of its own."""

import math
from collections import Counter

from tests.component.profile_writer.rig import Rig, rigged, writing
from tests.support.waiting import eventually

MINUTE_S = 60
WRITES = 1_700
SLOWER = 5.0  # than the other tests' clock, so that a busy machine carries a minute's quota within its minute


async def test_two_replicas_use_the_minute_to_its_edge_and_are_never_refused(database_url: str, amqp_url: str) -> None:
    """Three of the account's minutes: the first tells its phase, the second is whole, the third takes the rest."""
    async with rigged(database_url, amqp_url, factor=SLOWER) as rig:
        await _saturate(rig)

    answered = Counter(entry.status for entry in rig.patches())
    minutes = Counter(math.floor((entry.at.timestamp() - rig.account.phase_s) / MINUTE_S) for entry in rig.patches())
    full = [minutes[index] for index in range(min(minutes) + 1, max(minutes))]
    assert answered == {200: WRITES}
    assert max(minutes.values()) <= 750
    assert full
    assert max(full) >= 0.95 * 750


async def _saturate(rig: Rig) -> None:
    people = rig.people(WRITES)
    jobs = [await rig.generate(profile_id, delay_s=900) for profile_id in people]
    into_s = (rig.clock.now().timestamp() - rig.account.phase_s) % MINUTE_S
    await rig.clock.sleep((15 - into_s) % MINUTE_S)  # near an edge, what is sent counts for both minutes
    async with writing(rig), writing(rig):
        for start in range(0, WRITES, 200):
            await rig.send(*jobs[start : start + 200])

        async def all_tried() -> None:
            assert len(rig.patches()) >= WRITES

        await eventually(all_tried, within_s=100)
