"""Where an org exports to, and what is exported anew."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.admin.errors import Conflict, Refused
from shared.admin.exports import exported_hours, exports
from shared.messaging.topology import EXPORT_HOUR
from tests.component.admin.rig import START, Rig, SentJobs


async def test_two_orgs_cannot_export_into_one_folder(acme: Rig) -> None:
    other = await acme.other()
    await other.run(exports.set_target, {"bucket": "records", "prefix": "jai"})

    with pytest.raises(Conflict, match="in use already"):
        await acme.run(exports.set_target, {"bucket": "records", "prefix": "/jai/"})


KEY = {"access_key": "AKID", "secret_key": "s"}
AWS = "https://s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prefix": "jai/below"}, "in use already"), ({}, "in use already"), ({"prefix": "jai2"}, None),
        ({"prefix": "ja"}, None), ({"bucket": "others", "prefix": "jai"}, None), ({"bucket": "records2"}, None),
        ({"prefix": "jai/x", "endpoint_url": f"{AWS}/", **KEY}, "in use already"),
        ({"prefix": "jai/x", "endpoint_url": "https://bucket.vpce-0a-1b.s3.eu-west-1.vpce.amazonaws.com", **KEY},
         "in use already"),
        ({"prefix": "jai", "endpoint_url": "https://s3.example.com", **KEY}, None),
        ({"prefix": "jai", "endpoint_url": "https://example.com/storage/v1/s3", **KEY}, None),
        ({"bucket": "jai", "endpoint_url": f"{AWS}/records", **KEY}, "Amazon's own"),
        ({"bucket": "jai", "endpoint_url": f"{AWS}/?/records", **KEY}, "no login, query or fragment"),
        ({"bucket": "jai", "endpoint_url": "https://records.s3.eu-west-1.amazonaws.com", **KEY}, "Amazon's own"),
        ({"bucket": "jai", "endpoint_url": "https://s3-fips.s3.amazonaws.com", **KEY}, "Amazon's own"),
        ({"prefix": "jai", "endpoint_url": f"{AWS}.", **KEY}, "must not end with a dot"),
        ({"prefix": "jai", "endpoint_url": "https://s3.eu-west-1.amazonaws\u3002com", **KEY}, "other letters"),
        ({"bucket": "records-0a1b2c-s3alias", "prefix": "jai"}, "name of an access point"),
        ({"bucket": "arn:aws:s3:eu-west-1:111122223333:accesspoint/records"}, "no bucket's name"),
    ],
)  # fmt: skip
async def test_no_org_exports_into_or_around_the_folder_of_another(
    acme: Rig, given: dict[str, str], said: str | None
) -> None:
    """Whose policy lets the installation in must not have let in all its orgs, however one of them writes the place."""
    other = await acme.other()
    await other.run(exports.set_target, {"bucket": "records", "prefix": "jai"})
    asked = {"bucket": "records", **given}

    if said is None:
        await acme.run(exports.set_target, asked)
    else:
        with pytest.raises((Conflict, Refused), match=said):
            await acme.run(exports.set_target, asked)
    await other.run(exports.set_target, {"bucket": "records", "prefix": "jai", "cadence": "hourly"})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"access_key": "AKID"}, "secret_key"), ({"secret_key": "s"}, "access_key"), ({"bucket": " "}, "bucket"),
        ({"prefix": "a//b"}, "prefix"), ({"prefix": "a/_b"}, "prefix"), ({"prefix": "a/../b"}, "prefix"),
        ({"prefix": "ä"}, "prefix"), ({"prefix": "a b"}, "prefix"), ({"prefix": "x" * 401}, "prefix"),
        ({"endpoint_url": AWS}, "endpoint_url"), ({"endpoint_url": "https://s3.example.com"}, "endpoint_url"),
    ],
)  # fmt: skip
async def test_a_target_that_cannot_be_used_is_refused(acme: Rig, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        await acme.run(exports.set_target, {"bucket": "records", **given})

    assert refused.value.field == field


async def test_a_backfill_is_published_after_it_is_stored_and_refused_without_a_broker(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records"})
    await acme.rows(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at) "
        "VALUES ($1, 'generations', $2, 'dirty', $2)",
        acme.org_id, START - timedelta(hours=2),
    )  # fmt: skip
    asked = {"start": START - timedelta(days=1), "end": START}

    with pytest.raises(Refused) as alone:
        await acme.run(exported_hours.backfill, asked)
    sent = SentJobs(acme)
    done = await acme.with_publisher(sent).run(exported_hours.backfill, asked)

    assert alone.value.code == "broker_not_set_up"
    assert done.hours == [START - timedelta(hours=2), START - timedelta(hours=1)]
    assert [(spec, job.hour) for spec, job in sent.jobs] == [(EXPORT_HOUR, hour) for hour in done.hours]
    assert sent.entries_seen == {"exports.backfill"}
    assert (await acme.run(exported_hours.progress, asked)).asked == 2


async def test_what_is_exported_beside_the_record_is_said_with_the_target(acme: Rig) -> None:
    plain = await acme.run(exports.set_target, {"bucket": "records"})
    more = {"record": "analyst", "tables": ["variants", "outcomes", "variants"], "layout": "hive", "success_file": True}

    found = await acme.run(exports.set_target, {"bucket": "records", **more})

    asked = ("record", "tables", "layout", "success_file")
    assert [getattr(plain, name) for name in asked] == ["page", [], "plain", False]
    assert [getattr(found, name) for name in asked] == ["analyst", ["outcomes", "variants"], "hive", True]


async def exported(acme: Rig, table: str, hour: datetime, rows: int, *, waits: bool = False) -> None:
    await acme.rows(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, state, exported_seq, rows, bytes) "
        "VALUES ($1, $2, $3, 'schedule', $3, 'exported', CASE WHEN $5 THEN 0 ELSE 1 END, $4::bigint, $4::bigint * 10)",
        acme.org_id, table, hour, rows, waits,
    )  # fmt: skip


async def test_a_backfill_is_counted_before_it_overwrites_anything(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records", "tables": ["outcomes"]})
    await acme.rows("SELECT ensure_partition('generations', $1)", START.date())
    long_ago = START - timedelta(days=200)
    for table in ("generations", "outcomes"):
        await exported(acme, table, START - timedelta(hours=2), 7)
    await exported(acme, "generations", START - timedelta(hours=1), 0, waits=True)
    await exported(acme, "generations", long_ago, 9)  # its partition is not there any more

    found = await acme.run(exported_hours.preview, {"start": START - timedelta(hours=3), "end": START}, "viewer")
    whole = await acme.run(exported_hours.preview, {"start": long_ago, "end": long_ago + timedelta(hours=1)}, "viewer")

    assert (found.hours, found.tables, found.exports) == (3, ["generations", "outcomes"], 6)
    assert (found.objects, found.rows, found.bytes, found.gone, found.waiting) == (2, 14, 140, 0, 1)
    assert (whole.objects, whole.rows, whole.gone) == (0, 0, 1)
    assert await acme.rows("SELECT 1 FROM export_hours WHERE dirty_seq > 1") == []


async def test_a_backfill_covers_every_table_and_is_resumed_without_asking_anew(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records", "tables": ["outcomes", "variants"]})
    asked = {"start": START - timedelta(hours=2), "end": START}
    for n in (1, 2):
        await exported(acme, "generations", START - timedelta(hours=n), 5)
    sent, again = SentJobs(acme), SentJobs(acme)

    done = await acme.with_publisher(sent).run(exported_hours.backfill, asked)
    await acme.rows("UPDATE export_hours SET exported_seq = dirty_seq WHERE table_name = 'generations'")
    resumed = await acme.with_publisher(again).run(exported_hours.backfill, asked | {"resume": True})
    await acme.rows("UPDATE export_hours SET exported_seq = dirty_seq")
    nothing = await acme.with_publisher(again).run(exported_hours.backfill, asked | {"resume": True})

    hours = [START - timedelta(hours=2), START - timedelta(hours=1)]
    assert (done.hours, done.exports, done.changed) == (hours, 4, True)
    assert sorted((job.table, job.hour) for _, job in sent.jobs) == [
        (table, hour) for table in ("generations", "outcomes") for hour in hours
    ]
    assert sorted((job.table, job.hour) for _, job in again.jobs) == [("outcomes", hour) for hour in hours]
    assert (resumed.exports, nothing.exports, nothing.changed) == (2, 0, False)
    marked = await acme.rows("SELECT table_name, dirty_seq FROM export_hours ORDER BY table_name, hour")
    assert [tuple(row.values()) for row in marked] == [
        ("generations", 2), ("generations", 2), ("outcomes", 1), ("outcomes", 1), ("variants", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "anew"),
    [
        ({"cadence": "hourly"}, 0), ({"layout": "hive"}, 0), ({"region": "eu-west-1"}, 0), ({"prefix": "/jai/"}, 0),
        ({"endpoint_url": f"{AWS}/", **KEY}, 0), ({"endpoint_url": "https://s3.example.com", **KEY}, 1),
        ({"prefix": ""}, 1), ({"bucket": "others"}, 1),
    ],
)  # fmt: skip
async def test_only_another_place_begins_anew(acme: Rig, more: dict[str, str], anew: int) -> None:
    target = {"bucket": "records", "prefix": "jai"}
    first = await acme.run(exports.set_target, target)
    await exported(acme, "generations", START - timedelta(hours=2), 0)
    await exported(acme, "outcomes", START - timedelta(hours=2), 0)  # of a table that is not exported any more

    said = await acme.run(exports.set_target, target | more)

    due = await acme.rows("SELECT table_name FROM export_hours WHERE dirty_seq > exported_seq")
    assert (first.anew, said.anew) == (0, anew)
    assert due == [{"table_name": "generations"}] * anew


async def test_an_org_that_leaves_the_folder_of_the_installation_takes_its_hours_along(acme: Rig) -> None:
    await acme.rows(
        "INSERT INTO export_targets (org_id, bucket, created_at, updated_at) VALUES ($1, '', $2, $2)",
        acme.org_id, START,
    )  # fmt: skip
    await exported(acme, "generations", START - timedelta(hours=2), 0)

    same = await acme.run(exports.set_target, {"bucket": "", "record": "analyst"})
    moved = await acme.run(exports.set_target, {"bucket": "records"})

    assert (same.anew, moved.anew) == (0, 1)
