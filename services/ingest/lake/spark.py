"""Spark, plain: nothing of AWS Glue in it, so that it runs on Glue, EMR, Databricks, or on this machine."""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

from services.ingest.lake.engine import Place, Work
from services.ingest.lake.reading import NO_ROWS, Dialect, Shape, number_us, select_rows, shapes_of
from services.ingest.lake.remote import Remote
from services.ingest.records import Unreadable

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_PLAIN_PLACE: Final = re.compile(r"([a-z][a-z0-9]*://[^/ %]*)?[A-Za-z0-9_.~=+,@/-]*")
# What is not in `files` would be left out of the events in silence.
_STRANGERS: Final = "SELECT file FROM read_rows LEFT ANTI JOIN files USING (file) LIMIT 1"


class Spark:
    """On a session that somebody else made and ends."""

    def __init__(self, session: Any) -> None:
        self._spark = session
        session.conf.set("spark.sql.session.timeZone", "UTC")
        session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")  # moments, not wall clocks

    def read(self, work: Work) -> None:
        """Files by their shapes; generations as they were exported."""
        told = [file.resolve() if isinstance(file, Path) else file for file in work.files]
        demand_plain(told)
        frames = []
        for number, (shape, files) in enumerate(shapes_of(told, work.mapping).items()):
            source = f"source_{number}"
            self._source(shape, files).createOrReplaceTempView(source)
            frames.append(self._spark.sql(select_rows(shape, _DIALECT, source, "file")))
        frames = frames or [self._spark.sql(NO_ROWS)]
        self._keep("read_rows", reduce(lambda one, other: one.union(other), frames))
        times = [(_address(file), _mtime_us(file)) for file in told]
        self._spark.createDataFrame(times, "file string, mtime_us long").createOrReplaceTempView("files")
        for row in self._spark.sql(_STRANGERS).collect():
            raise Unreadable(f"Spark says {row.file} of a file that was not asked for so; move it", reason="bad_name")
        self._spark.read.parquet(*map(str, work.generations)).createOrReplaceTempView("generations")
        self._spark.read.parquet(str(work.flow_messages)).createOrReplaceTempView("flow_messages")
        now_us, window_us = int(work.now.timestamp() * 1e6), int(work.window.total_seconds() * 1e6)
        settings = self._spark.createDataFrame([(now_us, window_us)], "now_us long, window_us long")
        settings.createOrReplaceTempView("settings")

    def keep(self, name: str, select: str) -> None:
        """A view over what stays in memory or spills to disk."""
        self._keep(name, self._spark.sql(select))

    def write(self, name: str, moments: Mapping[str, str], out: Place, *, by_day: bool) -> int:
        """What lay there is replaced."""
        columns = [f"timestamp_micros({us}) AS {at}" for us, at in moments.items()]
        if by_day:
            columns.append("date_from_unix_date(day_number) AS day")
        frame = self._spark.table(name)
        kept = [column for column in frame.columns if column not in {*moments, "day_number"}]
        writer = frame.selectExpr(*kept, *columns).write.mode("overwrite").option("compression", "zstd")
        (writer.partitionBy("day") if by_day else writer).parquet(str(out))
        return int(frame.count())

    def _source(self, shape: Shape, files: Sequence[Place]) -> Any:
        from pyspark.sql import functions  # type: ignore[import-not-found]  # of its own lane

        paths = [str(file) for file in files]
        if shape.kind == "json":
            frame = self._spark.read.text(paths).withColumnRenamed("value", "line")
        else:
            options = {"header": True, "sep": shape.delimiter, "quote": '"', "escape": '"', "multiLine": True,
                       "mode": "FAILFAST"}  # fmt: skip  # a row that cannot be told must not be left out in silence
            schema = ", ".join(f"`{name}` string" for name in shape.names)
            frame = self._spark.read.options(**options).schema(schema).csv(paths)
        return frame.withColumn("file", functions.input_file_name())

    def _keep(self, name: str, frame: Any) -> None:
        frame.persist().createOrReplaceTempView(name)


def demand_plain(files: Sequence[Place]) -> None:
    """Spark leaves out files whose names begin with `_`, and says other paths in a spelling of its own, under which
    their rows would not be found. Raises Unreadable."""
    for file in files:
        if not _PLAIN.fullmatch(file.name):
            raise Unreadable(f"{file.name}: rename it; letters, digits, `.` and `-` are told", reason="bad_name")
        if not _PLAIN_PLACE.fullmatch(str(file)):
            raise Unreadable(
                f"{file}: move it; in its path letters, digits and `_.~=+,@-` are told, no space and no other letter",
                reason="bad_name",
            )


def _address(file: Place) -> str:
    """As Spark's input_file_name says it."""
    return file.address if isinstance(file, Remote) else f"file://{file.absolute()}"


def _mtime_us(file: Place) -> int:
    return file.mtime_us if isinstance(file, Remote) else file.stat().st_mtime_ns // 1000


def _json(text: str, path: Sequence[str]) -> str:
    steps = "".join(f"['{step}']" for step in path)
    return f'get_json_object({text}, "${steps}")'


_DIALECT: Final = Dialect(
    column=lambda name: "`" + name.replace("`", "``") + "`",
    text=lambda value: "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
    json=_json,
    iso_us=lambda text: f"unix_micros(try_cast({text} AS TIMESTAMP))",
    number_us=number_us,
)
