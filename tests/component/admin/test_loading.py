"""The operation that prints loaders: from what it makes them, and what it refuses."""

from typing import Any

import pytest

from shared.admin.errors import NotFound, Refused
from shared.admin.exports import exports, loading
from tests.component.admin.rig import START, Rig


async def test_a_loader_is_made_of_the_target_for_whoever_may_look_and_holds_no_secret(acme: Rig) -> None:
    more = {"access_key": "AKID", "secret_key": "canary-secret", "endpoint_url": "https://s3.example.com"}
    await acme.run(exports.set_target, {"bucket": "records", "prefix": "jai", "tables": ["outcomes"], **more})

    made = await acme.run(loading.loader, {"engine": "duckdb"}, "viewer")
    asked_month = await acme.run(loading.loader, {"engine": "duckdb", "month": "2025-02"}, "viewer")
    in_folder = await acme.run(loading.loader, {"engine": "spark", "folder": "/data/jai"}, "viewer")

    assert (made.title, made.tested, made.file_name) == ("DuckDB", True, "load_duckdb.py")
    assert "records/jai" in made.text
    assert "https://s3.example.com" in made.text
    assert "TABLES = ['generations', 'outcomes']" in made.text
    assert f"load_duckdb.py {START:%Y-%m} " in made.text
    assert "load_duckdb.py 2025-02 " in asked_month.text
    assert "/data/jai" in in_folder.text
    assert "_manifests/'" in (await acme.run(loading.loader, {"engine": "redshift"})).text
    assert "_manifests/2025/02/'" in (await acme.run(loading.loader, {"engine": "redshift", "month": "2025-02"})).text
    assert not {"AKID", "canary-secret"} & {word for word in ("AKID", "canary-secret") if word in made.text}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"engine": "oracle"}, "engine"), ({"engine": "duckdb", "month": "2026-13"}, "month"),
        ({"engine": "duckdb", "month": "2026-11-01"}, "month"), ({"engine": "athena", "folder": "/data"}, "folder"),
    ],
)  # fmt: skip
async def test_what_no_loader_can_be_made_of_is_refused_by_its_field(
    acme: Rig, asked: dict[str, Any], field: str
) -> None:
    await acme.run(exports.set_target, {"bucket": "records"})

    with pytest.raises(Refused) as refused:
        await acme.run(loading.loader, asked, "viewer")

    assert [fault.field for fault in refused.value.faults] == [field]


async def test_without_a_target_there_is_nothing_to_load(acme: Rig) -> None:
    with pytest.raises(NotFound, match="no export target yet"):
        await acme.run(loading.loader, {"engine": "duckdb"}, "viewer")


async def test_of_an_export_in_a_folder_only_who_loads_it_knows_where_they_see_it(acme: Rig) -> None:
    target = (await acme.run(exports.set_target, {"bucket": "records"})).model_copy(update={"bucket": ""})

    with pytest.raises(Refused) as unseen:
        loading.export_of("duckdb", target, "acme", None)
    with pytest.raises(Refused) as no_bucket:
        loading.export_of("snowflake", target, "acme", None)
    seen = loading.export_of("duckdb", target, "acme", "/exports/acme")

    assert [fault.field for fault in unseen.value.faults] == ["folder"]
    assert [fault.field for fault in no_bucket.value.faults] == ["engine"]
    assert seen.folder == "/exports/acme"
