"""The Klaviyo API as far as we use it: one profile at a time, and reading what a key and an account are.

JSON:API, revision 2026-07-15. Each method raises the failure words of `shared.klaviyo.errors`.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from shared import logs
from shared.clock import Clock, SystemClock
from shared.errors import Permanent
from shared.klaviyo.bulk import job_body
from shared.klaviyo.campaigns import QUERIES
from shared.klaviyo.errors import KeyRefused, MaybeApplied
from shared.klaviyo.limits import Pacer, RateLimit
from shared.klaviyo.profile import check_size, checked_id, profile_resource, properties_in
from shared.klaviyo.wire import REVISION, Answer, Wire, parsed

log = logs.get(__name__)

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
    """`trigger`: what people enter by, as Klaviyo calls it; empty where it was not asked."""

    flow_id: str
    name: str
    status: str
    archived: bool
    trigger: str = ""


@dataclass(frozen=True, slots=True)
class FlowAction:
    """`definition` as Klaviyo gives it: `type`, `links`, `data`; empty where it withholds it. `updated_at`: when it was
    changed last, None where that is not said."""

    action_id: str
    definition: Mapping[str, Any]
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """`definition` as Klaviyo gives it: an email's subject line and preview text; empty where it withholds it."""

    message_id: str
    name: str
    channel: str
    definition: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageParts:
    """What the template of an email holds: a mail program shows one of the three. Empty: there is none."""

    html: str
    text: str = ""
    amp: str = ""


class KlaviyoClient:
    """Calls with one private key. Cheap to make; the session and its connections are shared.

    Profile writes are sent as asked: their rate is the caller's business. Reading calls pace themselves below the
    smallest tier they touch (3/s, 60/min) and wait out 429 and short faults.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, *, clock: Clock | None = None) -> None:
        """`key` is `pk_…`. Raises KeyRefused when it cannot be a header value."""
        clock = clock or SystemClock()
        self._wire = Wire(session, base_url, key, clock)
        self._pacer = Pacer(clock, per_s=3, per_min=60)
        self._account_pacer = Pacer(clock, per_s=1, per_min=15)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> RateLimit:
        """Set these custom properties and take those away; others stay. Repeating it changes nothing.

        Raises Unsendable before anything is sent, Permanent, KeyRefused, Throttled, Transient, MaybeApplied.
        """
        body = profile_patch(profile_id, properties or {}, unset)
        url = self._wire.url(f"/api/profiles/{profile_id}", {"fields[profile]": "updated"})
        return _seen(await self._wire.call("PATCH", url, "update_profile", body=body, resource="profile")).limit

    async def import_profile(self, profile_id: str, *, properties: Mapping[str, str]) -> RateLimit:
        """Set these custom properties by the upsert operation, which Klaviyo counts apart; others stay. Repeating it
        changes nothing. The id goes alone: with an identifier of another profile beside it the answer would be 404.

        Raises as `patch_profile` does.
        """
        body = profile_patch(profile_id, properties, ())
        url = self._wire.url("/api/profile-import", {"fields[profile]": "updated"})
        answer = _seen(await self._wire.call("POST", url, "create_or_update_profile", body=body, resource="profile"))
        if answer.status == 201:  # an id that is not there answers 404, as far as anybody knows
            log.warning("klaviyo.profile_made", profile_id=profile_id)
        return answer.limit

    # --- reading -----------------------------------------------------------------------------------------------------

    async def has_profile(self, profile_id: str) -> bool:
        """Whether the account has this profile, asked by writing nothing to it. Raises as `patch_profile` does."""
        try:
            await self.patch_profile(profile_id)
        except Permanent as error:
            if error.reason != "profile_not_found":
                raise
            return False
        return True

    async def verify(self) -> Verified:
        """Try what can be tried without changing anything. Raises KeyRefused for a key that is accepted nowhere."""
        scopes: set[str] = set()
        account_id = name = None
        try:
            document = await self._wire.read(self._wire.url("/api/accounts", {}), "get_accounts", self._account_pacer)
        except KeyRefused as refused:
            if refused.reason != "scope_missing":
                raise
        else:
            scopes.add("accounts:read")
            account: dict[str, Any] = next(iter(document.get("data") or []), {})
            contact = account.get("attributes", {}).get("contact_information") or {}
            account_id, name = account.get("id"), contact.get("organization_name")
        for scope, (path, query) in _READ_PROBES.items():
            if await self._allowed(
                self._wire.read(self._wire.url(path, query), f"probe_{scope.partition(':')[0]}", self._pacer)
            ):
                scopes.add(scope)
        if await self._may_write_profiles():
            scopes.add("profiles:write")
            if await self._may_import():
                scopes.add("lists:write")
        return Verified(account_id, name, frozenset(scopes))

    async def profile_properties(self, profile_id: str) -> Mapping[str, Any] | None:
        """The custom properties of one profile; None when it is not there (any more). Needs profiles:read.

        Raises Unsendable for an id that no profile has, and what every reading call raises.
        """
        url = self._wire.url(f"/api/profiles/{checked_id(profile_id)}", {"fields[profile]": "properties"})
        try:
            document = await self._wire.read(url, "get_profile", self._pacer)
        except Permanent as error:
            if error.reason != "resource_not_found":
                raise
            return None
        return properties_in(document)

    async def flows(self) -> list[Flow]:
        """All flows of the account."""
        url = self._wire.url("/api/flows", {"fields[flow]": "name,status,archived", "page[size]": "50"})
        return [
            Flow(
                item["id"],
                item["attributes"].get("name") or "",
                item["attributes"].get("status") or "",
                bool(item["attributes"].get("archived")),
            )
            async for item in self._wire.items(url, "get_flows", self._pacer)
        ]

    async def flow(self, flow_id: str) -> Flow | None:
        """One flow; None when it is not there."""
        url = self._wire.url(f"/api/flows/{flow_id}", {"fields[flow]": "name,status,archived,trigger_type"})
        try:
            item = (await self._wire.read(url, "get_flow", self._pacer)).get("data") or {}
        except Permanent as error:
            if error.reason != "resource_not_found":
                raise
            return None
        told = item.get("attributes") or {}
        name, status, trigger = (told.get(one) or "" for one in ("name", "status", "trigger_type"))
        return Flow(flow_id, name, status, bool(told.get("archived")), trigger)

    async def message_parts(self, message_id: str) -> MessageParts | None:
        """The bodies of one message's email; None where the key may not read templates, or there is none."""
        url = self._wire.url(f"/api/flow-messages/{message_id}/template", {"fields[template]": "html,text,amp"})
        try:
            item = (await self._wire.read(url, "get_message_template", self._pacer)).get("data") or {}
        except KeyRefused as error:
            if error.reason != "scope_missing":
                raise
            return None
        except Permanent as error:
            if error.reason != "resource_not_found":
                raise
            return None
        told = item.get("attributes") or {}
        return MessageParts(*(str(told.get(part) or "") for part in ("html", "text", "amp")))

    async def flow_actions(self, flow_id: str) -> list[FlowAction]:
        """The steps of one flow with their definitions, which link them to a graph."""
        url = self._wire.url(f"/api/flows/{flow_id}/flow-actions", {"page[size]": "50"})
        return [
            FlowAction(
                item["id"], item["attributes"].get("definition") or {}, _moment(item["attributes"].get("updated"))
            )
            async for item in self._wire.items(url, "get_flow_actions", self._pacer)
        ]

    async def flow_messages(self, action_id: str) -> list[Message]:
        """The messages of one step; more than one where it runs an experiment."""
        url = self._wire.url(f"/api/flow-actions/{action_id}/flow-messages", {"page[size]": "50"})
        return [
            Message(
                item["id"],
                (definition := item["attributes"].get("definition") or {}).get("name") or "",
                item["attributes"].get("channel") or "",
                definition,
            )
            async for item in self._wire.items(url, "get_flow_messages", self._pacer)
        ]

    def campaign_pages(self) -> AsyncIterator[Mapping[str, Any]]:
        """All campaigns with their messages, page by page; `campaigns.messages_of` reads one. Needs campaigns:read."""
        return self._wire.pages(self._wire.url("/api/campaigns", QUERIES[REVISION]), "get_campaigns", self._pacer)

    async def _may_write_profiles(self) -> bool:
        """Writing nothing to a profile that cannot exist: 404 means that the key may write profiles."""
        try:
            await self.has_profile(_NO_PROFILE)
        except Permanent:  # KeyRefused too
            return False
        return True

    async def _may_import(self) -> bool:
        """An import of nobody: whoever lacks a scope hears of that, the others that nobody is not enough."""
        url = self._wire.url("/api/profile-bulk-import-jobs", {})
        try:
            await self._wire.call("POST", url, "probe_lists", body=job_body([]))
        except KeyRefused:
            return False
        except Permanent:
            return True
        return True

    async def _allowed(self, reading: Awaitable[object]) -> bool:
        try:
            await reading
        except Permanent as error:
            return error.reason == "resource_not_found"
        return True


def _seen(answer: Answer) -> Answer:
    """The same answer. Raises MaybeApplied where it is a page: whoever stands before Klaviyo may say 200 too, and copy
    that was never taken off would be forgotten. Nothing at all is believed; Klaviyo need not repeat the profile."""
    try:
        if answer.body:
            parsed(answer.body)
    except Permanent as error:
        raise MaybeApplied(str(error), reason=error.reason) from error
    return answer


def profile_patch(profile_id: str, properties: Mapping[str, str], unset: Sequence[str]) -> bytes:
    """The body of one profile update. Raises Unsendable as `profile_resource` does, and when it is too large."""
    return check_size(b'{"data":%s}' % profile_resource(profile_id, properties, unset))


def _moment(text: object) -> datetime | None:
    """None for anything but a moment in a zone: no flow goes unread for it."""
    with suppress(ValueError):
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
        return at if at is not None and at.tzinfo is not None else None
    return None
