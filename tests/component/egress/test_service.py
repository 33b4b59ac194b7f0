"""The exporter as it runs: scheduler, queue, consumer, S3."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.egress.app import build
from services.egress.settings import Settings
from shared.exports import publish_hours
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import EXPORT_HOUR
from tests.component.egress.shop import HOUR, SEAL_KEYS, Shop, World, people
from tests.support.services import serving
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"
DAY = HOUR.replace(hour=0)


@asynccontextmanager
async def running(
    world: World, amqp_url: str, *, now: datetime, egress_folder: Path | None = None
) -> AsyncIterator[None]:
    """The service, its clock at `now` and going; ends with a clean drain."""
    settings = Settings(
        database_url=SecretStr(world.database_url),
        amqp_url=SecretStr(amqp_url),
        seal_keys=SecretStr(SEAL_KEYS),
        allow_private_hosts=True,
        api_key_peppers=SecretStr("1:" + "A" * 43 + "="),
        clock=f"scaled:1:{time.time()}:{now.isoformat()}",
        egress_connect_timeout_s=1,
        egress_tick_s=0.2,
        egress_folder=egress_folder,
    )
    async with AsyncExitStack() as stack, serving(await build(settings, stack)):
        yield


async def is_exported(world: World, shop: Shop, count: int) -> None:
    rows = await world.admin.fetch("SELECT state, error FROM export_hours WHERE org_id = $1", shop.org_id)
    assert [row["state"] for row in rows] == ["exported"] * count, [row["error"] for row in rows]


async def test_closed_hours_are_exported_without_being_asked_for(world: World, amqp_url: str) -> None:
    hourly, daily = await world.shop("hourly", cadence="hourly"), await world.shop("daily", prefix="daily")
    for shop in (hourly, daily):
        await world.say(shop, people(30))

    async with running(world, amqp_url, now=HOUR + timedelta(hours=1, minutes=16)):
        await eventually(lambda: is_exported(world, hourly, 1), within_s=10)

        assert await world.rows(KEY) == hourly.exported
        assert await world.admin.fetchval("SELECT count(*) FROM export_hours WHERE org_id = $1", daily.org_id) == 0


async def test_the_day_is_exported_whole_after_it_has_closed(world: World, amqp_url: str) -> None:
    shop = await world.shop()
    await world.say(shop, people(30))

    async with running(world, amqp_url, now=DAY + timedelta(days=1, minutes=16)):
        await eventually(lambda: is_exported(world, shop, 14), within_s=20)

    objects = await world.objects()
    assert [key for key in objects if key.endswith(".parquet")] == [KEY]
    assert sum(key.startswith("_manifests/2026/11/23/") for key in objects) == 14  # from the first hour to the last


async def test_a_backfill_brings_every_hour_of_its_range(world: World, amqp_url: str) -> None:
    shop = await world.shop()
    hours = [DAY + timedelta(hours=n) for n in range(8)]
    for hour in hours:
        await world.say(shop, people(3, hour=hour))

    async with running(world, amqp_url, now=HOUR), open_publisher(amqp_url, "test", EXPORT_HOUR) as publisher:
        await world.ask(shop, "generations", hours)
        await publish_hours(publisher, shop.org_id, hours)
        await eventually(lambda: is_exported(world, shop, 8), within_s=20)

    exported = [record for n in range(8) for record in await world.rows(f"2026/11/23/{n:02}/part-000.parquet")]
    assert exported == shop.exported


async def test_a_target_that_refuses_blocks_its_own_hours_visibly_and_nobody_elses(world: World, amqp_url: str) -> None:
    denied = await world.shop("one", prefix="denied", cadence="hourly")
    wrong_secret = await world.shop("two", secret="not the secret", cadence="hourly")
    wrong_name = await world.shop("three", bucket="Not a bucket", cadence="hourly")
    right = await world.shop("four", prefix="right", cadence="hourly")
    for shop in (denied, wrong_secret, wrong_name, right):
        await world.say(shop, people(3))
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    rule["Resource"] = f"arn:aws:s3:::{world.bucket}/denied/*"
    policy = {"Version": "2012-10-17", "Statement": [rule]}
    await world.s3.put_bucket_policy(Bucket=world.bucket, Policy=json.dumps(policy))

    async with running(world, amqp_url, now=HOUR + timedelta(hours=1, minutes=16)):
        await eventually(lambda: is_exported(world, right, 1), within_s=15)

        async def others_are_blocked() -> None:
            rows = [await world.hour(shop) for shop in (denied, wrong_secret, wrong_name)]
            assert [row["state"] for row in rows] == ["blocked"] * 3, rows
            assert rows[0]["error"].startswith("s3_403: PutObject: 403 AccessDenied"), rows[0]["error"]
            assert rows[1]["error"].startswith("s3_403: HeadObject: 403"), rows[1]["error"]
            assert rows[2]["error"].startswith("s3_bad_target: "), rows[2]["error"]

        await eventually(others_are_blocked, within_s=15)

    assert await world.rows(f"right/{KEY}") == right.exported


async def test_an_s3_server_that_is_away_is_waited_for(world: World, amqp_url: str) -> None:
    async with Road(world.endpoints.s3_endpoint) as road:
        shop = await world.shop(endpoint_url=road.url, cadence="hourly")
        await world.say(shop, people(3))

        async with running(world, amqp_url, now=HOUR + timedelta(hours=1, minutes=16)):

            async def has_failed() -> None:
                row = await world.hour(shop)
                assert row["state"] == "pending"
                assert (row["error"] or "").startswith("s3_unreachable:"), row["error"]

            await eventually(has_failed, within_s=15)
            road.is_open = True
            await eventually(lambda: is_exported(world, shop, 1), within_s=20)

    assert (await world.hour(shop))["error"] is None
    assert await world.rows(KEY) == shop.exported


class Road:
    """A way to a server that can be closed: then every connection ends at once."""

    def __init__(self, to: str) -> None:
        parts = urlsplit(to)
        self._host, self._port = parts.hostname, parts.port
        self.is_open = False

    async def __aenter__(self) -> "Road":
        self._server = await asyncio.start_server(self._drive, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _drive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
