"""`justai lake`: what the lake's transform must know beside event files (docs/lake.md)."""

from datetime import date, datetime
from pathlib import Path

import click

from cli.session import command, session


@click.group()
def lake() -> None:
    """History as Parquet: events, sends and rollups, by DuckDB here or by Spark."""


@lake.command("inputs")
@click.argument("org_slug")
@click.option(
    "--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First day of generations, UTC."
)
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day, inclusive.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into.")
@command
async def inputs(org_slug: str, first: datetime, last: datetime, out: Path) -> None:
    """Write an org's generations and flow messages as Parquet.

    Then `python -m services.ingest.lake --events FOLDER --inputs OUT --out FOLDER` builds the tables.
    """
    from services.ingest.lake.inputs import write_inputs  # pyarrow, which no other command needs

    days: tuple[date, date] = (first.date(), last.date())
    async with session() as s:
        count = await write_inputs(s.db, await s.org_id(org_slug), *days, out)
    click.echo(f"{count:,} generations in {out}.")
