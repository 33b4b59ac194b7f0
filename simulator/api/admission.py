"""Who may make a call now: key, quota, revision, scopes, body. Decides; the HTTP around it is in `api.gate`.

The order is the harshest for a careless client: an authenticated call spends quota even when it is then refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from simulator.account import Account, PrivateKey
from simulator.api.jsonapi import MEDIA_TYPE, ApiError, Json, invalid, throttled
from simulator.api.operations import OLDEST_SERVED_REVISION, Operation
from simulator.settings import SimulatorSettings
from simulator.windows import Granted, Refused

SCHEME = "Klaviyo-API-Key "
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def authenticated(
    authorization: str | None, keys: Mapping[str, tuple[Account, PrivateKey]], settings: SimulatorSettings
) -> tuple[Account, PrivateKey]:
    """The account and key of an Authorization header. Raises `ApiError` (401, or 400 by setting)."""
    if not authorization or not authorization.startswith(SCHEME):
        raise ApiError(
            settings.bad_key_status,
            "not_authenticated",
            "Authentication credentials were not provided.",
            "Missing or invalid authorization scheme. Please use Klaviyo-API-Key.",
        )
    found = keys.get(authorization.removeprefix(SCHEME).strip())
    if found is None or found[1].revoked:
        raise wrong_key(settings)
    return found


def wrong_key(settings: SimulatorSettings) -> ApiError:
    title = "Incorrect authentication credentials."
    return ApiError(settings.bad_key_status, "authentication_failed", title, title)


def spend(
    account: Account, operation: Operation, extras: frozenset[str], now: datetime, settings: SimulatorSettings
) -> Granted:
    """Take one request from the operation's windows, and from the stricter ones that `extras` stand for. By setting
    an import spends those of PATCH, and other apps' traffic is then that of PATCH.

    Raises `ApiError` 429. `extras` are values of include and additional-fields.
    """
    now_s = now.timestamp()
    granted: Granted | None = None
    shared = settings.shared_write_quota and operation.id == "create_or_update_profile"
    buckets = [("update_profile" if shared else operation.id, operation.quota)]
    buckets += [(f"{operation.id}+{name}", quota) for name, quota in operation.extra_quotas.items() if name in extras]
    # A stricter bucket that refuses leaves the general one unspent: it is asked first.
    for name, quota in reversed(buckets):
        taken = account.window(name, quota).take(now_s)
        if isinstance(taken, Refused):
            raise throttled(taken.retry_after_s, announce=settings.retry_after)
        granted = taken
    assert granted is not None  # noqa: S101 - the operation's own bucket is always there
    return granted


def check_revision(operation: Operation, revision: str | None) -> None:
    """Raises `ApiError`: 400 for a revision that is missing, unknown or not simulated, 410 for a retired one."""
    if revision in operation.revisions:
        return
    if revision and DATE.fullmatch(revision) and revision < OLDEST_SERVED_REVISION:
        raise ApiError(410, "gone", "Gone.", f"Revision {revision} is no longer available.")
    detail = f"'{revision}' is not a valid revision." if revision else "The revision header is required."
    raise ApiError(400, "invalid", "Invalid input.", detail, {"parameter": "revision"})


def check_scopes(operation: Operation, scopes: frozenset[str]) -> None:
    """Raises `ApiError` 403 naming what is missing."""
    if missing := sorted(operation.scopes - scopes):
        raise forbidden(missing)


def forbidden(missing: list[str]) -> ApiError:
    detail = f"This API key is missing the required scopes: {', '.join(missing)}."
    return ApiError(403, "permission_denied", "You do not have permission to perform this action.", detail)


@dataclass(frozen=True, slots=True)
class BodyLimit:
    max_bytes: int
    status: int

    def check(self, received_bytes: int) -> None:
        """Raises `ApiError` (413, or 400 by setting). Counts bytes as received."""
        if received_bytes > self.max_bytes:
            detail = f"The request body is {received_bytes} bytes; at most {self.max_bytes} are allowed."
            code = "payload_too_large" if self.status == 413 else "invalid"
            raise ApiError(self.status, code, "Payload too large.", detail)


def body_limit(operation: Operation, settings: SimulatorSettings) -> BodyLimit:
    return BodyLimit(operation.body_max_kb * settings.kilobyte_bytes, settings.oversize_status)


def decoded(content_type: str, raw: bytes) -> Json:
    """The JSON object of a request body. Raises `ApiError`: 415 for another media type, 400 for no JSON object."""
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        detail = f"Unsupported media type '{content_type}' in request; use {MEDIA_TYPE}."
        raise ApiError(415, "unsupported_media_type", "Unsupported media type.", detail)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(f"JSON parse error - {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise invalid("The body must be an object with an object 'data'.")
    return body
