"""The limit: pyarrow writes rows that are there already, as Arrow in memory, as the exporter's file is written."""

import io

import pyarrow.parquet as pq

from bench.peers import egress_given


def main() -> None:
    """Read our own object, unclocked; write its rows once more."""
    given = egress_given.given()
    files = given.filesystem()
    with files.open_input_file(f"{given.bucket}/{given.source_key}") as file:
        table = pq.read_table(io.BytesIO(file.read()))
    with egress_given.clocked(given):
        pq.write_table(table, given.path, filesystem=files, row_group_size=given.group_rows, **egress_given.FILE)


if __name__ == "__main__":
    main()
