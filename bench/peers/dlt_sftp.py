"""dlt as its documents show it: CSV files of an SFTP folder, read by DuckDB into Arrow, merged into PostgreSQL by id.

Asked for its quickest ways: Arrow tables, CSV as the loader's format (COPY), as many workers as there are cores.
"""

import json
import os
import sys
import time

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DATA_WRITER__FILE_MAX_ITEMS": "200000",
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "2",
}

import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb


def main() -> None:
    """Load once; print the seconds. The arguments come as JSON."""
    given = json.loads(sys.argv[1])
    os.environ |= {
        "SOURCES__FILESYSTEM__CREDENTIALS__SFTP_PORT": str(given["port"]),
        "SOURCES__FILESYSTEM__CREDENTIALS__SFTP_USERNAME": given["user"],
        "SOURCES__FILESYSTEM__CREDENTIALS__SFTP_KEY_FILENAME": given["key"],
    }
    files = filesystem(bucket_url=f"sftp://{given['host']}{given['folder']}", file_glob="*.csv")
    rows = (files | read_csv_duckdb(use_pyarrow=True, chunk_size=50_000)).with_name("events")
    if given["merge"]:
        rows.apply_hints(write_disposition="merge", primary_key="id")
    else:
        rows.apply_hints(write_disposition="append")
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=given["work"],
        destination=dlt.destinations.postgres(given["database_url"]),
        dataset_name="dlt_merge" if given["merge"] else "dlt_append",
    )
    began = time.perf_counter()
    pipeline.run(rows, loader_file_format="csv")
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
