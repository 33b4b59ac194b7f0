"""Kinds of source: what each needs, what it has no use for, and where its files are in one line. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from shared.admin.errors import Fault, Refused
from shared.s3_names import BUCKET, REGION, endpoint_of


def _bucket(name: str) -> str:
    if not BUCKET.fullmatch(name):
        raise ValueError("is no bucket's name: 3 to 63 lower-case letters, digits, dots and dashes")
    return name


def _region(name: str) -> str:
    if not REGION.fullmatch(name):
        raise ValueError("is no region like eu-central-1")
    return name


def _endpoint(url: str) -> str:
    if url:
        endpoint_of(url)
    return url.rstrip("/")


Bucket = Annotated[str, AfterValidator(_bucket)]
Region = Annotated[str, AfterValidator(_region)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""Empty: Amazon's own."""

Kind = Literal["sftp", "folder", "s3", "klaviyo"]
"""A folder on somebody's SFTP server, one that the operator lends, a prefix in a bucket, or Klaviyo's Events API, which
is read with the org's own key."""

SECRET_OF: Final[Mapping[str, str]] = {"sftp": "private_key", "s3": "secret_key"}
DEFAULT_REGION: Final = "us-east-1"

_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "sftp": ("host", "port", "user", "host_key", "private_key"),
    "folder": (),
    "s3": ("bucket", "region", "endpoint_url", "access_key", "secret_key"),
    "klaviyo": (),
    "webhook": (),
}
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "sftp": ("host", "user", "host_key", "private_key"),
    "folder": (),
    "s3": ("bucket",),
    "klaviyo": (),
    "webhook": (),
}
_MAY_BE_EMPTY: Final = ("endpoint_url", "access_key", "host_key")  # of the last, something better is said


def demand_whole(kind: str, given: Mapping[str, Any], *, but: tuple[str, ...] = ()) -> None:
    """Everything that a new source of this kind needs, `but` for what is given elsewhere, and nothing of another kind.
    Raises Refused with a fault for each field."""
    faults = _strangers(kind, given)
    for name in NEEDED[kind]:
        if name not in but and given.get(name) is None:
            faults.append(Fault(name, f"is missing; a source of kind {kind} needs it"))
    if kind == "s3" and given.get("access_key") and given.get("secret_key") is None and "secret_key" not in but:
        faults.append(Fault("secret_key", "is missing; it belongs to the access key"))
    if kind == "s3" and given.get("secret_key") is not None and not given.get("access_key"):
        faults.append(Fault("access_key", "is missing; the secret key belongs to one"))
    _refuse(faults)


def demand_fitting(kind: str, given: Mapping[str, Any], access_key: str) -> None:
    """What may be changed of a stored source, whose access key is `access_key`. Raises Refused."""
    faults = _strangers(kind, given)
    new = given.get("access_key")
    if new and new != access_key and given.get("secret_key") is None:
        faults.append(Fault("secret_key", "is missing; another access key has another secret"))
    if given.get("secret_key") is not None and not (access_key if new is None else new):
        faults.append(Fault("access_key", "is missing; the secret key belongs to one"))
    _refuse(faults)


def _strangers(kind: str, given: Mapping[str, Any]) -> list[Fault]:
    faults = [
        Fault(name, f"belongs to sources of kind {other}; this one is of kind {kind}")
        for other, fields in _OWN.items()
        for name in fields
        if other != kind and given.get(name) is not None
    ]
    return faults + [
        Fault(name, "is empty") for name in _OWN[kind] if name not in _MAY_BE_EMPTY and given.get(name) == ""
    ]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise Refused.of_faults(faults)


def place_of(kind: str, row: Mapping[str, Any], org_slug: str) -> str:
    """Where a source's files are, in one line. `row`: its columns."""
    path = str(row["path"])
    inner = "" if path in (".", "") else path
    match kind:
        case "sftp":
            return f"{row['username']}@{row['host']}:{row['port']}{':' + inner if inner else ''}"
        case "s3":
            at = f" at {row['endpoint_url']}" if row["endpoint_url"] else ""
            return "/".join(filter(None, (f"s3://{row['bucket']}", inner.strip("/")))) + at
        case "folder":
            return "/".join(filter(None, (org_slug, inner)))
        case "klaviyo":
            return "Klaviyo's Events API"
        case "webhook":
            return "Klaviyo's system webhooks"
        case _:
            return kind
