"""ADBC as its documents show it: batches of Arrow from PostgreSQL, and pyarrow's writer on S3.

Ours is the codec of the copies. The columns are made from whole batches, cut into pieces so that memory keeps within
bounds. `raw`: what PostgreSQL holds is written as it is, copies packed and attrs as JSON: less work than ours.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_postgresql.dbapi
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.peers.egress_given import FILE, SCHEMA, Given, opened, pairs, run


def write(given: Given) -> None:
    """The exporter's columns, from opened copies and taken-apart attrs."""
    sources = given.sources()
    with (
        reading(given) as reader,
        pq.ParquetWriter(given.path, SCHEMA, filesystem=given.filesystem(), **FILE) as writer,
    ):
        for whole in reader:
            for start in range(0, whole.num_rows, given.group_rows):
                batch = whole.slice(start, given.group_rows)
                stored = (batch.column(name).to_pylist() for name in ("copy_id", "variant_version", "vars"))
                copies = list(opened(sources, *stored))
                attrs = [pairs(orjson.loads(text)) for text in batch.column("attrs").cast(pa.string()).to_pylist()]
                columns = [
                    *(batch.column(name) for name in SCHEMA.names[:5]),
                    pa.array(copies, SCHEMA.field("vars").type),
                    pa.array(attrs, SCHEMA.field("attrs").type),
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def write_raw(given: Given) -> None:
    """What is stored, as it is stored."""
    with (
        reading(given) as reader,
        pq.ParquetWriter(given.path, reader.schema, filesystem=given.filesystem(), compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


@contextmanager
def reading(given: Given) -> Iterator[pa.RecordBatchReader]:
    """The answer as it comes."""
    with (
        adbc_driver_postgresql.dbapi.connect(given.database_url) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(given.statement)
        with cursor.fetch_record_batch() as reader:
            yield reader


if __name__ == "__main__":
    run(write_raw if sys.argv[2:] == ["raw"] else write)
