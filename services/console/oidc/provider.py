"""The provider, asked: what it publishes is kept for an hour, what cannot be had is not asked for again at once."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote_plus

from services.console.oidc import tokens
from services.console.oidc.documents import Discovery, Key, read_discovery, read_keys
from services.console.oidc.errors import SignInRefused
from services.console.oidc.flow import Flow, authorization_url, with_query
from services.console.oidc.settings import OidcSettings, Policy
from services.console.oidc.wire import Wire, open_wire
from shared.clock import Clock

_FRESH: Final = timedelta(hours=1)
_ASKED_AGAIN_AFTER: Final = timedelta(minutes=1)  # for an unknown key: whoever invents key ids must not make us ask
_FAILED_FOR: Final = timedelta(seconds=5)  # people who click again do not queue behind a provider that hangs
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_HINT_CHARS: Final = 6_000  # what an address may carry

T = TypeVar("T")


class _Kept(Generic[T]):
    """One document. Who comes while it is being asked for waits for the same answer."""

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[T]]) -> None:
        self._clock, self._ask = clock, ask
        self._lock = asyncio.Lock()
        self._found: tuple[T, datetime] | None = None
        self._failed: tuple[SignInRefused, datetime] | None = None

    async def get(self, *, fresher_than: timedelta = _FRESH) -> T:
        """Raises SignInRefused."""
        async with self._lock:
            now = self._clock.now()
            if self._found is not None and now < self._found[1] + fresher_than:
                return self._found[0]
            if self._failed is not None and now < self._failed[1] + _FAILED_FOR:
                raise SignInRefused(self._failed[0].reason, self._failed[0].detail)
            try:
                found = await self._ask()
            except SignInRefused as error:
                self._failed = (error, now)
                raise
            self._found, self._failed = (found, now), None
            return found


class Provider:
    """One provider and our client of it. Raises SignInRefused."""

    def __init__(self, settings: OidcSettings, issuer: str, console_url: str, wire: Wire, clock: Clock) -> None:
        secret = settings.console_oidc_client_secret
        self.issuer, self.client_id = issuer, settings.console_oidc_client_id
        self._secret = secret.get_secret_value() if secret else ""
        self._scopes, self._private = settings.console_oidc_scopes, settings.console_oidc_private
        self._console_url, self._wire, self._clock = console_url, wire, clock
        self._discovery = _Kept(clock, self._discover)
        self._keys = _Kept(clock, self._ask_keys)

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to; it must know this very address."""
        return f"{self._console_url}/_sign-in/oidc/back"

    async def discovery(self) -> Discovery:
        """What it says of itself."""
        return await self._discovery.get()

    async def asks(self, flow: Flow) -> str:
        """Where to send the person."""
        return authorization_url(
            flow, await self.discovery(),
            client_id=self.client_id, scopes=self._scopes, redirect_uri=self.redirect_uri,
        )  # fmt: skip

    async def claims(self, flow: Flow, code: str) -> tuple[dict[str, Any], str]:
        """What the provider says of who came back with `code`, and the ID token that says it."""
        found = await self.discovery()
        answer = await self._exchange(found, flow, code)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused("bad_token", "the token endpoint gave no ID token")
        claims = await self._verified(token, flow.nonce)
        access_token = answer.get("access_token")
        if "email" not in claims and found.userinfo_endpoint is not None and isinstance(access_token, str):
            claims = await self._told(found.userinfo_endpoint, access_token, claims)
        return claims, token

    async def sign_out_url(self, token: str | None) -> str | None:
        """Where the provider ends its own session; None: it has no such page."""
        found = await self.discovery()
        if found.end_session_endpoint is None:
            return None
        hint = {"id_token_hint": token} if token and len(token) <= _HINT_CHARS else {}
        return with_query(
            found.end_session_endpoint, client_id=self.client_id,
            post_logout_redirect_uri=f"{self._console_url}/_sign-in", state="signed-out", **hint,
        )  # fmt: skip

    async def _discover(self) -> Discovery:
        document = await self._wire.get(self.issuer.rstrip("/") + _WELL_KNOWN)
        return read_discovery(document, self.issuer, private=self._private)

    async def _ask_keys(self) -> tuple[Key, ...]:
        return read_keys(await self._wire.get((await self.discovery()).jwks_uri))

    async def _exchange(self, found: Discovery, flow: Flow, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri,
            "code_verifier": flow.verifier,
        }  # fmt: skip
        headers = {}
        if found.secret_in_form:
            form |= {"client_id": self.client_id, "client_secret": self._secret}
        else:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, answer = await self._wire.post(found.token_endpoint, form, headers)
        if status != 200:
            error = answer.get("error")
            named = error if isinstance(error, str) and error.replace("_", "").isalnum() else "no error code"
            raise SignInRefused("code_refused", f"the token endpoint answered {status}, {named[:60]}")
        return answer

    async def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        expected, now = tokens.Expected(self.issuer, self.client_id, nonce), self._clock.now()
        try:
            return tokens.claims_of(token, await self._keys.get(), expected, now)
        except tokens.UnknownKey:
            newer = await self._keys.get(fresher_than=_ASKED_AGAIN_AFTER)
        try:
            return tokens.claims_of(token, newer, expected, now)
        except tokens.UnknownKey:
            raise SignInRefused("bad_token", "it is signed with a key that jwks_uri does not list") from None

    async def _told(self, url: str, access_token: str, claims: dict[str, Any]) -> dict[str, Any]:
        """With what the ID token leaves to the userinfo endpoint, where it is about the same person."""
        if not access_token.isascii() or not access_token.isprintable():
            raise SignInRefused("odd_provider", "its access token fits no header")
        more = await self._wire.get(url, {"Authorization": f"Bearer {access_token}"})
        if more.get("sub") != claims["sub"]:
            raise SignInRefused("bad_token", "the userinfo endpoint told of somebody else")
        return {**more, **claims}


@dataclass(frozen=True, slots=True)
class SingleSignOn:
    """The provider, what people call it, and whom it may let in."""

    provider: Provider
    label: str
    policy: Policy


async def look(settings: OidcSettings, issuer: str) -> list[tuple[str, str]]:
    """What the provider says of itself, in words, for whoever sets it up. Raises SignInRefused."""
    async with open_wire(private=settings.console_oidc_private, timeout_s=settings.console_oidc_timeout_s) as wire:
        found = read_discovery(
            await wire.get(issuer.rstrip("/") + _WELL_KNOWN), issuer, private=settings.console_oidc_private
        )
        keys = read_keys(await wire.get(found.jwks_uri))
    if not keys:
        raise SignInRefused("odd_provider", "jwks_uri lists no key that may sign: RSA, P-256 or Ed25519")
    return [
        ("issuer", found.issuer),
        ("people go to", found.authorization_endpoint),
        ("codes go to", found.token_endpoint),
        ("keys", f"{len(keys)} that may sign"),
        ("names itself", "in each answer" if found.says_issuer else "not in answers (RFC 9207)"),
        ("signing out", found.end_session_endpoint or "it has no page for it"),
    ]
