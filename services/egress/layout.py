"""Where an hour lies in the bucket, and what its manifest says. Pure.

Whoever walks the whole prefix meets `generations` alone: everything else lies behind names with an underscore.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from services.egress.model import Lease, Target
from services.egress.parquet import Form, Summary
from shared.exports import Layout, Table

_PART = "part-000.parquet"
_HOURS = {"plain": "%Y/%m/%d/%H", "hive": "year=%Y/month=%m/day=%d/hour=%H"}
_OTHER: dict[Layout, Layout] = {"plain": "hive", "hive": "plain"}


def object_key(prefix: str, hour: datetime, table: Table = "generations", layout: Layout = "plain") -> str:
    """`<prefix>/YYYY/MM/DD/HH/part-000.parquet`, or `<prefix>/_tables/<table>/…` of the other tables. The hour's folder
    holds nothing else, unless `_SUCCESS` is asked for, because some loaders (Redshift COPY, a bare BigQuery wildcard)
    read every object there."""
    return f"{_hour_folder(prefix, hour, table, layout)}{_PART}"


def manifest_key(prefix: str, hour: datetime, table: Table = "generations") -> str:
    """`<prefix>/_manifests/YYYY/MM/DD/HH.json` in any layout; `<prefix>/_manifests/<table>/…` of the other tables."""
    place = f"{_folder(prefix)}_manifests/"
    if table == "variants":
        return f"{place}variants.json"
    return f"{place}{'' if table == 'generations' else f'{table}/'}{hour.astimezone(UTC):%Y/%m/%d/%H}.json"


def probe_key(prefix: str, probe_id: UUID) -> str:
    """Where a try of the connection writes for a moment; beside the hours, behind an underscore like the manifests."""
    return f"{_folder(prefix)}_probes/{probe_id}.txt"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one object and what belongs to it lie. `strays`: keys at which the other layout has it."""

    key: str
    manifest: str
    success: str | None
    strays: Sequence[str]
    layout: Layout


def place_of(lease: Lease, target: Target) -> Place:
    """Of a leased hour, as its target wants it now."""
    where = (target.prefix, lease.hour, lease.table)
    key, manifest_at = object_key(*where, target.layout), manifest_key(*where)
    if lease.table == "variants":
        return Place(key, manifest_at, None, (), target.layout)
    success = f"{_hour_folder(*where, target.layout)}_SUCCESS" if target.success_file else None
    other = _hour_folder(*where, _OTHER[target.layout])
    return Place(key, manifest_at, success, (f"{other}{_PART}", f"{other}_SUCCESS"), target.layout)


_HOUR = r"(\d{4}/\d\d/\d\d/\d\d|year=\d{4}/month=\d\d/day=\d\d/hour=\d\d)/"
_OURS = re.compile(rf"(_tables/variants/|(_tables/outcomes/)?{_HOUR}){re.escape(_PART)}")


def is_ours(prefix: str, key: str) -> bool:
    """Whether an object of this name is one that we write in parts. A customer's own job may have the same prefix."""
    folder = _folder(prefix)
    return key.startswith(folder) and _OURS.fullmatch(key, len(folder)) is not None


def _hour_folder(prefix: str, hour: datetime, table: Table, layout: Layout) -> str:
    beside = "" if table == "generations" else f"_tables/{table}/"
    hours = "" if table == "variants" else f"{hour.astimezone(UTC).strftime(_HOURS[layout])}/"
    return f"{_folder(prefix)}{beside}{hours}"


def _folder(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""


def manifest(
    lease: Lease, key: str, form: Form[Any], summary: Summary, *, revision: int, exported_at: datetime
) -> bytes:
    """What a loader checks before it trusts the hour. An empty hour has no file and says so. It is one line, because
    BigQuery and Athena read JSON by lines."""
    file = {"key": key, "rows": summary.rows, "bytes": summary.bytes, "sha256": summary.sha256}
    content = {
        "manifest_version": 1,
        "table": lease.table,
        "schema_version": form.version,
        "hour": None if lease.table == "variants" else lease.hour.astimezone(UTC),
        "revision": revision,
        "reason": lease.reason,
        "people_deleted": lease.people_deleted,
        "exported_at": exported_at.astimezone(UTC),
        "rows": summary.rows,
        "bytes": summary.bytes if summary.rows else 0,
        "rows_without_vars": summary.rows_without_vars,
        "event_timestamp_min": summary.first_event,
        "event_timestamp_max": summary.last_event,
        "files": [file] if summary.rows else [],
    }
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
