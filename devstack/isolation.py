"""A corner of a shared server for one test, demo or benchmark: a database, a virtual host, a bucket, a folder."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import asyncpg

from devstack import Endpoints
from shared.db.migrate import migrate

_MIGRATIONS = Path(__file__).parents[1] / "shared" / "db"
_TEMPLATE_LOCK = 7_331_002  # PostgreSQL advisory lock of whoever builds the template


@dataclass(frozen=True, slots=True)
class SftpFolder:
    """One folder, seen from both sides."""

    path: Path  # on this machine
    remote_path: str  # as the SFTP client says it


def fresh_name(kind: str) -> str:
    """Unique on a server that several runs may share; legal as database, virtual host and bucket name."""
    return f"justai-{kind}-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """A migrated, empty database of its own; dropped afterwards, whoever is still connected."""
    name = fresh_name("test")
    admin = await asyncpg.connect(_with_database(server_url, "postgres"))
    try:
        template = await _template(admin, server_url)
        # Its files are copied as they are: by way of the log, the default, the server works twice as long.
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield _with_database(server_url, name)
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def _template(admin: asyncpg.Connection, server_url: str) -> str:
    """Name of the migrated template, built by the first who needs it; edited migrations make another one."""
    digest = hashlib.sha256()
    for file in sorted(_MIGRATIONS.rglob("*.sql")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    template = f"justai-template-{digest.hexdigest()[:12]}"
    async with _advisory_lock(admin):
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", template):
            unfinished = f"{template}-unfinished"  # so that a broken migration leaves no template behind
            await admin.execute(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)')
            await admin.execute(f'CREATE DATABASE "{unfinished}"')
            await migrate(_with_database(server_url, unfinished))
            await admin.execute(f'ALTER DATABASE "{unfinished}" RENAME TO "{template}"')
    return template


@asynccontextmanager
async def _advisory_lock(admin: asyncpg.Connection) -> AsyncIterator[None]:
    await admin.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
    try:
        yield
    finally:
        await admin.execute("SELECT pg_advisory_unlock($1)", _TEMPLATE_LOCK)


def _with_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@asynccontextmanager
async def fresh_virtual_host(endpoints: Endpoints) -> AsyncIterator[str]:
    """An AMQP URL whose queues nobody else sees; dropped afterwards with all that is in it."""
    name = fresh_name("test")
    parts = urlsplit(endpoints.amqp_management_url)
    user = parts.username or ""
    base = parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()
    headers = {"Authorization": aiohttp.encode_basic_auth(user, parts.password or "")}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, raise_for_status=True) as http:
        await (await http.put(f"{base}/api/vhosts/{name}")).release()
        try:
            rights = {"configure": ".*", "write": ".*", "read": ".*"}
            await (await http.put(f"{base}/api/permissions/{name}/{quote(user)}", json=rights)).release()
            yield urlsplit(endpoints.amqp_url)._replace(path=f"/{name}").geturl()
        finally:
            await (await http.delete(f"{base}/api/vhosts/{name}")).release()


@functools.cache
def _s3_session() -> Any:  # aiobotocore has no types
    # One for all tests, because it keeps the parsed service descriptions; imported late, because the import takes
    # half a second that unit tests need not pay.
    from aiobotocore.session import get_session

    return get_session()


@asynccontextmanager
async def fresh_bucket(endpoints: Endpoints) -> AsyncIterator[str]:
    """Name of an empty bucket; dropped afterwards with all that is in it."""
    name = fresh_name("test")
    async with _s3_session().create_client(
        "s3",
        endpoint_url=endpoints.s3_endpoint,
        aws_access_key_id=endpoints.s3_access_key,
        aws_secret_access_key=endpoints.s3_secret_key,
        region_name="us-east-1",
    ) as s3:
        await s3.create_bucket(Bucket=name)
        try:
            yield name
        finally:
            async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
                if keys := [{"Key": item["Key"]} for item in page.get("Contents", ())]:
                    await s3.delete_objects(Bucket=name, Delete={"Objects": keys})
            await s3.delete_bucket(Bucket=name)
