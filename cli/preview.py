"""`justai preview`: what a template's variants say to people, before anybody gets them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
from pydantic import Field, TypeAdapter, ValidationError

from cli.display import show_table
from cli.given_file import GIVEN_FILE, called, text_of
from cli.preview_page import notes_of, page
from cli.session import command, session
from shared.admin.variants import previewing
from shared.admin.variants.preview_grid import Cell, Person, Variant
from shared.admin.variants.previewing import MOST_PEOPLE, GivenPerson, PreviewCell
from shared.schemas.copy import Vars

_ROWS_SHOWN = 40

_PEOPLE = TypeAdapter(Annotated[list[GivenPerson], Field(min_length=1, max_length=MOST_PEOPLE)])


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option(
    "--people",
    "people_file",
    type=GIVEN_FILE,
    help='JSON: [{"name": "Ada", "attrs": {"plan": "pro"}, "fields": {"first_name": "Ada"}}, …].',
)
@click.option(
    "--sample",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Without --people: kinds of people out of the last 7 days.",
)
@click.option(
    "--who",
    multiple=True,
    help="Without --people: only this one of those kinds, by name; may be said several times.",
)
@click.option("--variant", "variant_name", help="Only this variant.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML file to look at, too.")
@command
async def preview(
    org_slug: str,
    template_id: str,
    people_file: Path | None,
    sample: int,
    who: tuple[str, ...],
    variant_name: str | None,
    out: Path | None,
) -> None:
    """Show what variants say to people, the worst first. Nothing is stored, sent or counted.

    All variants that are not archived, drafts too, are rendered as the generator renders them, for the people of a
    file or for kinds of people who came lately. Fields are never stored, so those get an example for each; two more
    are added to them: one without any field, one with long values.
    """
    asked = previewing.AskedPreview(
        template_id=template_id, people=_read(people_file) if people_file else [], sample=sample, who=list(who),
        variant=variant_name,
    )  # fmt: skip
    async with session() as s:
        found = await s.run(previewing.preview, asked, org_slug)
    cells = [_cell(one) for one in found.cells]
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


def _cell(one: PreviewCell) -> Cell:
    shown = None if one.body is None else Vars(one.subject or "", one.preheader or "", one.body)
    variant = Variant(one.copy_id, one.variant, one.state, one.version, "", "", "")
    return Cell(variant, Person(one.person, {}, {}), shown, one.reason, one.missing, one.findings)


def _read(file: Path) -> list[GivenPerson]:
    try:
        return _PEOPLE.validate_json(text_of(file))
    except UnicodeDecodeError:
        raise click.ClickException(f"{called(file)} is no UTF-8 text.") from None
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        first, *path = fault["loc"] or ("",)
        place = f"person {int(first) + 1}" if isinstance(first, int) else called(file)
        where = ": " + ".".join(str(part) for part in path) if path else ""
        raise click.ClickException(f"{place}{where}: {fault['msg']} ({called(file)})") from None
