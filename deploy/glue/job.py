"""The lake's tables on Spark: on AWS Glue (5.1: Spark 3.5; 6.0: Spark 4.1) as a job, elsewhere by spark-submit.

    spark-submit job.py --events DIR --inputs DIR --out DIR

Each is a folder on this machine, or an address that the cluster reaches, like s3://bucket/events.

Nothing of Glue's own library is used but its way of handing arguments over, and that only where it is there.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAMES = ("events", "inputs", "out")


def arguments(argv: Sequence[str]) -> dict[str, str]:
    """What the job was told, on Glue or on a command line."""
    try:
        from awsglue.utils import getResolvedOptions  # type: ignore[import-not-found]  # of its own lane
    except ImportError:
        parser = argparse.ArgumentParser()
        for name in NAMES:
            parser.add_argument(f"--{name}", required=True)
        return vars(parser.parse_args(argv[1:]))
    return dict(getResolvedOptions(list(argv), list(NAMES)))


def main(argv: Sequence[str], now: datetime | None = None) -> None:
    """Read, transform, write; rows written by table go to the log. Events of after `now` are rejected."""
    from pyspark.sql import SparkSession  # type: ignore[import-not-found]  # of its own lane

    from services.ingest.lake.engine import Work, run
    from services.ingest.lake.spark import Spark

    session = SparkSession.builder.getOrCreate()
    events, inputs, out = (place(session, arguments(argv)[name]) for name in NAMES)
    generations, flow_messages = inputs / "generations.parquet", inputs / "flow_messages.parquet"
    work = Work(files_in(events), [generations], flow_messages, out, now=now or datetime.now(UTC))
    counts = run(Spark(session), work)
    sys.stdout.write(f"{counts}\n")


def place(session: Any, told: str) -> Any:
    """A folder, or an address."""
    from services.ingest.lake.remote import Remote

    return Remote(session, told) if "://" in told else Path(told)


def files_in(folder: Any) -> list[Any]:
    """Event files; what begins with a dot or an underscore is somebody else's."""
    found: Iterable[Any] = sorted(folder.iterdir()) if isinstance(folder, Path) else folder.files()
    files = (one for one in found if not isinstance(one, Path) or one.is_file())
    return [one for one in files if not one.name.startswith((".", "_"))]


if __name__ == "__main__":
    main(sys.argv)
