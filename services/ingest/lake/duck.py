"""DuckDB: embedded, within a memory limit, spilling to disk beyond it. What stands in statements is quoted here."""

# ruff: noqa: S608

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

from services.ingest.lake.engine import Place, Work
from services.ingest.lake.reading import NO_ROWS, Dialect, Shape, number_us, select_rows, shapes_of
from services.ingest.lake.remote import Remote
from services.ingest.records import Unreadable

_PRELUDE: Final = """
    SET TimeZone = 'UTC';
    CREATE MACRO regexp_like(text, pattern) AS regexp_matches(text, pattern);
"""
_MOST_LINE: Final = 1 << 20


class Duck:
    """A connection of its own, closed by whoever made it."""

    def __init__(self, *, memory_mb: int = 1024, threads: int = 2, spill: Path | None = None) -> None:
        self.connection = duckdb.connect()
        self.connection.execute(f"SET memory_limit = '{memory_mb}MB'; SET threads = {threads}")
        if spill is not None:
            self.connection.execute(f"SET temp_directory = {_text(str(spill))}")
        self.connection.execute(_PRELUDE)

    def read(self, work: Work) -> None:
        """Files by their shapes; generations as they were exported."""
        run = self.connection.execute
        _demand_here(work)
        selects = [
            select_rows(shape, _DIALECT, _source(shape, files), "filename")
            for shape, files in shapes_of(work.files, work.mapping).items()
        ]
        try:
            run(f"CREATE TEMP TABLE read_rows AS {' UNION ALL '.join(selects) or NO_ROWS}")
        except duckdb.Error as error:  # a row that cannot be told must not be left out in silence
            raise Unreadable(str(error).splitlines()[0], reason="unknown_layout") from None
        run("CREATE TEMP TABLE files (file VARCHAR, mtime_us BIGINT)")
        if work.files:
            times = [(str(file), file.stat().st_mtime_ns // 1000) for file in work.files if isinstance(file, Path)]
            self.connection.executemany("INSERT INTO files VALUES (?, ?)", times)
        run(f"CREATE TEMP VIEW generations AS SELECT * FROM read_parquet({_list(work.generations)})")
        run(f"CREATE TEMP VIEW flow_messages AS SELECT * FROM read_parquet({_list([work.flow_messages])})")
        run("CREATE TEMP TABLE settings (now_us BIGINT, window_us BIGINT)")
        now_us, window_us = int(work.now.timestamp() * 1e6), int(work.window.total_seconds() * 1e6)
        run("INSERT INTO settings VALUES (?, ?)", [now_us, window_us])

    def keep(self, name: str, select: str) -> None:
        """A table, so that nothing is computed twice."""
        self.connection.execute(f"CREATE TEMP TABLE {name} AS {select}")

    def write(self, name: str, moments: Mapping[str, str], out: Place, *, by_day: bool) -> int:
        """Into an empty folder; days that have no row any more leave no file behind."""
        assert isinstance(out, Path)  # noqa: S101  # as `read` demanded
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        replaced = ", ".join(f"CAST(make_timestamp({us}) AS TIMESTAMPTZ) AS {at}" for us, at in moments.items())
        days = "CAST(DATE '1970-01-01' + day_number AS DATE) AS day" if by_day else ""
        without = ", ".join([*moments, *(["day_number"] if by_day else [])])
        columns = ", ".join(filter(None, (f"* EXCLUDE ({without})" if without else "*", replaced, days)))
        select = f"SELECT {columns} FROM {name}"
        if by_day:
            where, how = str(out), "FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day)"
        else:
            where, how = str(out / "part-000.parquet"), "FORMAT parquet, COMPRESSION zstd"
        [(count,)] = self.connection.execute(f"SELECT count(*) FROM {name}").fetchall()
        if count:
            self.connection.execute(f"COPY ({select}) TO {_text(where)} ({how})")
        return int(count)

    def close(self) -> None:
        """What it kept is gone."""
        self.connection.close()


def _demand_here(work: Work) -> None:
    for place in (*work.files, *work.generations, work.flow_messages, work.out):
        if isinstance(place, Remote):
            raise Unreadable(f"{place} is not on this machine; Spark reads it", reason="bad_place")


def _source(shape: Shape, files: Sequence[Place]) -> str:
    if shape.kind == "json":
        return f"(SELECT json AS line, filename FROM read_ndjson_objects({_list(files)}, filename = true))"
    names = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in shape.names)
    return (
        f"read_csv({_list(files)}, columns = {{{names}}}, header = true, delim = {_text(shape.delimiter)}, "
        f"quote = '\"', escape = '\"', filename = true, auto_detect = false, max_line_size = {_MOST_LINE})"
    )


def _json(text: str, path: Sequence[str]) -> str:
    steps = "".join(f'."{step}"' for step in path)
    return f"CASE WHEN json_valid({text}) THEN json_extract_string({text}, {_text('$' + steps)}) END"


def _list(files: Sequence[Place]) -> str:
    return f"[{', '.join(_text(str(file)) for file in files)}]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_DIALECT: Final = Dialect(
    column=lambda name: '"' + name.replace('"', '""') + '"',
    text=_text,
    json=_json,
    iso_us=lambda text: f"epoch_us(try_cast({text} AS TIMESTAMPTZ))",
    number_us=number_us,
)
