"""Trying a bucket for somebody who waits: asked by message, done by the exporter, answered once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.egress.model import Target
from services.egress.places import Places
from services.egress.probe import ProbeDeps, probe
from services.egress.s3 import S3, Bucket, S3Options
from shared.errors import Transient
from shared.hosts import Hosts, PrivateHost
from shared.messaging.asking import SeldomAsker
from shared.messaging.topology import PROBE_TARGET
from shared.schemas.jobs import ProbeTargetJob
from shared.schemas.probes import Probed, ProbeStep
from tests.component.egress.scripted_s3 import Fault, Operation, ScriptedS3, scripted_s3
from tests.component.egress.scripted_sts import ROLE
from tests.component.egress.shop import HOUR, World
from tests.component.egress.test_service import running

STEPS = [
    "Sign in", "Write an object", "Read it back", "Overwrite it", "Look where nothing is",
    "Begin and end an upload in parts", "List uploads that were left", "Remove it",
]  # fmt: skip
KMS_KEY = "arn:aws:kms:eu-west-1:111122223333:key/0f6e1c2a-1111-4222-8333-444455556666"
OBJECTS, BUCKET = "arn:aws:s3:::shared/jai/*", "arn:aws:s3:::shared"


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as server:
        yield server


async def probed(script: ScriptedS3, **more: Any) -> list[ProbeStep]:
    """Steps of a try at a bucket that answers as the script says; `more`: of its target."""
    given: dict[str, Any] = {"access_key": "K", "secret": "s"} | more
    target = Target("shared", "jai", "eu-west-1", script.url, **given)

    async def of_org(_: UUID) -> Target:
        return target

    async with AsyncExitStack() as stack:
        options = S3Options(
            connect_timeout_s=1, read_timeout_s=1, attempts=1, sts_endpoint_url=script.url, part_bytes=5 << 20
        )
        job = ProbeTargetJob(org_id=uuid4(), probe_id=uuid4(), reply_to="nobody")
        return await probe(job, ProbeDeps(of_org, S3(options, stack).bucket))


def failed(steps: list[ProbeStep]) -> dict[str, list[str]]:
    """What each step that lacks something lacks."""
    return {step.name: step.lacks for step in steps if step.lacks or not step.ok}


@pytest.mark.parametrize(
    ("operation", "lacks"),
    [
        ("Put", {"Write an object": [f"s3:PutObject on {OBJECTS}"]}),
        ("Get", {"Read it back": [f"s3:GetObject on {OBJECTS}"]}),
        ("Head", {"Look where nothing is": [f"s3:ListBucket on {BUCKET}"]}),
        ("Abort", {"Begin and end an upload in parts": [f"s3:AbortMultipartUpload on {OBJECTS}"]}),
        ("ListUploads", {"List uploads that were left": [f"s3:ListBucketMultipartUploads on {BUCKET}"]}),
        ("Delete", {"Remove it": [f"s3:DeleteObject on {OBJECTS}"]}),
    ],
)
async def test_each_right_that_is_missing_is_told_with_its_resource_at_the_step_that_needs_it(
    script: ScriptedS3, operation: Operation, lacks: dict[str, list[str]]
) -> None:
    script.faults[operation] = [(403, "AccessDenied")] * 5

    steps = await probed(script)

    assert failed(steps) == lacks
    [step] = [one for one in steps if one.lacks]
    assert step.ok == (operation == "ListUploads")  # a rule of the bucket can do that
    assert f"does not allow {step.lacks[0]}" in step.says
    assert operation == "Delete" or script.objects == {}


async def test_one_try_tells_all_that_is_missing(script: ScriptedS3) -> None:
    for operation in ("Get", "Head", "Abort", "Delete"):
        script.faults[operation] = [(403, "AccessDenied")] * 5

    assert list(failed(await probed(script))) == [
        "Read it back", "Look where nothing is", "Begin and end an upload in parts", "Remove it",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "says", "region", "told"),
    [
        ((404, "NoSuchBucket"), "no", "", "There is no bucket shared at http"),
        ((301, "PermanentRedirect"), "no", "us-west-2", "The bucket is in us-west-2, and the target says eu-west-1."),
        ((400, "AuthorizationHeaderMalformed"), "no", "us-west-2", "The bucket is in us-west-2, and the target says"),
        ((400, "IllegalLocationConstraintException"), "no", "", "The bucket is in another region, and the target says"),
        ((400, "ExpiredToken"), "no", "", "The temporary credentials have run out"),
        ((403, "InvalidAccessKeyId"), "no", "", "There is no such access key."),
        ((400, "KMS.DisabledException"), "no", "", f"The key {KMS_KEY} is not there, not enabled, or not in the"),
        ((400, "KMS.NotFoundException"), "no", "", f"The key {KMS_KEY} is not there, not enabled, or not in the"),
    ],
)
async def test_what_is_no_matter_of_a_right_is_told_and_ends_the_try(
    script: ScriptedS3, fault: Fault, says: str, region: str, told: str
) -> None:
    script.faults["Put"], script.says, script.region = [fault] * 3, says, region

    steps = await probed(script, encryption="kms", kms_key_id=KMS_KEY)

    assert [(step.name, step.ok) for step in steps] == [("Sign in", True), ("Write an object", False)]
    assert told in steps[-1].says
    assert steps[-1].lacks == []


async def test_what_answers_and_is_no_s3_server_is_told_from_one(script: ScriptedS3) -> None:
    script.faults["Put"] = ["blank"] * 3

    steps = await probed(script)

    assert [(step.name, step.ok) for step in steps] == [("Sign in", True), ("Write an object", False)]
    assert "Is the endpoint that of an S3 server? Something else answers there." in steps[-1].says


async def test_what_nobody_foresaw_is_told_to_who_asked(script: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(*_: object) -> None:
        raise LookupError("of some library")

    monkeypatch.setattr(Bucket, "find", find)

    steps = await probed(script)

    assert [(step.name, step.ok) for step in steps][-1] == ("Go on", False)
    assert "nobody foresaw: LookupError" in steps[-1].says


@pytest.mark.parametrize(
    ("says", "lacks"),
    [
        ("User: arn:aws:iam::9:role/x is not authorized to perform: kms:GenerateDataKey on resource: " + KMS_KEY,
         [f"kms:GenerateDataKey on {KMS_KEY}"]),
        ("User: arn:aws:iam::9:role/x is not authorized to perform: s3:PutObject on resource: "
         '"arn:aws:s3:::shared/jai/_probes/x.txt" because no identity-based policy allows the s3:PutObject action',
         ["s3:PutObject on arn:aws:s3:::shared/jai/_probes/x.txt"]),
        ("Access Denied", [f"s3:PutObject on {OBJECTS}", f"kms:GenerateDataKey on {KMS_KEY}"]),
    ],
)  # fmt: skip
async def test_a_key_that_denies_is_told_from_a_bucket_that_does_where_the_server_says_which(
    script: ScriptedS3, says: str, lacks: list[str]
) -> None:
    script.faults["Put"], script.says = [(403, "AccessDenied")] * 3, says

    steps = await probed(script, encryption="kms", kms_key_id=KMS_KEY)

    assert failed(steps) == {"Write an object": lacks}


async def test_a_bucket_of_another_owner_is_told_from_a_policy_that_lacks_something(script: ScriptedS3) -> None:
    script.owner = "111122223333"

    theirs = await probed(script, bucket_owner="999900001111")
    script.faults["Put"] = [(403, "AccessDenied")] * 3
    lacking = await probed(script, bucket_owner="111122223333")

    assert "does not belong to the account 999900001111, so nothing is written to it" in theirs[-1].says
    assert (theirs[-1].name, theirs[-1].lacks) == ("Write an object", [])
    assert failed(lacking) == {"Write an object": [f"s3:PutObject on {OBJECTS}"]}


@pytest.mark.parametrize(
    ("code", "told", "lacks"),
    [
        ("AccessDenied", "with the external id an-id: `justai export role` prints it", [f"sts:AssumeRole on {ROLE}"]),
        ("ExpiredTokenException", "The temporary credentials have run out", []),
    ],
)
async def test_a_role_that_does_not_let_us_in_says_what_it_must_trust(
    script: ScriptedS3, code: str, told: str, lacks: list[str]
) -> None:
    script.faults["AssumeRole"] = [(403, code)] * 3

    [step] = await probed(script, role_arn=ROLE, external_id="an-id")

    assert (step.name, step.ok, step.lacks) == ("Sign in", False, lacks)
    assert told in step.says


async def test_the_folder_of_the_installation_is_tried_as_a_bucket_is(tmp_path: Path) -> None:
    target = Target("", "", "us-east-1", org_slug="acme")

    async def of_org(_: UUID) -> Target:
        return target

    async with AsyncExitStack() as stack:
        places = Places(S3(S3Options(), stack), tmp_path)
        job = ProbeTargetJob(org_id=uuid4(), probe_id=uuid4(), reply_to="nobody")
        steps = await probe(job, ProbeDeps(of_org, places.bucket))

    assert [(step.name, step.ok) for step in steps] == [(name, True) for name in STEPS]
    assert steps[0].says == "Into the folder of this installation."


async def tried(amqp_url: str, org_id: UUID, *, wait_s: float = 20) -> Probed | None:
    asker, probe_id = SeldomAsker(amqp_url, "test", token=partial(token_hex, 8)), uuid4()

    def job_of(reply_to: str) -> ProbeTargetJob:
        return ProbeTargetJob(org_id=org_id, probe_id=probe_id, reply_to=reply_to)

    answer = await asker.ask(PROBE_TARGET, org_id, job_of, str(probe_id), wait_s=wait_s)
    return None if answer is None else Probed.model_validate_json(answer)


async def test_a_bucket_that_can_be_used_is_left_as_it_was(world: World, amqp_url: str) -> None:
    shop = await world.shop(prefix="daily")

    async with running(world, amqp_url, now=HOUR):
        said = await tried(amqp_url, shop.org_id)

    assert said is not None
    assert [(step.name, step.ok, step.lacks) for step in said.steps] == [(name, True, []) for name in STEPS]
    assert "daily/_probes/" in said.steps[1].says
    assert await world.objects() == {}


async def test_what_cannot_be_used_says_at_which_step_and_why(world: World, amqp_url: str) -> None:
    wrong_secret = await world.shop("wrong-secret", secret="not-the-secret", prefix="a")
    no_server = await world.shop("no-server", endpoint_url="http://127.0.0.1:1", prefix="c")

    async with running(world, amqp_url, now=HOUR):
        answers = [await tried(amqp_url, one.org_id) for one in (wrong_secret, no_server)]
        nobody = await tried(amqp_url, uuid4())

    last = [one.steps[-1] for one in answers if one is not None]
    assert [(step.name, step.ok) for step in last] == [("Write an object", False)] * 2
    assert last[0].says == "PutObject: 403 SignatureDoesNotMatch. The secret is not that of the access key."
    assert "Is the endpoint right" in last[1].says
    assert nobody is not None
    assert nobody.steps[0].says == "This org has no export target."
    assert "not-the-secret" not in str(answers)


async def test_who_asks_waits_no_longer_than_was_said(world: World, amqp_url: str) -> None:
    shop = await world.shop()

    assert await tried(amqp_url, shop.org_id, wait_s=0.5) is None


async def test_a_probe_reads_the_targets_of_its_org_alone(world: World, amqp_url: str) -> None:
    """The target is read under the org's role, whatever the job says beside it."""
    shop = await world.shop("mine")
    connection: asyncpg.Connection = world.admin

    async with running(world, amqp_url, now=HOUR):
        await connection.execute("DELETE FROM export_targets WHERE org_id = $1", shop.org_id)
        other = await world.shop("other", prefix="other")
        mine, theirs = await tried(amqp_url, shop.org_id), await tried(amqp_url, other.org_id)

    assert mine is not None
    assert theirs is not None
    assert (mine.steps[0].ok, theirs.steps[0].ok) == (False, True)


async def test_a_bucket_at_an_address_of_a_private_network_is_refused_unless_the_operator_allows_it() -> None:
    target = Target("bucket", "", "us-east-1", "http://127.0.0.1:1", "key", "secret")
    async with AsyncExitStack() as stack:
        refusing = S3(S3Options(attempts=1, hosts=Hosts()), stack)
        for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
            with pytest.raises(PrivateHost, match="which is not on the public internet"):
                await refusing.bucket(replace(target, endpoint_url=url))
        allowing = S3(S3Options(attempts=1, hosts=Hosts(allow_private=True)), stack)
        with pytest.raises(Transient, match="does not answer"):
            await (await allowing.bucket(target)).find("x")
