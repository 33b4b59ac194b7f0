"""The corners that every other test stands on are really separate, and really answer."""

from __future__ import annotations

import aio_pika
import asyncpg
import asyncssh
import pytest
from aiobotocore.session import get_session

from devstack.isolation import SftpFolder
from tests.support.servers import Servers

# Two tests with the same wishes: whichever comes second would meet what the first one left.
TWICE = pytest.mark.parametrize("visit", ["first", "second"])


@TWICE
async def test_a_database_is_migrated_and_nobody_elses(database_url: str, visit: str) -> None:
    connection = await asyncpg.connect(database_url)

    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") > 0
    await connection.execute("CREATE TABLE left_behind (visit text)")

    await connection.close()


@TWICE
async def test_a_virtual_host_is_empty_and_nobody_elses(amqp_url: str, visit: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            "left-behind", durable=True, arguments={"x-queue-type": "quorum"}, timeout=10
        )

        assert queue.declaration_result.message_count == 0
        await channel.default_exchange.publish(aio_pika.Message(visit.encode()), "left-behind", timeout=10)
        message = await queue.get(timeout=10)

        assert message.body == visit.encode()


@TWICE
async def test_a_bucket_is_empty_and_nobody_elses(servers: Servers, bucket: str, visit: str) -> None:
    served = servers.need("s3")
    async with get_session().create_client(
        "s3",
        endpoint_url=served.s3_endpoint,
        aws_access_key_id=served.s3_access_key,
        aws_secret_access_key=served.s3_secret_key,
        region_name="us-east-1",
    ) as s3:
        before = await s3.list_objects_v2(Bucket=bucket)
        await s3.put_object(Bucket=bucket, Key="left/behind", Body=visit.encode())
        after = await s3.list_objects_v2(Bucket=bucket)

    assert (before["KeyCount"], after["KeyCount"]) == (0, 1)


@TWICE
async def test_an_sftp_folder_is_the_same_from_both_sides(servers: Servers, sftp_root: SftpFolder, visit: str) -> None:
    served = servers.need("sshd")
    async with (
        asyncssh.connect(
            served.sftp_host,
            served.sftp_port,
            username=served.sftp_user,
            client_keys=[served.sftp_client_key_path],
            known_hosts=([asyncssh.import_public_key(served.sftp_host_key)], [], []),
            config=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        (sftp_root.path / "dropped.csv").write_text(visit)
        names = await sftp.listdir(sftp_root.remote_path)
        body = await (await sftp.open(f"{sftp_root.remote_path}/dropped.csv", "r")).read()

    assert sorted(set(names) - {".", ".."}) == ["dropped.csv"]
    assert body == visit
