"""`justai preview`: what a template's variants say to people, before anybody gets them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import click
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from cli import preview_grid
from cli.display import show_table
from cli.preview_grid import Cell, Person, Variant
from cli.preview_page import notes_of, page
from cli.session import Session, command, session
from shared.admin.template_store import place_of

MOST_PEOPLE = 1_000
_ROWS_SHOWN = 40
_SAMPLED_DAYS = 7

# The newest of each kind of attrs, out of the newest requests: people who look alike are one.
SELECT_ATTRS = """
    SELECT attrs FROM (
        SELECT DISTINCT ON (attrs) attrs, accepted_at FROM (
            SELECT attrs, accepted_at FROM generations
            WHERE org_id = $1 AND template_id = $2 AND day >= $3 AND accepted_at >= $4
              AND decision IN ('treatment', 'control')
            ORDER BY accepted_at DESC LIMIT 10000
        ) newest ORDER BY attrs, accepted_at DESC
    ) kinds ORDER BY accepted_at DESC LIMIT $5
"""


def _text(value: Any) -> Any:
    """As the gateway takes it: numbers and truth values are text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]


class _Given(BaseModel):
    """One person of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    attrs: dict[str, Text | list[Text]] = {}
    fields: dict[str, Text | None] = {}


_PEOPLE = TypeAdapter(Annotated[list[_Given], Field(min_length=1, max_length=MOST_PEOPLE)])


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option(
    "--people",
    "people_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON: [{"name": "Ada", "attrs": {"plan": "pro"}, "fields": {"first_name": "Ada"}}, …].',
)
@click.option(
    "--sample",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Without --people: kinds of people out of the last 7 days.",
)
@click.option("--variant", "variant_name", help="Only this variant.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML file to look at, too.")
@command
async def preview(
    org_slug: str, template_id: str, people_file: Path | None, sample: int, variant_name: str | None, out: Path | None
) -> None:
    """Show what variants say to people, the worst first. Nothing is stored, sent or counted.

    All variants that are not archived, drafts too, are rendered as the generator renders them, for the people of a
    file or for kinds of people who came lately. Fields are never stored, so those get an example for each; two more
    are added to them: one without any field, one with long values.
    """
    given = _read(people_file) if people_file else None
    async with session() as s:
        org_id = await s.org_id(org_slug)
        variants = await _variants(s, org_id, org_slug, template_id, variant_name)
        people = given or preview_grid.sampled(
            await _attrs(s, org_id, template_id, sample), frozenset().union(*map(preview_grid.fields_of, variants))
        )
    cells = preview_grid.grid(variants, people)
    _show(cells)
    if out is not None:
        _write(out, page(f"{template_id} of {org_slug}", cells))


def _write(out: Path, html: str) -> None:
    out.write_text(html, encoding="utf-8")
    click.echo(f"Wrote {out}; open it in a browser.")


def _show(cells: Sequence[Cell]) -> None:
    show_table(
        ("variant", "person", "shows", "subject", "characters", "to know"),
        (
            (
                cell.variant.name, cell.person.name, "our copy" if cell.shown else f"control: {cell.reason}",
                cell.shown.subject if cell.shown else "", len(cell.shown.subject) if cell.shown else "",
                "; ".join(notes_of(cell)),
            )
            for cell in cells[:_ROWS_SHOWN]
        ),
        empty="Nothing to show.",
    )  # fmt: skip
    control = sum(cell.shown is None for cell in cells)
    rest = f", of which the worst {_ROWS_SHOWN} are here" if len(cells) > _ROWS_SHOWN else ""
    click.echo(f"{len(cells)} renderings{rest}; {control} would show the control content.")


# What is to be approved, else what is served: that is what somebody wants to look at.
SELECT_VARIANTS = """
    SELECT v.copy_id, v.name, v.state, t.version, t.subject, t.preheader, t.body
    FROM variants v JOIN variant_versions t
      ON t.copy_id = v.copy_id AND t.version = coalesce(v.proposed_version, v.version)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY v.created_at, v.name
"""


async def _variants(
    s: Session, org_id: UUID, org_slug: str, template_id: str, variant_name: str | None
) -> list[Variant]:
    async with s.db.transaction(org_id) as connection:
        if await place_of(connection, org_id, template_id) is None:
            raise click.ClickException(f"No template {template_id!r}; see `justai template list {org_slug}`.")
        rows = await connection.fetch(SELECT_VARIANTS, org_id, template_id)
    if variant_name is None:
        wanted = [row for row in rows if row["state"] != "archived"]
    else:
        wanted = [row for row in rows if row["name"] == variant_name]
    if not wanted:
        known = ", ".join(repr(row["name"]) for row in rows)
        what = f"no variant {variant_name!r}" if variant_name else "no variant that is not archived"
        raise click.ClickException(f"Template {template_id!r} has {what}. Variants: {known or 'none'}.")
    names = ("copy_id", "name", "state", "version", "subject", "preheader", "body")
    return [Variant(**{name: row[name] for name in names}) for row in wanted]


async def _attrs(s: Session, org_id: UUID, template_id: str, sample: int) -> list[Mapping[str, Any]]:
    since = s.clock.now() - timedelta(days=_SAMPLED_DAYS)
    async with s.db.transaction(org_id) as connection:
        rows = await connection.fetch(SELECT_ATTRS, org_id, template_id, since.date(), since, sample)
    return [row["attrs"] for row in rows]


def _read(file: Path) -> list[Person]:
    try:
        given = _PEOPLE.validate_json(file.read_bytes())
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        first, *path = fault["loc"] or ("",)
        place = f"person {int(first) + 1}" if isinstance(first, int) else str(file)
        where = ": " + ".".join(str(part) for part in path) if path else ""
        raise click.ClickException(f"{place}{where}: {fault['msg']} ({file})") from None
    return [
        Person(
            one.name or f"person {number}",
            one.attrs,
            {name: value for name, value in one.fields.items() if value is not None},
        )
        for number, one in enumerate(given, start=1)
    ]
