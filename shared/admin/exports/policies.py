"""What must stand in the customer's account so that their bucket can be written to: policies as JSON, to be copied."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from shared.admin.context import Context
from shared.admin.errors import Refused
from shared.admin.exports import exports
from shared.admin.exports.exports import Target
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation
from shared.admin.run import within
from shared.export_access import (
    KEY_ARN,
    PRINCIPAL_ARN,
    Reach,
    bucket_policy,
    key_statement,
    lifecycle,
    permission_policy,
    trust_policy,
)

UNKNOWN = "is not known: the operator says it once as JUSTAI_EXPORT_PRINCIPAL, or name the ARN here"


def _an_arn(text: str) -> str:
    if not PRINCIPAL_ARN.fullmatch(text):
        raise ValueError("is no ARN of a role, a user or an account like arn:aws:iam::111122223333:role/justai")
    return text


class AskedPolicy(AskedModel):
    """For whom."""

    principal: Annotated[str, AfterValidator(_an_arn)] | None = Field(
        None, description="ARN of the AWS identity that exports are written as; null: what the operator has said."
    )


class BucketPolicy(ResultModel):
    """`bucket_policy`: for the bucket. `key_statement`: to be added to the policy of its KMS key; null without one."""

    principal: str
    bucket_policy: dict[str, Any]
    key_statement: dict[str, Any] | None


class RolePolicies(ResultModel):
    """`trust_policy`: who may take the role, and by which id; null while it is not known as whom exports are written.
    `permission_policy`: what the role may do; it is also that of a user whose access key is used."""

    principal: str | None
    external_id: str
    role_arn: str | None
    trust_policy: dict[str, Any] | None
    permission_policy: dict[str, Any]


class AskedLifecycle(AskedModel):
    """How long what is in the bucket is kept there."""

    keep_days: Annotated[int, Field(ge=1, le=36500)] | None = Field(
        None, description="Days after which exports are deleted; null: never."
    )
    old_versions_days: Annotated[int, Field(ge=1, le=36500)] = Field(
        30, description="Days for which a bucket with versions keeps what was overwritten."
    )


class Lifecycle(ResultModel):
    """Rules for the bucket, as `aws s3api put-bucket-lifecycle-configuration` takes them."""

    lifecycle: dict[str, Any]


@operation(
    "exports.policy", "GET", "/exports/target/policy", "viewer",
    "Print the bucket policy that lets exports in, for the org's bucket and prefix.",
)  # fmt: skip
async def show_policy(context: Context, asked: AskedPolicy) -> BucketPolicy:
    reach = _reach(await _target(context))
    principal = asked.principal or context.means.export_principal
    if principal is None:
        raise Refused(UNKNOWN, field="principal")
    return BucketPolicy(
        principal=principal,
        bucket_policy=bucket_policy(reach, principal),
        key_statement=key_statement(reach, principal),
    )


@operation(
    "exports.role", "GET", "/exports/target/role", "viewer",
    "Print what a role for exports trusts and may do, with the org's external id.",
)  # fmt: skip
async def show_role(context: Context, asked: AskedPolicy) -> RolePolicies:
    target = await _target(context)
    principal = asked.principal or context.means.export_principal
    return RolePolicies(
        principal=principal,
        external_id=target.external_id,
        role_arn=target.role_arn,
        trust_policy=None if principal is None else trust_policy(principal, target.external_id),
        permission_policy=permission_policy(_reach(target)),
    )


@operation(
    "exports.lifecycle", "GET", "/exports/target/lifecycle", "viewer",
    "Print the bucket's lifecycle rules: left uploads, old versions and, if asked, old exports.",
)  # fmt: skip
async def show_lifecycle(context: Context, asked: AskedLifecycle) -> Lifecycle:
    reach = _reach(await _target(context))
    return Lifecycle(lifecycle=lifecycle(reach, asked.keep_days, asked.old_versions_days))


async def _target(context: Context) -> Target:
    target = await within(context, exports.show, Nothing())
    if not target.bucket:
        raise Refused("Exports go into the folder of this installation, which has no policies", code="no_bucket")
    return target


def _reach(target: Target) -> Reach:
    key = target.kms_key_id if target.kms_key_id and KEY_ARN.fullmatch(target.kms_key_id) else None
    return Reach(target.bucket, target.prefix, target.region, key)
