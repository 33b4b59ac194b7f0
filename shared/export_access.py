"""What the exporter does in somebody's bucket, which rights that takes, and the policies that give them. Pure.

`CALLS` is the one list: policies, the session that a role gives us, and what a test of the bucket says is missing are
made of it. A test holds it against the exporter's source.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

Document = dict[str, Any]
Encryption = Literal["bucket", "s3", "kms"]
"""How objects are encrypted at rest: as the bucket says, with keys of S3, or with one key of KMS."""

SESSION_POLICY_CHARS: Final = 2048
"""The longest that STS takes."""
SESSION_S: Final = 3600
"""Real seconds that a session of a customer's role lasts; one who came by a role has no longer ones."""

KEY_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]{1,40}:[0-9]{12}:key/[A-Za-z0-9-]{1,64}")
ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]{1,576}", re.ASCII)
PRINCIPAL_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(root|(role|user)/[\w+=,.@/-]{1,576})", re.ASCII)
_VERSION: Final = "2012-10-17"


@dataclass(frozen=True, slots=True)
class Right:
    """One IAM action, on the objects below the prefix, on the bucket, or on the KMS key."""

    action: str
    on: Literal["objects", "bucket", "key"]


_READ, _WRITE = Right("s3:GetObject", "objects"), Right("s3:PutObject", "objects")
_LOOK = Right("s3:ListBucket", "bucket")  # without it a key where nothing lies is 403 and not 404
_ENCRYPT, _DECRYPT = Right("kms:GenerateDataKey", "key"), Right("kms:Decrypt", "key")

CALLS: Final[Mapping[str, tuple[Right, ...]]] = {
    "head_object": (_READ, _LOOK, _DECRYPT),
    "get_object": (_READ, _DECRYPT),
    "put_object": (_WRITE, _ENCRYPT),
    "delete_object": (Right("s3:DeleteObject", "objects"),),
    "create_multipart_upload": (_WRITE, _ENCRYPT),
    "upload_part": (_WRITE, _ENCRYPT, _DECRYPT),
    "complete_multipart_upload": (_WRITE, _DECRYPT),
    "abort_multipart_upload": (Right("s3:AbortMultipartUpload", "objects"),),
    "list_multipart_uploads": (Right("s3:ListBucketMultipartUploads", "bucket"),),
}
"""Every S3 call of the exporter, by botocore's name of it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where an org's exports lie. `kms_key_id`: an ARN; null where S3 needs no key of the customer's."""

    bucket: str
    prefix: str
    region: str
    kms_key_id: str | None = None

    @property
    def partition(self) -> str:
        """Of AWS's worlds, the one that the region is in."""
        return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(self.region.rpartition("-")[0].rpartition("-")[0], "aws")

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    @property
    def keys(self) -> str:
        """All keys of ours, as a pattern of IAM, in which a star of the prefix itself is no wildcard."""
        return f"{self.prefix.replace('*', '${*}')}/*" if self.prefix else "*"

    def resource(self, right: Right) -> str | None:
        """What the right is on; null: it is needed on nothing here."""
        match right.on:
            case "objects":
                return f"{self.bucket_arn}/{self.keys}"
            case "bucket":
                return self.bucket_arn
            case "key":
                return self.kms_key_id

    def needs(self, call: str) -> list[str]:
        """The rights of a call, each as `s3:PutObject on arn:aws:s3:::records/jai/*`."""
        return [f"{one.action} on {on}" for one in CALLS[call] if (on := self.resource(one))]


def account_of(role_arn: str) -> str | None:
    """The AWS account of a role; None for what is no ARN of one."""
    found = ROLE_ARN.fullmatch(role_arn)
    return found[1] if found else None


def permission_policy(reach: Reach) -> Document:
    """What whoever writes the exports must be allowed: for a role, or the user of an access key."""
    return _document(_statements(reach, {}))


def bucket_policy(reach: Reach, principal: str) -> Document:
    """What the bucket must say to let our identity in. A key of KMS is not the bucket's: see `key_statement`."""
    on_bucket = [one for one in _statements(reach, {"Principal": {"AWS": principal}}) if one["Sid"] != "JustAIKey"]
    return _document(on_bucket)


def key_statement(reach: Reach, principal: str) -> Document | None:
    """What the policy of the KMS key must say besides; None without one."""
    found = [one for one in _statements(reach, {"Principal": {"AWS": principal}}) if one["Sid"] == "JustAIKey"]
    return found[0] | {"Resource": "*"} if found else None  # in a key's own policy, that is the key


def trust_policy(principal: str, external_id: str) -> Document:
    """Who may take the customer's role: our identity, and only when it acts for this org."""
    return _document(
        [
            {
                "Sid": "JustAI",
                "Effect": "Allow",
                "Principal": {"AWS": principal},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ]
    )


def session_policy(reach: Reach) -> str:
    """The same rights as a text for STS: whatever else the customer's role may do, our session of it may not. Raises
    ValueError where STS would not take it."""
    text = orjson.dumps(permission_policy(reach)).decode()
    if len(text) > SESSION_POLICY_CHARS:
        raise ValueError(f"makes a session policy of {len(text)} characters; AWS takes {SESSION_POLICY_CHARS}")
    return text


def lifecycle(reach: Reach, keep_days: int | None, old_versions_days: int) -> Document:
    """The bucket's rules for what is ours in it: uploads that were left, versions that were overwritten (of people who
    were deleted, too), and, where asked for, exports that are old."""
    below = {"Prefix": f"{reach.prefix}/" if reach.prefix else ""}
    tidy: Document = {
        "ID": "justai-tidy",
        "Status": "Enabled",
        "Filter": below,
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        "NoncurrentVersionExpiration": {"NoncurrentDays": old_versions_days},
    }
    if keep_days is None:
        return {"Rules": [tidy]}
    keep = {"ID": "justai-keep", "Status": "Enabled", "Filter": below, "Expiration": {"Days": keep_days}}
    return {"Rules": [tidy, keep]}


def _document(statements: list[Document]) -> Document:
    return {"Version": _VERSION, "Statement": statements}


def _statements(reach: Reach, who: Document) -> list[Document]:
    """A statement for each thing that rights are on. A HEAD has no prefix in its request, so listing is let through
    where there is none."""
    actions: dict[str, set[str]] = {"objects": set(), "bucket": set(), "key": set()}
    for right in (one for rights in CALLS.values() for one in rights):
        actions[right.on].add(right.action)
    looking, uploads = sorted(actions["bucket"])
    only_ours = {"StringLikeIfExists": {"s3:prefix": reach.keys}}
    found = [
        _allow("JustAIObjects", who, sorted(actions["objects"]), f"{reach.bucket_arn}/{reach.keys}"),
        _allow("JustAILooking", who, [looking], reach.bucket_arn) | ({"Condition": only_ours} if reach.prefix else {}),
        _allow("JustAIUploads", who, [uploads], reach.bucket_arn),
    ]
    if reach.kms_key_id is not None:
        domain = "amazonaws.com.cn" if reach.partition == "aws-cn" else "amazonaws.com"
        through_s3 = {"StringEquals": {"kms:ViaService": f"s3.{reach.region}.{domain}"}}
        key = _allow("JustAIKey", who, sorted(actions["key"]), reach.kms_key_id)
        found.append(key | {"Condition": through_s3})
    return found


def _allow(sid: str, who: Document, actions: list[str], on: str) -> Document:
    return {"Sid": sid, "Effect": "Allow", **who, "Action": actions, "Resource": on}
