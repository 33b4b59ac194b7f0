"""Recipes that load an org's export into a warehouse."""

from typing import Annotated

from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Refused
from shared.admin.exports import exports
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.loaders.place import Export
from shared.loaders.recipe import ENGINES, Engine, recipe

MONTH = "20[0-9][0-9]-(0[1-9]|1[0-2])"


class AskedLoader(AskedModel):
    """One engine. A month is all that statements load; to scripts it is an example: they are told when run."""

    engine: Engine
    month: Annotated[str, Field(pattern=f"^{MONTH}$")] | None = Field(
        None, description="Like 2026-11. Null: all there is."
    )
    folder: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None,
        description="Where a folder holds what lies below the prefix, like a copy of the bucket. Null: the bucket.",
    )


class Loader(ResultModel):
    """`tested`: our tests run this text; else it is stated from the engine's documentation. It holds no secret."""

    engine: Engine
    title: str
    tested: bool
    file_name: str
    text: str


@operation(
    "exports.loader", "GET", "/exports/loaders/{engine}", "viewer",
    "Print what loads the export into a warehouse, and loads what was overwritten again.",
)  # fmt: skip
async def loader(context: Context, asked: AskedLoader) -> Loader:
    target = await exports.show.work(context, Nothing(), None)
    export = export_of(asked.engine, target, context.org_slug, asked.folder)
    month = asked.month or f"{context.now:%Y-%m}"
    made = recipe(asked.engine, export, month, alone=asked.month is not None)
    return Loader(
        engine=made.engine, title=made.about.title, tested=made.about.tested, file_name=made.file_name, text=made.text
    )


def export_of(engine: Engine, target: exports.Target, org_slug: str, folder: str | None) -> Export:
    """What is exported, where whoever loads it finds it. Raises Refused where only they know that, or the engine cannot
    read it."""
    about = ENGINES[engine]
    if about.language == "sql" and not target.bucket:
        raise Refused(f"{about.title} reads buckets, and this export lies in a folder", field="engine")
    if about.language == "sql" and folder is not None:
        raise Refused(f"is nothing that {about.title} can read: it reads buckets", field="folder")
    if not target.bucket and folder is None:
        raise Refused(
            "is needed: the export lies in a folder, and where you see that is not known here", field="folder"
        )
    return Export(
        org_slug, target.bucket, target.prefix, target.region, target.endpoint_url, ("generations", *target.tables),
        target.record, target.layout, folder,
    )  # fmt: skip
