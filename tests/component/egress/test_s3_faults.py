"""Every way an S3 server can fail a write ends with the right object, or with a failure that names what to do."""

import io
from collections.abc import AsyncIterator

import pytest

from services.egress.model import Found, Superseded
from services.egress.s3 import Bucket
from shared.errors import Permanent, Transient
from tests.component.egress.scripted_s3 import Fault, Operation, ScriptedS3, bucket_at, scripted_s3

SMALL, LARGE = b"small", b"x" * (11 << 20)
PASSING: list[Fault] = [(429, "SlowDown"), (500, "InternalError"), (503, "SlowDown"), "reset", "silence",
                        (400, "BadDigest"), (400, "ExpiredToken")]  # fmt: skip
FINAL: list[Fault] = [(403, "AccessDenied"), (404, "NoSuchBucket"), (403, "InvalidAccessKeyId")]


@pytest.fixture
async def script() -> AsyncIterator[ScriptedS3]:
    async with scripted_s3() as server:
        yield server


async def put(bucket: Bucket, content: bytes, over: Found | None = None) -> str:
    return await bucket.replace("k", io.BytesIO(content), len(content), metadata={}, kind="text/plain", over=over)


@pytest.mark.parametrize("fault", PASSING, ids=str)
@pytest.mark.parametrize("operation", ["Put", "Create", "UploadPart", "Complete"])
async def test_a_passing_fault_is_transient_and_a_repeated_export_succeeds(
    script: ScriptedS3, operation: Operation, fault: Fault
) -> None:
    content = SMALL if operation == "Put" else LARGE
    script.faults[operation] = [fault] * 2  # aiohttp repeats a PUT by itself when the connection is reset
    async with bucket_at(script) as bucket:
        with pytest.raises(Transient) as failed:
            await put(bucket, content)
        left_of_the_first = (dict(script.objects), script.parts)
        script.faults.clear()
        await put(bucket, content)

    assert not isinstance(failed.value, Superseded)
    assert left_of_the_first == ({}, None)  # neither half an object nor an orphan upload
    assert script.objects == {"/shared/k": content}


@pytest.mark.parametrize("fault", FINAL, ids=str)
@pytest.mark.parametrize("operation", ["Put", "Create", "UploadPart", "Complete"])
async def test_what_only_the_owner_can_mend_is_permanent_and_leaves_nothing_behind(
    script: ScriptedS3, operation: Operation, fault: Fault
) -> None:
    script.faults[operation] = [fault]
    async with bucket_at(script) as bucket:
        with pytest.raises(Permanent) as failed:
            await put(bucket, SMALL if operation == "Put" else LARGE)

    assert isinstance(fault, tuple)
    assert failed.value.reason == f"s3_{fault[0]}"
    assert fault[1] in str(failed.value)
    assert (script.objects, script.parts) == ({}, None)


async def test_the_client_itself_tries_again_before_the_job_has_to(script: ScriptedS3) -> None:
    script.faults["Put"] = [(503, "SlowDown"), "reset"]
    async with bucket_at(script, attempts=3) as bucket:
        await put(bucket, SMALL)

    assert script.seen == ["Put", "Put", "Put"]
    assert script.objects == {"/shared/k": SMALL}


async def test_an_abort_that_fails_does_not_hide_why_the_upload_failed(script: ScriptedS3) -> None:
    script.faults |= {"UploadPart": [(403, "AccessDenied")], "Abort": [(500, "InternalError")]}
    async with bucket_at(script) as bucket:
        with pytest.raises(Permanent, match="UploadPart: 403 AccessDenied"):
            await put(bucket, LARGE)

    assert script.seen == ["Create", "UploadPart", "Abort"]


@pytest.mark.parametrize(("operation", "content"), [("Put", SMALL), ("Complete", LARGE)])
@pytest.mark.parametrize("answer", [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")])
async def test_an_object_that_changed_meanwhile_is_not_replaced(
    script: ScriptedS3, operation: Operation, content: bytes, answer: tuple[int, str]
) -> None:
    script.faults[operation] = [answer]
    async with bucket_at(script) as bucket:
        with pytest.raises(Superseded):
            await put(bucket, content, Found('"seen"', {}))

    assert (script.objects, script.parts) == ({}, None)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["whole", "in parts"])
async def test_every_write_names_what_it_replaces(script: ScriptedS3, content: bytes) -> None:
    async with bucket_at(script) as bucket:
        await put(bucket, content)
        await put(bucket, content, Found('"seen"', {}))

    assert script.conditions == ["*", '"seen"']


@pytest.mark.parametrize(("operation", "content"), [("Put", SMALL), ("Complete", LARGE)])
async def test_a_server_that_knows_no_conditions_is_written_to_without(
    script: ScriptedS3, operation: Operation, content: bytes
) -> None:
    script.faults[operation] = [(501, "NotImplemented")]
    async with bucket_at(script) as bucket:
        await put(bucket, content)
        await put(bucket, content)

    assert script.objects == {"/shared/k": content}
    assert script.conditions == ["-", "-"]  # asked once, then known


async def test_a_key_that_may_not_be_looked_at_says_which_right_is_missing(script: ScriptedS3) -> None:
    script.faults["Head"] = [(403, "")]
    async with bucket_at(script) as bucket:
        with pytest.raises(Permanent, match="s3:ListBucket"):
            await bucket.find("k")


async def test_a_target_with_a_role_is_written_to_with_the_roles_credentials(script: ScriptedS3) -> None:
    async with bucket_at(script, role_arn="arn:aws:iam::1:role/exports") as bucket:
        await put(bucket, SMALL)
        await put(bucket, SMALL)

    assert script.seen == ["AssumeRole", "Put", "Put"]  # the credentials are kept
    assert script.form["RoleArn"] == "arn:aws:iam::1:role/exports"
    assert script.form["ExternalId"] == "ext-1"
    assert ["Credential=OWN/" in script.authorizations[0]] == [True]
    assert all("Credential=TEMPORARY/" in used for used in script.authorizations[1:])


async def test_a_role_that_may_not_be_taken_is_permanent(script: ScriptedS3) -> None:
    script.faults["AssumeRole"] = [(403, "AccessDenied")]
    with pytest.raises(Permanent, match="AssumeRole: 403 AccessDenied"):
        async with bucket_at(script, role_arn="arn:aws:iam::1:role/exports"):
            pass
