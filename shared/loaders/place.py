"""What a recipe is made for. Pure."""

import re
from dataclasses import dataclass

from shared.exports import Layout, Record, Table

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
        return _CONTROLS.sub("?", place)

    def month_folder(self, month: str, table: Table = "generations") -> str:
        """Below the prefix, with a slash at its end: where the hours of `2026-11` lie."""
        beside = "" if table == "generations" else f"_tables/{table}/"
        if table == "variants":
            return beside
        year, number = month.split("-")
        return f"{beside}{f'year={year}/month={number}' if self.layout == 'hive' else f'{year}/{number}'}/"


def manifests_folder(month: str, table: Table) -> str:
    """Below the prefix; of the variants it is their file."""
    if table == "variants":
        return "_manifests/variants.json"
    return f"_manifests/{'' if table == 'generations' else f'{table}/'}{month.replace('-', '/')}/"
