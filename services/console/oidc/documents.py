"""What a provider publishes about itself: where to ask, and its keys. Pure; all of it is a stranger's until checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from services.console.oidc.errors import SignInRefused
from services.console.oidc.settings import fault_of

Key = RSAKey | ECKey | OKPKey
_MOST_KEYS: Final = 100
_MODULUS_CHARS: Final = range(340, 1_367)  # 2,048 to 8,192 bits; a larger one would buy nothing and cost us seconds


@dataclass(frozen=True, slots=True)
class Discovery:
    """The discovery document, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    says_issuer: bool  # its answers name it (RFC 9207), so one that does not is not its own
    secret_in_form: bool  # it takes the client's secret in no header


def read_discovery(document: Mapping[str, Any], issuer: str, *, private: bool) -> Discovery:
    """Raises SignInRefused when it is another issuer's, or names addresses that must not be asked."""
    if document.get("issuer") != issuer:
        raise SignInRefused("odd_provider", "the discovery document names another issuer than console_oidc_issuer")

    def address(name: str) -> str | None:
        url = document.get(name)
        if url is None:
            return None
        why = fault_of(url, private=private) if isinstance(url, str) else "is no text"
        if why is not None:
            raise SignInRefused("odd_provider", f"{name} {why}")
        return str(url)

    def needed(name: str) -> str:
        url = address(name)
        if url is None:
            raise SignInRefused("odd_provider", f"the discovery document has no {name}")
        return url

    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Discovery(
        issuer=issuer,
        authorization_endpoint=needed("authorization_endpoint"),
        token_endpoint=needed("token_endpoint"),
        jwks_uri=needed("jwks_uri"),
        userinfo_endpoint=address("userinfo_endpoint"),
        end_session_endpoint=address("end_session_endpoint"),
        says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        secret_in_form=isinstance(methods, list) and "client_secret_basic" not in methods,
    )


def read_keys(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """The keys that may sign; those of a kind that we do not know are left out. Raises SignInRefused."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise SignInRefused("odd_provider", f"jwks_uri lists no keys, or more than {_MOST_KEYS}")
    return tuple(key for one in listed if isinstance(one, dict) and (key := _key(one)) is not None)


def _key(one: dict[str, Any]) -> Key | None:
    if one.get("use") not in (None, "sig"):
        return None
    try:
        match one.get("kty"):
            case "RSA" if isinstance(one.get("n"), str) and len(one["n"]) in _MODULUS_CHARS:
                return RSAKey.import_key(one)
            case "EC" if one.get("crv") == "P-256":
                return ECKey.import_key(one)
            case "OKP" if one.get("crv") == "Ed25519":
                return OKPKey.import_key(one)
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        pass  # one key that is broken, or of tomorrow, does not take the others away
    return None
