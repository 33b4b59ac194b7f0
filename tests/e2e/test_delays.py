"""A marketer changes the Time Delay in Klaviyo and presses no button of ours: the email shows its copy all the same."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.e2e.stage import DELAY_S, FACTOR, ORG, WINDOW_S, Stage, staged
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

READ_S = 60.0
AHEAD = timedelta(minutes=8)


async def test_an_email_that_waits_for_a_time_of_day_shows_its_copy(servers: Servers, tmp_path: Path) -> None:
    endpoints = servers.need("postgres", "rabbitmq")
    names = ("gateway", "generator", "profile_writer", "ingest")
    async with staged(endpoints, tmp_path) as stage:
        person = await stage.person("Ann")
        async with stage.serving(names=names, ingest_reconcile_s=f"{READ_S:g}") as gateway_url:
            ids = await stage.add_flow("welcome", gateway_url)
            assert f"{DELAY_S} s" in await stage.justai("flows", "sync", ORG)
            until = (stage.clock.now() + AHEAD).replace(second=0, microsecond=0)
            await stage.box.change_step(ids, ids.delay_action_id, until_time=until.time().isoformat())

            await eventually(lambda: _known(stage), within_s=3 * READ_S / FACTOR + 30, every_s=1)
            entry = await stage.enter(ids, person)
            await stage.written(entry)
            assert until - stage.clock.now() > timedelta(seconds=DELAY_S + WINDOW_S)  # else nothing is shown by this
            await stage.finished(entry)

        shown = await stage.shown()
    assert shown == {person: ["right"]}


async def _known(stage: Stage) -> bool:
    return f"{DELAY_S} to {DELAY_S + 86_400} s" in await stage.justai("flows", "list", ORG)
