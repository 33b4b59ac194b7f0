"""What the command line prints for the customer's account, and its switch for exports."""

import json

import pytest

from tests.component.cli.rig import Cli, settings
from tests.support.iam import allows

US = "arn:aws:iam::999900001111:role/justai-egress"
KMS_KEY = "arn:aws:kms:eu-west-1:111122223333:key/0f6e1c2a-1111-4222-8333-444455556666"
OBJECT = "arn:aws:s3:::records/jai/2026/11/23/10/part-000.parquet"


@pytest.fixture
def cli(database_url: str, amqp_url: str) -> Cli:
    return Cli(settings(database_url, amqp_url) | {"JUSTAI_EXPORT_PRINCIPAL": US})


@pytest.fixture
def shop(acme: Cli) -> Cli:
    acme.ok(
        "export", "target", "acme", "--bucket", "records", "--prefix", "jai", "--region", "eu-west-1", "--encryption",
        "kms", "--kms-key-id", KMS_KEY,
    )  # fmt: skip
    return acme


def test_the_documents_are_printed_as_aws_takes_them(shop: Cli) -> None:
    [org] = shop.rows("SELECT export_external_id FROM orgs")

    policy = json.loads(shop.ok("export", "policy", "acme"))
    key = json.loads(shop.ok("export", "policy", "acme", "--key"))
    both = json.loads(shop.ok("export", "role", "acme"))
    trust, permissions = (
        json.loads(shop.ok("export", "role", "acme", "--part", part)) for part in ("trust", "permissions")
    )
    rules = json.loads(shop.ok("export", "lifecycle", "acme", "--keep-days", "400"))["Rules"]

    assert allows(policy, "s3:PutObject", OBJECT)
    assert {one["Principal"]["AWS"] for one in policy["Statement"]} == {US}
    assert key["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert both == {
        "external_id": org["export_external_id"], "trust_policy": trust, "permission_policy": permissions,
    }  # fmt: skip
    assert trust["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"] == org["export_external_id"]
    assert allows(permissions, "s3:DeleteObject", OBJECT)
    assert rules[1]["Expiration"] == {"Days": 400}


def test_another_identity_may_be_named_and_must_be_one(shop: Cli) -> None:
    other = "arn:aws:iam::999900001111:user/exporter"

    named = json.loads(shop.ok("export", "policy", "acme", "--principal", other))

    assert {one["Principal"]["AWS"] for one in named["Statement"]} == {other}
    assert shop.line("export", "policy", "acme", "--principal", "me").startswith("--principal: ")


def test_without_an_identity_it_is_said_how_to_name_one(database_url: str, amqp_url: str, shop: Cli) -> None:
    unknown = Cli(settings(database_url, amqp_url))

    said = [unknown.line("export", *words) for words in (("policy", "acme"), ("role", "acme"))]

    assert (
        said
        == ["--principal: is not known: the operator says it once as JUSTAI_EXPORT_PRINCIPAL, or name the ARN here."]
        * 2
    )
    assert json.loads(unknown.ok("export", "role", "acme", "--part", "permissions"))["Statement"]


def test_exports_are_switched_off_and_on_and_backfills_are_refused_between(shop: Cli) -> None:
    off, again = shop.ok("export", "off", "acme"), shop.ok("export", "off", "acme")
    listed = shop.ok("export", "hours", "acme")
    on = shop.ok("export", "on", "acme", "--as", "Ada")

    assert off == "Exports are off.\n0 hours wait to be exported.\n"
    assert again.startswith("Exports were off already.")
    assert "daily, switched off" in listed
    assert on.startswith("Exports are on.")
    entries = shop.rows("SELECT operation, actor FROM audit_log WHERE operation LIKE 'exports.o%' ORDER BY audit_id")
    assert [one["operation"] for one in entries] == ["exports.off", "exports.on"]
    assert entries[1]["actor"] == "Ada"


def test_exports_are_given_up_after_asking_back(shop: Cli) -> None:
    asked = shop.run("export", "rm", "acme")
    kept = shop.rows("SELECT count(*) AS targets FROM export_targets")
    done = shop.ok("export", "rm", "acme", "--yes")

    assert asked.exit_code == 1
    assert "0 objects stay there; 0 hours are never written." in asked.output
    assert kept == [{"targets": 1}]
    assert done.startswith("There is no export to s3://records")
    assert shop.rows("SELECT count(*) AS targets FROM export_targets") == [{"targets": 0}]
