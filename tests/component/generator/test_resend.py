"""A broker that came back without its memory."""

from datetime import UTC, datetime, timedelta

import aio_pika

from services.generator.app import MEMORY
from shared.messaging.topology import WRITE
from tests.component.generator.rig import Rig, running, shop
from tests.support.waiting import eventually
from tests.unit.generator.given import job

ENSURE = "SELECT ensure_partition('write_outcomes', day) FROM generations"
INSERT_OUTCOME = """
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, at, attempts)
    SELECT day, generation_id, org_id, 'written', accepted_at, 1 FROM generations WHERE user_id = $1
"""


async def test_writes_that_the_broker_forgot_are_asked_for_again_once_unless_they_have_ended(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    jobs = [job(datetime.now(UTC), org_id=org_id, user_id=f"u{number}") for number in range(3)]

    async with running(rig):
        await _remembers(rig)
        await rig.send(*jobs)
        await rig.writes(3)  # taken out of the queues by this test: as good as forgotten
        await rig.rows(ENSURE)
        await rig.rows(INSERT_OUTCOME, "u1")
        for name in (*WRITE.queues, MEMORY):
            await rig.channel.queue_delete(name)
        await _remembers(rig)
        again = await rig.writes(2)

    async with running(rig):  # nothing was lost this time
        await _remembers(rig)
        assert await rig.writes(0) == []
    assert sorted(write.profile_id for write in again) == ["u0", "u2"]


async def test_a_write_whose_email_leaves_on_a_later_day_is_asked_for_again(rig: Rig) -> None:
    later, _ = await shop(rig)
    soon, _ = await shop(rig)
    await rig.rows("UPDATE templates SET delay_s = 259200 WHERE org_id = $1", later)
    ago = datetime.now(UTC) - timedelta(hours=30)

    async with running(rig):
        await _remembers(rig)
        await rig.send(job(ago, org_id=later, user_id="later"))
        await rig.send(job(ago, org_id=soon, user_id="left"))
        await rig.writes(2)
        await rig.rows(ENSURE)
        for name in (*WRITE.queues, MEMORY):
            await rig.channel.queue_delete(name)
        await _remembers(rig)
        again = await rig.writes(1)

    assert [write.profile_id for write in again] == ["later"]


async def _remembers(rig: Rig) -> None:
    async def there() -> None:
        # On a connection of its own: asking for what is not there costs the channel.
        connection = await aio_pika.connect(rig.amqp_url)
        async with connection:
            try:
                await (await connection.channel()).declare_queue(MEMORY, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity as error:
                raise AssertionError(MEMORY) from error

    await eventually(there, within_s=15, every_s=0.2)
