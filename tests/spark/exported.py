"""An export as the exporter writes it, in a folder and without a server; and stand-ins for the commands on the page.

Run by the environment that the exporter runs in (`.venv`), for Spark's has none of its packages:
`python -m tests.spark.exported BUCKET justai export …`, or `… aws s3 sync …`; BUCKET is the folder that stands for it.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

from services.egress.layout import manifest, manifest_key, object_key
from services.egress.model import Lease, OutcomeRow, VariantRow, VersionRow
from services.egress.parquet import Form, HourFile
from services.egress.record import PAGE
from services.egress.tables import OUTCOMES, VARIANTS
from shared.exports import HOUR, VARIANTS_HOUR, Layout, Table
from shared.loaders.place import Export
from shared.loaders.recipe import recipe
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import encode_vars
from tests.stored_rows import SECOND_US, Stored, stored_rows

ORG = UUID(int=7)
FIRST = datetime(2026, 11, 23, 10, tzinfo=UTC)
SOURCE = VariantSource(UUID(int=1), 1, "Hi {{ name }}", "", "<p>{{ name }}</p>")
NAMES = "e'x/port"  # the prefix of keys, to be taken for what it is
LAYOUTS: Mapping[str, Layout] = {"plain": "plain", "hive": "hive"}


def write(
    bucket: Path, people: dict[datetime, int], revision: int, layout: Layout = "plain", revenue: float = 19.5,
    *, variants: bool = True,
) -> None:  # fmt: skip
    """Each hour with so many people, whatever it held before; and the variants."""
    for hour, count in people.items():
        _put(bucket, "generations", hour, PAGE, stored_rows(_generations(hour, count)), revision, layout)
        _put(bucket, "outcomes", hour, OUTCOMES, list(_outcomes(hour, count, revenue)), revision, layout)
    variant = VariantRow(
        str(UUID(int=1)), "welcome", "Welcome", "Warm", "", "approved", 1, "00", Vars("Hi", "", "<p>Hi</p>"),
        [VersionRow(1, "00", 0)], 0, None, None,
    )  # fmt: skip
    _put(bucket, "variants", VARIANTS_HOUR, VARIANTS, [variant] if variants else [], revision, layout)


def _put(bucket: Path, table: Table, hour: datetime, form: Form[Any], rows: Any, revision: int, layout: Layout) -> None:
    written = BytesIO()
    file = HourFile(written, form)
    file.add(rows)
    summary = file.close()
    key = object_key(NAMES, hour, table, layout)
    lease = Lease(ORG, table, hour, revision, revision, False, hour)
    said = manifest(lease, key, form, summary, revision=revision, exported_at=hour + timedelta(days=1))
    if rows:
        _replace(bucket / key, written.getvalue())
    else:
        (bucket / key).unlink(missing_ok=True)
    _replace(bucket / manifest_key(NAMES, hour, table), said)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _generations(hour: datetime, count: int) -> Iterator[Stored]:
    for n in range(count):
        copy = Vars(f"Hi person{n} ü", "", f"<p>person{n} ü</p>")
        yield Stored(
            (int(hour.timestamp()) + n) * SECOND_US, f"person{n}", f"person{n}.F.A", str(SOURCE.copy_id), "welcome",
            json.dumps({"name": 'Zoë "Z" \\', "none": None, "likes": ["tea", "rain"]}),
            encode_vars(copy, SOURCE), SOURCE,
        )  # fmt: skip


def _outcomes(hour: datetime, count: int, revenue: float) -> Iterator[OutcomeRow]:
    for n in range(count):
        yield OutcomeRow(
            int(hour.timestamp()) + n, str(UUID(int=n)), f"person{n}", f"person{n}.F.A", "welcome", str(UUID(int=1)),
            False, 1, int(hour.timestamp() * 1e6), True, True, False, False, False, False, 1, revenue, "EUR",
            "treatment", "explore",
        )  # fmt: skip


BEFORE = {FIRST: 30, FIRST + HOUR: 4, FIRST + 7 * 24 * HOUR: 5}
"""A month. Its people are `person0` and so on, in every hour the same ones."""
AFTER = {FIRST: 32, FIRST + HOUR: 0}
"""A day of it, overwritten: 32 + 0 + 5 rows are left of 39."""


def printed(folder: str, layout: Layout = "plain") -> str:
    """What `justai export loader spark acme --folder …` prints."""
    tables: tuple[Table, ...] = ("generations", "variants", "outcomes")
    return recipe(
        "spark", Export("acme", "records", NAMES, "eu-west-1", None, tables, "page", layout, folder), "2026-11"
    ).text


def main(bucket: Path, words: Sequence[str]) -> None:
    """The commands of the page, as far as it uses them."""
    match words:
        case ["justai", "export", "loader", "spark", "acme", "--folder", folder]:
            sys.stdout.write(printed(folder))
        case ["justai", "export", "backfill", "acme", "--from", "2026-11-23", "--to", "2026-11-24"]:
            write(bucket, AFTER, 2)
        case ["aws", "s3", "sync", "s3://records/jai", folder, "--delete"]:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(bucket / NAMES, folder)
        case ["export", layout] if layout in LAYOUTS:
            write(bucket, BEFORE, 1, LAYOUTS[layout])
        case ["overwrite", layout] if layout in LAYOUTS:
            write(bucket, AFTER, 2, LAYOUTS[layout])
        case ["earn", layout] if layout in LAYOUTS:
            write(bucket, {FIRST: 30}, 2, LAYOUTS[layout], 99.0, variants=False)
        case ["print", folder, layout] if layout in LAYOUTS:
            sys.stdout.write(printed(folder, LAYOUTS[layout]))
        case _:
            raise SystemExit(f"the page says a command that no test knows: {json.dumps(words)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
