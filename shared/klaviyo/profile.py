"""One profile as a write names it, in compact UTF-8: Python's own `json` would escape it to more than the limit."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shared.klaviyo.errors import Unsendable

PROFILE_MAX_BYTES = 95_000
"""Klaviyo allows 100 KB a profile, alone or in an import, and says neither whether KB is 1000 or 1024 nor what it
counts: encoded bytes, and 5 % below the smaller one."""

# 6 characters or a 26-character ULID so far; one that fits no URL is ours to refuse.
_PROFILE_ID = re.compile(r"[A-Za-z0-9]{1,64}")


def checked_id(profile_id: str) -> str:
    """The same id. Raises Unsendable when no profile can have it."""
    if not _PROFILE_ID.fullmatch(profile_id):
        raise Unsendable("this is no id of a Klaviyo profile", reason="profile_id_invalid")
    return profile_id


def profile_resource(profile_id: str, properties: Mapping[str, str], unset: Sequence[str] = ()) -> bytes:
    """The JSON:API resource of one profile that gets these properties and loses those.

    Raises Unsendable when the id fits no profile or a text is no UTF-8.
    """
    resource: dict[str, Any] = {"type": "profile", "id": checked_id(profile_id), "attributes": {}}
    if properties:
        resource["attributes"] = {"properties": dict(properties)}
    if unset:
        resource["meta"] = {"patch_properties": {"unset": list(unset)}}
    try:
        return orjson.dumps(resource)
    except orjson.JSONEncodeError as error:
        raise Unsendable("a text cannot be encoded as UTF-8", reason="body_not_encodable") from error


def check_size(encoded: bytes) -> bytes:
    """The same bytes. Raises Unsendable when they are more than `PROFILE_MAX_BYTES`."""
    if len(encoded) > PROFILE_MAX_BYTES:
        raise Unsendable(f"the body has {len(encoded)} bytes, at most {PROFILE_MAX_BYTES} fit", reason="body_too_large")
    return encoded


def properties_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The custom properties of the profile that an answer tells of."""
    attributes = (document.get("data") or {}).get("attributes") or {}
    return attributes.get("properties") or {}
