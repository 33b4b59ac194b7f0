"""As whom exports are written: with a customer's role, into a bucket of the right owner, encrypted as they say."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from devstack.s3 import STRANGER
from services.egress.handler import Deps, export_hour
from services.egress.model import Target
from services.egress.probe import ProbeDeps, probe
from services.egress.s3 import S3, S3Options
from shared.export_access import CALLS, Reach, bucket_policy, lifecycle
from shared.schemas.jobs import ProbeTargetJob
from tests.component.egress.scripted_s3 import ScriptedS3, bucket_at, scripted_s3
from tests.component.egress.scripted_sts import ROLE, ScriptedSts, scripted_sts
from tests.component.egress.shop import Shop, World, job, people
from tests.support.iam import allows

KEY = "jai/2026/11/23/10/part-000.parquet"
KMS_KEY = "arn:aws:kms:us-east-1:111122223333:key/0f6e1c2a-1111-4222-8333-444455556666"
OWNER = "111122223333"


@pytest.fixture(autouse=True)
def our_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OURS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "our-secret")


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as server:
        yield server


async def a_shop_with_a_role(world: World) -> Shop:
    shop = await world.shop(prefix="jai", access_key=None, sealed_secret=None, role_arn=ROLE)
    await world.say(shop, people(5))
    return shop


async def probed(world: World, prefix: str) -> dict[str, list[str]]:
    """What somebody without rights of their own lacks below a prefix, by step."""
    at = world.endpoints
    target = Target(world.bucket, prefix, "us-east-1", at.s3_endpoint, STRANGER, at.s3_secret_key)

    async def of_org(_: UUID) -> Target:
        return target

    async with AsyncExitStack() as stack:
        s3 = S3(S3Options(connect_timeout_s=2, read_timeout_s=5, attempts=1), stack)
        asked = ProbeTargetJob(org_id=uuid4(), probe_id=uuid4(), reply_to="nobody")
        return {step.name: step.lacks for step in await probe(asked, ProbeDeps(of_org, s3.bucket)) if step.lacks}


async def test_a_real_server_lets_exports_in_by_the_policy_that_is_printed_and_nowhere_else(world: World) -> None:
    reach = Reach(world.bucket, "jai", "us-east-1")
    without = await probed(world, "jai")
    if not without:
        pytest.skip("this S3 server knows no identity without rights")
    policy = bucket_policy(reach, f"arn:aws:iam::000000000000:user/{STRANGER}")
    await world.s3.put_bucket_policy(Bucket=world.bucket, Policy=json.dumps(policy))

    with_it, elsewhere = await probed(world, "jai"), await probed(world, "jail")
    policy["Statement"][0]["Action"].remove("s3:DeleteObject")
    await world.s3.put_bucket_policy(Bucket=world.bucket, Policy=json.dumps(policy))
    lacking = await probed(world, "jai")

    objects = f"arn:aws:s3:::{world.bucket}"
    assert without["Write an object"] == [f"s3:PutObject on {objects}/jai/*"]
    assert with_it == {}
    assert elsewhere["Write an object"] == [f"s3:PutObject on {objects}/jail/*"]
    assert lacking == {"Remove it": [f"s3:DeleteObject on {objects}/jai/*"]}


async def test_a_real_server_takes_the_life_cycle_that_is_printed(world: World) -> None:
    rules = lifecycle(Reach(world.bucket, "jai", "us-east-1"), 400, 30)

    await world.s3.put_bucket_lifecycle_configuration(Bucket=world.bucket, LifecycleConfiguration=rules)

    found = await world.s3.get_bucket_lifecycle_configuration(Bucket=world.bucket)
    assert {one["ID"] for one in found["Rules"]} == {"justai-tidy", "justai-keep"}


async def external_id(world: World, shop: Shop) -> str:
    return str(await world.admin.fetchval("SELECT export_external_id FROM orgs WHERE org_id = $1", shop.org_id))


def taking_roles(world: World, sts: ScriptedSts, stack: AsyncExitStack) -> Deps:
    options = S3Options(connect_timeout_s=2, read_timeout_s=5, attempts=1, sts_endpoint_url=sts.url)
    return replace(world.deps, buckets=S3(options, stack))


async def test_an_hour_is_written_with_the_customers_role_and_a_session_that_may_do_no_more(world: World) -> None:
    shop = await a_shop_with_a_role(world)
    ours = await external_id(world, shop)
    keys = (world.endpoints.s3_access_key, world.endpoints.s3_secret_key)

    async with AsyncExitStack() as stack, scripted_sts(ours, keys) as sts:
        await export_hour(job(shop), taking_roles(world, sts, stack))

    [asked] = sts.asked
    policy = json.loads(asked["Policy"])
    assert (await world.hour(shop))["state"] == "exported"
    assert await world.rows(KEY) == shop.exported
    assert sts.signed_by == ["OURS"]
    assert (asked["ExternalId"], asked["DurationSeconds"]) == (ours, "3600")
    assert ours.startswith("justai-")
    for right in (right for rights in CALLS.values() for right in rights if right.on == "objects"):
        assert allows(policy, right.action, f"arn:aws:s3:::{world.bucket}/{KEY}")
        assert not allows(policy, right.action, f"arn:aws:s3:::{world.bucket}/other/{KEY}")
        assert not allows(policy, right.action, f"arn:aws:s3:::other-{world.bucket}/{KEY}")


@pytest.mark.parametrize("bucket", ["records", "records-0a1b2c-s3alias"])
async def test_our_own_identity_is_shown_to_no_endpoint_that_a_customer_names(
    world: World, script: ScriptedS3, bucket: str
) -> None:
    """Of a target that was stored before such ones were refused: its hour says why nothing is written."""
    shop = await world.shop(prefix="jai", bucket=bucket, endpoint_url=script.url, access_key=None, sealed_secret=None)
    await world.say(shop, people(5))
    if bucket != "records":
        await world.set(shop.org_id, endpoint_url=None)

    await export_hour(job(shop), world.deps)

    row = await world.hour(shop)
    assert (row["state"], row["error"].partition(": ")[0]) == ("blocked", "s3_bad_target")
    assert "access key or a role" in row["error"] or "access point" in row["error"]
    assert script.seen == []


async def test_a_role_that_trusts_another_id_blocks_the_hour_and_nothing_else(world: World) -> None:
    shop, other = await a_shop_with_a_role(world), await world.shop("other", prefix="other")
    await world.say(other, people(3))

    async with AsyncExitStack() as stack, scripted_sts(await external_id(world, other), ("K", "s")) as sts:
        deps = taking_roles(world, sts, stack)
        await export_hour(job(shop), deps)
        await export_hour(job(other), deps)

    row = await world.hour(shop)
    assert (row["state"], row["error"]) == ("blocked", "s3_403: AssumeRole: 403 AccessDenied")
    assert (await world.hour(other))["state"] == "exported"


async def test_an_id_that_the_customer_chose_before_is_kept_while_their_role_demands_it(world: World) -> None:
    shop = await a_shop_with_a_role(world)
    await world.set(shop.org_id, external_id="chosen-by-them")

    assert (await world.store.target(shop.org_id)).external_id == "chosen-by-them"


async def test_the_id_of_an_org_is_its_own_and_never_changes(world: World) -> None:
    one, two = await world.shop("one"), await world.shop("two", prefix="two")

    ids = {await external_id(world, shop) for shop in (one, two)}

    assert len(ids) == 2
    with pytest.raises(asyncpg.CheckViolationError, match="never changes"):
        async with world.db.transaction(one.org_id) as connection:
            await connection.execute("UPDATE orgs SET export_external_id = 'known to others'")


async def test_a_session_is_renewed_before_it_runs_out(script: ScriptedS3) -> None:
    nine_minutes = 9 * 60.0
    async with (
        AsyncExitStack() as stack,
        scripted_sts("an-id", ("FIRST", "s"), ("SECOND", "s"), lasts_s=nine_minutes) as sts,
    ):
        options = S3Options(connect_timeout_s=1, read_timeout_s=1, attempts=1, sts_endpoint_url=sts.url)
        target = Target("shared", "", "us-east-1", script.url, role_arn=ROLE, external_id="an-id")
        bucket = await S3(options, stack).bucket(target)
        await bucket.find("a")
        await bucket.find("b")

    users = [one.partition("Credential=")[2].partition("/")[0] for one in script.authorizations]
    assert users == ["SECOND", "SECOND"]
    assert len(sts.asked) > 1
    assert {one["ExternalId"] for one in sts.asked} == {"an-id"}


async def test_a_slow_sts_of_one_org_keeps_no_other_org_waiting(world: World) -> None:
    """Clients are made one after the other only where they are of one target."""
    shop, other = await a_shop_with_a_role(world), await world.shop("other", prefix="other")
    async with AsyncExitStack() as stack, scripted_sts("an-id", ("K", "s")) as sts:
        buckets = taking_roles(world, sts, stack).buckets
        assert isinstance(buckets, S3)
        async with buckets._opening[await world.store.target(shop.org_id)]:
            await buckets.bucket(await world.store.target(other.org_id))


@pytest.mark.parametrize(
    ("encryption", "key", "said"),
    [("bucket", None, {}), ("s3", None, {"": "AES256"}),
     ("kms", KMS_KEY, {"": "aws:kms", "-aws-kms-key-id": KMS_KEY})],
)  # fmt: skip
async def test_every_call_names_the_owner_and_every_new_object_how_it_is_encrypted(
    script: ScriptedS3, encryption: str, key: str | None, said: dict[str, str]
) -> None:
    more: dict[str, Any] = {"bucket_owner": OWNER, "encryption": encryption, "kms_key_id": key}
    async with bucket_at(script, **more) as bucket:
        for content in (b"small", b"x" * (6 << 20)):
            await bucket.replace("k", io.BytesIO(content), len(content), metadata={}, kind="text/plain", over=None)
        await bucket.read("k", 10)
        found = await bucket.find("k")
        assert found is not None
        await bucket.begin_and_abort("k")
        await bucket.sweep("", lambda _: False, 0)
        await bucket.remove("k", found)

    called = {operation for operation, _ in script.headers}
    assert called == {"Put", "Create", "UploadPart", "Complete", "Get", "Head", "Abort", "ListUploads", "Delete"}
    assert {headers.get("x-amz-expected-bucket-owner") for _, headers in script.headers} == {OWNER}
    sse = "x-amz-server-side-encryption"
    for operation, headers in script.headers:
        wanted = {f"{sse}{name}": value for name, value in said.items()} if operation in ("Put", "Create") else {}
        assert {name: value for name, value in headers.items() if name.startswith(sse)} == wanted


@pytest.mark.parametrize(
    ("target", "owner"),
    [
        (Target("b", "", "eu-west-1"), None),
        (Target("b", "", "eu-west-1", role_arn=ROLE), OWNER),
        (Target("b", "", "eu-west-1", role_arn=ROLE, bucket_owner="999900001111"), "999900001111"),
        (Target("b", "", "eu-west-1", role_arn=ROLE, bucket_owner=""), None),
        (Target("b", "", "eu-west-1", "https://s3.example.com", role_arn=ROLE), None),
    ],
)
def test_the_account_of_a_role_owns_the_bucket_unless_another_is_named(target: Target, owner: str | None) -> None:
    assert target.expected_owner == owner
