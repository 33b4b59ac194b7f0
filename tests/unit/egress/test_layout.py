"""Where an hour lies, and what its manifest says."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from services.egress.layout import is_ours, manifest, manifest_key, object_key, place_of
from services.egress.model import Lease, Target
from services.egress.parquet import Summary
from services.egress.record import ANALYST, PAGE
from services.egress.tables import VARIANTS
from shared.exports import VARIANTS_HOUR, Layout, Table

HOUR = datetime(2026, 11, 3, 7, tzinfo=UTC)
LEASE = Lease(UUID(int=1), "generations", HOUR, 4, 4, True, HOUR, "dirty")


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

    said = json.loads(manifest(LEASE, "k", PAGE, summary, revision=4, exported_at=HOUR + timedelta(hours=2)))

    assert said["files"] == [{"key": "k", "rows": 3, "bytes": 1234, "sha256": "ab" * 32}]
    assert said["hour"] == "2026-11-03T07:00:00Z"
    assert said["exported_at"] == "2026-11-03T09:00:00Z"
    assert (said["revision"], said["rows"], said["bytes"], said["schema_version"]) == (4, 3, 1234, 1)
    assert (said["event_timestamp_min"], said["event_timestamp_max"]) == (1_793_689_200, 1_793_692_799)


def test_the_manifest_of_an_empty_hour_names_no_file() -> None:
    nothing = Summary(0, 900, "ab", None, None, 0)

    said = json.loads(manifest(LEASE, "k", ANALYST, nothing, revision=1, exported_at=HOUR))

    assert (said["rows"], said["bytes"], said["files"], said["schema_version"]) == (0, 0, [], 2)


def test_a_manifest_says_why_it_was_written_and_how_often_somebody_was_taken_out() -> None:
    lease = replace(LEASE, reason="person_deleted", people_deleted=2)

    said = json.loads(manifest(lease, "k", PAGE, Summary(1, 2, "ab", 3, 4, 0), revision=5, exported_at=HOUR))

    assert (said["revision"], said["reason"], said["people_deleted"]) == (5, "person_deleted", 2)


def test_the_manifest_of_the_variants_names_no_hour() -> None:
    lease = replace(LEASE, table="variants", hour=VARIANTS_HOUR)

    said = json.loads(manifest(lease, "k", VARIANTS, Summary(1, 2, "ab", None, None, 0), revision=1, exported_at=HOUR))

    assert (said["table"], said["hour"], said["event_timestamp_min"]) == ("variants", None, None)


@pytest.mark.parametrize(
    ("table", "layout", "key", "beside"),
    [
        ("generations", "hive", "p/year=2026/month=11/day=03/hour=07/part-000.parquet",
         "p/_manifests/2026/11/03/07.json"),
        ("outcomes", "plain", "p/_tables/outcomes/2026/11/03/07/part-000.parquet",
         "p/_manifests/outcomes/2026/11/03/07.json"),
        ("outcomes", "hive", "p/_tables/outcomes/year=2026/month=11/day=03/hour=07/part-000.parquet",
         "p/_manifests/outcomes/2026/11/03/07.json"),
        ("variants", "plain", "p/_tables/variants/part-000.parquet", "p/_manifests/variants.json"),
        ("variants", "hive", "p/_tables/variants/part-000.parquet", "p/_manifests/variants.json"),
    ],
)  # fmt: skip
def test_every_table_has_its_own_place_where_walkers_of_the_prefix_do_not_look(
    table: Table, layout: Layout, key: str, beside: str
) -> None:
    assert (object_key("p", HOUR, table, layout), manifest_key("p", HOUR, table)) == (key, beside)
    assert is_ours("p", key)
    assert not is_ours("", key)
    assert not is_ours("p", beside)


@pytest.mark.parametrize(
    "key",
    ["part-000.parquet", "2026/11/03/part-000.parquet", "2026/11/03/07/part-001.parquet",
     "x/2026/11/03/07/part-000.parquet", "2026/11/03/07/part-000.parquet.tmp", "_tables/others/part-000.parquet",
     "backup.parquet"],
)  # fmt: skip
def test_what_somebody_else_uploads_below_the_prefix_is_not_ours(key: str) -> None:
    assert not is_ours("", key)


def test_what_the_other_layout_has_of_an_hour_is_known_as_stray() -> None:
    target = Target("b", "", "r", layout="hive", success_file=True)

    place = place_of(LEASE, target)

    assert place.success == "year=2026/month=11/day=03/hour=07/_SUCCESS"
    assert place.strays == ("2026/11/03/07/part-000.parquet", "2026/11/03/07/_SUCCESS")
