"""`python -m services.ingest.lake`: event files and generations to events, sends and rollups as Parquet, here."""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from services.ingest.lake.duck import Duck
from services.ingest.lake.engine import Work, run
from services.ingest.records import Unreadable


@click.command()
@click.option("--events", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder of event files: CSV or JSON lines, plain or gzip.")  # fmt: skip
@click.option("--inputs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder that `justai lake inputs` wrote.")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Where the tables go; old ones are replaced."
)
@click.option("--memory-mb", type=click.IntRange(128), default=1024, show_default=True, help="DuckDB's limit.")
@click.option("--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="Which column a field is.")
def main(folder: Path, inputs: Path, out: Path, memory_mb: int, mapping: tuple[str, ...]) -> None:
    """Build the lake's tables with DuckDB on this machine. Spark runs the same SQL: deploy/glue/README.md."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    work = Work(
        files, [inputs / "generations.parquet"], inputs / "flow_messages.parquet", out,
        mapping=dict(one.split("=", 1) for one in mapping), now=datetime.now(UTC),
    )  # fmt: skip
    console = Console(stderr=True)
    duck = Duck(memory_mb=memory_mb, spill=out.parent)
    try:
        with console.status("reading") as status:
            counts = run(duck, work, status.update)
    except Unreadable as problem:
        raise click.ClickException(f"{problem}. Say which column it is by --map.") from None
    finally:
        duck.close()
    for name, rows in counts.items():
        click.echo(f"{name:<9} {rows:>12,}")


if __name__ == "__main__":
    main()
