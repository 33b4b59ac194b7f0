"""The JSON:API surface: error bodies, sparse fieldsets, pages."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MEDIA_TYPE = "application/vnd.api+json"
RATE_LIMIT_PAGE = "https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling#rate-limits"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiError(Exception):
    """One refused request, in the words of Klaviyo's error bodies (real samples of 400, 404, 409, 429 were seen;
    those of 401, 403, 405, 410, 413, 415 are worded after them)."""

    status: int
    code: str
    title: str
    detail: str
    source: Mapping[str, str] = field(default_factory=lambda: {"pointer": "/data"})
    meta: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, error_id: str) -> Json:
        error = {"id": error_id, "status": self.status, "code": self.code, "title": self.title, "detail": self.detail}
        return {"errors": [error | {"source": self.source, "links": self.links, "meta": self.meta}]}


def invalid(detail: str, *, pointer: str | None = None, parameter: str | None = None) -> ApiError:
    source = {"parameter": parameter} if parameter else {"pointer": pointer or "/data"}
    return ApiError(400, "invalid", "Invalid input.", detail, source)


def not_found(kind: str, resource_id: str) -> ApiError:
    detail = f"A {kind} with id {resource_id} does not exist."
    return ApiError(404, "not_found", "Not found.", detail, {"pointer": "/data/"})


def throttled(wait_s: int, *, announce: bool) -> ApiError:
    """`announce` off is the variant seen on real accounts: no Retry-After, "available in 0 seconds"."""
    told_s = wait_s if announce else 0
    plural = "" if told_s == 1 else "s"
    detail = f"Request was throttled. Expected available in {told_s} second{plural}."
    headers = {"Retry-After": str(wait_s)} if announce else {}
    return ApiError(
        429, "throttled", "Request was throttled.", detail, links={"type": RATE_LIMIT_PAGE}, headers=headers
    )


def sparse(query: Mapping[str, str], kind: str, known: Sequence[str]) -> tuple[str, ...] | None:
    """The attribute paths that `fields[kind]` asks for, or None when all are wanted. Raises `ApiError`."""
    asked = query.get(f"fields[{kind}]")
    if asked is None:
        return None
    paths = tuple(path.strip() for path in asked.split(",") if path.strip())
    for path in paths:
        if path.split(".")[0] not in known and path != "id":
            detail = f"'{path}' is not a valid field for the resource type '{kind}'."
            raise invalid(detail, parameter=f"fields[{kind}]")
    return paths


def chosen(attributes: Mapping[str, Any], paths: tuple[str, ...] | None) -> Json:
    """The attributes that remain under a sparse fieldset; `a.b` keeps only `b` of the object `a`."""
    if paths is None:
        return dict(attributes)
    kept: Json = {}
    for path in paths:
        head, _, rest = path.partition(".")
        if head not in attributes:
            continue
        value = attributes[head]
        if not rest or not isinstance(value, Mapping):
            kept[head] = value
        elif not isinstance(earlier := kept.get(head), Mapping):
            kept[head] = chosen(value, (rest,))
        else:
            kept[head] = {**earlier, **chosen(value, (rest,))}
    return kept


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    # The official SDK cuts a cursor out of a link together with its equals sign.
    cursor = cursor.strip("=")
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise invalid("Invalid page cursor.", parameter="page[cursor]") from None
