"""A template's variants as a CSV: written in a spreadsheet, taken in row by row, always as drafts."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, ValidationError

from shared.admin.context import Context
from shared.admin.csv_text import csv_lines, unguarded
from shared.admin.errors import Fault, Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.templates.one import OneTemplate, no_template
from shared.admin.variants import store as variant_store
from shared.admin.variants.saving import SELECT_TEMPLATE, SavedVariant, SaveVariant, save_one
from shared.schemas.template_file import VariantCopy

COLUMNS: Final = ("name", "theme", "subject", "preheader", "body", "mjml")
MAX_ROWS: Final = 500


class VariantsCsv(ResultModel):
    """`rows`: variants that are not archived, each as it was written last."""

    template_id: str
    csv: str
    rows: int


class ImportVariants(AskedModel):
    """`csv`: a line of columns, `name` among them, then a variant each. A column that is not there leaves what is; an
    empty cell of `subject`, `preheader`, `body`, `mjml` or `theme` takes it away. Comma or semicolon."""

    template_id: str
    csv: Annotated[str, StringConstraints(strip_whitespace=False), Field(max_length=4_000_000)]


class RefusedRow(ResultModel):
    """One row that was not taken in. `line`: where it begins in the file."""

    line: int
    name: str
    faults: list[Fault]


class ImportedVariants(ResultModel):
    """Rows that cannot be taken in leave the others alone. Variants that no row names stay as they are."""

    saved: list[SavedVariant]
    refused: list[RefusedRow]
    changed: bool


@operation(
    "variants.export_csv", "GET", "/templates/{template_id}/variants.csv", "viewer",
    "Show the variants of a template as a CSV that an import reads.",
)  # fmt: skip
async def export(context: Context, asked: OneTemplate) -> VariantsCsv:
    copies = await _copies(context, asked.template_id, hold=False)
    rows = [[getattr(one, column) or "" for column in COLUMNS] for one in copies.values()]
    return VariantsCsv(template_id=asked.template_id, csv=csv_lines([COLUMNS, *rows]), rows=len(rows))


@operation(
    "variants.import_csv", "POST", "/templates/{template_id}/variants.csv", "editor",
    "Save each row of a CSV as a variant: a draft until it is approved.",
)  # fmt: skip
async def take_in(context: Context, asked: ImportVariants) -> ImportedVariants:
    rows = read_rows(asked.csv)
    there = await _copies(context, asked.template_id, hold=True)
    saved: list[SavedVariant] = []
    refused: list[RefusedRow] = []
    for line, row in rows:
        given = _given(row, there.get(row["name"]))
        try:
            async with context.connection.transaction():
                saved.append(await save_one(context, _asked(asked.template_id, given)))
        except Refused as error:
            refused.append(RefusedRow(line=line, name=row["name"], faults=list(error.faults)))
    return ImportedVariants(saved=saved, refused=refused, changed=any(one.changed for one in saved))


async def _copies(context: Context, template_id: str, *, hold: bool) -> dict[str, VariantCopy]:
    """By name. Raises NotFound."""
    if await context.connection.fetchrow(SELECT_TEMPLATE, context.org_id, template_id) is None:
        raise no_template(template_id)
    stored = await variant_store.read_variants(context.connection, context.org_id, template_id, hold=hold)
    return variant_store.others_of(stored)


def _given(row: Mapping[str, str], before: VariantCopy | None) -> dict[str, str]:
    """The row's cells, and what was there where it has no column; of body and MJML, that which the row brings."""
    there: dict[str, str] = {column: getattr(before, column) or "" for column in COLUMNS} if before else {}
    if row.get("body") or row.get("mjml"):
        there |= {"body": "", "mjml": ""}
    return {**there, **row}


def _asked(template_id: str, given: Mapping[str, str]) -> SaveVariant:
    """Raises Refused by field."""
    texts = {name: text for name, text in given.items() if name != "name" and (name != "mjml" or text)}
    try:
        return SaveVariant.model_validate({"template_id": template_id, "variant": given["name"], **texts})
    except ValidationError as error:
        raise Refused.of(error) from None


def read_rows(text: str) -> list[tuple[int, dict[str, str]]]:
    """Each row by the line it begins in, cells by column. Pure. Raises Refused."""
    text = text.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    cells = _cells(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    _, named = next(cells, (1, []))
    columns = [cell.strip().lower() for cell in named]
    _check(columns)
    rows = list(_rows(cells, columns))
    if not rows:
        raise Refused("has no rows", field="csv")
    names = [row["name"] for _, row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refused(f"names {twice[0]} twice", field="csv")
    return rows


def _check(columns: list[str]) -> None:
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise Refused(f"has the column {unknown[0]!r}; there are {', '.join(COLUMNS)}", field="csv")
    if "name" not in columns or len(set(columns)) < len(columns):
        raise Refused("needs the column 'name', and each column once", field="csv")


def _cells(reader: Any) -> Iterator[tuple[int, list[str]]]:  # csv does not name its type
    """Each row by the line it begins in, also the one that is none: a quote that is never closed is noticed at the
    end of the file only, where nobody would look for it."""
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise Refused(f"the row that begins in line {line} is no CSV: {error}", field="csv") from None


def _rows(found: Iterator[tuple[int, list[str]]], columns: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    count = 0
    for line, cells in found:
        if not any(cell.strip() for cell in cells):
            continue
        count += 1
        if count > MAX_ROWS:
            raise Refused(f"has more than {MAX_ROWS} rows", field="csv")
        if len(cells) != len(columns):
            raise Refused(f"line {line} has {len(cells)} cells, not {len(columns)}", field="csv")
        row = dict(zip(columns, map(unguarded, cells), strict=True))
        row["name"] = row["name"].strip()
        if not row["name"]:
            raise Refused(f"line {line} has no name", field="csv")
        yield line, row
