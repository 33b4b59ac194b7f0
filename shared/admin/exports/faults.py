"""What cannot be said of an export target: of its prefix, and of as whom and how its bucket is written to. Pure."""

import re
from typing import Protocol

from shared.export_access import KEY_ARN, Encryption, account_of
from shared.s3_names import wrong_for_ourselves, wrong_in_bucket, wrong_in_endpoint

_PLAIN_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=/-]*")
_LONGEST_PREFIX = 400
_ACCOUNT = re.compile(r"[0-9]{12}")


class Access(Protocol):
    """As whom, and how, a bucket is written to."""

    @property
    def bucket(self) -> str: ...
    @property
    def access_key(self) -> str | None: ...
    @property
    def endpoint_url(self) -> str | None: ...
    @property
    def role_arn(self) -> str | None: ...
    @property
    def bucket_owner(self) -> str | None: ...
    @property
    def encryption(self) -> Encryption: ...
    @property
    def kms_key_id(self) -> str | None: ...


def wrong_in_access(asked: Access) -> tuple[str, str] | None:
    """The field that cannot be, and why; None: all of them can. Servers that are not AWS name roles and keys their own
    way."""
    if wrong := _wrong_in_place(asked):
        return wrong
    role_arn, bucket_owner, kms_key_id = asked.role_arn, asked.bucket_owner, asked.kms_key_id
    on_aws = asked.endpoint_url is None
    if role_arn and on_aws and account_of(role_arn) is None:
        return "role_arn", f"{role_arn!r} is no ARN of a role like arn:aws:iam::111122223333:role/justai-exports"
    if bucket_owner and not _ACCOUNT.fullmatch(bucket_owner):
        return "bucket_owner", "is the number of an AWS account, 12 digits"
    if kms_key_id and asked.encryption != "kms":
        return "kms_key_id", "belongs to the encryption kms; say that too"
    if asked.encryption == "kms" and not (kms_key_id and (not on_aws or KEY_ARN.fullmatch(kms_key_id))):
        return "kms_key_id", "names the key by its ARN, like arn:aws:kms:eu-west-1:111122223333:key/…"
    return None


def _wrong_in_place(asked: Access) -> tuple[str, str] | None:
    if asked.bucket and (wrong := wrong_in_bucket(asked.bucket)):
        return "bucket", wrong
    if asked.endpoint_url is not None and (wrong := wrong_in_endpoint(asked.endpoint_url)):
        return "endpoint_url", wrong
    keyless = asked.bucket and not (asked.access_key or asked.role_arn)
    if keyless and (wrong := wrong_for_ourselves(asked.bucket, asked.endpoint_url)):
        return "endpoint_url", wrong
    return None


def wrong_in_prefix(prefix: str) -> str | None:
    """What makes a prefix one that some S3 server or reader gets wrong; None: nothing."""
    if not prefix:
        return None
    if not _PLAIN_PREFIX.fullmatch(prefix) or len(prefix) > _LONGEST_PREFIX:
        return f"holds letters, digits and ! - _ . * ' ( ) = between slashes, at most {_LONGEST_PREFIX} of them"
    if odd := [part for part in prefix.split("/") if not part or part[0] in "._"]:
        return f"has the folder {odd[0]!r}: readers skip names that begin with . or _" if odd[0] else "has // in it"
    return None
