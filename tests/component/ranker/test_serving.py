"""From a click to another choice: what the ranker fits is what the generator draws from."""

from services.ranker.store import before_of
from tests.component.generator.rig import AT, INSERT_VERSION, Rig
from tests.component.generator.rig import rig as open_rig
from tests.component.generator.rig import running as generating
from tests.component.ranker.rig import open_shop, running
from tests.support.waiting import eventually
from tests.unit.generator.given import job


async def test_new_feedback_is_drawn_from_within_five_seconds(database_url: str, amqp_url: str) -> None:
    async with open_shop(database_url) as shop, open_rig(database_url, amqp_url) as rig, generating(rig):
        for copy_id in shop.copy_ids:
            await rig.rows(INSERT_VERSION, shop.org_id, copy_id, 1, "<p>A</p>", AT)
        assert await _drawn(rig, shop.org_id, 0) == ("burn_in", [1 / 3] * 3)

        async with running(database_url):
            await shop.tastes()
            numbers = iter(range(1, 1_000))

            async def learned() -> tuple[str, list[float]]:
                reason, probabilities = await _drawn(rig, shop.org_id, next(numbers))
                assert reason == "explore"
                assert probabilities[2] > 0.5
                return reason, probabilities

            _, probabilities = await eventually(learned, within_s=10, every_s=0.2)

        *_, newest = (row for row in await shop.snapshots() if row["fitted_until"] is not None)
        assert tuple(probabilities) == before_of(dict(newest)).cells["plan=pro"]


async def _drawn(rig: Rig, org_id: object, number: int) -> tuple[str, list[float]]:
    webhook = job(AT, org_id=org_id, user_id=f"U{number:05}", attrs={"plan": "pro"})
    await rig.send(webhook)
    (row,) = await eventually(
        lambda: rig.rows(
            "SELECT reason, probabilities FROM generations WHERE generation_id = $1", webhook.generation_id
        )
    )
    return row["reason"], row["probabilities"]
