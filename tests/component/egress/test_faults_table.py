"""Every way an S3 server can fail, times every call of an export: the right object, or an hour that says why not."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from services.egress.handler import Deps, export_hours
from services.egress.layout import object_key
from services.egress.s3 import S3, S3Options
from services.egress.sweep import Sweeper
from tests.component.egress.scripted_s3 import Fault, Operation, ScriptedS3, scripted_s3
from tests.component.egress.shop import HOUR, Shop, World, job, people
from tests.support.measured import say
from tests.support.waiting import eventually

KEY = f"/shared/ill/{object_key('', HOUR)}"
MANIFEST = "/shared/ill/_manifests/2026/11/23/10.json"
OPERATIONS: list[Operation] = ["Put", "Create", "UploadPart", "Complete", "Abort"]
FAULTS: list[Fault] = [
    (429, "SlowDown"), (500, "InternalError"), (503, "SlowDown"), "reset", "silence", "lost", "wrong", "blank",
    (400, "BadDigest"), (403, "AccessDenied"), (400, "ExpiredToken"),
]  # fmt: skip
MOST_TRIES = 6


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as server:
        server.strict = True
        yield server


@pytest.fixture
async def deps(world: World) -> AsyncIterator[Deps]:
    """As the exporter has it, only with small parts and little patience."""
    options = S3Options(
        connect_timeout_s=1, read_timeout_s=2, call_timeout_s=10, attempts=1, part_bytes=4096
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        yield replace(world.deps, buckets=S3(options, stack))


async def two_shops(world: World, script: ScriptedS3, count: int) -> tuple[Shop, Shop]:
    ill = await world.shop("ill", prefix="ill", bucket="shared", endpoint_url=script.url)
    well = await world.shop("well", prefix="well", bucket="shared", endpoint_url=script.url)
    for shop in (ill, well):
        await world.say(shop, people(count))
    return ill, well


def is_right(script: ScriptedS3, shop: Shop) -> bool:
    """Object and manifest are there, belong together, and hold the rows."""
    if KEY not in script.objects or MANIFEST not in script.objects:
        return False
    content, said = script.objects[KEY], json.loads(script.objects[MANIFEST])
    rows = pq.read_table(io.BytesIO(content)).to_pylist(maps_as_pydicts="strict")
    return bool(rows == shop.exported and said["files"][0]["sha256"] == hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_fault_ends_with_the_right_object_or_an_hour_that_says_why(
    world: World, deps: Deps, script: ScriptedS3, operation: Operation, fault: Fault
) -> None:
    # 200 people make more than one part, 3 are put whole. aiohttp repeats a request by itself when it is reset.
    ill, well = await two_shops(world, script, 3 if operation == "Put" else 200)
    stays = fault == (403, "AccessDenied")
    script.faults[operation] = [fault] * (1000 if stays else 2)
    if operation == "Abort":  # only a failed upload is aborted
        script.faults["UploadPart"] = ["none", (500, "InternalError")]

    [first] = await export_hours([job(ill)], deps)
    row = await world.hour(ill)
    seen = (row["state"], row["error"])
    if stays and operation != "Abort":
        assert first is None  # the job is over, so that it stops nobody
        assert seen[0] == "blocked"
        assert seen[1].startswith("s3_403: ")
        assert "403 AccessDenied" in seen[1]
        assert MANIFEST not in script.objects
    elif first is None:
        assert is_right(script, ill)
    else:
        assert (seen[0], str(first) in seen[1]) == ("pending", True)
    script.faults.pop(operation) if stays else None  # the owner has mended it

    tries = 0
    while (await world.hour(ill))["state"] != "exported":
        tries += 1
        assert tries < MOST_TRIES, await world.hour(ill)
        await export_hours([job(ill)], deps)
    script.faults.clear()
    await export_hours([job(well)], deps)

    say(operation=operation, fault=fault, at_first=seen[0], tries=1 + tries)
    assert ("Create" in script.seen) == (operation != "Put")
    assert is_right(script, ill)
    assert (await world.hour(well))["state"] == "exported"
    await Sweeper(world.store, deps.buckets.bucket, world.clock).sweep()  # type: ignore[arg-type]  # it is S3
    young = len(script.uploads)
    script.grow_old()
    await Sweeper(world.store, deps.buckets.bucket, world.clock).sweep()  # type: ignore[arg-type]  # it is S3
    assert (script.uploads, is_right(script, ill)) == ({}, True)
    assert young == 0 or operation in ("Create", "Abort")  # the rest is aborted at once


async def test_one_sick_server_does_not_keep_the_other_orgs_of_a_batch(world: World, script: ScriptedS3) -> None:
    ill, _ = await two_shops(world, script, 3)
    elsewhere = await world.shop("elsewhere")
    await world.say(elsewhere, people(3))
    script.faults["Put"] = [(503, "SlowDown")] * 100

    outcomes = await export_hours([job(ill), job(elsewhere)], world.deps)

    assert [outcome is None for outcome in outcomes] == [False, True]
    assert await world.rows(object_key("", HOUR)) == elsewhere.exported


async def test_only_uploads_of_ours_are_ended(world: World, deps: Deps, script: ScriptedS3) -> None:
    ill, _ = await two_shops(world, script, 3)
    target = await world.store.target(ill.org_id)
    bucket = await deps.buckets.bucket(target)
    client = bucket._client  # type: ignore[attr-defined]  # a job of the customer's own
    for key in ("ill/2026/11/23/10/part-000.parquet", "ill/2026/11/23/10/theirs.csv", "2026/11/23/10/part-000.parquet"):
        await client.create_multipart_upload(Bucket="shared", Key=key)
    script.grow_old()

    swept = await Sweeper(world.store, deps.buckets.bucket, world.clock).sweep()  # type: ignore[arg-type]  # it is S3

    assert swept == 1
    assert sorted(one.key for one in script.uploads.values()) == [
        "/shared/2026/11/23/10/part-000.parquet", "/shared/ill/2026/11/23/10/theirs.csv",
    ]  # fmt: skip


async def test_a_bucket_that_may_not_be_swept_keeps_no_other_from_it(
    world: World, deps: Deps, script: ScriptedS3
) -> None:
    ill, well = await two_shops(world, script, 3)
    for shop, prefix in ((ill, "ill"), (well, "well")):
        bucket = await deps.buckets.bucket(await world.store.target(shop.org_id))
        client = bucket._client  # type: ignore[attr-defined]  # an S3 bucket
        await client.create_multipart_upload(Bucket="shared", Key=f"{prefix}/2026/11/23/10/part-000.parquet")
    script.grow_old()
    script.faults["ListUploads"] = [(403, "AccessDenied")]

    assert await Sweeper(world.store, deps.buckets.bucket, world.clock).sweep() == 1  # type: ignore[arg-type]  # a bucket that sweeps, too


async def test_a_server_that_lists_uploads_for_ever_keeps_no_other_from_being_swept(
    world: World, deps: Deps, script: ScriptedS3
) -> None:
    await two_shops(world, script, 3)
    script.more_for_ever = True

    async with asyncio.timeout(60):
        assert await Sweeper(world.store, deps.buckets.bucket, world.clock).sweep() == 0  # type: ignore[arg-type]  # a bucket that sweeps, too


async def test_a_real_server_lists_and_ends_uploads_too(world: World) -> None:
    shop = await world.shop(prefix="jai")
    key = "jai/2026/11/23/10/part-000.parquet"
    await world.s3.create_multipart_upload(Bucket=world.bucket, Key=key)
    bucket = await world.deps.buckets.bucket(await world.store.target(shop.org_id))

    def sweep(older_than_s: float) -> Awaitable[int]:
        return bucket.sweep("jai/", lambda name: name == key, older_than_s)  # type: ignore[attr-defined,no-any-return]  # the same

    young = await sweep(3600)
    swept = await eventually(lambda: sweep(0))  # the server's clock has whole seconds

    left = await world.s3.list_multipart_uploads(Bucket=world.bucket)
    assert (young, swept, left.get("Uploads", [])) == (0, 1, [])
