"""The Klaviyo API as far as we use it: one profile at a time, and reading what a key and an account are.

JSON:API, revision 2026-07-15. Each method raises the failure words of `shared.klaviyo.errors`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from shared import metrics
from shared.clock import Clock, SystemClock
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused, MaybeApplied, Unreachable, failure_of
from shared.klaviyo.limits import Pacer, RateLimit, rate_limit

REVISION = "2026-07-15"
BODY_MAX_BYTES = 95_000
"""Klaviyo allows 100 KB a request and says neither whether KB is 1000 or 1024 nor what it counts: encoded bytes, and
5 % below the smaller one."""

_MEDIA_TYPE = "application/vnd.api+json"
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)  # real seconds, connecting to last byte
_ANSWER_MAX_BYTES = 4_000_000  # a page of flow actions with their webhook bodies stays far below
_PAGES_MAX = 1000
_PROFILE_ID = re.compile(
    r"[A-Za-z0-9]{1,64}"
)  # 6 characters or a 26-character ULID so far; one that fits no URL is ours to refuse
_READ_WAITS_S = (1.0, 3.0, 10.0)
_READ_WAIT_MAX_S = 120.0

# An id in the form of Klaviyo's that no profile has: time zero, all-zero randomness.
_NO_PROFILE = "01" + "0" * 24
_READ_PROBES = {
    "metrics:read": ("/api/metrics", {"fields[metric]": "name"}),
    "flows:read": ("/api/flows", {"fields[flow]": "name", "page[size]": "1"}),
    "campaigns:read": ("/api/campaigns", {"filter": "equals(messages.channel,'email')", "fields[campaign]": "name"}),
    "events:read": ("/api/events", {"fields[event]": "datetime", "page[size]": "1"}),
    "profiles:read": (f"/api/profiles/{_NO_PROFILE}", {"fields[profile]": "updated"}),
    "lists:read": (f"/api/profile-bulk-import-jobs/{_NO_PROFILE}", {}),  # with profiles:read; what bulk import needs
    "templates:read": ("/api/flow-messages/AAAAAA/template", {}),
}
"""Scopes are looked at before the thing that is asked for, so "not found" means that the key may ask."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a key was seen to be. Without accounts:read there is no id and no name."""

    account_id: str | None
    name: str | None
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Flow:
    flow_id: str
    name: str
    status: str
    archived: bool


@dataclass(frozen=True, slots=True)
class FlowAction:
    """`definition` as Klaviyo gives it: `type`, `links`, `data`; empty where it withholds it."""

    action_id: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    message_id: str
    name: str
    channel: str


class KlaviyoClient:
    """Calls with one private key. Cheap to make; the session and its connections are shared.

    Profile writes are sent as asked: their rate is the caller's business. Reading calls pace themselves below the
    smallest tier they touch (3/s, 60/min) and wait out 429 and short faults.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, *, clock: Clock | None = None) -> None:
        """`key` is `pk_…`. Raises Permanent when it cannot be a header value."""
        if not key or not key.isascii() or not key.isprintable():
            raise KeyRefused("the key has characters that no key has", reason="key_refused")
        self._session, self._base = session, URL(base_url).origin()
        self._clock = clock or SystemClock()
        self._headers = {
            "Authorization": f"Klaviyo-API-Key {key}",
            "revision": REVISION,
            "Accept": _MEDIA_TYPE,
        }
        self._pacer = Pacer(self._clock, per_s=3, per_min=60)
        self._account_pacer = Pacer(self._clock, per_s=1, per_min=15)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> RateLimit:
        """Set these custom properties and take those away; others stay. Repeating it changes nothing.

        Raises Permanent (`body_too_large` before anything is sent), KeyRefused, Throttled, Unreachable, MaybeApplied.
        """
        body = profile_patch(profile_id, properties or {}, unset)
        url = self._base.with_path(f"/api/profiles/{profile_id}").with_query({"fields[profile]": "updated"})
        limit, _ = await self._call("PATCH", url, "update_profile", body=body, resource="profile")
        return limit

    # --- reading -----------------------------------------------------------------------------------------------------

    async def verify(self) -> Verified:
        """Try what can be tried without changing anything. Raises KeyRefused for a key that is accepted nowhere.

        `lists:write` cannot be seen this way: the only call it allows makes something.
        """
        scopes: set[str] = set()
        account_id = name = None
        try:
            document = await self._read(self._url("/api/accounts", {}), "get_accounts", pacer=self._account_pacer)
        except KeyRefused as refused:
            if refused.reason != "scope_missing":
                raise
        else:
            scopes.add("accounts:read")
            account: dict[str, Any] = next(iter(document.get("data") or []), {})
            contact = account.get("attributes", {}).get("contact_information") or {}
            account_id, name = account.get("id"), contact.get("organization_name")
        for scope, (path, query) in _READ_PROBES.items():
            if await self._allowed(self._read(self._url(path, query), f"probe_{scope.partition(':')[0]}")):
                scopes.add(scope)
        if await self._may_write_profiles():
            scopes.add("profiles:write")
        return Verified(account_id, name, frozenset(scopes))

    async def flows(self) -> list[Flow]:
        """All flows of the account."""
        url = self._url("/api/flows", {"fields[flow]": "name,status,archived", "page[size]": "50"})
        return [
            Flow(
                item["id"],
                item["attributes"].get("name") or "",
                item["attributes"].get("status") or "",
                bool(item["attributes"].get("archived")),
            )
            async for item in self._pages(url, "get_flows")
        ]

    async def flow_actions(self, flow_id: str) -> list[FlowAction]:
        """The steps of one flow with their definitions, which link them to a graph."""
        url = self._url(f"/api/flows/{flow_id}/flow-actions", {"page[size]": "50"})
        return [
            FlowAction(item["id"], item["attributes"].get("definition") or {})
            async for item in self._pages(url, "get_flow_actions")
        ]

    async def flow_messages(self, action_id: str) -> list[Message]:
        """The messages of one step; more than one where it runs an experiment."""
        url = self._url(f"/api/flow-actions/{action_id}/flow-messages", {"page[size]": "50"})
        return [
            Message(
                item["id"],
                (item["attributes"].get("definition") or {}).get("name") or "",
                item["attributes"].get("channel") or "",
            )
            async for item in self._pages(url, "get_flow_messages")
        ]

    async def _may_write_profiles(self) -> bool:
        """Writing nothing to a profile that cannot exist: 404 means that the key may write profiles."""
        try:
            await self.patch_profile(_NO_PROFILE)
        except KeyRefused:
            return False
        except Permanent as error:
            return error.reason == "profile_not_found"
        return True

    async def _allowed(self, reading: Awaitable[object]) -> bool:
        try:
            await reading
        except Permanent as error:
            return error.reason == "resource_not_found"
        return True

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return self._base.with_path(path).with_query(query)

    async def _pages(self, url: URL, operation: str) -> AsyncIterator[dict[str, Any]]:
        """Every item of a collection; `links.next` is followed verbatim, but never to another host: it would get the
        key."""
        for _ in range(_PAGES_MAX):
            document = await self._read(url, operation)
            for item in document.get("data") or []:
                yield item
            following = (document.get("links") or {}).get("next")
            if not following:
                return
            url = URL(following, encoded=True)
            if url.origin() != self._base:
                raise Permanent("a next page lies on another host", reason="foreign_next_page")
        raise Permanent(f"a collection has more than {_PAGES_MAX} pages", reason="endless_pages")

    async def _read(self, url: URL, operation: str, *, pacer: Pacer | None = None) -> dict[str, Any]:
        """One document, patiently: an operator waits for it, not a deadline."""
        for wait_s in (*_READ_WAITS_S, None):
            await (pacer or self._pacer).turn()
            try:
                _, answer = await self._call("GET", url, operation)
                document = orjson.loads(answer)
            except orjson.JSONDecodeError:
                raise Permanent("Klaviyo's answer is no JSON", reason="unreadable_answer") from None
            except (Throttled, Transient) as failure:
                asked_s = failure.wait_s if isinstance(failure, Throttled) else wait_s
                if wait_s is None or asked_s is None or asked_s > _READ_WAIT_MAX_S:
                    raise
                await self._clock.sleep(asked_s)
            else:
                if not isinstance(document, dict):
                    raise Permanent("Klaviyo's answer is no JSON:API document", reason="unreadable_answer")
                return document
        raise AssertionError("the last try returns or raises")

    # --- the wire ----------------------------------------------------------------------------------------------------

    async def _call(
        self, method: str, url: URL, operation: str, *, body: bytes | None = None, resource: str = "resource"
    ) -> tuple[RateLimit, bytes]:
        """One request, no second try. Raises the failure that its end stands for."""
        headers = self._headers | ({"Content-Type": _MEDIA_TYPE} if body is not None else {})
        status = "lost"
        try:
            with metrics.timed("klaviyo_request_seconds", operation=operation):
                async with self._session.request(
                    method, url, data=body, headers=headers, allow_redirects=False, timeout=_TIMEOUT
                ) as response:
                    status = str(response.status)
                    answer = await _bounded(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(
                f"no connection to {self._base.host}: {type(error).__name__}", reason="klaviyo_unreachable"
            ) from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise MaybeApplied(f"no answer from Klaviyo: {type(error).__name__}", reason="klaviyo_no_answer") from error
        finally:
            metrics.count("klaviyo_requests_total", operation=operation, status=status)
        failure: Failure | None = failure_of(response.status, response.headers, answer, resource=resource)
        if failure is not None:
            raise failure
        return rate_limit(response.headers), answer


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    answer = await response.content.read(_ANSWER_MAX_BYTES + 1)
    while len(answer) <= _ANSWER_MAX_BYTES and (more := await response.content.read(_ANSWER_MAX_BYTES)):
        answer += more
    if len(answer) > _ANSWER_MAX_BYTES:
        raise aiohttp.ClientPayloadError("the answer is too long")
    return answer


def profile_patch(profile_id: str, properties: Mapping[str, str], unset: Sequence[str]) -> bytes:
    """The body of one profile update, compact UTF-8: Python's own `json` would escape it to more than the limit.

    Raises Permanent when the id fits no profile, a text is no UTF-8, or the body is larger than `BODY_MAX_BYTES`.
    """
    if not _PROFILE_ID.fullmatch(profile_id):
        raise Permanent("this is no id of a Klaviyo profile", reason="profile_id_invalid")
    resource: dict[str, Any] = {"type": "profile", "id": profile_id, "attributes": {}}
    if properties:
        resource["attributes"] = {"properties": dict(properties)}
    if unset:
        resource["meta"] = {"patch_properties": {"unset": list(unset)}}
    try:
        body = orjson.dumps({"data": resource})
    except orjson.JSONEncodeError as error:
        raise Permanent("a text cannot be encoded as UTF-8", reason="body_not_encodable") from error
    if len(body) > BODY_MAX_BYTES:
        raise Permanent(f"the body has {len(body)} bytes, at most {BODY_MAX_BYTES} fit", reason="body_too_large")
    return body
