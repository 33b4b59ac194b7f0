"""Reads the ledgers that the oracle compares."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pyarrow.fs
import pyarrow.parquet as pq

from devstack import Endpoints
from tests.chaos.oracle import Email, Exported, Stored, Write

SELECT_STORED = """
    SELECT g.generation_id::text, o.slug AS org, g.user_id AS profile_id, g.tracking_id, g.accepted_at, g.decision,
           w.outcome, w.reason, g.property_prefix AS prefix
    FROM generations g JOIN orgs o USING (org_id)
    LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id
"""
SELECT_ALIASES = "SELECT alias_id::text, generation_id::text FROM generation_aliases"


async def stored(database_url: str) -> tuple[list[Stored], dict[str, str]]:
    """The second ledger, and the other ids of its rows."""
    async with asyncio.timeout(30):
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch(SELECT_STORED)
            aliases = await connection.fetch(SELECT_ALIASES)
        finally:
            await connection.close()
    return [Stored(**dict(row)) for row in rows], {row["alias_id"]: row["generation_id"] for row in aliases}


def seen_by_the_box(path: Path) -> tuple[list[Write], list[Email]]:
    """The third ledger: writes and emails of the simulator's file, in its order."""
    writes: list[Write] = []
    emails: list[Email] = []
    for text in path.read_bytes().splitlines():
        line: Mapping[str, Any] = orjson.loads(text)
        match line["kind"]:
            case "write":
                for name, generation_id in line["markers"].items():
                    if name.endswith("_generation"):
                        at, prefix = datetime.fromisoformat(line["at"]), name.removesuffix("_generation")
                        writes.append(Write(at, line["account"], line["profile"], generation_id, prefix))
            case "email":
                at = datetime.fromisoformat(line["at"])
                emails.append(Email(at, line["profile"], line["generation"], line["outcome"], line["reason"]))
    return writes, emails


def exported(endpoints: Endpoints, bucket: str, prefixes: Sequence[str]) -> list[Exported]:
    """The fourth ledger: every row of every object of the table `generations`."""
    s3 = _open_s3(endpoints)
    found: list[Exported] = []
    for path in _objects(s3, bucket, prefixes):
        with s3.open_input_file(path) as file:
            ids = pq.read_table(file, columns=["generation_id"]).column("generation_id").to_pylist()
        found.extend(Exported(one, path) for one in ids)
    return found


def remove_exported(endpoints: Endpoints, bucket: str, prefixes: Sequence[str]) -> None:
    """As somebody who tidies up the bucket."""
    s3 = _open_s3(endpoints)
    for path in _objects(s3, bucket, prefixes):
        s3.delete_file(path)


def _open_s3(endpoints: Endpoints) -> Any:
    return pyarrow.fs.S3FileSystem(
        endpoint_override=endpoints.s3_endpoint, access_key=endpoints.s3_access_key,
        secret_key=endpoints.s3_secret_key, region="us-east-1", scheme="http",
    )  # fmt: skip


def _objects(s3: Any, bucket: str, prefixes: Sequence[str]) -> list[str]:
    selectors = [pyarrow.fs.FileSelector(f"{bucket}/{one}", recursive=True, allow_not_found=True) for one in prefixes]
    paths = [info.path for selector in selectors for info in s3.get_file_info(selector)]
    return [path for path in paths if path.endswith(".parquet") and "/_" not in path]
