"""Whether an ID token holds, and what it says. Pure: keys, moment and nonce are arguments.

The provider does not choose how it is believed: what we take stands in `_ALGORITHMS`, and `none` or a shared secret is
not among it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from services.console.oidc.documents import Key
from services.console.oidc.errors import SignInRefused

LEEWAY_S: Final = 60  # by which the provider's clock may differ from ours
_TOKEN_CHARS: Final = 64_000
_SUBJECT_CHARS: Final = 255
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ALGORITHMS: Final[Mapping[str, type[Key]]] = {
    "RS256": RSAKey, "PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey, "Ed25519": OKPKey,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token for us, of this very sign-in, says."""

    issuer: str
    client_id: str
    nonce: str


class UnknownKey(Exception):
    """It is signed with a key that is not among these; the provider may have new ones."""


class _Allowed(jws.JWSRegistry):
    max_header_length = 8_000  # some carry a chain of certificates, which is not looked at

    def get_alg(self, name: str) -> Any:
        if name not in _ALGORITHMS:
            raise SignInRefused("bad_token", "its algorithm is not one that is allowed")
        return self.algorithms[name]  # past a warning that RFC 9864 has a newer name for EdDSA


_REGISTRY: Final = _Allowed(strict_check_header=False)  # unknown fields mean nothing


def claims_of(token: str, keys: Sequence[Key], expected: Expected, now: datetime) -> dict[str, Any]:
    """What it says. Raises SignInRefused, UnknownKey."""
    if len(token) > _TOKEN_CHARS or not _COMPACT.fullmatch(token):
        raise SignInRefused("bad_token", "it is no signed token")
    claims = _verified(token, keys)
    _check(claims, expected, now.timestamp())
    return claims


def _verified(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRY).headers()
        if "crit" in header:
            raise SignInRefused("bad_token", "it calls something critical that means nothing to us")
        for key in _fitting(header, keys):
            try:
                payload = jws.deserialize_compact(token, key, registry=_REGISTRY).payload
            except BadSignatureError:
                continue
            claims = orjson.loads(payload or b"")
            if isinstance(claims, dict):
                return claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise SignInRefused("bad_token", f"it cannot be read: {type(error).__name__}") from None
    raise SignInRefused("bad_token", "its signature is not the provider's")


def _fitting(header: Mapping[str, Any], keys: Sequence[Key]) -> list[Key]:
    alg, kid = header.get("alg"), header.get("kid")
    kind = _ALGORITHMS.get(alg) if isinstance(alg, str) else None
    if kind is None:
        raise SignInRefused("bad_token", "its algorithm is not one that is allowed")
    found = [key for key in keys if isinstance(key, kind) and key.alg in (None, alg)]
    if kid is not None:
        found = [key for key in found if key.kid == kid]
    if not found:
        raise UnknownKey
    return found[:5]


def _check(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    def refuse(what: str) -> SignInRefused:
        return SignInRefused("bad_token", what)

    if claims.get("iss") != expected.issuer:
        raise refuse("it is of another issuer")
    audience = claims.get("aud")
    if expected.client_id not in (audience if isinstance(audience, list) else [audience]):
        raise refuse("it is for another client")
    shared = isinstance(audience, list) and len(audience) > 1
    if ("azp" in claims or shared) and claims.get("azp") != expected.client_id:
        raise refuse("it was given to another client")
    if claims.get("nonce") != expected.nonce:
        raise refuse("it is of another sign-in (nonce)")
    if _number(claims, "exp") + LEEWAY_S <= now:
        raise refuse("it has expired")
    if _number(claims, "iat") - LEEWAY_S > now or ("nbf" in claims and _number(claims, "nbf") - LEEWAY_S > now):
        raise refuse("it is not valid yet; compare the clocks")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_CHARS or not _plain(subject):
        raise refuse("it names no subject")


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignInRefused("bad_token", f"its {name} is no moment")
    return float(value)


def _plain(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
