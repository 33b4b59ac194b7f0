"""What becomes of webhooks that are refused, fail, hang or are answered oddly: who is skipped, who is tried again."""

import asyncio
from datetime import timedelta

import pytest

from simulator.settings import SimulatorSettings
from tests.contract.simulator_stage import staged
from tests.support.waiting import eventually


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422, 504])
async def test_a_refused_webhook_is_skipped_for_ever(status: int) -> None:
    async with staged() as stage:
        stage.gateway.statuses = [status]
        await stage.enter()
        await stage.send(86_400)
        result = await stage.outcomes()

    assert len(stage.gateway.calls) == 1
    assert result["real_reasons"] == {"control_missed: no_webhook": 1}
    assert (result["rows"][0]["webhook"], result["rows"][0]["webhook_status"]) == ("skipped", status)


async def test_a_failing_webhook_is_tried_17_times_more_within_24_hours() -> None:
    async with staged() as stage:
        stage.gateway.statuses = [503]
        await stage.enter()
        started = stage.clock.now()
        for _ in range(24 * 60):
            calls = len(stage.gateway.calls)
            stage.clock.advance(61)
            for _ in range(30):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            if calls < 18:
                await eventually(lambda: stage.gateway.busy == 0)
        await stage.until(lambda progress: progress["webhooks"] == {"failed": 1})

    assert len(stage.gateway.calls) == 18
    assert stage.gateway.calls[-1][0] - started < timedelta(hours=24, minutes=20)
    assert len({raw for _, _, raw in stage.gateway.calls}) == 1


async def test_a_webhook_that_heals_is_accepted() -> None:
    async with staged() as stage:
        stage.gateway.statuses = [503, 429, 202]
        await stage.enter()
        stage.clock.advance(3)
        await eventually(lambda: len(stage.gateway.calls) == 2)
        stage.clock.advance(3)
        await stage.until(lambda progress: progress["webhooks"] == {"accepted": 1})
        await stage.write_all()
        await stage.send()

        assert (await stage.outcomes())["real"] == {"right": 1}


@pytest.mark.parametrize(("hold", "outcome"), [(True, {"right": 1}), (False, {"control_missed": 1})])
async def test_a_person_waits_for_the_retries_only_when_held(hold: bool, outcome: dict[str, int]) -> None:
    async with staged(settings=SimulatorSettings(hold_on_retry=hold, webhook_retries=1)) as stage:
        stage.gateway.statuses = [500, 202]
        await stage.enter()
        await eventually(lambda: len(stage.gateway.calls) == 1)
        # The only retry comes a whole day later; an email that is not held has long left.
        stage.clock.advance(3_600)
        if not hold:
            await stage.until(lambda progress: progress["sent"] == 1)
        stage.clock.advance(86_400)
        await stage.until(lambda progress: progress["webhooks"] == {"accepted": 1})
        await stage.write_all()
        await stage.send()

        assert (await stage.outcomes())["real"] == outcome


async def test_a_gateway_that_hangs_is_given_up_and_the_marker_is_the_witness() -> None:
    async with staged(settings=SimulatorSettings(webhook_timeout_s=2)) as stage:
        stage.gateway.works_s = 30
        await stage.enter()
        await stage.write_all()
        await stage.send()
        result = await stage.outcomes()

    assert result["rows"][0]["webhook"] == "skipped"
    assert result["real"] == {"right": 1}


async def test_a_webhook_without_a_server_is_skipped() -> None:
    async with staged(url="http://127.0.0.1:9/") as stage:
        await stage.enter()

        assert (await stage.until(lambda progress: True))["webhooks"] == {"skipped": 1}


@pytest.mark.parametrize(
    ("settings", "body", "calls"),
    [
        (SimulatorSettings(invalid_json="skip"), '{"n": "{{ person.first_name }}"', 0),
        (SimulatorSettings(), '{"user_id": "x", "n": {% now "Y" %}}', 0),
    ],
)
async def test_a_body_that_klaviyo_would_not_send_is_skipped(
    settings: SimulatorSettings, body: str, calls: int
) -> None:
    async with staged(settings=settings, body=body) as stage:
        await stage.enter()

        assert (await stage.until(lambda progress: True))["webhooks"] == {"skipped": 1}
        assert len(stage.gateway.calls) == calls


async def test_an_answer_without_a_generation_says_so() -> None:
    async with staged() as stage:
        stage.gateway.generation_id = ""
        await stage.enter()
        await stage.send()

        assert (await stage.outcomes())["real_reasons"] == {"control_missed: no_generation": 1}
