"""What every rival of the exporter is given, and what it tells: the same rows, columns, server and codec for all."""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg2
from pyarrow.fs import S3FileSystem

from services.egress.parquet import WRITER
from services.egress.record import PAGE
from shared.schemas.copy import VariantSource
from shared.vars_codec import decode_vars

SCHEMA = PAGE.schema
FILE: Mapping[str, Any] = {
    "use_dictionary": list(PAGE.repeating), "write_statistics": list(PAGE.statistics), **WRITER,
}  # fmt: skip
"""How the exporter writes its files; everybody does."""
# With ids as text, which every reader has.
SELECT_ROWS = """
    SELECT floor(extract(epoch FROM accepted_at))::bigint AS event_timestamp, user_id, tracking_id,
           copy_id::text AS copy_id, template_id, attrs, vars, variant_version
    FROM generations
    WHERE day = '{day}' AND org_id = '{org_id}' AND accepted_at >= '{start}' AND accepted_at < '{end}'
      AND decision = 'treatment' AND copy_id IS NOT NULL
    ORDER BY accepted_at, generation_id
"""
SELECT_SOURCES = "SELECT copy_id::text, version, subject, preheader, body FROM variant_versions WHERE org_id = %s"


@dataclass(frozen=True, slots=True)
class Given:
    """One run of a rival, as `bench.egress` asks for it."""

    database_url: str
    statement: str
    org_id: str
    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    source_key: str  # the object that we wrote
    key: str  # where the rival writes
    group_rows: int

    @property
    def path(self) -> str:
        return f"{self.bucket}/{self.key}"

    def filesystem(self) -> S3FileSystem:
        return S3FileSystem(
            access_key=self.access_key, secret_key=self.secret_key, region="us-east-1", scheme="http",
            endpoint_override=self.endpoint.removeprefix("http://"),
        )  # fmt: skip

    def sources(self) -> dict[tuple[str, int], VariantSource]:
        """The texts that copies are stored against."""
        connection = psycopg2.connect(self.database_url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(SELECT_SOURCES, (self.org_id,))
                return {(row[0], row[1]): VariantSource(UUID(row[0]), *row[1:]) for row in cursor.fetchall()}
        finally:
            connection.close()


def given() -> Given:
    """The arguments come as JSON."""
    return Given(**json.loads(sys.argv[1]))


def run(work: Callable[[Given], None]) -> None:
    """Do the work once, clocked."""
    asked = given()
    with clocked(asked):
        work(asked)


@contextmanager
def clocked(asked: Given) -> Iterator[None]:
    """Print the seconds of the block and its CPU seconds, the bytes of the object, and the most memory in MB."""
    began, cpu_s = time.perf_counter(), time.process_time()
    yield
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    size = asked.filesystem().get_file_info(asked.path).size
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "bytes": size, "rss_mb": most_mb}))


def opened(
    sources: Mapping[tuple[str, int], VariantSource], copy_ids: Sequence[str], versions: Sequence[int],
    texts: Sequence[bytes],
) -> Iterator[dict[str, str]]:  # fmt: skip
    """The stored copies as they were rendered."""
    for copy_id, version, text in zip(copy_ids, versions, texts, strict=True):
        yield decode_vars(text, sources[copy_id, version])._asdict()


def pairs(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The attrs of one row as a map of text; a list is its JSON text."""
    return [
        (name, value if isinstance(value, str) else orjson.dumps(value).decode())
        for name, value in sorted(attrs.items())
    ]
