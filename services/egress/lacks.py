"""What an error of the bucket means for whoever set it up: which right is missing, on what, or what is named wrong.
Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from services.egress.model import Target
from shared.errors import Failure
from shared.export_access import CALLS

_DENIED = re.compile(r"not authorized to perform: (?P<action>[\w:-]+)(?: on resource: \"?(?P<resource>arn:[^\s\"]+))?")
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_SESSION_OVER: Final = {
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired",
}  # fmt: skip
_ELSEWHERE: Final = {
    "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
    "IncorrectEndpoint", "301",
}  # fmt: skip
_KEY_IS_UNFIT: Final = {
    "KMS.NotFoundException", "KMS.DisabledException", "KMS.KMSInvalidStateException", "KMSInvalidStateException",
    "KMS.InvalidStateException", "KMS.InvalidKeyUsageException",
}  # fmt: skip
_BAD_KEYS: Final = {
    "InvalidAccessKeyId": "There is no such access key.",
    "SignatureDoesNotMatch": "The secret is not that of the access key.",
    "InvalidClientTokenId": "There is no such access key.",
}


@dataclass(frozen=True, slots=True)
class Lack:
    """`says`: for people. `lacks`: rights like `s3:PutObject on arn:aws:s3:::records/jai/*`; empty where it is not a
    right that is missing."""

    says: str
    lacks: tuple[str, ...] = ()


def lack_of(error: Failure, target: Target, *, granted: Collection[str] = (), owner_is_right: bool = True) -> Lack:
    """What was wrong with a call to the bucket, or with taking the role. `granted`: rights that were seen to be there.
    Not `owner_is_right`: the bucket lets us in when the call names no owner of it."""
    answer = _answer_of(error)
    code, region = answer.code, answer.region
    if code in _SESSION_OVER:
        return Lack(
            "The temporary credentials have run out or are not known. They are renewed by themselves: try again."
        )
    if code in _BAD_KEYS:
        return Lack(_BAD_KEYS[code])
    if answer.call == "assume_role" and error.reason == "s3_403":
        return Lack(
            f"The role {target.role_arn} does not let us in. Its trust policy must allow sts:AssumeRole to our "
            f"identity with the external id {target.external_id}: `justai export role` prints it.",
            (f"sts:AssumeRole on {target.role_arn}",),
        )
    if code == "NoSuchBucket":
        at = f" at {target.endpoint_url}" if target.endpoint_url else ""
        return Lack(f"There is no bucket {target.bucket}{at}.")
    if code in _ELSEWHERE or error.reason == "s3_301":
        there = f"in {region}" if region else "in another region"
        return Lack(f"The bucket is {there}, and the target says {target.region}.")
    if code in _KEY_IS_UNFIT:
        return Lack(f"The key {_key(target)} is not there, not enabled, or not in the bucket's region.")
    if error.reason == "s3_403" and not owner_is_right:
        return Lack(
            f"The bucket {target.bucket} does not belong to the account {target.expected_owner}, so nothing is written "
            "to it. Correct the bucket or its owner."
        )
    if error.reason == "s3_403" and answer.call in CALLS:
        return _forbidden(answer, target, granted)
    return Lack(_UNNAMED.get(error.reason, ""))


_UNNAMED: Final = {
    "s3_404": "Is the bucket's name right, and is it in this region?",
    "s3_400": "Is the bucket in this region, and is the key right?",
    "s3_unreachable": "Is the endpoint right, and open to the exporter?",
    "s3_unreadable": "Is the endpoint that of an S3 server? Something else answers there.",
    "s3_no_credentials": "Give an access key, or run the exporter with an identity of its own.",
    "folder_not_writable": "The user that the exporter runs as must be able to write there.",
}


def _forbidden(answer: "_Answer", target: Target, granted: Collection[str]) -> Lack:
    needs = target.reach.needs(answer.call)
    lacks = tuple(one for one in needs if one not in granted) or tuple(needs)
    if (found := _DENIED.search(answer.message)) is not None:  # the server says it itself
        lacks = (f"{found['action']} on {found['resource'] or _where(found['action'], target)}",)
    whose = "The policy of the key, or of who uses it," if lacks[0].startswith("kms:") else "The policy"
    return Lack(f"{whose} does not allow {', or '.join(lacks)}.", lacks)


def _where(action: str, target: Target) -> str:
    reach = target.reach
    if action.startswith("kms:"):
        return _key(target)
    return reach.bucket_arn if action.startswith("s3:ListBucket") else f"{reach.bucket_arn}/{reach.keys}"


def _key(target: Target) -> str:
    return target.kms_key_id or "of the bucket"


@dataclass(frozen=True, slots=True)
class _Answer:
    call: str = ""  # botocore's name of it
    code: str = ""
    message: str = ""
    region: str = ""


def _answer_of(error: Failure) -> _Answer:
    """What the server answered, as far as it did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(getattr(cause, "response", None), dict):
        cause = cause.__cause__
    if cause is None:
        return _Answer()
    answer: dict[str, Any] = getattr(cause, "response", {})
    named, headers = answer.get("Error", {}), answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = named.get("Region") or headers.get("x-amz-bucket-region") or ""
    call = _WORD.sub("_", str(getattr(cause, "operation_name", ""))).lower()
    return _Answer(call, str(named.get("Code", "")), str(named.get("Message", "")), str(region))
