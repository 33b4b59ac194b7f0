"""One customer's server takes no other's time: orgs whose place fails again and again rest."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.egress.handler import Deps, export_hours
from services.egress.resting import Resting
from services.egress.s3 import S3, S3Options
from shared.errors import Throttled, Transient
from shared.exports import HOUR as AN_HOUR
from shared.messaging.topology import EXPORT_HOUR
from shared.messaging.verdict import Later, decide
from tests.component.egress.scripted_s3 import ScriptedS3, scripted_s3
from tests.component.egress.shop import HOUR, Shop, World, job, people
from tests.support.full_disk import files_end_at


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as server:
        yield server


@pytest.fixture
def deps(world: World) -> Deps:
    return replace(world.deps, resting=Resting())


async def ill_shop(world: World, script: ScriptedS3) -> Shop:
    """Whose server has no answer but 503."""
    shop = await world.shop("ill", bucket="shared", endpoint_url=script.url)
    await world.say(shop, people(3))
    script.faults["Head"] = [(503, "SlowDown")] * 1000
    return shop


async def test_a_server_that_fails_again_and_again_is_hardly_asked_and_buries_nothing(
    world: World, deps: Deps, script: ScriptedS3
) -> None:
    ill = await ill_shop(world, script)
    hours = [job(ill, HOUR - n * AN_HOUR) for n in range(40)]

    outcomes = await export_hours(hours, deps)

    tries = len(script.seen) / 4  # an hour is looked at by four calls at once
    assert tries <= 3
    assert [type(one) for one in outcomes[:2]] == [Transient, Transient]
    assert all(isinstance(one, Throttled) for one in outcomes[2:])
    verdicts = [decide(one, attempt=5, policy=EXPORT_HOUR.policy) for one in outcomes[2:]]
    assert all(isinstance(one, Later) for one in verdicts)  # however often they come, none is given up
    assert (await world.hour(ill))["error"].startswith("s3_503: ")


async def test_after_long_trouble_the_jobs_end_and_their_hours_say_why_and_wait(
    world: World, deps: Deps, script: ScriptedS3
) -> None:
    ill = await ill_shop(world, script)
    for _ in range(7):
        outcome = (await export_hours([job(ill)], deps))[0]
        world.clock.advance(901)

    assert outcome is None
    row = await world.hour(ill)
    assert (row["state"], row["error"][:7]) == ("pending", "s3_503:")

    script.faults.clear()
    assert await export_hours([job(ill)], deps) == [None]
    assert (await world.hour(ill))["state"] == "exported"


async def test_others_are_exported_meanwhile(world: World, deps: Deps, script: ScriptedS3) -> None:
    ill, well = await ill_shop(world, script), await world.shop("well")
    await world.say(well, people(3))

    outcomes = await export_hours([*[job(ill)] * 5, job(well)], deps)

    assert outcomes[-1] is None
    assert (await world.hour(well))["state"] == "exported"


async def test_an_hour_that_is_never_uploaded_in_time_rests_too_and_says_so(
    world: World, deps: Deps, script: ScriptedS3
) -> None:
    ill, well = [
        await world.shop(slug, bucket="shared", prefix=slug, endpoint_url=script.url) for slug in ("ill", "well")
    ]
    for shop in (ill, well):
        await world.say(shop, people(3))
    script.faults["UploadPart"] = ["silence"] * 3

    async with AsyncExitStack() as stack:
        patient = S3(S3Options(read_timeout_s=60, attempts=1, part_bytes=1024), stack)  # our own limit strikes first
        outcomes = await export_hours([job(ill)] * 4, replace(deps, buckets=patient, most_s=4))
        outcome_of_well = await export_hours([job(well)], replace(deps, buckets=patient))

    assert [type(one) for one in outcomes] == [Transient, Transient, Throttled, Throttled]
    assert outcome_of_well == [None]
    assert script.seen.count("Abort") == 3
    assert script.uploads == {}
    row = await world.hour(ill)
    assert row["state"] == "pending"
    assert row["error"].startswith("too_long: not exported within ")
    assert (await world.hour(well))["state"] == "exported"


async def test_thousands_of_hours_of_one_org_keep_no_others_from_being_asked_for(world: World) -> None:
    loud, quiet = await world.shop("loud", prefix="loud"), await world.shop("quiet", prefix="quiet")
    long_ago = [HOUR - n * AN_HOUR for n in range(50)]
    await world.store.open_hours(loud.org_id, "generations", long_ago, HOUR - timedelta(days=1))
    await world.store.open_hours(quiet.org_id, "generations", [HOUR], HOUR)

    due = await world.store.due(HOUR + AN_HOUR, HOUR, 10)

    assert len(due) == 10
    assert quiet.org_id in {one.org_id for one in due}


async def test_a_full_disk_and_a_folder_that_is_not_there_say_what_to_do(
    world: World, deps: Deps, tmp_path: Path
) -> None:
    shop = await world.shop()
    await world.say(shop, people(3))

    with files_end_at(64):
        [full] = await export_hours([job(shop)], replace(deps, spool_dir=str(tmp_path)))
    told = (await world.hour(shop))["error"]
    [gone] = await export_hours([job(shop)], replace(deps, spool_dir=str(tmp_path / "none")))

    for failure in (full, gone):
        assert isinstance(failure, Transient)
        assert failure.reason == "spool_full"
        assert "make room there, or name another one in JUSTAI_EGRESS_SPOOL_DIR" in str(failure)
    assert told.startswith(f"spool_full: the spool folder {tmp_path} does not take the hour's file: File too large")
    assert await export_hours([job(shop)], deps) == [None]
