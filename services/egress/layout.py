"""Where an hour lies in the bucket, and what its manifest says. Pure."""

from datetime import UTC, datetime
from uuid import UUID

import orjson

from services.egress.parquet import SCHEMA_VERSION, Summary


def object_key(prefix: str, hour: datetime) -> str:
    """`<prefix>/YYYY/MM/DD/HH/part-000.parquet`. The hour's folder holds nothing else, because some loaders (Redshift
    COPY, a bare BigQuery wildcard) read every object there."""
    return f"{_folder(prefix)}{hour.astimezone(UTC):%Y/%m/%d/%H}/part-000.parquet"


def manifest_key(prefix: str, hour: datetime) -> str:
    """`<prefix>/_manifests/YYYY/MM/DD/HH.json`. Readers that walk the whole prefix skip names with an underscore."""
    return f"{_folder(prefix)}_manifests/{hour.astimezone(UTC):%Y/%m/%d/%H}.json"


def probe_key(prefix: str, probe_id: UUID) -> str:
    """Where a try of the connection writes for a moment; beside the hours, behind an underscore like the manifests."""
    return f"{_folder(prefix)}_probes/{probe_id}.txt"


def _folder(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""


def manifest(hour: datetime, key: str, summary: Summary, *, revision: int, exported_at: datetime) -> bytes:
    """What a loader checks before it trusts the hour. An empty hour has no file and says so."""
    file = {"key": key, "rows": summary.rows, "bytes": summary.bytes, "sha256": summary.sha256}
    content = {
        "manifest_version": 1,
        "table": "generations",
        "schema_version": SCHEMA_VERSION,
        "hour": hour.astimezone(UTC),
        "revision": revision,
        "exported_at": exported_at.astimezone(UTC),
        "rows": summary.rows,
        "bytes": summary.bytes if summary.rows else 0,
        "rows_without_vars": summary.rows_without_vars,
        "event_timestamp_min": summary.first_event,
        "event_timestamp_max": summary.last_event,
        "files": [file] if summary.rows else [],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)
