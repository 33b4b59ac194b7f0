"""Where an hour lies, and what its manifest says."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.egress.layout import manifest, manifest_key, object_key
from services.egress.parquet import Summary

HOUR = datetime(2026, 11, 3, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prefix", "key", "beside"),
    [
        ("", "2026/11/03/07/part-000.parquet", "_manifests/2026/11/03/07.json"),
        ("a/b", "a/b/2026/11/03/07/part-000.parquet", "a/b/_manifests/2026/11/03/07.json"),
    ],
)
def test_the_hour_is_a_folder_of_its_own_and_the_manifest_lies_beside_the_tree(
    prefix: str, key: str, beside: str
) -> None:
    assert object_key(prefix, HOUR) == key
    assert manifest_key(prefix, HOUR) == beside


def test_the_folder_is_named_in_utc_wherever_the_hour_comes_from() -> None:
    elsewhere = HOUR.astimezone(timezone(timedelta(hours=-9, minutes=-30)))

    assert object_key("", elsewhere) == object_key("", HOUR)
    assert manifest_key("", elsewhere) == manifest_key("", HOUR)


def test_a_manifest_lets_a_loader_check_the_file() -> None:
    summary = Summary(3, 1234, "ab" * 32, 1_793_689_200, 1_793_692_799, 0)

    said = json.loads(manifest(HOUR, "k", summary, revision=4, exported_at=HOUR + timedelta(hours=2)))

    assert said["files"] == [{"key": "k", "rows": 3, "bytes": 1234, "sha256": "ab" * 32}]
    assert said["hour"] == "2026-11-03T07:00:00Z"
    assert said["exported_at"] == "2026-11-03T09:00:00Z"
    assert (said["revision"], said["rows"], said["bytes"], said["schema_version"]) == (4, 3, 1234, 1)
    assert (said["event_timestamp_min"], said["event_timestamp_max"]) == (1_793_689_200, 1_793_692_799)


def test_the_manifest_of_an_empty_hour_names_no_file() -> None:
    said = json.loads(manifest(HOUR, "k", Summary(0, 900, "ab", None, None, 0), revision=1, exported_at=HOUR))

    assert (said["rows"], said["bytes"], said["files"]) == (0, 0, [])
