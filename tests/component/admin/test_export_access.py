"""Who may write to the bucket, what has to be allowed there, and the switch, for one org and over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from shared.admin.errors import Conflict, Forbidden, NotFound, Refused
from shared.admin.exports import exported_hours, exports
from shared.admin.exports import policies as export_policies
from shared.admin.exports import removal as export_removal
from shared.admin.exports import switch as export_switch
from tests.component.admin.rig import START, Rig, SentJobs

ROLE, OTHER_ROLE = "arn:aws:iam::111122223333:role/exports", "arn:aws:iam::111122223333:role/other"
US = "arn:aws:iam::999900001111:role/justai-egress"
HOURS = {"start": START - timedelta(days=1), "end": START}


async def an_hour_waits(acme: Rig, reason: str = "dirty", *, due_in_s: float = 3000) -> None:
    await acme.rows(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at) VALUES ($1, 'generations', $2, $3, $4)",
        acme.org_id, START - timedelta(hours=2), reason, START + timedelta(seconds=due_in_s),
    )  # fmt: skip


async def test_the_external_id_is_ours_shown_to_all_and_asked_of_nobody(acme: Rig) -> None:
    other = await acme.other()
    await acme.run(exports.set_target, {"bucket": "records", "role_arn": ROLE})
    await other.run(exports.set_target, {"bucket": "others", "role_arn": ROLE})

    mine, theirs = await acme.run(exports.show, {}, "viewer"), await other.run(exports.show, {}, "viewer")

    assert mine.external_id != theirs.external_id
    assert (await acme.run(export_policies.show_role, {}, "viewer")).external_id == mine.external_id
    with pytest.raises(Refused) as refused:
        await acme.run(exports.set_target, {"bucket": "records", "role_arn": ROLE, "external_id": theirs.external_id})
    assert refused.value.field == "external_id"


async def test_an_id_from_before_is_kept_with_its_role_and_no_longer(acme: Rig) -> None:
    target = {"bucket": "records", "role_arn": ROLE}
    ours = (await acme.run(exports.set_target, target)).external_id
    await acme.rows("UPDATE export_targets SET external_id = 'theirs'")

    same = await acme.run(exports.set_target, {**target, "cadence": "hourly"})
    moved = await acme.run(exports.set_target, {**target, "role_arn": OTHER_ROLE})
    back = await acme.run(exports.set_target, target)

    assert [one.external_id for one in (same, moved, back)] == ["theirs", ours, ours]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"role_arn": "arn:aws:iam::1:role/x"}, "role_arn"), ({"bucket_owner": "1"}, "bucket_owner"),
        ({"encryption": "kms", "kms_key_id": "alias/x"}, "kms_key_id"), ({"encryption": "kms"}, "kms_key_id"),
        ({"encryption": "s3", "kms_key_id": "k"}, "kms_key_id"), ({"encryption": "aes"}, "encryption"),
    ],
)  # fmt: skip
async def test_access_that_cannot_be_is_refused_by_its_field(acme: Rig, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        await acme.run(exports.set_target, {"bucket": "records", **given})

    assert refused.value.faults[0].field == field


async def test_a_server_that_is_not_aws_names_roles_and_keys_its_own_way(acme: Rig) -> None:
    given = {"endpoint_url": "https://s3.example.com", "role_arn": "arn:minio:iam:::role/x"}
    found = await acme.run(
        exports.set_target, {"bucket": "records", **given, "encryption": "kms", "kms_key_id": "exports"}
    )

    assert (found.role_arn, found.kms_key_id) == (given["role_arn"], "exports")


async def test_an_org_in_the_installations_folder_says_what_is_exported_but_has_no_policies(acme: Rig) -> None:
    with pytest.raises(Refused, match="is empty"):
        await acme.run(exports.set_target, {"bucket": ""})
    await acme.rows(
        "INSERT INTO export_targets (org_id, bucket, created_at, updated_at) VALUES ($1, '', $2, $2)",
        acme.org_id, START,
    )  # fmt: skip

    found = await acme.run(exports.set_target, {"bucket": "", "record": "analyst"})

    assert (found.bucket, found.record, found.place) == ("", "analyst", "the folder of this installation")
    with pytest.raises(Refused, match="belongs to a bucket"):
        await acme.run(exports.set_target, {"bucket": "", "prefix": "x"})
    with pytest.raises(Refused, match="has no policies"):
        await acme.run(export_policies.show_lifecycle, {})
    assert (await acme.run(exports.set_target, {"bucket": "records"})).place == "s3://records"


async def test_many_orgs_may_share_the_folder_of_the_installation(acme: Rig) -> None:
    await acme.other()

    await acme.rows(
        "INSERT INTO export_targets (org_id, bucket, created_at, updated_at) SELECT org_id, '', $1, $1 FROM orgs", START
    )

    assert len(await acme.rows("SELECT 1 FROM export_targets")) == 2


async def test_policies_are_served_over_http_as_they_are(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records", "prefix": "jai"})
    root = "/api/v1/orgs/acme/exports/target"

    policy = await acme.ask("GET", f"{root}/policy", acme.actor("viewer"), params={"principal": US})
    nobody = await acme.ask("GET", f"{root}/policy", acme.actor("viewer"))
    role = await acme.ask("GET", f"{root}/role", acme.actor("viewer"))
    rules = await acme.ask("GET", f"{root}/lifecycle", acme.actor("viewer"), params={"keep_days": "0"})

    assert policy.body["bucket_policy"]["Statement"][0]["Resource"] == "arn:aws:s3:::records/jai/*"
    assert (nobody.status, nobody.error["field"]) == (422, "principal")
    assert (role.body["trust_policy"], role.body["principal"]) == (None, None)
    assert (rules.status, rules.error["field"]) == (422, "keep_days")


async def test_what_is_switched_off_keeps_its_place_says_what_waits_and_is_due_at_once_when_it_is_on(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records"})
    await an_hour_waits(acme, "person_deleted")

    off = await acme.run(export_switch.switch_off, {}, "editor")
    again = await acme.run(export_switch.switch_off, {}, "editor")
    saved = await acme.run(exports.set_target, {"bucket": "records", "cadence": "hourly"})
    on = await acme.run(export_switch.switch_on, {}, "editor")

    assert (off.enabled, off.changed, off.waiting, off.deletions, off.switched_at) == (False, True, 1, 1, START)
    assert (again.changed, saved.enabled) == (False, False)
    assert (on.enabled, on.changed) == (True, True)
    assert await acme.rows("SELECT due_at FROM export_hours") == [{"due_at": START}]
    audited = await acme.rows("SELECT operation FROM audit_log WHERE operation ~ '^exports.o(n|ff)$' ORDER BY audit_id")
    assert [one["operation"] for one in audited] == ["exports.off", "exports.on"]


async def test_a_backfill_is_refused_while_exports_are_off_and_marks_nothing(acme: Rig) -> None:
    await acme.run(exports.set_target, {"bucket": "records"})
    await an_hour_waits(acme)
    await acme.run(export_switch.switch_off, {})

    with pytest.raises(Conflict, match="Exports are off") as refused:
        await acme.with_publisher(SentJobs(acme)).run(exported_hours.backfill, HOURS)

    assert refused.value.code == "exports_are_off"
    assert await acme.rows("SELECT dirty_seq FROM export_hours") == [{"dirty_seq": 1}]
    assert (await acme.run(exported_hours.preview, HOURS)).exports == 2


async def test_a_viewer_switches_nothing_and_without_a_target_there_is_nothing_to_switch(acme: Rig) -> None:
    with pytest.raises(NotFound, match="no export target"):
        await acme.run(export_switch.switch_off, {})
    with pytest.raises(Forbidden):
        await acme.run(export_switch.switch_off, {}, "viewer")


async def test_exports_that_are_given_up_leave_no_hour_waiting_and_may_begin_anew(acme: Rig) -> None:
    other = await acme.other()
    await acme.run(exports.set_target, {"bucket": "records", "prefix": "jai", "access_key": "k", "secret_key": "s"})
    await other.run(exports.set_target, {"bucket": "others"})
    await an_hour_waits(acme, "person_deleted")
    await an_hour_waits(other)

    would = await acme.run(export_removal.show_removal, {}, "owner")
    with pytest.raises(Forbidden):
        await acme.run(export_removal.remove_target, {}, "editor")
    done = await acme.run(export_removal.remove_target, {}, "owner")

    assert (done.place, done.objects, done.waiting, done.deletions) == ("s3://records/jai", 0, 1, 1)
    assert done == would
    with pytest.raises(NotFound, match="no export target"):
        await acme.run(exports.show, {})
    with pytest.raises(NotFound, match="no export target"):
        await acme.run(export_removal.remove_target, {}, "owner")
    assert await acme.rows("SELECT org_id FROM export_hours") == [{"org_id": other.org_id}]
    assert (await other.run(exports.show, {})).bucket == "others"
    again = await acme.run(exports.set_target, {"bucket": "records", "prefix": "jai"})
    assert (again.enabled, again.access_key) == (True, None)
    audited = await acme.rows("SELECT operation FROM audit_log WHERE operation = 'exports.remove'")
    assert len(audited) == 1


async def test_the_installation_s_folder_is_not_given_up_for_it_would_come_back(acme: Rig) -> None:
    await acme.rows(
        "INSERT INTO export_targets (org_id, bucket, created_at, updated_at) VALUES ($1, '', $2, $2)",
        acme.org_id, START,
    )  # fmt: skip

    with pytest.raises(Conflict, match="switch exports off"):
        await acme.run(export_removal.remove_target, {}, "owner")

    assert (await acme.run(exports.show, {})).bucket == ""
