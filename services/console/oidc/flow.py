"""One sign-in under way. What it must remember travels sealed in a cookie of the browser that began it: an answer that
arrives in another browser finds nothing there, so nobody can be signed in as somebody else by a link. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

import orjson

from services.console.oidc.documents import Discovery
from shared.crypto import KeyRing, SealError
from shared.people import links

FLOW_LIFE: Final = timedelta(minutes=10)
_PLACE: Final = "console/oidc/flow"
_NEXT_BYTES: Final = 1_000  # with the rest it must fit in a cookie


@dataclass(frozen=True, slots=True)
class Flow:
    """`verifier` proves to the token endpoint that who ends it began it (PKCE)."""

    state: str
    nonce: str
    verifier: str
    issuer: str
    next_path: str
    began_at: datetime

    @property
    def digest(self) -> bytes:
        """Under which it is remembered as used."""
        return links.digest(self.state)


def begin_flow(random_bytes: Callable[[int], bytes], issuer: str, next_path: str, now: datetime) -> Flow:
    """A new one, with 256 random bits in each of its secrets."""
    return Flow(
        state=links.mint(random_bytes), nonce=links.mint(random_bytes), verifier=links.mint(random_bytes),
        issuer=issuer, next_path=next_path if len(next_path.encode()) <= _NEXT_BYTES else "/", began_at=now,
    )  # fmt: skip


def sealed(flow: Flow, ring: KeyRing) -> str:
    """For the cookie."""
    whole = [flow.state, flow.nonce, flow.verifier, flow.issuer, flow.next_path, flow.began_at.timestamp()]
    return ring.seal(orjson.dumps(whole).decode(), _PLACE)


def opened(cookie: str, ring: KeyRing, issuer: str, now: datetime) -> Flow | None:
    """The flow of this browser; None: there is none, it is too old, or it was begun with another provider."""
    try:
        state, nonce, verifier, asked, next_path, began_s = orjson.loads(ring.open(cookie, _PLACE))
    except (SealError, ValueError):
        return None
    flow = Flow(state, nonce, verifier, asked, next_path, datetime.fromtimestamp(began_s, now.tzinfo))
    return flow if flow.issuer == issuer and now < flow.began_at + FLOW_LIFE else None


def is_answered_by(flow: Flow, state: str) -> bool:
    """Whether an answer is the one to this flow."""
    return hmac.compare_digest(flow.state.encode(), state.encode("utf-8", "replace"))


def authorization_url(flow: Flow, found: Discovery, *, client_id: str, scopes: str, redirect_uri: str) -> str:
    """Where the person says yes."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
    return with_query(
        found.authorization_endpoint,
        response_type="code", client_id=client_id, redirect_uri=redirect_uri, scope=scopes, state=flow.state,
        nonce=flow.nonce, code_challenge=challenge, code_challenge_method="S256",
    )  # fmt: skip


def with_query(url: str, **query: str) -> str:
    """The address with these added to the query it may have."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"
