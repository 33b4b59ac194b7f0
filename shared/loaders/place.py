"""What a recipe is made for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.exports import Layout, Record, Table
from shared.loaders.text import one_line


@dataclass(frozen=True, slots=True)
class Export:
    """Where one org's export lies and what it holds. `folder`: what lies below the prefix is (also) there on a disk,
    like a copy of the bucket; then nobody asks the bucket."""

    org_slug: str
    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None
    tables: tuple[Table, ...]
    record: Record
    layout: Layout
    folder: str | None = None

    @property
    def below(self) -> str:
        """In front of every key: the prefix with a slash, or nothing."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def said(self) -> str:
        """For people, in one line."""
        place = self.folder if self.folder is not None else f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return one_line(place)

    def month_folder(self, month: str, table: Table = "generations") -> str:
        """Below the prefix, with a slash at its end: where the hours of `2026-11` lie."""
        beside = "" if table == "generations" else f"_tables/{table}/"
        if table == "variants":
            return beside
        year, number = month.split("-")
        return f"{beside}{f'year={year}/month={number}' if self.layout == 'hive' else f'{year}/{number}'}/"


def manifests_at(tables: Sequence[Table], month: str | None) -> list[str]:
    """Below the prefix, folders with a slash at their end: one for everything, or each table's of the month; of the
    variants it is their file."""
    if month is None:
        return ["_manifests/"]
    of_month = month.replace("-", "/")
    found = {"generations": f"_manifests/{of_month}/", "variants": "_manifests/variants.json"}
    return [found.get(table, f"_manifests/{table}/{of_month}/") for table in tables]
