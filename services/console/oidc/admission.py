"""Who the provider says somebody is, and which places that gives them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.console.oidc.errors import SignInRefused
from services.console.oidc.settings import OidcSettings, Policy
from shared.people.links import BadEmail, email_of
from shared.people.roles import Role, reaches

_NAME_CHARS: Final = 100
_ELSEWHERE: Final = "_claim_names"  # OpenID Connect Core 5.6.2: too many groups for a token are told of elsewhere


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom the provider vouches for. `email` is there only where it is verified; `groups` are None where the provider
    did not tell them, which is not the same as none."""

    issuer: str
    subject: str
    email: str | None
    name: str
    groups: frozenset[str] | None


def vouched(claims: Mapping[str, Any], settings: OidcSettings) -> Vouched:
    """What of the claims is used. Raises SignInRefused for somebody of a domain that is not let in."""
    email = _email(claims) if _is_true(claims.get(settings.console_oidc_verified_claim)) else None
    domains = settings.oidc_policy.domains
    if domains:
        if email is None:
            raise SignInRefused("email_unverified")
        if email.rpartition("@")[2] not in domains:
            raise SignInRefused("domain_not_allowed")
    return Vouched(
        issuer=str(claims["iss"]), subject=str(claims["sub"]), email=email, name=_name(claims, email),
        groups=_groups(claims, settings.console_oidc_groups_claim),
    )  # fmt: skip


def places_of(groups: frozenset[str], policy: Policy) -> dict[str, Role | None]:
    """For every org that a group may lead into: the largest role of these groups; None: none of them leads there."""
    found: dict[str, Role | None] = {place.org: None for _, place in policy.places}
    for group, place in policy.places:
        so_far = found[place.org]
        if group in groups and (so_far is None or reaches(place.role, so_far)):
            found[place.org] = place.role
    return found


def _is_true(said: object) -> bool:
    """`xms_edov` is 1 or "1", and some write booleans as texts."""
    return said is True or (isinstance(said, int) and said == 1) or said in ("true", "True", "1")


def _email(claims: Mapping[str, Any]) -> str | None:
    said = claims.get("email")
    # In ASCII alone: the lower case of `K` (Kelvin) is the `k` of somebody else.
    if not isinstance(said, str) or not said.isascii() or not said.isprintable():
        return None
    try:
        return email_of(said)
    except BadEmail:
        return None


def _name(claims: Mapping[str, Any], email: str | None) -> str:
    said = claims.get("name")
    name = "".join(char if char.isprintable() else " " for char in said).strip() if isinstance(said, str) else ""
    return (name or (email or "").partition("@")[0] or "Somebody")[:_NAME_CHARS].strip()


def _groups(claims: Mapping[str, Any], claim: str) -> frozenset[str] | None:
    said = claims.get(claim)
    elsewhere = claims.get(_ELSEWHERE)
    if said is None and isinstance(elsewhere, dict) and claim in elsewhere:
        return None
    listed = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(one for one in listed if isinstance(one, str))
