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
@click.option("--without-dropped", is_flag=True, help="Also where days of generations were dropped by age.")
@command
async def inputs(org_slug: str, first: datetime, last: datetime, out: Path, without_dropped: bool) -> None:
    """Write an org's generations and flow messages as Parquet.

    Then `python -m services.ingest.lake --events FOLDER --inputs OUT --out FOLDER` builds the tables.
    """
    from services.ingest.lake.inputs import dropped_between, write_inputs  # pyarrow, which no other command needs

    days: tuple[date, date] = (first.date(), last.date())
    async with session() as s:
        org_id = await s.org_id(org_slug)
        dropped = [] if without_dropped else await dropped_between(s.db, org_id, *days)
        if dropped:
            raise click.ClickException(
                f"generations of {len(dropped)} of these days were dropped by age, {dropped[0]} to {dropped[-1]}; "
                "tables that are built now would say no_generation of their emails. Begin later, or "
                "give --without-dropped."
            )
        count = await write_inputs(s.db, org_id, *days, out)
    click.echo(f"{count:,} generations in {out}.")
