"""pandas as its documents show it: read_sql into one frame, to_parquet on S3."""

import io

import pandas as pd
import sqlalchemy

from bench.peers.egress_given import FILE, SCHEMA, Given, opened, pairs, run


def write(given: Given) -> None:
    """The exporter's columns, from opened copies and taken-apart attrs."""
    sources = given.sources()
    engine = sqlalchemy.create_engine(given.database_url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        frame = pd.read_sql(sqlalchemy.text(given.statement), connection)
    frame["vars"] = list(opened(sources, frame["copy_id"], frame["variant_version"], frame["vars"].map(bytes)))
    frame["attrs"] = frame["attrs"].map(pairs)
    del frame["variant_version"]
    file = io.BytesIO()
    frame[SCHEMA.names].to_parquet(
        file, engine="pyarrow", schema=SCHEMA, index=False, row_group_size=given.group_rows, **FILE
    )
    with given.filesystem().open_output_stream(given.path) as stream:
        stream.write(file.getbuffer())


if __name__ == "__main__":
    run(write)
