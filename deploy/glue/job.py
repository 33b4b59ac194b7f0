"""The lake's tables on Spark: on AWS Glue (5.1: Spark 3.5; 6.0: Spark 4.1) as a job, elsewhere by spark-submit.

    spark-submit job.py --events DIR --inputs DIR --out DIR

Nothing of Glue's own library is used but its way of handing arguments over, and that only where it is there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = ("events", "inputs", "out")


def arguments(argv: Sequence[str]) -> dict[str, str]:
    """What the job was told, on Glue or on a command line."""
    try:
        from awsglue.utils import getResolvedOptions  # type: ignore[import-not-found]
    except ImportError:
        parser = argparse.ArgumentParser()
        for name in NAMES:
            parser.add_argument(f"--{name}", required=True)
        return vars(parser.parse_args(argv[1:]))
    return dict(getResolvedOptions(list(argv), list(NAMES)))


def main(argv: Sequence[str]) -> None:
    """Read, transform, write; rows written by table go to the log."""
    from pyspark.sql import SparkSession

    from services.ingest.lake.engine import Work, run
    from services.ingest.lake.spark import Spark

    told = arguments(argv)
    folder, inputs = Path(told["events"]), Path(told["inputs"])
    files = sorted(path for path in folder.iterdir() if path.is_file())
    work = Work(files, [inputs / "generations.parquet"], inputs / "flow_messages.parquet", Path(told["out"]))
    counts = run(Spark(SparkSession.builder.getOrCreate()), work)
    sys.stdout.write(f"{counts}\n")


if __name__ == "__main__":
    main(sys.argv)
