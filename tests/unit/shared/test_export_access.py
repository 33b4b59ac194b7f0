"""The policies that customers copy give what the exporter's calls need, and nothing beside it."""

import ast
import json
import re
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import get_session

from shared.export_access import (
    CALLS,
    SESSION_POLICY_CHARS,
    Reach,
    account_of,
    bucket_policy,
    key_statement,
    lifecycle,
    permission_policy,
    session_policy,
    trust_policy,
)
from tests.support.iam import allows

EGRESS = Path(__file__).parents[3] / "services" / "egress"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/0f6e1c2a-1111-4222-8333-444455556666"
US = "arn:aws:iam::999900001111:role/justai-egress"
REACH = Reach("records", "jai/out", "eu-west-1", KEY)
THROUGH_S3 = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
HOUR = "2026/11/23/10/part-000.parquet"


def calls_in_source() -> set[str]:
    """Every name in the exporter's source that botocore knows as a call of S3."""
    known = {xform_name(name) for name in get_session().get_service_model("s3").operation_names}
    found = set[str]()
    for file in EGRESS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in known:
                found.add(node.attr)
            if isinstance(node, ast.Constant) and node.value in known:  # get_paginator("list_objects_v2")
                found.add(str(node.value))
    return found


def test_every_s3_call_of_the_exporter_is_in_the_list_that_policies_are_made_of() -> None:
    assert calls_in_source() == set(CALLS)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reach", [REACH, Reach("records", "", "eu-west-1"), Reach("records", "a*b", "us-east-1", KEY)])
def test_each_call_is_allowed_by_every_policy_for_our_keys(reach: Reach, call: str) -> None:
    place = f"{reach.bucket_arn}/{reach.prefix}/{HOUR}" if reach.prefix else f"{reach.bucket_arn}/{HOUR}"
    via = {"kms:ViaService": f"s3.{reach.region}.amazonaws.com"}
    documents = [permission_policy(reach), bucket_policy(reach, US), json.loads(session_policy(reach))]
    for right in CALLS[call]:
        for number, document in enumerate(documents):
            match right.on:
                case "objects":
                    assert allows(document, right.action, place)
                case "bucket":
                    assert allows(document, right.action, reach.bucket_arn)
                case "key":
                    # A bucket's policy says nothing of keys.
                    assert allows(document, right.action, KEY, via) == (reach.kms_key_id is not None and number != 1)


@pytest.mark.parametrize("document", [permission_policy(REACH), bucket_policy(REACH, US)])
def test_nothing_is_allowed_beside_our_prefix(document: dict[str, object]) -> None:
    for other in ("records/jai/out", "records/jai/outside/x", "records/other/x", "records2/jai/out/x"):
        assert not allows(document, "s3:GetObject", f"arn:aws:s3:::{other}")
        assert not allows(document, "s3:PutObject", f"arn:aws:s3:::{other}")
    assert not allows(document, "s3:PutBucketPolicy", "arn:aws:s3:::records")
    assert not allows(document, "kms:Decrypt", KEY)  # only through S3


def test_the_page_shows_the_documents_as_they_are_made() -> None:
    page = (EGRESS.parents[1] / "docs" / "egress-access.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    reach, us = Reach("acme-records", "justai", "eu-west-1"), "arn:aws:iam::999900001111:role/justai"

    assert shown == [
        trust_policy(us, "justai-7d4df7a5-59c1-4a4e-9a43-4f7d0a9f2c11"),
        permission_policy(reach),
        bucket_policy(reach, us),
        lifecycle(reach, 400, 30),
    ]


def test_a_star_in_a_prefix_is_no_wildcard() -> None:
    document = permission_policy(Reach("records", "a*b", "us-east-1"))

    assert allows(document, "s3:PutObject", "arn:aws:s3:::records/a*b/x")
    assert not allows(document, "s3:PutObject", "arn:aws:s3:::records/axb/x")


def test_the_policies_name_whom_they_are_for() -> None:
    trust = trust_policy(US, "justai-1")["Statement"][0]

    assert {one["Principal"]["AWS"] for one in bucket_policy(REACH, US)["Statement"]} == {US}
    assert all("Principal" not in one for one in permission_policy(REACH)["Statement"])
    assert (trust["Principal"]["AWS"], trust["Action"]) == (US, "sts:AssumeRole")
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "justai-1"}}


def test_a_key_says_besides_what_its_bucket_cannot() -> None:
    found = key_statement(REACH, US)

    assert found is not None
    assert (found["Action"], found["Resource"]) == (["kms:Decrypt", "kms:GenerateDataKey"], "*")
    assert found["Condition"] == {"StringEquals": THROUGH_S3}
    assert key_statement(Reach("records", "", "eu-west-1"), US) is None


def test_what_a_call_needs_is_said_with_action_and_resource() -> None:
    assert REACH.needs("put_object") == [
        "s3:PutObject on arn:aws:s3:::records/jai/out/*", f"kms:GenerateDataKey on {KEY}",
    ]  # fmt: skip
    assert Reach("records", "", "eu-west-1").needs("list_multipart_uploads") == [
        "s3:ListBucketMultipartUploads on arn:aws:s3:::records"
    ]


@pytest.mark.parametrize(
    ("region", "arn"),
    [("eu-west-1", "arn:aws:s3:::b"), ("cn-north-1", "arn:aws-cn:s3:::b"), ("us-gov-west-1", "arn:aws-us-gov:s3:::b")],
)
def test_a_bucket_is_named_as_its_part_of_aws_names_it(region: str, arn: str) -> None:
    assert Reach("b", "", region).bucket_arn == arn


def test_a_session_policy_is_as_short_as_sts_wants_it_or_refused() -> None:
    longest = Reach("b" * 63, "p" * 400, "ap-southeast-2", KEY)

    assert len(session_policy(longest)) <= SESSION_POLICY_CHARS
    with pytest.raises(ValueError, match="AWS takes 2048"):
        session_policy(Reach("b", "*" * 500, "eu-west-1"))


def test_the_life_cycle_ends_uploads_and_old_versions_and_keeps_days_where_asked() -> None:
    tidy, keep = lifecycle(REACH, 400, 7)["Rules"]
    whole_bucket = lifecycle(Reach("records", "", "eu-west-1"), None, 30)["Rules"]

    assert tidy["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert tidy["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
    assert keep["Expiration"] == {"Days": 400}
    assert {rule["Filter"]["Prefix"] for rule in (tidy, keep)} == {"jai/out/"}
    assert [rule["Filter"]["Prefix"] for rule in whole_bucket] == [""]


def test_the_account_of_a_role_is_read_from_its_arn() -> None:
    assert account_of("arn:aws:iam::111122223333:role/path/justai") == "111122223333"
    assert account_of("arn:aws:iam::1:role/x") is None
